"""What a mixed model retains of two single-objective models."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import wilson
from tension_lens.metrics.distributions import Moments
from tension_lens.metrics.paired import PairedMean, paired_mean

Pairs = Bool[np.ndarray, "item pair"]
"""Whether each pair is judged correctly (see `metrics.pairs`)."""


@dataclass(frozen=True)
class Share:
    """numerator / denominator, both counts of pairs, with Wilson's 95 % interval."""

    numerator: int
    denominator: int
    items: int
    """Items with a pair in the denominator: the n of the interval, since the pairs of an item are not independent."""
    share: float | None
    """A fraction; None, as are the limits, if the denominator is 0."""
    low: float | None
    high: float | None
    reason: str | None = None
    """Why there is no share."""


@dataclass(frozen=True)
class Retention:
    """What the mixed model retains; S is the set of pairs that a model judges correctly."""

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


def retention(helpful: Pairs, harmless: Pairs, mixed: Pairs) -> Retention:
    """The share of pairs judged correctly by the single-objective models that the mixed model judges correctly too.

    Args:
        helpful: whether each pair is judged correctly by the helpful model.
        harmless: the same by the harmless model.
        mixed: the same by the mixed model, intact or ablated.
    """

    def share(part: Pairs, whole: Pairs, models: str) -> Share:
        kept, of = int((part & whole).sum()), int(whole.sum())
        if not of:
            return Share(0, 0, 0, None, None, None, f"no item is judged correctly by {models}")
        found = wilson(kept / of, int(whole.any(axis=1).sum()))
        return Share(kept, of, found.n, found.accuracy, found.low, found.high)

    return Retention(
        combined=share(mixed, helpful | harmless, "the helpful or the harmless model"),
        helpful=share(mixed, helpful, "the helpful model"),
        harmless=share(mixed, harmless, "the harmless model"),
        jaccard_helpful=share(mixed & helpful, mixed | helpful, "the mixed or the helpful model"),
        jaccard_harmless=share(mixed & harmless, mixed | harmless, "the mixed or the harmless model"),
    )


@dataclass(frozen=True)
class MarginComparison:
    """Margins of the same items under two models; an item's margin is the mean over its retained pairs."""

    reference: Moments
    mixed: Moments
    difference: PairedMean
    """mixed − reference, item by item."""


@dataclass(frozen=True)
class RetainedMargins:
    """Margins of the pairs that both models judge correctly."""

    raw: MarginComparison
    """In each model's own units of reward."""
    standardised: MarginComparison | None
    """Each model's margins divided by their standard deviation over all pairs; None if that is 0 or undefined."""


def retained_margins(
    reference_correct: Pairs,
    reference_margin: Float[np.ndarray, "item pair"],
    mixed_correct: Pairs,
    mixed_margin: Float[np.ndarray, "item pair"],
) -> RetainedMargins:
    """Margins of a single-objective and the mixed model on the pairs that both judge correctly.

    Items are the units: the margins of an item's retained pairs are averaged first. The rewards of two models have
    different units, and only differences within a model are meaningful. The standardised margin is margin / sd, with
    the sd (n − 1) of that model's margins over all pairs. It is not centred, so the sign is kept.

    Args:
        reference_correct: whether each pair is judged correctly by the single-objective model.
        reference_margin: the pairs' margins under it (see `metrics.pairs.pair_margins`).
        mixed_correct: whether the same pairs are judged correctly by the mixed model.
        mixed_margin: their margins under it.

    Raises:
        RequestError: if a margin is not finite.
    """
    for model, margin in (("reference", reference_margin), ("mixed", mixed_margin)):
        if odd := int((~np.isfinite(margin)).sum()):
            raise RequestError(
                f"margins of the {model} model must be finite, found {odd} of {margin.size} that are not; "
                "evaluate it again"
            )
    kept = reference_correct & mixed_correct
    items = kept.any(axis=1)

    def compare(reference: Float[np.ndarray, "item pair"], mixed: Float[np.ndarray, "item pair"]) -> MarginComparison:
        theirs, ours = (margin[items].mean(axis=1, where=kept[items]) for margin in (reference, mixed))
        return MarginComparison(Moments.of(theirs), Moments.of(ours), paired_mean(ours - theirs))

    standardised = None
    # The sd of equal margins may come out as a rounding error instead of 0; their range does not.
    if kept.size > 1 and np.ptp(reference_margin) > 0 and np.ptp(mixed_margin) > 0:
        standardised = compare(reference_margin / reference_margin.std(ddof=1), mixed_margin / mixed_margin.std(ddof=1))
    return RetainedMargins(compare(reference_margin, mixed_margin), standardised)
