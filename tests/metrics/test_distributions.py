"""Reward distributions on one grid, and measures across seeds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts_items import item_table

from tension_lens.errors import RequestError
from tension_lens.metrics.distributions import AcrossSeeds, Moments, score_shift

SEEDS = (0, 247, 932)
rewards = st.lists(st.floats(-100, 100).map(lambda reward: round(reward, 1)), min_size=1, max_size=30)


def one_item(chosen, rejected):
    """A table of one item with these rewards."""
    return item_table([("a", "s", list(chosen), list(rejected))])


def test_moments_by_hand():
    found = Moments.of(np.array([1.0, 2.0, 6.0]))
    assert (found.mean, found.n) == (3, 3)
    assert found.sd == pytest.approx(math.sqrt(7))


# --- rewards before and after ---


def test_distributions_by_hand():
    before = one_item([0.0, 1.0, 4.0], [0.0, 2.0])
    found = score_shift(before, one_item([1.0, 1.0, 1.0], [3.0, 8.0]), bins=4)
    assert found.edges.tolist() == [0, 2, 4, 6, 8]  # From the lowest to the highest of all, though before ends at 4.
    # Bins are [0, 2), [2, 4), [4, 6), [6, 8]; density is count / (n · 2).
    assert found.before.chosen.density == pytest.approx([2 / 6, 0, 1 / 6, 0])
    assert found.before.rejected.density == pytest.approx([1 / 4, 1 / 4, 0, 0])
    assert found.after.chosen.density == pytest.approx([1 / 2, 0, 0, 0])
    assert found.after.rejected.density == pytest.approx([0, 1 / 4, 0, 1 / 4])
    # Pairs before: 0 = 0 half, 0 < 2, 1 > 0, 1 < 2, 4 > 0, 4 > 2: 3.5 of 6. After: 1 below both.
    assert found.before.auc == pytest.approx(3.5 / 6)
    assert found.after.auc == 0
    assert found.before.chosen.moments.mean == pytest.approx(5 / 3)
    assert (found.after.rejected.moments.mean, found.after.rejected.moments.n) == (5.5, 2)
    # Between 0 and 2 linearly.
    assert found.before.rejected.quantiles == pytest.approx({0.05: 0.1, 0.25: 0.5, 0.5: 1, 0.75: 1.5, 0.95: 1.9})


@given(rewards, rewards, st.integers(0, 9), st.integers(1, 80))
def test_histograms_hold_every_reward_and_the_auc_counts_pairs(chosen, rejected, seed, bins):
    after = [np.random.default_rng(seed).normal(size=len(side)) for side in (chosen, rejected)]
    found = score_shift(one_item(chosen, rejected), one_item(*after), bins)
    assert len(found.edges) == bins + 1
    for scores in (found.before, found.after):
        for side in (scores.chosen, scores.rejected):
            assert (side.density * np.diff(found.edges)).sum() == pytest.approx(1)
    wins = np.subtract.outer(chosen, rejected)
    assert found.before.auc == pytest.approx(((wins > 0) + 0.5 * (wins == 0)).mean())
    swapped = score_shift(one_item(rejected, chosen), one_item(*reversed(after)), bins)
    assert swapped.before.auc == pytest.approx(1 - found.before.auc)
    assert swapped.edges.tolist() == found.edges.tolist()


def test_an_ablation_without_effect_shifts_nothing():
    table = one_item(*np.random.default_rng(0).normal([[1], [0]], 1, (2, 500)))
    found = score_shift(table, table)
    assert len(found.edges) == 61
    for side in ("chosen", "rejected"):
        before, after = getattr(found.before, side), getattr(found.after, side)
        assert before.density.tolist() == after.density.tolist()
        assert (before.moments, before.quantiles) == (after.moments, after.quantiles)
    # Two unit normals one apart: Φ(1/√2) = 0.760.
    assert found.before.auc == found.after.auc == pytest.approx(0.760, abs=0.03)


@pytest.mark.filterwarnings("error")
def test_equal_rewards_still_have_a_grid():
    table = one_item([2.0] * 3, [2.0] * 3)
    found = score_shift(table, table, bins=4)
    assert found.before.auc == 0.5
    assert (found.before.chosen.density * np.diff(found.edges)).sum() == pytest.approx(1)


def test_every_response_of_every_item_counts():
    before = item_table([("p", "a", [3.0, 5.0], [0.0]), ("q", "a", [1.0], [2.0])])
    after = item_table([("p", "a", [1.0, 1.0], [0.0]), ("q", "a", [1.0], [8.0])])
    found = score_shift(before, after, bins=8)
    assert (found.before.chosen.moments.n, found.before.chosen.moments.mean) == (3, 3)
    assert (found.after.rejected.moments.n, found.after.rejected.moments.mean) == (2, 4)
    assert found.edges.tolist() == list(range(9))


def test_tables_of_other_or_no_items_are_refused():
    with pytest.raises(RequestError, match=r"'a' in before, 'b' in after"):
        score_shift(one_item([1.0], [0.0]), item_table([("b", "s", [1.0], [0.0])]))
    with pytest.raises(RequestError, match="at least one item"):
        score_shift(item_table([]), item_table([]))


# --- seeds ---


def test_seeds_by_hand():
    found = AcrossSeeds.of({932: 3.0, 0: 1.0, 247: 2.0}, SEEDS)
    assert list(found.by_seed.items()) == [(0, 1.0), (247, 2.0), (932, 3.0)]
    assert (found.moments, found.missing) == (Moments(2.0, 1.0, 3), ())  # With n the sd would be √(2/3).


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "expected", "missing"),
    [
        ({0: 1.0, 932: 3.0}, Moments(2.0, math.sqrt(2), 2), (247,)),
        ({247: 0.5}, Moments(0.5, None, 1), (0, 932)),
        ({0: None, 247: math.nan, 932: 0.0}, Moments(0.0, None, 1), (0, 247)),
        ({}, Moments(None, None, 0), SEEDS),
    ],
)
def test_seeds_without_a_value_are_missing(values, expected, missing):
    found = AcrossSeeds.of(values, SEEDS)
    assert (found.moments, found.missing) == (expected, missing)


def test_other_seeds_and_infinite_values_are_refused():
    with pytest.raises(RequestError, match="found 1, 42"):
        AcrossSeeds.of({42: 1.0, 1: 1.0}, SEEDS)
    with pytest.raises(RequestError, match="seed 247"):
        AcrossSeeds.of({0: 1.0, 247: -math.inf}, SEEDS)
