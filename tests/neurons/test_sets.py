"""Exact selection, the algebra of sets, overlap against enumeration, depth by hand, and the file's contract."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles.statistics import chance_overlap
from parts import neuron_pairs

from tension_lens.errors import RequestError
from tension_lens.neurons.depth import bucket_of, depth_shares, layer_counts, uniform_depth
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.sets import NeuronSet, partition, top_percent

SHAPE = (3, 4)
EVERY = [(layer, index) for layer in range(SHAPE[0]) for index in range(SHAPE[1])]
some = st.sets(st.sampled_from(EVERY))
shapes = st.tuples(st.integers(1, 6), st.integers(1, 25))
percents = st.one_of(st.floats(0, 100, exclude_min=True), st.integers(1, 100).map(float))


def made(neurons, name="a", site="post", shape=SHAPE, **origin):
    return NeuronSet.of(name, site, shape, neurons, **origin)


# --- selection ---


@given(
    shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1e300]))),
    percents,
)
def test_exactly_the_rounded_share_is_selected_by_importance_then_layer_then_index(importance, top):
    every = itertools.product(range(importance.shape[0]), range(importance.shape[1]))
    ranked = sorted(every, key=lambda neuron: (-importance[neuron], neuron))
    chosen = top_percent(importance, top, "a", "post")
    assert chosen.shape == importance.shape
    assert set(neuron_pairs(chosen)) == set(ranked[: round(top / 100 * importance.size)])


@pytest.mark.parametrize(
    ("importance", "top", "expected"),
    [
        # `>= percentile` would select all ten.
        (np.zeros((2, 5)), 30.0, [(0, 0), (0, 1), (0, 2)]),
        (np.array([[0.0, 0.0, 9.0, 0.0], [0.0, 8.0, 0.0, 0.0]]), 37.5, [(0, 0), (0, 2), (1, 1)]),
        (np.arange(12.0).reshape(SHAPE), 100.0, EVERY),
    ],
)
def test_selection_by_hand(importance, top, expected):
    assert neuron_pairs(top_percent(importance, top, "a", "post")) == tuple(expected)


@pytest.mark.parametrize("top", [0.0, -1.0, 100.0001, 1e9, math.inf, -math.inf, math.nan])
def test_a_share_outside_its_range_is_refused(top):
    with pytest.raises(RequestError, match=f"found {top:g}".replace("+", r"\+")):
        top_percent(np.zeros(SHAPE), top, "a", "post")


def test_importance_that_is_nan_is_refused_and_counted():
    importance = np.zeros(SHAPE)
    importance[1, 2] = importance[2, 0] = np.nan
    with pytest.raises(RequestError, match="2 NaN"):
        top_percent(importance, 50.0, "a", "post")


def test_a_selection_says_how_it_was_made():
    chosen = top_percent(np.zeros(SHAPE), 25.0, "helpful", "gate", statistic="rms", scope="last")
    assert (chosen.name, chosen.site, chosen.shape) == ("helpful", "gate", SHAPE)
    assert chosen.origin == {"top_percent": 25, "statistic": "rms", "scope": "last"}


# --- algebra ---


@given(some, some)
def test_union_intersection_and_difference_are_those_of_sets(a, b):
    left, right = made(a), made(b, "b")
    assert set(neuron_pairs(left | right)) == a | b
    assert set(neuron_pairs(left & right)) == a & b
    assert set(neuron_pairs(left - right)) == a - b
    assert neuron_pairs(left | right) == neuron_pairs(right | left)
    assert neuron_pairs(left & right) == neuron_pairs(right & left)


@given(some, some)
def test_the_parts_are_disjoint_and_make_up_the_two_sets(a, b):
    helpful, harmless = made(a, "helpful"), made(b, "harmless")
    parts = partition(helpful, harmless)
    assert [(name, part.name) for name, part in parts.items()] == [
        (name, name) for name in ("helpful_only", "harmless_only", "shared")
    ]
    helpful_only, harmless_only, shared = parts.values()
    assert neuron_pairs(helpful_only | shared) == neuron_pairs(helpful)
    assert neuron_pairs(harmless_only | shared) == neuron_pairs(harmless)
    assert len(helpful_only) + len(harmless_only) + len(shared) == len(helpful | harmless)
    assert set(neuron_pairs(shared)) == a & b


def test_a_combination_says_what_it_was_made_of():
    union = made([(0, 0)], "a", seed=1) | made([(1, 1)], "b", seed=2)
    assert union.name == "a | b"
    assert union.origin == {"operation": "|", "left": {"seed": 1}, "right": {"seed": 2}}
    assert union.renamed("c").origin == union.origin


@pytest.mark.parametrize("operation", ["__or__", "__and__", "__sub__"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (made([], "b", "gate"), "post and gate"),
        (made([], "b", shape=(3, 5)), "3 layers of 5 neurons, set 'a' has 3 of 4"),
        (made([], "b", shape=(4, 3)), "4 layers of 3"),
    ],
)
def test_sets_of_different_sites_or_networks_do_not_combine(operation, other, message):
    with pytest.raises(RequestError, match=message):
        getattr(made([(0, 0)]), operation)(other)
    with pytest.raises(RequestError):
        partition(made([]), other)
    with pytest.raises(RequestError):
        overlap(made([]), other)


@given(some)
def test_neurons_are_grouped_and_counted_by_layer(neurons):
    expected = {layer: sorted(index for at, index in neurons if at == layer) for layer in range(3)}
    found_by_layer = {layer: found.tolist() for layer, found in made(neurons).by_layer().items()}
    assert found_by_layer == {layer: found for layer, found in expected.items() if found}
    assert layer_counts(made(neurons)).tolist() == [len(expected[layer]) for layer in range(3)]


# --- overlap ---


def test_overlap_with_chance_worked_by_hand():
    # N = 6, |A| = 3, |B| = 2: of the 15 sets B, 3 share nothing with A, 9 share one neuron, 3 share two.
    a = made([(0, 0), (0, 1), (0, 2)], shape=(2, 3))
    found = overlap(a, made([(0, 0), (1, 0)], "b", shape=(2, 3)))
    assert (found.intersection, found.union, found.jaccard) == (1, 4, 0.25)
    assert found.expected_intersection == pytest.approx(1.0)
    assert found.expected_jaccard == pytest.approx(9 / 15 * 1 / 4 + 3 / 15 * 2 / 3)
    assert found.p_value == pytest.approx(12 / 15)
    assert overlap(a, made([(0, 0), (0, 1)], shape=(2, 3))).p_value == pytest.approx(3 / 15)
    assert overlap(a, made([(1, 0), (1, 1)], shape=(2, 3))).p_value == pytest.approx(1.0)


@given(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_overlap_with_chance_equals_enumeration(a, b):
    shape = (2, 4)
    found = overlap(*(made([divmod(n, 4) for n in s], shape=shape) for s in (a, b)))
    assert (found.intersection, found.union) == (len(a & b), len(a | b))
    if not a | b:
        assert math.isnan(found.jaccard)
        assert math.isnan(found.expected_jaccard)
        return
    assert found.jaccard == pytest.approx(len(a & b) / len(a | b))
    by_chance = (found.expected_intersection, found.expected_jaccard, found.p_value)
    assert by_chance == pytest.approx(chance_overlap(a, b, 8))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [0, 12])
def test_the_empty_and_the_full_set_are_compared_without_a_warning(size):
    found = overlap(made(EVERY[:size]), made(EVERY[:3], "b"))
    assert (found.intersection, found.expected_intersection, found.p_value) == (min(size, 3), size / 4, 1)
    assert found.jaccard == found.expected_jaccard == found.intersection / max(size, 3)


# --- depth ---


@pytest.mark.parametrize(
    ("n_layers", "early", "middle", "late"),
    [
        (4, [0, 1], [2], [3]),
        (6, [0, 1], [2, 3], [4, 5]),
        (12, range(4), range(4, 8), range(8, 12)),
        (30, range(10), range(10, 20), range(20, 30)),
        (32, range(11), range(11, 22), range(22, 32)),
    ],
)
def test_depth_buckets_are_thirds_of_the_models_layers(n_layers, early, middle, late):
    found = [bucket_of(layer, n_layers) for layer in range(n_layers)]
    assert found == ["early"] * len(early) + ["middle"] * len(middle) + ["late"] * len(late)
    shares = {"early": len(early), "middle": len(middle), "late": len(late)}
    assert uniform_depth(n_layers) == pytest.approx({name: size / n_layers for name, size in shares.items()})
    everything = made(((layer, 0) for layer in range(n_layers)), shape=(n_layers, 1))
    assert depth_shares(everything) == pytest.approx(uniform_depth(n_layers))


def test_depth_shares_by_hand():
    assert depth_shares(made([(0, 0), (0, 3), (1, 1), (2, 2)])) == {"early": 0.5, "middle": 0.25, "late": 0.25}
    # Thirds are of the model's layers, not of the selected ones, which all lie in the first third of twelve.
    assert depth_shares(made([(0, 0), (1, 0), (2, 0)], shape=(12, 1))) == {"early": 1, "middle": 0, "late": 0}
    assert all(math.isnan(share) for share in depth_shares(made([])).values())


# --- the file ---

CONTENT = {
    "name": "helpful",
    "site": "post",
    "n_layers": 3,
    "d_mlp": 4,
    "neurons": [[0, 3], [1, 0], [2, 2]],
    "origin": {"statistic": "mean_abs", "top_percent": 25.0},
}


def stored(tmp_path, content):
    path = tmp_path / "set.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_file_holds_exactly_what_the_contract_says(tmp_path):
    neurons = made([(2, 2), (0, 3), (1, 0)], "helpful", statistic="mean_abs", top_percent=25.0)
    neurons.save(tmp_path / "set.json")
    found = json.loads((tmp_path / "set.json").read_text("utf-8"))
    assert found == CONTENT
    assert list(found) == list(CONTENT)


@given(some, st.sampled_from(["post", "gate"]), st.text(max_size=5))
def test_a_set_survives_its_file(tmp_path_factory, neurons, site, name):
    before = made(neurons, name, site, note=name)
    path = tmp_path_factory.mktemp("sets") / "set.json"
    before.save(path)
    after = NeuronSet.load(path)
    assert after == before
    assert after.origin == before.origin


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neurons": [[1, 0], [0, 3]]}, "sorted"),
        ({"neurons": [[0, 3], [0, 3]]}, "unique"),
        ({"neurons": [[3, 0]]}, r"\[3, 0\] .* 3 layers of 4"),
        ({"neurons": [[0, 4]]}, r"\[0, 4\]"),
        ({"neurons": [[-1, 0]]}, r"\[-1, 0\]"),
        ({"neurons": [[0, -1]]}, r"\[0, -1\]"),
        ({"site": "resid"}, "'resid'"),
        ({"site": None}, "site"),
        *(({"neurons": odd}, "not a neuron set") for odd in ([[0]], [[0, 1, 2]], [3], None, [["a", 0]])),
        # Not rounded to integers.
        *(({"neurons": [odd]}, "not a neuron set") for odd in ([0.9, 1], [0, 1.5], [0, "1"])),
        *(({key: odd}, "not a neuron set") for key, odd in (("n_layers", 3.7), ("d_mlp", "4"), ("origin", 3))),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused_by_name(change, message, tmp_path):
    with pytest.raises(RequestError, match=rf"set\.json.*{message}"):
        NeuronSet.load(stored(tmp_path, {**CONTENT, **change}))


@pytest.mark.parametrize("key", CONTENT)
def test_a_file_that_lacks_a_key_other_than_origin_is_refused_with_the_key(key, tmp_path):
    content = {k: v for k, v in CONTENT.items() if k != key}
    if key == "origin":
        assert NeuronSet.load(stored(tmp_path, content)).origin == {}
        return
    with pytest.raises(RequestError, match=f"'{key}'"):
        NeuronSet.load(stored(tmp_path, content))


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', "{\n,"])
def test_a_file_that_holds_no_json_object_is_refused(content, tmp_path):
    with pytest.raises(RequestError, match=r"set\.json"):
        NeuronSet.load(stored(tmp_path, content))
