"""Distributions of rewards before and after an ablation, and one measure across training seeds."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tension_lens.errors import RequestError
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.paired import require_same_items

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 60


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of n numbers."""

    mean: float | None
    """None if n is 0."""
    sd: float | None
    """With n − 1 in the denominator; None if n is below 2."""
    n: int

    @classmethod
    def of(cls, values: Float[np.ndarray, " value"]) -> "Moments":
        """The moments of these numbers."""
        n = len(values)
        return cls(float(values.mean()) if n else None, float(values.std(ddof=1)) if n > 1 else None, n)


@dataclass(frozen=True, eq=False)
class Distribution:
    """The distribution of rewards of one side."""

    moments: Moments
    quantiles: dict[float, float]
    """By probability, at QUANTILES; linear between order statistics."""
    density: Float[np.ndarray, " bin"]
    """Histogram over the edges of the ScoreShift, per unit of reward: Σ density · width = 1."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Rewards of the chosen and of the rejected responses under one condition."""

    chosen: Distribution
    rejected: Distribution
    auc: float
    """P(reward of a chosen response > reward of a rejected one), each drawn from any item, ties counting half.
    It measures how far apart the two distributions lie, whereas accuracy compares responses of the same item."""


@dataclass(frozen=True, eq=False)
class ScoreShift:
    """Reward distributions of both sides before and after an ablation, on one grid."""

    edges: Float[np.ndarray, " edge"]
    """Edges of equally wide bins from the lowest to the highest of all rewards, shared by the four histograms."""
    before: Scores
    after: Scores


def score_shift(before: ItemTable, after: ItemTable, bins: int = BINS) -> ScoreShift:
    """Distributions of rewards before and after an ablation; every response of every item counts once.

    Raises:
        RequestError: if the tables do not hold the same items in the same order, or no items.
    """
    from scipy.stats import mannwhitneyu

    require_same_items(before=before, after=after)
    if not len(before):
        raise RequestError("reward distributions need at least one item, found none")
    rewards = [(table.chosen_rewards.values, table.rejected_rewards.values) for table in (before, after)]
    edges = np.histogram_bin_edges(np.concatenate([side for both in rewards for side in both]), bins)

    def distribution(values: Float[np.ndarray, " response"]) -> Distribution:
        quantiles = dict(zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True))
        return Distribution(Moments.of(values), quantiles, np.histogram(values, edges, density=True)[0])

    def scores(chosen: Float[np.ndarray, " chosen"], rejected: Float[np.ndarray, " rejected"]) -> Scores:
        # The exact method would compute a p-value that is not used, at great cost.
        wins = mannwhitneyu(chosen, rejected, method="asymptotic").statistic
        return Scores(distribution(chosen), distribution(rejected), float(wins / (len(chosen) * len(rejected))))

    return ScoreShift(edges, *(scores(*both) for both in rewards))


@dataclass(frozen=True)
class AcrossSeeds:
    """One measure of several training seeds."""

    by_seed: dict[int, float]
    """The values that are present, in the order of the requested seeds."""
    missing: tuple[int, ...]
    """Requested seeds without a value (None or NaN), such as seeds that were not trained."""

    @classmethod
    def of(cls, values: Mapping[int, float | None], wanted: Iterable[int]) -> "AcrossSeeds":
        """Collect the values of the requested seeds.

        Raises:
            RequestError: if there is a value of another seed, or an infinite one.
        """
        seeds = tuple(wanted)
        if other := sorted(set(values) - set(seeds)):
            raise RequestError(f"seeds must be among {', '.join(map(str, seeds))}, found {', '.join(map(str, other))}")
        present = {seed: float(value) for seed in seeds if (value := values.get(seed)) is not None}
        if infinite := [seed for seed, value in present.items() if math.isinf(value)]:
            raise RequestError(f"values across seeds must be finite, found an infinite one for seed {infinite[0]}")
        by_seed = {seed: value for seed, value in present.items() if not math.isnan(value)}
        return cls(by_seed, tuple(seed for seed in seeds if seed not in by_seed))

    @property
    def moments(self) -> Moments:
        """Mean and standard deviation over the seeds that are present. The paper's tables divide by n, not n − 1."""
        return Moments.of(np.array(list(self.by_seed.values()), dtype=np.float64))
