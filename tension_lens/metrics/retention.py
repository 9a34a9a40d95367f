"""What a mixed model retains of two single-objective models."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.metrics.distributions import Moments
from tension_lens.metrics.paired import Credits, PairedMean, paired_mean, right_items


@dataclass(frozen=True)
class Share:
    """numerator / denominator, both counts of items, with Wilson's 95 % interval."""

    numerator: int
    denominator: int
    share: float | None
    """A fraction; None, as are the limits, if the denominator is 0."""
    low: float | None
    high: float | None
    reason: str | None = None
    """Why there is no share."""


@dataclass(frozen=True)
class Retention:
    """What the mixed model retains; S is the set of items that a model judges correctly."""

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
    """The share of items judged correctly by the single-objective models that the mixed model judges correctly too.

    Args:
        helpful: credit of every item under the helpful model, 0 or 1.
        harmless: credit of the same items under the harmless model.
        mixed: credit of the same items under the mixed model, intact or ablated.

    Raises:
        RequestError: if a credit is neither 0 nor 1.
    """
    by_helpful, by_harmless, by_mixed = right_items(helpful), right_items(harmless), right_items(mixed)

    def share(part: Bool[np.ndarray, " item"], whole: Bool[np.ndarray, " item"], models: str) -> Share:
        if not whole.any():
            return Share(0, 0, None, None, None, f"no item is judged correctly by {models}")
        found = accuracy_of(part[whole].astype(np.float64))
        return Share(int(part[whole].sum()), found.n, found.accuracy, found.low, found.high)

    return Retention(
        combined=share(by_mixed, by_helpful | by_harmless, "the helpful or the harmless model"),
        helpful=share(by_mixed, by_helpful, "the helpful model"),
        harmless=share(by_mixed, by_harmless, "the harmless model"),
        jaccard_helpful=share(by_mixed & by_helpful, by_mixed | by_helpful, "the mixed or the helpful model"),
        jaccard_harmless=share(by_mixed & by_harmless, by_mixed | by_harmless, "the mixed or the harmless model"),
    )


@dataclass(frozen=True)
class MarginComparison:
    """Margins of the same items under two models."""

    reference: Moments
    mixed: Moments
    difference: PairedMean
    """mixed − reference, item by item."""


@dataclass(frozen=True)
class RetainedMargins:
    """Margins of the items that both models judge correctly."""

    raw: MarginComparison
    """In each model's own units of reward."""
    standardised: MarginComparison | None
    """Each model's margins divided by their standard deviation over all items; None if that is 0 or undefined."""


def retained_margins(
    reference_correct: Credits,
    reference_margin: Float[np.ndarray, " item"],
    mixed_correct: Credits,
    mixed_margin: Float[np.ndarray, " item"],
) -> RetainedMargins:
    """Margins of a single-objective and the mixed model on the items that both judge correctly.

    The rewards of two models have different units, and only differences within a model are meaningful. The
    standardised margin is margin / sd, with the sd (n − 1) of that model's margins over all items. It is not centred,
    so the sign is kept.

    Args:
        reference_correct: credit of every item, 0 or 1, under the single-objective model.
        reference_margin: min chosen − max rejected reward of every item under it.
        mixed_correct: credit of the same items under the mixed model.
        mixed_margin: their margins under it.

    Raises:
        RequestError: if a credit is neither 0 nor 1 or a margin is not finite.
    """
    for model, margin in (("reference", reference_margin), ("mixed", mixed_margin)):
        if odd := int((~np.isfinite(margin)).sum()):
            raise RequestError(
                f"margins of the {model} model must be finite, found {odd} of {len(margin)} that are not; "
                "evaluate it again"
            )
    kept = right_items(reference_correct) & right_items(mixed_correct)

    def compare(reference: Float[np.ndarray, " item"], mixed: Float[np.ndarray, " item"]) -> MarginComparison:
        return MarginComparison(
            Moments.of(reference[kept]), Moments.of(mixed[kept]), paired_mean((mixed - reference)[kept])
        )

    standardised = None
    # The sd of equal margins may come out as a rounding error instead of 0; their range does not.
    if len(kept) > 1 and np.ptp(reference_margin) > 0 and np.ptp(mixed_margin) > 0:
        standardised = compare(reference_margin / reference_margin.std(ddof=1), mixed_margin / mixed_margin.std(ddof=1))
    return RetainedMargins(compare(reference_margin, mixed_margin), standardised)
