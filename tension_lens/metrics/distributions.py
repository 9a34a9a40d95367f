"""How numbers spread: rewards before and after an ablation, and one measure across training seeds."""

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
class Spread:
    """Mean and standard deviation of n numbers."""

    mean: float | None
    """None without a number."""
    sd: float | None
    """With n − 1; None with fewer than two numbers."""
    n: int


def spread_of(values: Float[np.ndarray, " value"]) -> Spread:
    """Mean and standard deviation (n − 1) of numbers."""
    n = len(values)
    return Spread(float(values.mean()) if n else None, float(values.std(ddof=1)) if n > 1 else None, n)


def require_finite(values: Float[np.ndarray, " value"], what: str) -> None:
    """Check that numbers are finite.

    Raises:
        RequestError: if not, saying what they are and how many are not.
    """
    if odd := int((~np.isfinite(values)).sum()):
        raise RequestError(f"{what} must be finite numbers, found {odd} of {len(values)} that are not; evaluate again")


@dataclass(frozen=True, eq=False)
class Distribution:
    """How rewards are distributed."""

    spread: Spread
    quantiles: dict[float, float]
    """By probability, those of QUANTILES; linear between order statistics."""
    density: Float[np.ndarray, " bin"]
    """Histogram over the edges of the ScoreShift, per unit of reward: Σ density · width = 1."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Rewards of the chosen and of the rejected responses under one condition."""

    chosen: Distribution
    rejected: Distribution
    auc: float
    """P(reward of a chosen response > reward of a rejected one), both drawn from any items, ties counting half: how
    far apart the two distributions lie, unlike accuracy, which compares within an item."""


@dataclass(frozen=True, eq=False)
class ScoreShift:
    """Reward distributions of both sides before and after an ablation, on one grid."""

    edges: Float[np.ndarray, " edge"]
    """Edges of equally wide bins from the lowest to the highest of all rewards, shared by the four histograms."""
    before: Scores
    after: Scores


def score_shift(
    chosen_before: Float[np.ndarray, " chosen"],
    rejected_before: Float[np.ndarray, " rejected"],
    chosen_after: Float[np.ndarray, " chosen"],
    rejected_after: Float[np.ndarray, " rejected"],
    bins: int = BINS,
) -> ScoreShift:
    """Distributions of rewards before and after an ablation; every response of every item counts once.

    Raises:
        RequestError: if a side has no reward, a reward is not a finite number, or `bins` is below 1.
    """
    if bins < 1:
        raise RequestError(f"a histogram needs at least 1 bin, found {bins}")
    samples = (chosen_before, rejected_before, chosen_after, rejected_after)
    for rewards in samples:
        if not len(rewards):
            raise RequestError("reward distributions need at least one chosen and one rejected response, found none")
        require_finite(rewards, "rewards")
    edges = np.histogram_bin_edges(np.concatenate(samples), bins)

    def distribution(rewards: Float[np.ndarray, " response"]) -> Distribution:
        quantiles = dict(zip(QUANTILES, np.quantile(rewards, QUANTILES).tolist(), strict=True))
        return Distribution(spread_of(rewards), quantiles, np.histogram(rewards, edges, density=True)[0])

    before, after = (
        Scores(distribution(chosen), distribution(rejected), _auc(chosen, rejected))
        for chosen, rejected in (samples[:2], samples[2:])
    )
    return ScoreShift(edges, before, after)


def score_shift_of(before: ItemTable, after: ItemTable, bins: int = BINS) -> ScoreShift:
    """`score_shift` of two item tables.

    Raises:
        RequestError: if the tables do not hold the same items in the same order, or as `score_shift` does.
    """
    require_same_items(before=before, after=after)
    return score_shift(
        before.chosen_rewards.values,
        before.rejected_rewards.values,
        after.chosen_rewards.values,
        after.rejected_rewards.values,
        bins,
    )


def _auc(higher: Float[np.ndarray, " a"], lower: Float[np.ndarray, " b"]) -> float:
    """Mann-Whitney's U over the number of pairs."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([higher, lower]))[: len(higher)]
    return float((ranks.sum() - len(higher) * (len(higher) + 1) / 2) / (len(higher) * len(lower)))


@dataclass(frozen=True)
class AcrossSeeds:
    """One measure of several training seeds."""

    by_seed: dict[int, float]
    """The values there are, in the order of the seeds wanted."""
    missing: tuple[int, ...]
    """Seeds wanted that have no value: not trained, not measured, or without a number (None, not a number)."""

    @classmethod
    def of(cls, values: Mapping[int, float | None], wanted: Iterable[int]) -> "AcrossSeeds":
        """Gather the values of the seeds wanted.

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
    def mean(self) -> float | None:
        """Mean over the seeds there are; None without one."""
        return spread_of(np.array(list(self.by_seed.values()), dtype=np.float64)).mean

    @property
    def sd(self) -> float | None:
        """Standard deviation (n − 1; the paper's tables have n) over the seeds there are; None with fewer than two."""
        return spread_of(np.array(list(self.by_seed.values()), dtype=np.float64)).sd
