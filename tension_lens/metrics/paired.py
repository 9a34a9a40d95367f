"""Paired comparisons of two models or conditions on the same items: exact tests, intervals and their correction."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from tension_lens.constants import CONFIDENCE
from tension_lens.errors import RequestError
from tension_lens.metrics.item_table import ItemTable

Credits = Float[np.ndarray, " item"] | Bool[np.ndarray, " item"]
"""For every item 1 or true if it is judged correctly, else 0 or false."""
BISECTIONS = 60
"""Bisections of an interval of width at most 2; the rest is smaller than the spacing of doubles near 1."""


def right_items(correct: Credits) -> Bool[np.ndarray, " item"]:
    """Which items are judged correctly.

    Retention, McNemar's test and the interval are defined for items that are right or wrong. A fractional credit (a tie
    shared among k responses, a share of several pairs) is neither and must not be rounded.

    Raises:
        RequestError: if a credit is neither 0 nor 1.
    """
    right: Bool[np.ndarray, " item"] = correct == 1
    if len(odd := np.flatnonzero(~right & (correct != 0))):
        raise RequestError(
            f"paired measures need every credit to be 0 or 1, found {correct[odd[0]]:g} at row {odd[0]} "
            f"({len(odd)} such rows); judge each item right or wrong first, such as by `ItemTable.right`"
        )
    return right


def require_same_items(**tables: ItemTable) -> None:
    """Check that item tables hold the same items, with the same sub-tasks and task types, in the same order.

    Raises:
        RequestError: if two differ, naming them and the first row where they do.
    """
    (first_name, first), *others = tables.items()
    for name, table in others:
        if len(table) != len(first):
            raise RequestError(
                f"item tables must hold the same items: {first_name} has {len(first)}, {name} has {len(table)}; "
                "evaluate both on the same data with the same --limit, --max-length and --truncation"
            )
        for column, ours, theirs in (
            ("items", first.item, table.item),
            ("sub-tasks", first.subtask, table.subtask),
            ("task types", first.task_type, table.task_type),
        ):
            if len(rows := np.flatnonzero(ours != theirs)):
                row = rows[0]
                raise RequestError(
                    f"item tables must hold the same {column} in the same order: row {row} is {ours[row]!r} in "
                    f"{first_name}, {theirs[row]!r} in {name}; evaluate both on the same data"
                )


@dataclass(frozen=True, eq=False)
class PairedCounts:
    """Counts of items by sub-task under two conditions; sub-tasks in order of appearance."""

    subtasks: tuple[str, ...]
    n: Int[np.ndarray, " subtask"]
    """Items."""
    right_before: Int[np.ndarray, " subtask"]
    lost: Int[np.ndarray, " subtask"]
    """Right before, wrong after."""
    gained: Int[np.ndarray, " subtask"]
    """Wrong before, right after."""


def count_pairs(before: Credits, after: Credits, subtask: Shaped[np.ndarray, " item"]) -> PairedCounts:
    """Items lost and gained from one condition to another, by sub-task.

    Args:
        before: credit of every item, 0 or 1, such as under the intact model.
        after: credit of the same items in the same order, such as under the ablated model.
        subtask: the sub-task of every item.

    Raises:
        RequestError: if a credit is neither 0 nor 1.
    """
    import pandas as pd

    was, stays = right_items(before), right_items(after)
    codes, names = pd.factorize(subtask)
    n, right, lost, gained = (
        np.bincount(codes[items], minlength=len(names))
        for items in (np.ones_like(was), was, was & ~stays, ~was & stays)
    )
    return PairedCounts(tuple(names), n, right, lost, gained)


@dataclass(frozen=True, eq=False)
class PairedTests:
    """A family of paired accuracy differences: one test for each sub-task of each comparison."""

    comparison: tuple[tuple[str, ...], ...]
    """The key of each test's counts."""
    subtask: tuple[str, ...]
    n: Int[np.ndarray, " test"]
    lost: Int[np.ndarray, " test"]
    gained: Int[np.ndarray, " test"]
    before: Float[np.ndarray, " test"]
    """Accuracy, a fraction."""
    after: Float[np.ndarray, " test"]
    difference: Float[np.ndarray, " test"]
    """after − before = (gained − lost)/n, a fraction."""
    low: Float[np.ndarray, " test"]
    """Lower limit of Tango's 95 % interval of the difference, not corrected for the number of tests."""
    high: Float[np.ndarray, " test"]
    p_value: Float[np.ndarray, " test"]
    """McNemar's exact two-sided p."""
    adjusted_p: Float[np.ndarray, " test"]
    """Holm's correction for all tests of the family: any true null falls below α with probability at most α."""

    @property
    def family_size(self) -> int:
        """Number of tests that the correction accounts for."""
        return len(self.subtask)

    def change(self, number: int) -> dict[str, float]:
        """One test as columns of a table."""
        return {
            "difference": float(self.difference[number]),
            "difference_low": float(self.low[number]),
            "difference_high": float(self.high[number]),
            "p_value": float(self.p_value[number]),
            "p_holm": float(self.adjusted_p[number]),
        }


def paired_tests(comparisons: Mapping[tuple[str, ...], PairedCounts]) -> PairedTests:
    """Test every sub-task of every comparison for a change of accuracy, as one family.

    p-values are McNemar's exact test, intervals Tango's, and the correction Holm's over all tests of the call, which
    must therefore hold every test that a statement such as "something changed" is about.

    Args:
        comparisons: counts by any key, such as (model, condition).

    Raises:
        RequestError: if there is no test.
    """
    labels = [(key, subtask) for key, counts in comparisons.items() for subtask in counts.subtasks]
    if not labels:
        raise RequestError("paired tests need at least one comparison with at least one item, found none")
    n, right, lost, gained = (
        np.concatenate([getattr(counts, name) for counts in comparisons.values()])
        for name in ("n", "right_before", "lost", "gained")
    )
    p_value = mcnemar_exact(lost, gained)
    low, high = tango_interval(n, lost, gained)
    return PairedTests(
        comparison=tuple(key for key, _ in labels),
        subtask=tuple(subtask for _, subtask in labels),
        n=n,
        lost=lost,
        gained=gained,
        before=right / n,
        after=(right - lost + gained) / n,
        difference=(gained - lost) / n,
        low=low,
        high=high,
        p_value=p_value,
        adjusted_p=holm(p_value),
    )


def mcnemar_exact(lost: Int[np.ndarray, " test"], gained: Int[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """McNemar's exact two-sided p-values: min(1, 2 P(X ≤ min(lost, gained))), X ~ Binomial(lost + gained, ½).

    Under the null hypothesis a changed item is as likely lost as gained. The p-value is 1 if no item changes.
    """
    from scipy.stats import binom

    both_tails: Float[np.ndarray, " test"] = 2 * binom.cdf(np.minimum(lost, gained), lost + gained, 0.5)
    return both_tails.clip(max=1.0)


def holm(p_value: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's step-down adjusted p-values: of m sorted p-values the running maximum of (m − k + 1) pₖ, at most 1."""
    # statsmodels' multipletests gives the same but runs the garbage collector on each call, which takes 0.1 s.
    order = np.argsort(p_value)
    factors = np.arange(len(p_value), 0, -1)
    adjusted = np.empty(len(p_value))
    adjusted[order] = np.maximum.accumulate(p_value[order] * factors).clip(max=1.0)
    return adjusted


def tango_interval(
    n: Int[np.ndarray, " test"], lost: Int[np.ndarray, " test"], gained: Int[np.ndarray, " test"]
) -> tuple[Float[np.ndarray, " test"], Float[np.ndarray, " test"]]:
    """Tango's 95 % score intervals of the paired difference δ = P(gained) − P(lost).

    The δ with (gained − lost − nδ)² ≤ z² n (2q + δ(1 − δ)), where q is the maximum-likelihood probability of a loss
    given δ: the larger root of 2n q² + ((2n + lost − gained) δ − lost − gained) q − lost δ(1 − δ) = 0. If no item
    changes the limits are ±z²/(n + z²). They exclude zero exactly where McNemar's asymptotic test has
    (gained − lost)²/(gained + lost) > z².

    Source: Tango, Statistics in Medicine 17 (1998) 891-908. The limits are found by bisection.
    """
    return -_tango_upper(n, gained, lost), _tango_upper(n, lost, gained)


def _tango_upper(
    n: Int[np.ndarray, " test"], lost: Int[np.ndarray, " test"], gained: Int[np.ndarray, " test"]
) -> Float[np.ndarray, " test"]:
    from scipy.stats import norm

    z_squared = norm.ppf((1 + CONFIDENCE) / 2) ** 2
    inside: Float[np.ndarray, " test"] = (gained - lost) / n
    outside: Float[np.ndarray, " test"] = np.ones(len(n))
    for _ in range(BISECTIONS):
        delta = (inside + outside) / 2
        b = (2 * n + lost - gained) * delta - lost - gained
        loss = (np.sqrt(b * b + 8 * n * lost * delta * (1 - delta)) - b) / (4 * n)
        beyond = (gained - lost - n * delta) ** 2 > z_squared * n * (2 * loss + delta * (1 - delta))
        inside, outside = np.where(beyond, inside, delta), np.where(beyond, delta, outside)
    return inside


@dataclass(frozen=True)
class PairedMean:
    """The mean of differences between paired numbers, with Student's 95 % interval."""

    mean: float | None
    """None if n is 0."""
    low: float | None
    """None if n is below 2, as is `high`."""
    high: float | None
    n: int


def paired_mean(differences: Float[np.ndarray, " pair"]) -> PairedMean:
    """Mean d̄ of paired differences and d̄ ± t(0.975, n − 1) · s/√n, s their standard deviation (n − 1)."""
    from scipy.stats import t

    n = len(differences)
    if n < 2:
        return PairedMean(float(differences[0]) if n else None, None, None, n)
    mean = float(differences.mean())
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return PairedMean(mean, mean - half, mean + half, n)
