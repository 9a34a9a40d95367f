"""Paired tests against published examples, SciPy and statsmodels, enumeration and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.statistics import sign_flip_p, tango_limits
from parts_items import item_table
from scipy.stats import binomtest, multinomial, norm, ttest_rel
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from tension_lens.errors import RequestError
from tension_lens.metrics.paired import (
    PairedCounts,
    PairedMean,
    count_pairs,
    holm,
    paired_mean,
    paired_tests,
    require_same_items,
    tango_interval,
)
from tension_lens.metrics.sign_flip import mcnemar_exact, sign_flip_exact

Z_SQUARED = norm.ppf(0.975) ** 2
bits = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abc")), min_size=1, max_size=60)
tables = st.tuples(*[st.integers(0, 40)] * 3).filter(any)


def credits(*values):
    """Credits of items."""
    return np.array(values, dtype=np.float64)


def names(*values):
    """Ids or sub-tasks of items."""
    return np.array(values, dtype=object)


def counts(*rows, right=None):
    """PairedCounts of sub-tasks s0, s1, … from rows of (n, lost, gained)."""
    n, lost, gained = np.array(rows).T
    subtasks = tuple(f"s{number}" for number in range(len(rows)))
    before = np.array(lost if right is None else right, dtype=np.float64)
    return PairedCounts(subtasks, before, np.stack([lost, n - lost - gained, gained], axis=1))


def interval(n, lost, gained):
    """Tango's interval of one table."""
    low, high = tango_interval(*(np.array([number]) for number in (n, lost, gained)))
    return float(low[0]), float(high[0])


# --- right or wrong ---


@pytest.mark.parametrize("pairs", [1, 3])
@pytest.mark.parametrize("odd", [0.5, 0.25, -1.0, 2.0, math.nan, math.inf, -math.inf, 1 - 1e-12])
def test_a_credit_that_is_no_share_of_the_pairs_is_refused_and_located(odd, pairs):
    fractional, whole = credits(1, 0, odd, 1, odd), credits(1, 0, 0, 1, 0)
    for pair in ((fractional, whole), (whole, fractional)):
        with pytest.raises(RequestError, match=rf"{odd:g} at row 2 \(2 "):
            count_pairs(*pair, names(*"aaaaa"), pairs)


def test_thirds_are_credits_of_three_pairs_only():
    thirds = credits(1 / 3, 2 / 3)
    assert count_pairs(thirds, thirds, names("a", "a"), pairs=3).n.tolist() == [2]
    with pytest.raises(RequestError, match=r"0 or 1, found 0\.333"):
        count_pairs(thirds, thirds, names("a", "a"))


# --- counting ---


def test_pairs_are_counted_by_hand():
    before = credits(1, 1, 0, 1, 0, 0)
    after = credits(1, 0, 1, 0, 1, 0)
    found = count_pairs(before, after, names("z", "a", "a", "a", "z", "z"))
    assert found.subtasks == ("z", "a")  # In order of appearance, not of the alphabet.
    assert found.n.tolist() == [3, 3]
    assert found.credit_before.tolist() == [1, 2]
    assert found.lost.tolist() == [0, 2]
    assert found.gained.tolist() == [1, 1]
    assert found.difference.tolist() == [1 / 3, -1 / 3]


def test_credits_of_three_pairs_are_counted_by_hand():
    # z: 1 → 1/3 loses 2/3, 0 → 1/3 gains 1/3. a: 2/3 → 1 gains 1/3, 1/3 stays.
    before, after = credits(1, 2 / 3, 0, 1 / 3), credits(1 / 3, 1, 1 / 3, 1 / 3)
    found = count_pairs(before, after, names("z", "a", "z", "a"), pairs=3)
    assert (found.subtasks, found.pairs) == (("z", "a"), 3)
    assert found.changes.tolist() == [[0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0, 0]]
    assert found.credit_before == pytest.approx([1, 1])
    assert found.lost == pytest.approx([2 / 3, 0])
    assert found.gained == pytest.approx([1 / 3, 1 / 3])
    assert found.difference == pytest.approx([-1 / 6, 1 / 6])


@given(bits)
def test_counts_agree_with_counting_one_by_one(rows):
    before, after, subtask = (list(column) for column in zip(*rows, strict=True))
    found = count_pairs(credits(*before), credits(*after), names(*subtask))
    assert found.subtasks == tuple(dict.fromkeys(subtask))
    for place, name in enumerate(found.subtasks):
        own = [(was, stays) for was, stays, at in rows if at == name]
        assert found.n[place] == len(own)
        assert found.credit_before[place] == sum(was for was, _ in own)
        assert found.lost[place] == own.count((True, False))
        assert found.gained[place] == own.count((False, True))


def named(*rows):
    """A table of items with these names and sub-tasks."""
    return item_table([(name, subtask, [1.0], [0.0]) for name, subtask in rows])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (["pa", "qa"], "one has 3, three has 2"),
        (["pa", "ra", "qa"], "row 1 is 'q' in one, 'r' in three"),
        (["pa", "qa", "rb"], "row 2 is 'a' in one, 'b' in three"),
    ],
)
def test_every_table_must_hold_the_items_of_the_first(other, message):
    table = named("pa", "qa", "ra")
    require_same_items(one=table, two=table, three=named("pa", "qa", "ra"))
    with pytest.raises(RequestError, match=message):
        require_same_items(one=table, two=table, three=named(*other))


def test_tables_must_agree_in_their_task_types():
    one = named("pa", "qa")
    other = replace(one, task_type=np.array(["unknown", "harmless"], dtype=object))
    with pytest.raises(RequestError, match=r"task types .* row 1"):
        require_same_items(one=one, two=other)


# --- McNemar's exact test ---


def test_exact_p_by_hand():
    # 1 lost, 7 gained: P(X <= 1), X ~ Binomial(8, 1/2) = (1 + 8)/256; twice that.
    # 5 lost, 0 gained: 2/32. 2 and 2, and 0 and 0: 1.
    found = mcnemar_exact(np.array([1, 5, 2, 0]), np.array([7, 0, 2, 0]))
    assert found == pytest.approx([18 / 256, 2 / 32, 1, 1], rel=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_exact_p_agrees_with_statsmodels_and_scipy(lost, gained):
    found = float(mcnemar_exact(np.array([lost]), np.array([gained]))[0])
    assert found == pytest.approx(mcnemar([[9, lost], [gained, 9]], exact=True).pvalue, rel=1e-9)
    if lost + gained:
        assert found == pytest.approx(binomtest(lost, lost + gained).pvalue, rel=1e-9)
    assert 0 < found <= 1


# --- the sign-flip test ---


def test_sign_flip_by_hand():
    # One item loses 2/3, two gain 1/3 each: the sum is 0, which every choice of signs reaches.
    # One loses 1, one loses 1/3: sums ±4/3, ±2/3; 2 of 4 reach 4/3. Three lose 1/3: McNemar's 2/8.
    # One gains 1, two lose 1/3: sum 1/3, and every one of ±1 ± 1/3 ± 1/3 reaches it.
    changes = np.array([
        [0, 1, 0, 4, 2, 0, 0],
        [1, 0, 1, 0, 0, 0, 0],
        [0, 0, 3, 1, 0, 0, 0],
        [0, 0, 2, 5, 0, 0, 1],
        [0, 0, 0, 9, 0, 0, 0],
    ])  # fmt: skip
    assert sign_flip_exact(changes) == pytest.approx([1, 0.5, 0.25, 1, 1], rel=1e-12)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_sign_flip_agrees_with_all_choices_of_signs(thirds):
    changes = np.bincount(np.array(thirds) + 3, minlength=7)
    assert sign_flip_exact(changes[None])[0] == pytest.approx(sign_flip_p(thirds), rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=5))
def test_changes_of_one_size_are_mcnemars_test(tables):
    lost, gained = np.array(tables).T
    expected = [mcnemar([[9, a], [b, 9]], exact=True).pvalue for a, b in tables]
    for place in (1, 2, 3):
        changes = np.zeros((len(tables), 7), dtype=np.int64)
        changes[:, 3 - place], changes[:, 3 + place] = lost, gained
        assert sign_flip_exact(changes) == pytest.approx(expected, rel=1e-9)


def test_sign_flip_holds_its_level_with_changes_of_several_sizes():
    generator = np.random.default_rng(3)
    drawn = generator.choice([0, 1 / 3, 1], p=[0.4, 0.2, 0.4], size=(1500, 2, 60))
    subtask = np.full(60, "s", dtype=object)
    found = paired_tests({(str(n),): count_pairs(*both, subtask, pairs=3) for n, both in enumerate(drawn)})
    rejected = (found.p_value <= 0.05).mean()
    assert 0.02 < rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


def test_an_interval_of_fractional_changes_is_wider_than_students():
    # Items change by thirds, so that the sum of squares is below the sum of sizes, which Tango's interval takes.
    generator = np.random.default_rng(4)
    before, after = (generator.integers(0, 4, 400) / 3 for _ in range(2))
    found = paired_tests({("x",): count_pairs(before, after, np.full(400, "s", dtype=object), pairs=3)})
    student = paired_mean(after - before)
    assert found.difference[0] == pytest.approx(student.mean)
    assert found.low[0] < student.low < student.high < found.high[0]


# --- Tango's interval ---


@pytest.mark.parametrize(
    ("table", "published", "digits"),
    [
        ((4, 9, 3, 16), (-0.027, 0.390), 3),  # Tango 1998
        ((53, 16, 8, 9), (-0.020, 0.207), 3),  # Agresti and Min 2005
        ((1, 1, 7, 12), (-0.517, -0.026), 3),  # Fagerland, Lydersen and Laake 2014, Table V
        ((8, 3, 1, 2), (-0.1670, 0.4327), 4),  # Tang and others 2010
    ],
)
def test_the_interval_is_that_of_published_examples(table, published, digits):
    # Tables are (both, first only, second only, neither) and limits those of first − second: "first only" is a gain.
    _, gained, lost, _ = table
    assert [round(limit, digits) for limit in interval(sum(table), lost, gained)] == list(published)


@given(tables)
def test_the_interval_solves_tangos_quartic(table):
    rest, lost, gained = table
    n = rest + lost + gained
    low, high = interval(n, lost, gained)
    expected_low, expected_high = tango_limits(n, lost, gained)
    if lost < n:
        assert high == pytest.approx(expected_high, abs=1e-5)
    if gained < n:
        assert low == pytest.approx(expected_low, abs=1e-5)


@given(tables)
def test_the_interval_holds_the_difference_and_is_turned_by_swapping(table):
    rest, lost, gained = table
    n = rest + lost + gained
    low, high = interval(n, lost, gained)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert low < high
    assert interval(n, gained, lost) == (-high, -low)


@given(tables)
def test_zero_lies_outside_where_the_asymptotic_test_rejects(table):
    rest, lost, gained = table
    low, high = interval(rest + lost + gained, lost, gained)
    rejects = lost + gained > 0 and mcnemar([[0, lost], [gained, 0]], exact=False, correction=False).pvalue < 0.05
    assert (low > 0 or high < 0) == rejects


def test_without_a_change_the_interval_keeps_a_width():
    width = Z_SQUARED / (28 + Z_SQUARED)
    assert interval(28, 0, 0) == pytest.approx((-width, width), abs=1e-12)


def test_where_every_item_changes_the_interval_ends_at_one():
    low, high = interval(20, 0, 20)
    assert high == 1
    assert 0.6 < low < 0.8
    assert interval(20, 20, 0) == (-1, -low)


def coverage(n, lost, gained):
    """Exact probability that the interval holds the true difference, over all outcomes of n items."""
    a, b = (grid.reshape(-1) for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    a, b = a[a + b <= n], b[a + b <= n]
    low, high = tango_interval(np.full(len(a), n), a, b)
    holds = (low <= gained - lost) & (gained - lost <= high)
    rest = 1 - lost - gained
    return float(multinomial.pmf(np.stack([a, b, n - a - b], axis=1), n, [lost, gained, rest])[holds].sum())


@pytest.mark.parametrize("n", [28, 60])
def test_the_interval_covers_at_about_95_percent_by_enumeration(n):
    grid = [(lost, gained) for lost in (0.02, 0.1, 0.2, 0.3) for gained in (0.01, 0.05, 0.15, 0.4)]
    found = [coverage(n, *truth) for truth in grid]
    assert min(found) > 0.92
    assert 0.94 < np.mean(found) < 0.97


# --- several tests ---


def test_several_tests_by_hand():
    # Exact p: 0 lost of 7 changes 2/128, 1 of 8 18/256, 0 of 6 2/64.
    found = paired_tests({("m", "shared"): counts((10, 0, 7), (20, 1, 7), right=(1, 9)), ("m", "r"): counts((9, 6, 0))})
    assert found.comparison == (("m", "shared"), ("m", "shared"), ("m", "r"))
    assert found.subtask == ("s0", "s1", "s0")
    assert found.p_value == pytest.approx([0.015625, 0.0703125, 0.03125])
    assert found.before == pytest.approx([0.1, 0.45, 6 / 9])
    assert found.after == pytest.approx([0.8, 0.75, 0])
    assert found.difference == pytest.approx([0.7, 0.3, -6 / 9])
    assert (found.n.tolist(), found.lost.tolist(), found.gained.tolist()) == ([10, 20, 9], [0, 1, 6], [7, 7, 0])
    for place, table in enumerate([(10, 0, 7), (20, 1, 7), (9, 6, 0)]):
        assert (found.low[place], found.high[place]) == interval(*table)


def test_items_of_one_and_of_three_pairs_can_be_tested_together():
    thirds = count_pairs(credits(1, 1 / 3), credits(0, 0), names("a", "a"), pairs=3)
    found = paired_tests({("thirds",): thirds, ("whole",): counts((9, 6, 0))})
    alone = [paired_tests({("one",): one}) for one in (thirds, counts((9, 6, 0)))]
    assert found.p_value.tolist() == [one.p_value[0] for one in alone] == pytest.approx([0.5, 2 / 64])
    assert found.lost == pytest.approx([4 / 3, 6])
    assert found.before == pytest.approx([2 / 3, 6 / 9])


def test_adjusted_p_values_never_fall_and_never_pass_one():
    # In order 0.01, 0.03, 0.04, times 3, 2, 1: 0.03, 0.06, 0.04, and 0.04 may not fall below 0.06.
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.6])).tolist() == [1, 1]


@pytest.mark.slow
@settings(deadline=None, max_examples=10)  # statsmodels takes a tenth of a second or more.
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.5, 1.0])), min_size=1, max_size=40))
def test_adjusted_p_values_agree_with_statsmodels(p_values):
    assert holm(np.array(p_values)) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_no_comparison_is_refused():
    for nothing in ({}, {("m",): count_pairs(credits(), credits(), names())}):
        with pytest.raises(RequestError, match="at least one"):
            paired_tests(nothing)


@given(bits)
def test_swapping_the_models_turns_every_difference(rows):
    before, after, subtask = (list(column) for column in zip(*rows, strict=True))
    there = paired_tests({("x",): count_pairs(credits(*before), credits(*after), names(*subtask))})
    back = paired_tests({("x",): count_pairs(credits(*after), credits(*before), names(*subtask))})
    assert back.difference.tolist() == (-there.difference).tolist()
    assert (back.low.tolist(), back.high.tolist()) == ((-there.high).tolist(), (-there.low).tolist())
    assert back.p_value.tolist() == there.p_value.tolist()
    assert back.before == pytest.approx(there.after)
    assert there.difference == pytest.approx(there.after - there.before)


def families(generator, shuffled, n_families=300, n_subtasks=30, n=200):
    """Tests of simulated families in which ablation loses 10 points, or in which labels are shuffled item by item."""
    subtask = np.repeat(np.array([f"s{k}" for k in range(n_subtasks)], dtype=object), n)
    for _ in range(n_families):
        intact = (generator.random(len(subtask)) < 0.7).astype(float)
        ablated = np.where(generator.random(len(subtask)) < 0.15, 0.0, intact)
        if shuffled:
            swap = generator.random(len(subtask)) < 0.5
            intact, ablated = np.where(swap, ablated, intact), np.where(swap, intact, ablated)
        yield paired_tests({("x",): count_pairs(intact, ablated, subtask)})


def test_with_labels_shuffled_nothing_survives_more_often_than_stated():
    # The family-wise rate is at most 5 %: of 300 families at most 15 + 3 √(300 · 0.05 · 0.95) = 26 with a finding.
    # Uncorrected, most families would have one, so a correction left out would be seen.
    found = list(families(np.random.default_rng(0), shuffled=True))
    assert sum((holm(one.p_value) < 0.05).any() for one in found) <= 26
    assert sum((one.p_value < 0.05).any() for one in found) > 150


def test_a_loss_that_is_there_is_found():
    found = list(families(np.random.default_rng(0), shuffled=False, n_families=5))
    assert all((holm(one.p_value) < 0.05).mean() > 0.9 for one in found)
    assert all((one.difference < 0).all() and (one.high < 0.02).all() for one in found)


# --- paired means ---


def test_a_paired_mean_by_hand():
    # 1, 2, 6: mean 3, sd √7, standard error √(7/3); t(0.975, 2) = 4.302653.
    found = paired_mean(np.array([1.0, 2.0, 6.0]))
    half = 4.302653 * math.sqrt(7 / 3)
    assert (found.mean, found.n) == (3, 3)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), rel=1e-6)


def test_a_paired_mean_agrees_with_the_paired_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 40))
    found, expected = paired_mean(a - b), ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.filterwarnings("error")
def test_without_two_pairs_no_interval_is_made_up():
    assert paired_mean(np.array([])) == PairedMean(None, None, None, 0)
    assert paired_mean(np.array([2.5])) == PairedMean(2.5, None, None, 1)
