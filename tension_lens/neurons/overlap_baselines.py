"""The overlap of two sets beside the overlap that a baseline has, with the interval of their difference."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.constants import CONFIDENCE
from tension_lens.errors import RequestError
from tension_lens.neurons.overlap import jaccard
from tension_lens.neurons.overlap_blocks import BLOCKS, OverlapBlocks
from tension_lens.neurons.sets import top_percent

Masks = Bool[np.ndarray, "sample layer neuron"]
"""A set selected on all blocks of the data, then with block 0 left out, with block 1 left out, …"""
Jaccards = Float[np.ndarray, " sample"]
"""A Jaccard index, or a mean of several, in the same samples."""
EVEN = np.arange(BLOCKS) % 2 == 0
"""The blocks of one half of the data."""


def top_sets(blocks: OverlapBlocks, source: str, top: float, part: Bool[np.ndarray, " block"] | None = None) -> Masks:
    """The top `top` % of neurons by mean magnitude, on all blocks and with each block left out.

    Args:
        blocks: magnitudes by block.
        source: `all`, `prompt` or `base`.
        top: share of all neurons in percent.
        part: use these blocks only.

    Raises:
        RequestError: as `OverlapBlocks.importance` and `top_percent` do.
    """
    part = np.ones(BLOCKS, dtype=bool) if part is None else part
    samples = [part, *(part & (np.arange(BLOCKS) != block) for block in range(BLOCKS))]
    site = blocks.metadata["site"]
    return np.stack([top_percent(blocks.importance(source, one), top, "", site).mask() for one in samples])


def jaccards(a: Masks, b: Masks) -> Jaccards:
    """The Jaccard index of two sets in each sample."""
    return np.array([jaccard(left, right) for left, right in zip(a, b, strict=True)])


def jackknife(values: Jaccards) -> tuple[float, float]:
    """95 % interval of a statistic by the delete-one-block jackknife.

    x ± t(0.975, G − 1) · se with se² = (G − 1)/G · Σ (x_g − x̄)², for the statistic x on all G blocks, x_g without block
    g, and x̄ the mean of the x_g (Efron and Tibshirani 1993, chapter 11).

    It assumes that blocks are independent draws from the same data, and that the statistic is smooth. Comparisons that
    share a conversation are not independent; with many of them the interval is too narrow. Selecting a set is not
    smooth: where neurons vary independently of each other, the number of neurons that a block moves in or out is itself
    random, and the interval is too wide, by a factor of about the fourth root of G. It covers the choice of comparisons
    and not the training seed. That sets by fewer comparisons agree less, halves above all, is not corrected.

    Raises:
        RequestError: if there are fewer than two blocks.
    """
    from scipy.stats import t

    count = len(values) - 1
    if count < 2:
        raise RequestError(f"a jackknife needs at least two blocks, found {count}")
    without = values[1:]
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * error)
    return float(values[0]) - half, float(values[0]) + half


@dataclass(frozen=True)
class Excess:
    """An observed Jaccard index beside that of a baseline."""

    jaccard: float
    """Observed."""
    baseline_jaccard: float
    excess: float
    """jaccard − baseline_jaccard."""
    low: float
    """Lower limit of the 95 % interval of the excess, by `jackknife`."""
    high: float


def excess(observed: Jaccards, baseline: Jaccards) -> Excess:
    """The observed Jaccard index minus that of a baseline; each block is left out of both at once."""
    difference = observed - baseline
    return Excess(float(observed[0]), float(baseline[0]), float(difference[0]), *jackknife(difference))
