"""Reward distributions on one grid, and measures across seeds, without anything made up."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts_items import of_credits
from scipy.stats import mannwhitneyu

from tension_lens.errors import RequestError
from tension_lens.metrics.distributions import AcrossSeeds, score_shift, score_shift_of, spread_of

SEEDS = (0, 247, 932)
rewards = st.lists(st.floats(-100, 100).map(lambda reward: round(reward, 1)), min_size=1, max_size=30).map(np.array)


def test_a_spread_by_hand():
    found = spread_of(np.array([1.0, 2.0, 6.0]))
    assert (found.mean, found.n) == (3, 3)
    assert found.sd == pytest.approx(math.sqrt(7))


# --- rewards before and after ---


def test_distributions_by_hand():
    found = score_shift(
        np.array([0.0, 1.0, 4.0]), np.array([0.0, 2.0]), np.array([1.0, 1.0, 1.0]), np.array([3.0, 8.0]), bins=4
    )
    assert found.edges.tolist() == [0, 2, 4, 6, 8]  # From the least to the greatest of all, though before ends at 4.
    # Bins are [0, 2), [2, 4), [4, 6), [6, 8]; density is count / (n · 2).
    assert found.before.chosen.density == pytest.approx([2 / 6, 0, 1 / 6, 0])
    assert found.before.rejected.density == pytest.approx([1 / 4, 1 / 4, 0, 0])
    assert found.after.chosen.density == pytest.approx([1 / 2, 0, 0, 0])
    assert found.after.rejected.density == pytest.approx([0, 1 / 4, 0, 1 / 4])
    # Pairs before: 0 = 0 half, 0 < 2, 1 > 0, 1 < 2, 4 > 0, 4 > 2: 3.5 of 6. After: 1 below both.
    assert found.before.auc == pytest.approx(3.5 / 6)
    assert found.after.auc == 0
    assert found.before.chosen.spread.mean == pytest.approx(5 / 3)
    assert (found.after.rejected.spread.mean, found.after.rejected.spread.n) == (5.5, 2)
    # Between 0 and 2 linearly.
    assert found.before.rejected.quantiles == pytest.approx({0.05: 0.1, 0.25: 0.5, 0.5: 1, 0.75: 1.5, 0.95: 1.9})


@settings(deadline=None)
@given(rewards, rewards, st.integers(0, 9), st.integers(1, 80))
def test_every_reward_is_in_the_histograms_and_the_auc_is_mann_whitneys(chosen, rejected, seed, bins):
    after = [np.random.default_rng(seed).normal(size=len(side)) for side in (chosen, rejected)]
    found = score_shift(chosen, rejected, *after, bins)
    assert len(found.edges) == bins + 1
    for before_or_after in (found.before, found.after):
        for side in (before_or_after.chosen, before_or_after.rejected):
            assert (side.density * np.diff(found.edges)).sum() == pytest.approx(1)
    assert found.before.auc == pytest.approx(mannwhitneyu(chosen, rejected).statistic / (len(chosen) * len(rejected)))
    swapped = score_shift(rejected, chosen, after[1], after[0], bins)
    assert swapped.before.auc == pytest.approx(1 - found.before.auc)
    assert swapped.edges.tolist() == found.edges.tolist()


def test_an_ablation_that_does_nothing_shifts_nothing():
    chosen, rejected = np.random.default_rng(0).normal([[1], [0]], 1, (2, 500))
    found = score_shift(chosen, rejected, chosen, rejected)
    assert len(found.edges) == 61
    for side in ("chosen", "rejected"):
        before, after = getattr(found.before, side), getattr(found.after, side)
        assert before.density.tolist() == after.density.tolist()
        assert (before.spread, before.quantiles) == (after.spread, after.quantiles)
    # Two unit normals one apart: Φ(1/√2) = 0.760.
    assert found.before.auc == found.after.auc == pytest.approx(0.760, abs=0.03)


def test_equal_rewards_still_have_a_grid():
    same = np.full(3, 2.0)
    found = score_shift(same, same, same, same, bins=4)
    assert found.before.auc == 0.5
    assert (found.before.chosen.density * np.diff(found.edges)).sum() == pytest.approx(1)


def test_rewards_that_cannot_be_distributed_are_refused():
    good, none, bad = np.array([1.0]), np.array([]), np.array([math.inf])
    with pytest.raises(RequestError, match="at least one chosen and one rejected"):
        score_shift(good, none, good, none)
    for place in range(4):
        sides = [good] * 4
        sides[place] = bad
        with pytest.raises(RequestError, match="rewards must be finite numbers, found 1 of 1"):
            score_shift(*sides)
    with pytest.raises(RequestError, match="at least 1 bin, found 0"):
        score_shift(good, good, good, good, bins=0)


def test_every_response_of_a_table_counts():
    before = of_credits([1, 0], chosen=[[3.0, 5.0], [1.0]], rejected=[[0.0], [2.0]])
    after = of_credits([1, 0], chosen=[[1.0, 1.0], [1.0]], rejected=[[0.0], [8.0]])
    found = score_shift_of(before, after, bins=8)
    assert (found.before.chosen.spread.n, found.before.chosen.spread.mean) == (3, 3)
    assert (found.after.rejected.spread.n, found.after.rejected.spread.mean) == (2, 4)
    assert found.before.rejected.spread.mean == 1
    assert found.after.chosen.spread.mean == 1
    assert found.edges.tolist() == list(range(9))
    with pytest.raises(RequestError, match="'0' in before, 'x' in after"):
        score_shift_of(before, of_credits([1, 0], item=["x", "1"]))


# --- seeds ---


def test_seeds_by_hand():
    found = AcrossSeeds.of({932: 3.0, 0: 1.0, 247: 2.0}, SEEDS)
    assert list(found.by_seed.items()) == [(0, 1.0), (247, 2.0), (932, 3.0)]
    assert (found.mean, found.sd, found.missing) == (2, 1, ())  # With n the sd would be √(2/3).


def test_two_seeds_of_three_name_the_third():
    found = AcrossSeeds.of({0: 1.0, 932: 3.0}, SEEDS)
    assert (found.mean, found.missing) == (2, (247,))
    assert found.sd == pytest.approx(math.sqrt(2))


@pytest.mark.filterwarnings("error")
def test_one_seed_has_no_sd_and_none_has_no_mean():
    one = AcrossSeeds.of({247: 0.5}, SEEDS)
    assert (one.mean, one.sd, one.missing) == (0.5, None, (0, 932))
    none = AcrossSeeds.of({}, SEEDS)
    assert (none.mean, none.sd, none.missing, none.by_seed) == (None, None, SEEDS, {})


def test_a_seed_without_a_number_is_missing():
    found = AcrossSeeds.of({0: None, 247: math.nan, 932: 0.0}, SEEDS)
    assert (found.by_seed, found.missing, found.mean, found.sd) == ({932: 0.0}, (0, 247), 0, None)


def test_other_seeds_and_infinite_values_are_refused():
    with pytest.raises(RequestError, match="seeds must be among 0, 247, 932, found 1, 42"):
        AcrossSeeds.of({42: 1.0, 1: 1.0}, SEEDS)
    with pytest.raises(RequestError, match="infinite one for seed 247"):
        AcrossSeeds.of({0: 1.0, 247: -math.inf}, SEEDS)
