"""RMSD between chosen and rejected, against worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tension_lens.errors import RequestError
from tension_lens.neurons.rmsd import rmsd
from tension_lens.neurons.scores import NeuronScores


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


def test_opposite_differences_in_two_layers_cancel_only_in_the_papers_variant():
    found = rmsd(scores([[1, 1], [0, 0]], [[0, 0], [1, 1]]), "mean")
    assert (found.overall, found.layers_averaged_first) == (1, 0)


@given(st.integers(0, 50), st.integers(1, 5), st.integers(1, 8))
def test_rmsd_is_the_mean_of_its_layers_and_has_no_side(seed, layers, neurons):
    chosen, rejected = np.random.default_rng(seed).normal(size=(2, layers, neurons))
    found, back = rmsd(scores(chosen, rejected), "mean"), rmsd(scores(rejected, chosen), "mean")
    assert found.by_layer.shape == (layers,)
    assert found.overall**2 == pytest.approx((found.by_layer**2).mean())
    assert found.layers_averaged_first <= found.overall + 1e-12
    if layers == 1:
        assert found.layers_averaged_first == pytest.approx(found.overall)
    assert back.overall == pytest.approx(found.overall)
    assert back.layers_averaged_first == pytest.approx(found.layers_averaged_first)


def test_the_statistic_is_chosen_by_name():
    both = scores([[4, 4]], [[1, 0]], statistic="mean_abs")
    assert rmsd(both, "mean_abs").overall > 0
    assert rmsd(both, "rms").overall == 0
    with pytest.raises(RequestError, match="'mean'"):
        rmsd(both, "mean")


def test_differences_whose_squares_float32_cannot_hold_are_not_lost():
    found = rmsd(scores(np.full((2, 3), 1e-30), np.zeros((2, 3))), "mean")
    assert found.by_layer == pytest.approx([1e-30, 1e-30], rel=1e-6, abs=0)
    assert (found.overall, found.layers_averaged_first) == pytest.approx((1e-30, 1e-30), rel=1e-6, abs=0)
