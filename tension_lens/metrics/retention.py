"""What a mixed model keeps of two single-objective ones, and how far neurons tell chosen from rejected."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.metrics.distributions import Spread, require_finite, spread_of
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.paired import Credits, PairedMean, paired_mean, require_same_items, right_items


@dataclass(frozen=True)
class Share:
    """numerator / denominator, both counts of items, with Wilson's 95 % interval."""

    numerator: int
    denominator: int
    share: float | None
    """A fraction; None, as are the limits, where the denominator is 0."""
    low: float | None
    high: float | None
    reason: str | None = None
    """Why there is no share."""


def _share(part: Bool[np.ndarray, " item"], whole: Bool[np.ndarray, " item"], nothing: str) -> Share:
    inside = part[whole]
    if not len(inside):
        return Share(0, 0, None, None, None, nothing)
    found = accuracy_of(inside.astype(np.float64))
    return Share(int(inside.sum()), len(inside), found.accuracy, found.low, found.high)


@dataclass(frozen=True)
class Retention:
    """What the mixed model keeps; S is the set of items that a model judges correctly."""

    combined: Share
    """|S_mixed ∩ (S_helpful ∪ S_harmless)| / |S_helpful ∪ S_harmless|."""
    helpful: Share
    """|S_mixed ∩ S_helpful| / |S_helpful|."""
    harmless: Share
    """|S_mixed ∩ S_harmless| / |S_harmless|."""
    jaccard_helpful: Share
    """|S_mixed ∩ S_helpful| / |S_mixed ∪ S_helpful|, which the paper's Tables 11 and 12 call retention."""
    jaccard_harmless: Share
    """|S_mixed ∩ S_harmless| / |S_mixed ∪ S_harmless|."""


def retention(helpful: Credits, harmless: Credits, mixed: Credits) -> Retention:
    """Which share of what the single-objective models judge correctly the mixed model judges correctly too.

    Args:
        helpful: credit of every item under the helpful model, 0 or 1.
        harmless: credit of the same items under the harmless model.
        mixed: credit of the same items under the mixed model, intact or ablated.

    Raises:
        RequestError: if a credit is neither 0 nor 1.
    """
    by_helpful, by_harmless, by_mixed = right_items(helpful), right_items(harmless), right_items(mixed)

    def nothing(models: str) -> str:
        return f"no item is judged correctly by {models}"

    return Retention(
        combined=_share(by_mixed, by_helpful | by_harmless, nothing("the helpful or the harmless model")),
        helpful=_share(by_mixed, by_helpful, nothing("the helpful model")),
        harmless=_share(by_mixed, by_harmless, nothing("the harmless model")),
        jaccard_helpful=_share(by_mixed & by_helpful, by_mixed | by_helpful, nothing("the mixed or the helpful model")),
        jaccard_harmless=_share(
            by_mixed & by_harmless, by_mixed | by_harmless, nothing("the mixed or the harmless model")
        ),
    )


def retention_of(helpful: ItemTable, harmless: ItemTable, mixed: ItemTable) -> Retention:
    """`retention` of three item tables.

    Raises:
        RequestError: if the tables do not hold the same items in the same order, or a credit is neither 0 nor 1.
    """
    require_same_items(helpful=helpful, harmless=harmless, mixed=mixed)
    return retention(helpful.correct, harmless.correct, mixed.correct)


@dataclass(frozen=True)
class Flips:
    """The items on which two models or conditions differ, by id, in the order of the table."""

    lost: tuple[str, ...]
    """Right in the reference, wrong in the other."""
    gained: tuple[str, ...]
    """Wrong in the reference, right in the other."""


def flips(reference: Credits, other: Credits, items: Shaped[np.ndarray, " item"]) -> Flips:
    """Items lost and gained from a reference to another: a single-objective model to the mixed, intact to ablated.

    Raises:
        RequestError: if a credit is neither 0 nor 1.
    """
    was, stays = right_items(reference), right_items(other)
    return Flips(tuple(items[was & ~stays].tolist()), tuple(items[~was & stays].tolist()))


def flips_of(reference: ItemTable, other: ItemTable) -> Flips:
    """`flips` of two item tables.

    Raises:
        RequestError: if the tables do not hold the same items in the same order, or a credit is neither 0 nor 1.
    """
    require_same_items(reference=reference, other=other)
    return flips(reference.correct, other.correct, reference.item)


@dataclass(frozen=True)
class MarginComparison:
    """Margins of the same items under two models."""

    reference: Spread
    mixed: Spread
    difference: PairedMean
    """mixed − reference, item by item."""


@dataclass(frozen=True)
class RetainedMargins:
    """Margins of the items that both models judge correctly."""

    raw: MarginComparison
    """In each model's own units of reward."""
    standardised: MarginComparison | None
    """Each model's margins divided by its sd over all items; None where there is no such sd to divide by."""
    reference_sd_all_items: float | None
    """sd (n − 1) of the reference's margins over all items given, retained or not; None with fewer than two."""
    mixed_sd_all_items: float | None
    n_items: int
    """All items; those retained are counted as `raw.reference.n`."""


def retained_margins(
    reference_correct: Credits,
    reference_margin: Float[np.ndarray, " item"],
    mixed_correct: Credits,
    mixed_margin: Float[np.ndarray, " item"],
) -> RetainedMargins:
    """By how much the mixed model tells apart what both models judge correctly, against a single-objective model.

    Rewards of two models have different units and only differences within a model mean anything, hence the
    standardised margins: margin / sd of that model's margins over all items, not centred, so that the sign stays.

    Args:
        reference_correct: credit of every item, 0 or 1, under the single-objective model.
        reference_margin: min chosen − max rejected reward of every item under it.
        mixed_correct: credit of the same items under the mixed model.
        mixed_margin: their margins under it.

    Raises:
        RequestError: if a credit is neither 0 nor 1 or a margin is not a finite number.
    """
    require_finite(reference_margin, "margins of the reference")
    require_finite(mixed_margin, "margins of the mixed model")
    kept = right_items(reference_correct) & right_items(mixed_correct)
    scales = spread_of(reference_margin).sd, spread_of(mixed_margin).sd

    def compare(reference: Float[np.ndarray, " item"], mixed: Float[np.ndarray, " item"]) -> MarginComparison:
        return MarginComparison(
            spread_of(reference[kept]), spread_of(mixed[kept]), paired_mean((mixed - reference)[kept])
        )

    standardised = None
    # The sd of equal margins may come out as a rounding error instead of 0; their range does not.
    if len(kept) > 1 and np.ptp(reference_margin) > 0 and np.ptp(mixed_margin) > 0:
        standardised = compare(reference_margin / scales[0], mixed_margin / scales[1])
    return RetainedMargins(compare(reference_margin, mixed_margin), standardised, *scales, len(kept))


def retained_margins_of(reference: ItemTable, mixed: ItemTable) -> RetainedMargins:
    """`retained_margins` of two item tables.

    Raises:
        RequestError: if the tables do not hold the same items in the same order, or as `retained_margins` does.
    """
    require_same_items(reference=reference, mixed=mixed)
    return retained_margins(reference.correct, reference.margin, mixed.correct, mixed.margin)
