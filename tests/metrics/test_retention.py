"""Retention, flips, margins and RMSD against worked examples, sets, and what a planted difference must give."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts_items import of_credits
from scipy.stats import ttest_rel
from statsmodels.stats.proportion import proportion_confint

from tension_lens.errors import RequestError
from tension_lens.metrics.retention import (
    flips,
    flips_of,
    retained_margins,
    retained_margins_of,
    retention,
    retention_of,
)
from tension_lens.neurons.rmsd import rmsd
from tension_lens.neurons.scores import NeuronScores

judged = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40)


def credits(*values):
    """Credits of items."""
    return np.array(values, dtype=np.float64)


def fraction(share):
    """Numerator and denominator."""
    return share.numerator, share.denominator


# --- retention ---

HELPFUL = credits(1, 1, 1, 0, 0, 0, 1)
HARMLESS = credits(1, 0, 0, 1, 1, 0, 0)
MIXED = credits(1, 1, 0, 1, 0, 1, 0)


def test_retention_by_hand():
    # S_helpful = {0, 1, 2, 6}, S_harmless = {0, 3, 4}, their union {0, 1, 2, 3, 4, 6}; S_mixed = {0, 1, 3, 5}.
    found = retention(HELPFUL, HARMLESS, MIXED)
    assert fraction(found.combined) == (3, 6)
    assert fraction(found.helpful) == (2, 4)
    assert fraction(found.harmless) == (2, 3)
    # Unions with S_mixed: {0, 1, 2, 3, 5, 6} and {0, 1, 3, 4, 5}.
    assert fraction(found.jaccard_helpful) == (2, 6)
    assert fraction(found.jaccard_harmless) == (2, 5)
    assert (found.combined.share, found.harmless.share, found.jaccard_harmless.share) == (0.5, 2 / 3, 0.4)


def test_shares_have_wilsons_interval():
    found = retention(HELPFUL, HARMLESS, MIXED)
    for share in (found.combined, found.harmless, found.jaccard_harmless):
        expected = proportion_confint(*fraction(share), alpha=0.05, method="wilson")
        assert (share.low, share.high) == pytest.approx(expected, abs=1e-9)
        assert share.reason is None


@settings(deadline=None)
@given(judged)
def test_retention_is_that_of_sets(rows):
    helpful, harmless, mixed = (credits(*column) for column in zip(*rows, strict=True))
    by_helpful, by_harmless, by_mixed = (set(np.flatnonzero(one)) for one in (helpful, harmless, mixed))
    found = retention(helpful, harmless, mixed)
    union = by_helpful | by_harmless
    assert fraction(found.combined) == (len(by_mixed & union), len(union))
    assert fraction(found.helpful) == (len(by_mixed & by_helpful), len(by_helpful))
    assert fraction(found.harmless) == (len(by_mixed & by_harmless), len(by_harmless))
    assert fraction(found.jaccard_helpful) == (len(by_mixed & by_helpful), len(by_mixed | by_helpful))
    assert fraction(found.jaccard_harmless) == (len(by_mixed & by_harmless), len(by_mixed | by_harmless))
    swapped = retention(harmless, helpful, mixed)
    assert (swapped.combined, swapped.helpful.share) == (found.combined, found.harmless.share)


def test_a_mixed_model_that_is_one_of_the_two_keeps_all_of_it():
    found = retention(HELPFUL, HARMLESS, HELPFUL)
    assert (found.helpful.share, found.jaccard_helpful.share) == (1, 1)
    assert fraction(found.combined) == (4, 6)


@pytest.mark.filterwarnings("error")
def test_without_an_item_to_keep_there_is_no_share_but_a_reason():
    found = retention(credits(0, 0), credits(0, 0), credits(1, 0))
    assert fraction(found.combined) == (0, 0)
    assert (found.combined.share, found.combined.low, found.combined.high) == (None, None, None)
    assert found.combined.reason == "no item is judged correctly by the helpful or the harmless model"
    assert found.helpful.reason == "no item is judged correctly by the helpful model"
    assert found.harmless.reason == "no item is judged correctly by the harmless model"
    # What the mixed model alone gets right makes the union, of which nothing is shared.
    assert (found.jaccard_helpful.share, fraction(found.jaccard_helpful)) == (0, (0, 1))
    nothing = retention(credits(0), credits(0), credits(0))
    assert nothing.jaccard_helpful.reason == "no item is judged correctly by the mixed or the helpful model"
    assert nothing.jaccard_harmless.reason == "no item is judged correctly by the mixed or the harmless model"


def test_nothing_kept_is_zero_and_not_none():
    found = retention(credits(1, 0), credits(0, 0), credits(0, 1)).combined
    assert (found.share, fraction(found), found.reason) == (0, (0, 1), None)
    assert found.low == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("place", range(3))
def test_fractional_credits_are_refused_in_every_model(place):
    models = [credits(1, 0)] * 3
    models[place] = credits(1, 0.25)
    with pytest.raises(RequestError, match=r"0 or 1, found 0\.25 at row 1"):
        retention(*models)


def test_retention_of_tables_is_over_the_same_items():
    tables = [of_credits(correct) for correct in (HELPFUL, HARMLESS, MIXED)]
    assert retention_of(*tables) == retention(HELPFUL, HARMLESS, MIXED)
    renamed = of_credits(MIXED, item=[*"012345", "x"])
    with pytest.raises(RequestError, match="row 6 is '6' in helpful, 'x' in mixed"):
        retention_of(*tables[:2], renamed)
    with pytest.raises(RequestError, match="row 6 is '6' in helpful, 'x' in harmless"):
        retention_of(tables[0], renamed, tables[2])


# --- flips ---


def test_flips_by_hand():
    items = np.array(["a", "b", "c", "d", "e"], dtype=object)
    found = flips(credits(1, 1, 0, 0, 1), credits(0, 1, 1, 0, 0), items)
    assert (found.lost, found.gained) == (("a", "e"), ("c",))


@settings(deadline=None)
@given(judged)
def test_flips_account_for_the_change_of_accuracy(rows):
    before, after, _ = (credits(*column) for column in zip(*rows, strict=True))
    items = np.arange(len(before)).astype(str).astype(object)
    there, back = flips(before, after, items), flips(after, before, items)
    assert len(there.gained) - len(there.lost) == after.sum() - before.sum()
    assert (back.lost, back.gained) == (there.gained, there.lost)
    assert not {*there.lost} & {*there.gained}


def test_flips_of_tables_are_named_by_item():
    intact, ablated = of_credits([1, 0, 1], item=["p", "q", "r"]), of_credits([0, 1, 1], item=["p", "q", "r"])
    found = flips_of(intact, ablated)
    assert (found.lost, found.gained) == (("p",), ("q",))
    with pytest.raises(RequestError, match="'p' in reference, '0' in other"):
        flips_of(intact, of_credits([0, 1, 1]))


# --- margins ---


def test_margins_of_retained_items_by_hand():
    # Both right: rows 0, 1, 2. Reference 1, 2, 6, mixed 3, 3, 6: differences 2, 1, 0, mean 1, sd 1.
    reference = np.array([1.0, 2.0, 6.0, 5.0, -4.0])
    mixed = np.array([3.0, 3.0, 6.0, -2.0, 10.0])
    found = retained_margins(credits(1, 1, 1, 1, 0), reference, credits(1, 1, 1, 0, 1), mixed)
    assert (found.raw.reference.mean, found.raw.reference.n) == (3, 3)
    assert found.raw.reference.sd == pytest.approx(math.sqrt(7))
    assert (found.raw.mixed.mean, found.raw.mixed.n) == (4, 3)
    assert found.raw.mixed.sd == pytest.approx(math.sqrt(3))
    half = 4.302653 / math.sqrt(3)  # t(0.975, 2), standard error 1/√3.
    difference = found.raw.difference
    assert (difference.mean, difference.low, difference.high) == pytest.approx((1, 1 - half, 1 + half), rel=1e-6)
    assert difference.n == 3
    # Over all five: reference mean 2, squares 1 + 0 + 16 + 9 + 36 = 62; mixed mean 4, squares 1 + 1 + 4 + 36 + 36 = 78.
    scales = math.sqrt(62 / 4), math.sqrt(78 / 4)
    assert (found.reference_sd_all_items, found.mixed_sd_all_items) == pytest.approx(scales)
    assert found.n_items == 5
    assert found.standardised.reference.mean == pytest.approx(3 / scales[0])
    assert found.standardised.reference.sd == pytest.approx(math.sqrt(7) / scales[0])
    assert found.standardised.mixed.mean == pytest.approx(4 / scales[1])
    expected = ttest_rel(mixed[:3] / scales[1], reference[:3] / scales[0]).confidence_interval(0.95)
    standardised = found.standardised.difference
    assert (standardised.low, standardised.high) == pytest.approx((expected.low, expected.high))


@settings(deadline=None)
@given(st.integers(0, 20), st.floats(0.01, 100))
def test_standardised_margins_do_not_depend_on_the_units_of_reward(seed, unit):
    generator = np.random.default_rng(seed)
    reference, mixed = generator.normal(0.5, 1, (2, 30))
    right = [(margin > 0).astype(float) for margin in (reference, mixed)]
    found = retained_margins(right[0], reference, right[1], mixed)
    scaled = retained_margins(right[0], reference, right[1], unit * mixed)
    assert scaled.standardised.mixed.mean == pytest.approx(found.standardised.mixed.mean)
    assert scaled.standardised.difference.low == pytest.approx(found.standardised.difference.low)
    assert scaled.raw.mixed.mean == pytest.approx(unit * found.raw.mixed.mean)
    assert scaled.raw.reference == found.raw.reference
    swapped = retained_margins(right[1], mixed, right[0], reference)
    assert swapped.raw.difference.mean == pytest.approx(-found.raw.difference.mean)
    assert swapped.raw.difference.low == pytest.approx(-found.raw.difference.high)


@pytest.mark.filterwarnings("error")
def test_without_a_retained_item_or_a_spread_nothing_is_made_up():
    found = retained_margins(credits(1, 0), np.array([1.0, -1.0]), credits(0, 1), np.array([-1.0, 1.0]))
    assert (found.raw.reference.mean, found.raw.reference.sd, found.raw.reference.n) == (None, None, 0)
    assert (found.raw.difference.mean, found.raw.difference.low, found.n_items) == (None, None, 2)
    # Three times 0.1 has a computed sd of about 1e-17: dividing by it would make up margins of 1e16.
    equal, apart = np.full(3, 0.1), np.array([1.0, 2.0, 3.0])
    ones = credits(1, 1, 1)
    assert retained_margins(ones, equal, ones, apart).standardised is None
    assert retained_margins(ones, apart, ones, equal).standardised is None
    assert retained_margins(ones, apart, ones, apart).standardised is not None
    one = retained_margins(credits(1), np.array([1.0]), credits(1), np.array([2.0]))
    assert (one.raw.mixed.mean, one.raw.mixed.sd, one.raw.difference.low, one.standardised) == (2, None, None, None)
    assert one.mixed_sd_all_items is None


def test_margins_that_are_no_numbers_and_fractional_credits_are_refused():
    ones, good, bad = credits(1, 1), np.array([1.0, 2.0]), np.array([1.0, math.nan])
    with pytest.raises(RequestError, match="margins of the reference must be finite numbers, found 1 of 2"):
        retained_margins(ones, bad, ones, good)
    with pytest.raises(RequestError, match="margins of the mixed model must be finite numbers, found 1 of 2"):
        retained_margins(ones, good, ones, bad)
    with pytest.raises(RequestError, match="0 or 1"):
        retained_margins(credits(1, 0.5), good, ones, good)


def test_margins_of_tables_are_those_of_the_hardest_pair():
    # Margins 3 - 1 = 2 and 4 - 1 = 3 in one table, 5 - 4 = 1 and 1 - 0 = 1 in the other.
    one = of_credits([1, 1], chosen=[[3.0, 9.0], [4.0]], rejected=[[0.0, 1.0], [1.0]])
    other = of_credits([1, 1], chosen=[[5.0, 6.0], [1.0]], rejected=[[4.0, 2.0], [0.0]])
    found = retained_margins_of(one, other)
    assert (found.raw.reference.mean, found.raw.mixed.mean, found.raw.difference.mean) == (2.5, 1, -1.5)
    with pytest.raises(RequestError, match="'0' in reference, 'x' in mixed"):
        retained_margins_of(one, of_credits([1, 1], item=["x", "1"]))


# --- RMSD between chosen and rejected ---


def scores(chosen, rejected, statistic="mean"):
    """Scores that hold one statistic, and another on which the sides agree."""
    sides = {"chosen": np.array(chosen, dtype=np.float32), "rejected": np.array(rejected, dtype=np.float32)}
    values = {f"{side}/{statistic}": value for side, value in sides.items()}
    values |= {f"{side}/rms": np.zeros_like(value) for side, value in sides.items()}
    return NeuronScores(values, "post", "all", {})


def test_rmsd_by_hand():
    # Differences: layer 0 3 and 4, layer 1 -3 and 0.
    found = rmsd(scores([[4, 4], [0, 1]], [[1, 0], [3, 1]]), "mean")
    assert found.statistic == "mean"
    assert found.by_layer == pytest.approx([math.sqrt(25 / 2), math.sqrt(9 / 2)])
    assert found.overall == pytest.approx(math.sqrt(34 / 4))
    # Layers averaged first: neuron 0 (3 - 3)/2 = 0, neuron 1 (4 + 0)/2 = 2; √((0 + 4)/2).
    assert found.layers_averaged_first == pytest.approx(math.sqrt(2))


def test_differences_of_opposite_sign_in_two_layers_vanish_only_in_the_papers_variant():
    found = rmsd(scores([[1, 1], [0, 0]], [[0, 0], [1, 1]]), "mean")
    assert (found.overall, found.layers_averaged_first) == (1, 0)


def test_with_a_single_layer_all_three_are_the_same():
    found = rmsd(scores([[1, 2, 7]], [[0, 4, 1]]), "mean")
    assert found.by_layer == pytest.approx([found.overall])
    assert found.layers_averaged_first == pytest.approx(found.overall)


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 5), st.integers(1, 8))
def test_rmsd_is_the_mean_of_its_layers_and_has_no_side(seed, layers, neurons):
    chosen, rejected = np.random.default_rng(seed).normal(size=(2, layers, neurons))
    found, back = rmsd(scores(chosen, rejected), "mean"), rmsd(scores(rejected, chosen), "mean")
    assert found.by_layer.shape == (layers,)
    assert found.overall**2 == pytest.approx((found.by_layer**2).mean())
    assert found.layers_averaged_first <= found.overall + 1e-12
    assert back.overall == pytest.approx(found.overall)
    assert back.layers_averaged_first == pytest.approx(found.layers_averaged_first)


def test_the_statistic_is_chosen_by_name():
    both = scores([[4, 4]], [[1, 0]], statistic="mean_abs")
    assert rmsd(both, "mean_abs").overall > 0
    assert rmsd(both, "rms").overall == 0
    with pytest.raises(RequestError, match="unknown statistic 'mean'; known are mean_abs, rms"):
        rmsd(both, "mean")


def test_differences_whose_squares_float32_cannot_hold_are_not_lost():
    found = rmsd(scores(np.full((2, 3), 1e-30), np.zeros((2, 3))), "mean")
    assert found.by_layer == pytest.approx([1e-30, 1e-30], rel=1e-6, abs=0)
    assert (found.overall, found.layers_averaged_first) == pytest.approx((1e-30, 1e-30), rel=1e-6, abs=0)
