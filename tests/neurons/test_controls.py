"""Random controls have the size of the set they control and match what they claim to match."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import neuron_pairs

from tension_lens.constants import CONTROLS
from tension_lens.errors import RequestError
from tension_lens.neurons.controls import ACTIVATION_BINS, control_set, strata
from tension_lens.neurons.depth import layer_counts
from tension_lens.neurons.sets import NeuronSet, top_percent

SHAPE = (4, 50)
EVERY = [(layer, index) for layer in range(SHAPE[0]) for index in range(SHAPE[1])]
ACTIVATION = np.random.default_rng(5).lognormal(size=SHAPE)


def made(neurons, name="helpful", site="post"):
    return NeuronSet.of(name, site, SHAPE, neurons)


def bin_by_hand(neuron):
    """Neurons below it in activation decide the bin: ten of 200 fill each of the twenty."""
    return int((ACTIVATION[neuron] > ACTIVATION).sum()) // 10


some = st.lists(st.sampled_from(EVERY), unique=True)


@settings(deadline=None)
@given(some, st.sampled_from(CONTROLS), st.integers(0, 2**32 - 1))
def test_a_control_has_the_size_and_network_of_the_set_and_comes_back_with_its_draw(neurons, kind, draw):
    like = made(neurons, site="gate")
    control = control_set(like, kind, draw, ACTIVATION)
    assert (len(control), control.shape, control.site) == (len(neurons), SHAPE, "gate")
    assert set(neuron_pairs(control)) <= set(EVERY)
    assert control == control_set(like, kind, draw, ACTIVATION)
    assert control.origin["shared_with_set"] == len(set(neuron_pairs(control)) & set(neurons))


@settings(deadline=None)
@given(some, st.integers(0, 100))
def test_a_layer_matched_control_has_as_many_neurons_in_each_layer(neurons, draw):
    like = made(neurons)
    assert (layer_counts(control_set(like, "layer", draw)) == layer_counts(like)).all()


@settings(deadline=None)
@given(some, st.integers(0, 100))
def test_an_activation_matched_control_fills_the_bins_of_activation_alike(neurons, draw):
    control = control_set(made(neurons), "activation", draw, ACTIVATION)
    assert Counter(map(bin_by_hand, neuron_pairs(control))) == Counter(map(bin_by_hand, neurons))


def test_each_kind_matches_what_it_names_and_not_the_rest():
    # Layer 0 alone, of any activation: a uniform control leaves the layer, a layer-matched one does not.
    in_one_layer = made([(0, index) for index in range(0, 50, 2)])
    assert set(dict(neuron_pairs(control_set(in_one_layer, "layer", 1)))) == {0}
    assert len(control_set(in_one_layer, "uniform", 1).by_layer()) == 4
    assert len(control_set(in_one_layer, "activation", 1, ACTIVATION).by_layer()) == 4
    # Every other neuron of the loudest fifth: uniform controls are much quieter, activation-matched ones are not.
    loudest = neuron_pairs(top_percent(ACTIVATION, 20.0, "loud", "post"))[::2]
    total = sum(ACTIVATION[one] for one in loudest)
    matched = [control_set(made(loudest), "activation", draw, ACTIVATION) for draw in range(20)]
    uniform = [control_set(made(loudest), "uniform", draw) for draw in range(20)]
    both = (matched, uniform)
    sums = [np.mean([sum(ACTIVATION[one] for one in neuron_pairs(control)) for control in kind]) for kind in both]
    assert sums[0] == pytest.approx(total, rel=0.15)
    assert sums[1] < 0.6 * total


def test_a_set_that_fills_its_bins_leaves_its_control_no_choice():
    loudest = top_percent(ACTIVATION, 10.0, "loud", "post")
    control = control_set(loudest, "activation", 3, ACTIVATION)
    assert control == loudest.renamed("activation-3")
    assert control.origin["shared_with_set"] == 20


def test_different_draws_differ_and_say_so():
    like = made([(0, i) for i in range(40)])
    for kind in CONTROLS:
        assert len({neuron_pairs(control_set(like, kind, draw, ACTIVATION)) for draw in range(10)}) == 10
    control = control_set(like, "layer", 3)
    assert control.name == "layer-3"
    assert {"control_of": "helpful", "control": "layer", "draw": 3}.items() <= control.origin.items()


def test_uniform_controls_are_spread_evenly_over_layers_and_neurons():
    like = made([(0, i) for i in range(40)])
    drawn = np.zeros(SHAPE)
    for draw in range(200):
        for neuron in neuron_pairs(control_set(like, "uniform", draw)):
            drawn[neuron] += 1
    # 8,000 draws: 2,000 a layer with a standard deviation of 35, 40 a neuron with one of 5.7.
    assert np.abs(drawn.sum(1) - 2000).max() < 5 * 35
    assert np.abs(drawn - 40).max() < 5 * 5.7


def test_bins_are_filled_equally_and_equal_activations_go_by_place():
    filled = Counter(strata("activation", SHAPE, ACTIVATION).reshape(-1).tolist())
    assert filled == dict.fromkeys(range(ACTIVATION_BINS), 10)
    tied = strata("activation", SHAPE, np.zeros(SHAPE))
    assert (tied.reshape(-1) == np.arange(200) // 10).all()


@pytest.mark.parametrize(
    ("kind", "activation", "message"),
    [
        ("magnitude", None, "unknown control 'magnitude'; known are uniform, layer, activation"),
        ("activation", None, "needs the activation of every neuron"),
        ("activation", np.zeros((4, 49)), "network of"),
    ],
)
def test_what_cannot_be_matched_is_refused(kind, activation, message):
    with pytest.raises(RequestError, match=message):
        control_set(made(EVERY[:3]), kind, 0, activation)
