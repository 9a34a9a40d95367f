"""Retention and margins against worked examples, sets and SciPy."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import statistics
from scipy.stats import ttest_rel
from statsmodels.stats.proportion import proportion_confint

from tension_lens.errors import RequestError
from tension_lens.metrics.retention import Retention, retained_margins, retention

judged = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40)


def credits(*values):
    """Credits of items."""
    return np.array(values, dtype=np.float64)


def fractions(found):
    """(numerator, denominator) of each measure."""
    shares = {field.name: getattr(found, field.name) for field in fields(Retention)}
    return {name: (share.numerator, share.denominator) for name, share in shares.items()}


# --- retention ---

HELPFUL = credits(1, 1, 1, 0, 0, 0, 1)
HARMLESS = credits(1, 0, 0, 1, 1, 0, 0)
MIXED = credits(1, 1, 0, 1, 0, 1, 0)


def test_retention_by_hand():
    # S_helpful = {0, 1, 2, 6}, S_harmless = {0, 3, 4}, their union {0, 1, 2, 3, 4, 6}; S_mixed = {0, 1, 3, 5}.
    # Unions with S_mixed: {0, 1, 2, 3, 5, 6} and {0, 1, 3, 4, 5}.
    found = retention(HELPFUL, HARMLESS, MIXED)
    assert fractions(found) == {
        "combined": (3, 6),
        "helpful": (2, 4),
        "harmless": (2, 3),
        "jaccard_helpful": (2, 6),
        "jaccard_harmless": (2, 5),
    }
    assert (found.combined.share, found.harmless.share, found.jaccard_harmless.share) == (0.5, 2 / 3, 0.4)
    for share in (found.combined, found.harmless, found.jaccard_harmless):
        expected = proportion_confint(share.numerator, share.denominator, alpha=0.05, method="wilson")
        assert (share.low, share.high) == pytest.approx(expected, abs=1e-9)
        assert share.reason is None


@given(judged)
def test_retention_is_that_of_sets(rows):
    models = [credits(*column) for column in zip(*rows, strict=True)]
    found = retention(*models)
    assert fractions(found) == statistics.retention(*(set(np.flatnonzero(model)) for model in models))
    swapped = retention(models[1], models[0], models[2])
    assert (swapped.combined, swapped.helpful.share) == (found.combined, found.harmless.share)


@pytest.mark.filterwarnings("error")
def test_without_an_item_there_is_no_share_but_a_reason():
    found = retention(credits(0, 0), credits(0, 0), credits(1, 0))
    for name in ("combined", "helpful", "harmless"):
        share = getattr(found, name)
        assert (share.denominator, share.share, share.low, share.high) == (0, None, None, None)
        assert ("helpful" in share.reason) == (name != "harmless")
    # What the mixed model alone judges correctly makes the union, of which nothing is shared.
    assert (found.jaccard_helpful.share, found.jaccard_helpful.denominator) == (0, 1)
    assert found.jaccard_helpful.reason is None
    assert "mixed" in retention(credits(0), credits(0), credits(0)).jaccard_harmless.reason


@pytest.mark.parametrize("place", range(3))
def test_fractional_credits_are_refused_in_every_model(place):
    models = [credits(1, 0)] * 3
    models[place] = credits(1, 0.25)
    with pytest.raises(RequestError, match=r"0\.25 at row 1"):
        retention(*models)


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
    assert found.standardised.reference.mean == pytest.approx(3 / scales[0])
    assert found.standardised.reference.sd == pytest.approx(math.sqrt(7) / scales[0])
    assert found.standardised.mixed.mean == pytest.approx(4 / scales[1])
    expected = ttest_rel(mixed[:3] / scales[1], reference[:3] / scales[0]).confidence_interval(0.95)
    standardised = found.standardised.difference
    assert (standardised.low, standardised.high) == pytest.approx((expected.low, expected.high))


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
def test_without_a_retained_item_or_a_deviation_nothing_is_made_up():
    raw = retained_margins(credits(1, 0), np.array([1.0, -1.0]), credits(0, 1), np.array([-1.0, 1.0])).raw
    assert (raw.reference.mean, raw.reference.sd, raw.reference.n) == (None, None, 0)
    assert (raw.difference.mean, raw.difference.low) == (None, None)
    # Three times 0.1 has a computed sd of about 1e-17: dividing by it would make up margins of 1e16.
    equal, apart, ones = np.full(3, 0.1), np.array([1.0, 2.0, 3.0]), credits(1, 1, 1)
    for reference, mixed, defined in ((equal, apart, False), (apart, equal, False), (apart, apart, True)):
        assert (retained_margins(ones, reference, ones, mixed).standardised is not None) == defined
    one = retained_margins(credits(1), np.array([1.0]), credits(1), np.array([2.0]))
    assert (one.raw.mixed.mean, one.raw.mixed.sd, one.raw.difference.low, one.standardised) == (2, None, None, None)


def test_margins_that_are_not_finite_and_fractional_credits_are_refused():
    ones, good, bad = credits(1, 1), np.array([1.0, 2.0]), np.array([1.0, math.nan])
    for name, margins in (("reference", (bad, good)), ("mixed", (good, bad))):
        with pytest.raises(RequestError, match=f"{name}.*found 1 of 2"):
            retained_margins(ones, margins[0], ones, margins[1])
    with pytest.raises(RequestError, match=r"0\.5 at row 1"):
        retained_margins(credits(1, 0.5), good, ones, good)
