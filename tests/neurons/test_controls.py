"""Random controls have the size of their set and none of its neurons, and match what they claim to match."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import neuron_pairs

from tension_lens.constants import CONTROLS
from tension_lens.errors import RequestError
from tension_lens.neurons.controls import (
    ACTIVATION_BINS,
    ControlUnavailable,
    control_set,
    strata,
    subset_of,
)
from tension_lens.neurons.sets import NeuronSet, top_percent

SHAPE = (4, 50)
EVERY = [(layer, index) for layer in range(SHAPE[0]) for index in range(SHAPE[1])]
ACTIVATION = np.random.default_rng(5).lognormal(size=SHAPE)


def made(neurons, name="helpful", site="post"):
    return NeuronSet.of(name, site, SHAPE, neurons)


def bin_by_hand(neuron):
    """Neurons below it in activation decide the bin: ten of 200 fill each of the twenty."""
    return int((ACTIVATION[neuron] > ACTIVATION).sum()) // 10


STRATUM = {"uniform": lambda neuron: 0, "layer": lambda neuron: neuron[0], "activation": bin_by_hand}
FULL = {kind: Counter(map(stratum, EVERY)) for kind, stratum in STRATUM.items()}


@st.composite
def neuron_lists(draw):
    """Few neurons anywhere, a part of each layer, or a part of each bin; of none to all."""
    by = draw(st.sampled_from(["anywhere", "layer", "activation"]))
    if by == "anywhere":
        return draw(st.lists(st.sampled_from(EVERY), unique=True, max_size=len(EVERY)))
    groups = {}
    for neuron in EVERY:
        groups.setdefault(STRATUM[by](neuron), []).append(neuron)
    shares = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 1.0])
    limit = draw(shares)
    return [one for group in groups.values() for one in group[: int(len(group) * min(limit, draw(shares)))]]


@settings(deadline=None, max_examples=300)
@given(neuron_lists(), st.sampled_from(CONTROLS), st.integers(0, 2**32 - 1))
def test_a_control_matches_its_set_in_every_stratum_and_has_none_of_its_neurons_or_does_not_exist(neurons, kind, draw):
    like, inside = made(neurons, site="gate"), Counter(map(STRATUM[kind], neurons))
    outside = {stratum: FULL[kind][stratum] - taken for stratum, taken in inside.items()}
    ways = math.prod(math.comb(outside[stratum], taken) for stratum, taken in inside.items())
    if ways < 2:
        with pytest.raises(ControlUnavailable, match=f"'helpful' has no (random )?control of kind '{kind}'"):
            control_set(like, kind, draw, ACTIVATION)
        return
    control = control_set(like, kind, draw, ACTIVATION)
    drawn = neuron_pairs(control)
    assert not set(drawn) & set(neurons)
    assert Counter(map(STRATUM[kind], drawn)) == inside
    assert (len(control), control.shape, control.site) == (len(neurons), SHAPE, "gate")
    assert control == control_set(like, kind, draw, ACTIVATION)


def test_each_kind_matches_what_it_names_and_not_the_rest():
    # Layer 0 alone, of any activation: a uniform control leaves the layer, a layer-matched one does not.
    in_one_layer = made([(0, index) for index in range(0, 50, 3)])
    assert set(dict(neuron_pairs(control_set(in_one_layer, "layer", 1)))) == {0}
    assert len(control_set(in_one_layer, "uniform", 1).by_layer()) == 4
    assert len(control_set(in_one_layer, "activation", 1, ACTIVATION).by_layer()) == 4
    # Every third neuron of the loudest fifth: uniform controls are much quieter, activation-matched ones are not.
    places = np.argsort(-ACTIVATION, axis=None)[:40:3]
    loudest = [divmod(int(place), SHAPE[1]) for place in places]
    total = sum(ACTIVATION[one] for one in loudest)
    matched = [control_set(made(loudest), "activation", draw, ACTIVATION) for draw in range(20)]
    uniform = [control_set(made(loudest), "uniform", draw) for draw in range(20)]
    both = (matched, uniform)
    sums = [np.mean([sum(ACTIVATION[one] for one in neuron_pairs(control)) for control in kind]) for kind in both]
    assert sums[0] == pytest.approx(total, rel=0.15)
    assert sums[1] < 0.6 * total


LOUDEST = neuron_pairs(top_percent(ACTIVATION, 10.0, "loud", "post"))


@pytest.mark.parametrize(
    ("kind", "neurons", "message"),
    [
        ("activation", LOUDEST, "activation bin 18 must hold at least 10 neurons outside the set, found 0"),
        ("layer", [(2, i) for i in range(26)], "layer 2 must hold at least 26 neurons outside the set, found 24"),
        ("uniform", EVERY[:101], "the network must hold at least 101 neurons outside the set, found 99"),
        ("uniform", EVERY, "at least 200 neurons outside the set, found 0"),
        ("uniform", EVERY[::2], "the network must hold more than 100 neurons .*, found 100; all draws would be the"),
        ("layer", EVERY[25:75], "layer 0, layer 1 must hold more than 50 neurons outside the set, found 50"),
        ("uniform", [], "must have neurons, found 0"),
    ],
)
def test_a_missing_control_says_where_it_lacks_neurons(kind, neurons, message):
    with pytest.raises(ControlUnavailable, match=rf"set 'helpful' has no .*kind '{kind}': .*{message}"):
        control_set(made(neurons), kind, 0, ACTIVATION)


def test_half_of_one_layer_leaves_a_choice_if_another_layer_does():
    like = made([*EVERY[:25], *EVERY[50:60]])
    drawn = [set(neuron_pairs(control_set(like, "layer", draw))) for draw in range(5)]
    assert all(set(EVERY[25:50]) < one for one in drawn)
    assert len({frozenset(one) for one in drawn}) == 5


def test_different_draws_differ_and_say_so():
    like = made([(0, i) for i in range(15)])
    quiet = made(neuron_pairs(top_percent(-ACTIVATION, 40.0, "quiet", "post"))[::3])
    for kind, one in (("uniform", like), ("layer", like), ("activation", quiet)):
        assert len({neuron_pairs(control_set(one, kind, draw, ACTIVATION)) for draw in range(10)}) == 10
    control = control_set(like, "layer", 3, weights_sha256="ab")
    assert control.name == "layer-3"
    assert len(control.origin.pop("seed")) == 64
    assert control.origin == {"control_of": "helpful", "control": "layer", "draw": 3, "weights_sha256": "ab"}


def test_sets_models_and_kinds_have_controls_of_their_own():
    def drawn(neurons=EVERY[:20], kind="uniform", draw=0, weights="ab", **about):
        return set(neuron_pairs(control_set(made(neurons, **about), kind, draw, weights_sha256=weights)))

    first = drawn()
    assert first == drawn(name="another name")
    # The same random numbers would take the same 20 of 180 neurons but for the one neuron that the sets exchange;
    # independent draws share 20 · 20 / 180 = 2.2.
    others = [
        drawn([*EVERY[:19], EVERY[20]]),
        drawn(weights="cd"),
        drawn(weights=""),
        drawn(draw=1),
        drawn(site="gate"),
    ]
    assert max(len(first & other) for other in others) < 10
    # With one layer both kinds draw from the same neurons.
    flat = NeuronSet.of("flat", "post", (1, 200), [(0, i) for i in range(20)])
    uniform, layer = (set(neuron_pairs(control_set(flat, kind, 0))) for kind in ("uniform", "layer"))
    assert len(uniform & layer) < 10


def test_uniform_controls_are_spread_evenly_over_the_other_neurons():
    like = made([(0, i) for i in range(40)])
    drawn = np.zeros(SHAPE)
    for draw in range(200):
        for neuron in neuron_pairs(control_set(like, "uniform", draw)):
            drawn[neuron] += 1
    assert not drawn[0, :40].any()
    # 8,000 draws from 160 neurons: 2,500 from layers 1 to 3 with a standard deviation of 36, 50 a neuron with 6.1.
    assert np.abs(drawn[1:].sum(1) - 2500).max() < 5 * 36
    assert np.abs(drawn.reshape(-1)[40:] - 50).max() < 5 * 6.1


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
    with pytest.raises(RequestError, match=message) as refused:
        control_set(made(EVERY[:3]), kind, 0, activation)
    assert not isinstance(refused.value, ControlUnavailable)


def test_a_subset_is_drawn_from_the_larger_set_and_seeded_by_both():
    pool, like = made(EVERY[50:100], "shared"), made(EVERY[:20])
    drawn = [subset_of(pool, like, draw, weights_sha256="ab") for draw in range(10)]
    assert all(len(one) == 20 and set(neuron_pairs(one)) < set(EVERY[50:100]) for one in drawn)
    assert len(set(map(neuron_pairs, drawn))) == 10
    assert drawn[3] == subset_of(pool, like, 3, weights_sha256="ab")
    assert drawn[3].name == "shared-3"
    assert len(drawn[3].origin.pop("seed")) == 64
    assert drawn[3].origin == {"control_of": "helpful", "control": "shared", "draw": 3, "weights_sha256": "ab"}
    # Independent draws share 20 · 20 / 50 = 8 neurons with a standard deviation of 1.7.
    others = [
        subset_of(pool, made([*EVERY[:19], EVERY[20]]), 3, weights_sha256="ab"),
        subset_of(made([*EVERY[50:99], EVERY[100]], "shared"), like, 3, weights_sha256="ab"),
        subset_of(pool, like, 3),
    ]
    assert max(len(set(neuron_pairs(one)) & set(neuron_pairs(drawn[3]))) for one in others) < 16


@pytest.mark.parametrize(
    ("pool", "neurons", "message"),
    [
        (EVERY[:50], EVERY[49:60], "the two sets must share no neuron, found 1"),
        (EVERY[:10], EVERY[50:61], "set 'shared' must hold at least 11 neurons outside the set, found 10"),
        (EVERY[:11], EVERY[50:61], "set 'shared' must hold more than 11 neurons"),
        (EVERY[:11], [], "it must have neurons, found 0"),
    ],
)
def test_a_subset_needs_a_larger_set_without_the_neurons(pool, neurons, message):
    with pytest.raises(ControlUnavailable, match=f"set 'helpful' has no .*kind 'shared': {message}"):
        subset_of(made(pool, "shared"), made(neurons), 0)
