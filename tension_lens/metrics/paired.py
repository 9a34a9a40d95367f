"""Paired comparisons of two models or conditions on the same items: exact tests, intervals, Holm's correction."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from tension_lens.constants import CONFIDENCE
from tension_lens.errors import RequestError
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.sign_flip import sign_flip_exact

Credits = Float[np.ndarray, " item"] | Bool[np.ndarray, " item"]
"""For every item the share of its pairs that are judged correctly: 0 or 1 for an item of one pair."""
Counts = Int[np.ndarray, " test"] | Float[np.ndarray, " test"]
BISECTIONS = 60
"""Bisections of an interval of width at most 2; the rest is smaller than the spacing of doubles near 1."""


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
    """Items by sub-task and by their change of credit between two conditions; sub-tasks in order of appearance."""

    subtasks: tuple[str, ...]
    credit_before: Float[np.ndarray, " subtask"]
    """Sum of the credits under the first condition."""
    changes: Int[np.ndarray, "subtask change"]
    """Number of items with each change, from −1 to +1 in steps of 1/`pairs`."""

    @property
    def pairs(self) -> int:
        """Pairs of an item."""
        return int(self.changes.shape[1]) // 2

    @property
    def n(self) -> Int[np.ndarray, " subtask"]:
        """Items."""
        n: Int[np.ndarray, " subtask"] = self.changes.sum(axis=1)
        return n

    @property
    def lost(self) -> Float[np.ndarray, " subtask"]:
        """Σ max(before − after, 0) over items; the number of lost items where every credit is 0 or 1."""
        lost: Float[np.ndarray, " subtask"] = self.changes[:, : self.pairs] @ np.arange(self.pairs, 0, -1) / self.pairs
        return lost

    @property
    def gained(self) -> Float[np.ndarray, " subtask"]:
        """Σ max(after − before, 0) over items."""
        gained: Float[np.ndarray, " subtask"] = (
            self.changes[:, self.pairs + 1 :] @ np.arange(1, self.pairs + 1) / self.pairs
        )
        return gained

    @property
    def difference(self) -> Float[np.ndarray, " subtask"]:
        """Change of accuracy, (gained − lost)/n."""
        difference: Float[np.ndarray, " subtask"] = (self.gained - self.lost) / self.n
        return difference


def count_pairs(before: Credits, after: Credits, subtask: Shaped[np.ndarray, " item"], pairs: int = 1) -> PairedCounts:
    """Changes of the items' credits from one condition to another, by sub-task.

    Args:
        before: credit of every item, such as under the intact model (see `metrics.pairs.item_credits`).
        after: credit of the same items in the same order, such as under the ablated model.
        subtask: the sub-task of every item.
        pairs: pairs of an item; credits are multiples of 1/pairs.

    Raises:
        RequestError: if a credit is not one of 0, 1/pairs, …, 1.
    """
    import pandas as pd

    won, kept = (_pairs_of(credit, pairs) for credit in (before, after))
    codes, names = pd.factorize(subtask)
    width = 2 * pairs + 1
    changes = np.bincount(codes * width + kept - won + pairs, minlength=len(names) * width)
    credit = np.bincount(codes, weights=won, minlength=len(names)) / pairs
    return PairedCounts(tuple(names), credit, changes.reshape(len(names), width))


def _pairs_of(credit: Credits, pairs: int) -> Int[np.ndarray, " item"]:
    """The number of pairs that each item wins, from its credit."""
    won = np.rint(np.nan_to_num(credit * pairs))
    # A share of pairs that a benchmark does not have, such as a tie shared among responses, must not be rounded.
    if len(odd := np.flatnonzero((won / pairs != credit) | (won < 0) | (won > pairs))):
        known = "0 or 1" if pairs == 1 else f"a multiple of 1/{pairs} from 0 to 1"
        raise RequestError(
            f"paired measures need every credit to be {known}, found {credit[odd[0]]:g} at row {odd[0]} "
            f"({len(odd)} such rows); judge each pair right or wrong first, such as by `metrics.pairs.pairs_won`"
        )
    whole: Int[np.ndarray, " item"] = won.astype(np.int64)
    return whole


@dataclass(frozen=True, eq=False)
class PairedTests:
    """Paired accuracy differences: one exact test for each sub-task of each comparison, not corrected for their number.

    Items are the units: an item of several pairs has the share of the pairs that are judged correctly as its credit.
    """

    comparison: tuple[tuple[str, ...], ...]
    """The key of each test's counts."""
    subtask: tuple[str, ...]
    n: Int[np.ndarray, " test"]
    """Items."""
    lost: Float[np.ndarray, " test"]
    """Sum of the credit that items lose."""
    gained: Float[np.ndarray, " test"]
    before: Float[np.ndarray, " test"]
    """Accuracy, a fraction."""
    after: Float[np.ndarray, " test"]
    difference: Float[np.ndarray, " test"]
    """after − before = (gained − lost)/n, a fraction."""
    low: Float[np.ndarray, " test"]
    """Lower limit of Tango's 95 % interval of the difference."""
    high: Float[np.ndarray, " test"]
    p_value: Float[np.ndarray, " test"]
    """Exact two-sided p of `sign_flip_exact`; McNemar's for items of one pair."""

    def change(self, number: int) -> dict[str, float]:
        """One test as columns of a table."""
        return {
            "difference": float(self.difference[number]),
            "difference_low": float(self.low[number]),
            "difference_high": float(self.high[number]),
            "p_value": float(self.p_value[number]),
        }


def paired_tests(comparisons: Mapping[tuple[str, ...], PairedCounts]) -> PairedTests:
    """Test every sub-task of every comparison for a change of accuracy.

    p-values are those of `sign_flip_exact`, intervals Tango's. Neither is corrected for the number of tests.

    Args:
        comparisons: counts by any key, such as (model, condition).

    Raises:
        RequestError: if there is no test.
    """
    labels = [(key, subtask) for key, counts in comparisons.items() for subtask in counts.subtasks]
    if not labels:
        raise RequestError("paired tests need at least one comparison with at least one item, found none")
    n, credit, lost, gained = (
        np.concatenate([getattr(counts, name) for counts in comparisons.values()])
        for name in ("n", "credit_before", "lost", "gained")
    )
    # The p-value has no unit, so that changes in thirds and in whole items can be in one array.
    most = max(counts.pairs for counts in comparisons.values())
    changes = [np.pad(counts.changes, ((0, 0), (most - counts.pairs,) * 2)) for counts in comparisons.values()]
    low, high = tango_interval(n, lost, gained)
    return PairedTests(
        comparison=tuple(key for key, _ in labels),
        subtask=tuple(subtask for _, subtask in labels),
        n=n,
        lost=lost,
        gained=gained,
        before=credit / n,
        after=(credit - lost + gained) / n,
        difference=(gained - lost) / n,
        low=low,
        high=high,
        p_value=sign_flip_exact(np.concatenate(changes)),
    )


def holm(p_value: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's step-down adjusted p-values: of m sorted p-values the running maximum of (m − k + 1) pₖ, at most 1."""
    # statsmodels' multipletests gives the same but runs the garbage collector on each call, which takes 0.1 s.
    order = np.argsort(p_value)
    factors = np.arange(len(p_value), 0, -1)
    adjusted = np.empty(len(p_value))
    adjusted[order] = np.maximum.accumulate(p_value[order] * factors).clip(max=1.0)
    return adjusted


def tango_interval(
    n: Int[np.ndarray, " test"], lost: Counts, gained: Counts
) -> tuple[Float[np.ndarray, " test"], Float[np.ndarray, " test"]]:
    """Tango's 95 % score intervals of the paired difference δ = P(gained) − P(lost).

    The δ with (gained − lost − nδ)² ≤ z² n (2q + δ(1 − δ)), where q is the maximum-likelihood probability of a loss
    given δ: the larger root of 2n q² + ((2n + lost − gained) δ − lost − gained) q − lost δ(1 − δ) = 0. If no item
    changes the limits are ±z²/(n + z²). They exclude zero exactly where McNemar's asymptotic test has
    (gained − lost)²/(gained + lost) > z².

    The formula takes the mean square of the items' changes to be the mean of their sizes. With fractional changes the
    square is smaller than the size, so the interval is then conservative.

    Source: Tango, Statistics in Medicine 17 (1998) 891-908. The limits are found by bisection.
    """
    return -_tango_upper(n, gained, lost), _tango_upper(n, lost, gained)


def _tango_upper(n: Int[np.ndarray, " test"], lost: Counts, gained: Counts) -> Float[np.ndarray, " test"]:
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
