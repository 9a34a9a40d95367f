"""Ablation matches Hugging Face; the planted neuron, and no other, carries the reward."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import FAMILIES, PAIRS, neuron_pairs, save_checkpoint
from parts_planted import PLANTED, planted_comparisons, planted_reward_model
from scipy.stats import binom

from tension_lens.data.datasets import Dataset
from tension_lens.errors import RequestError
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.neurons.conditions import ablation, intact, random_controls
from tension_lens.neurons.sets import NeuronSet, top_percent
from tension_lens.passes.ablation import ablated
from tension_lens.passes.activations import score_neurons
from tension_lens.passes.rewards import evaluate_conditions

TEXTS = [text for pair in PAIRS for text in pair]
N_PLANTED = 200


def some_neurons(model, site, share=0.3, seed=0):
    """A random set of a share of all neurons, of every layer."""
    shape = (model.n_layers, model.d_mlp)
    on = np.random.default_rng(seed).random(shape) < share
    return NeuronSet.of(f"random {seed}", site, shape, zip(*map(np.ndarray.tolist, np.nonzero(on)), strict=True))


def some_means(model):
    """A number of its own for every neuron."""
    return np.random.default_rng(5).normal(size=(model.n_layers, model.d_mlp))


@torch.no_grad()
def hugging_face_rewards(reference, ids, site, neurons, values):
    """Hugging Face's rewards, one text at a time, with neurons set to values[layer, neuron] by hooks on its modules."""
    layers = reference.transformer.h if hasattr(reference, "transformer") else reference.model.layers
    off = torch.zeros(values.shape, dtype=torch.bool)
    for layer, index in neuron_pairs(neurons):
        off[layer, index] = True
    held = torch.tensor(values, dtype=torch.float32)
    handles = []
    for number, layer in enumerate(layers):

        def changed(activations, number=number):
            return torch.where(off[number], held[number], activations)

        if site == "post":
            down = layer.mlp.c_proj if hasattr(layer.mlp, "c_proj") else layer.mlp.down_proj
            handle = down.register_forward_pre_hook(lambda _, inputs, changed=changed: (changed(inputs[0]),))
        else:
            act = layer.mlp.act if hasattr(layer.mlp, "act") else layer.mlp.act_fn
            handle = act.register_forward_hook(lambda _, __, output, changed=changed: changed(output))
        handles.append(handle)
    rewards = torch.stack([reference(input_ids=torch.tensor([row])).logits[0, 0] for row in ids])
    for handle in handles:
        handle.remove()
    return rewards


# Against Hugging Face


@pytest.mark.parametrize("share", [0.3, 1])
def test_zero_ablation_zeroes_what_enters_the_down_projection(models, family, site, share):
    reference, model = models[family]
    neurons = some_neurons(model, site, share)
    zeros = np.zeros(neurons.shape)
    # At either site: what enters the down projection is 0.
    expected = hugging_face_rewards(reference, model.encode(TEXTS), "post", neurons, zeros)
    with ablated(model, neurons):
        found = model.rewards(TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found - model.rewards(TEXTS)).abs().min() > 1e-3, "the ablation would make no difference"


def test_mean_ablation_holds_each_neuron_at_its_mean_at_its_own_site(models, family, site):
    reference, model = models[family]
    neurons, means = some_neurons(model, site), some_means(model)
    expected = hugging_face_rewards(reference, model.encode(TEXTS), site, neurons, means)
    with ablated(model, neurons, means):
        found = model.rewards(TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# As sets


def test_the_empty_set_changes_nothing_bit_for_bit(models, family, site):
    _, model = models[family]
    tokens = torch.tensor(model.encode(TEXTS[:1]))
    expected = model.rewards_at_every_token(tokens)
    for means in (None, some_means(model)):
        with ablated(model, some_neurons(model, site, share=0), means):
            assert torch.equal(model.rewards_at_every_token(tokens), expected)


def test_leaving_brings_the_intact_model_back_also_when_the_body_raises(models, family, site):
    _, model = models[family]
    expected = model.rewards(TEXTS)
    with pytest.raises(KeyError, match="of the body"), ablated(model, some_neurons(model, site)):
        raise KeyError("of the body")
    assert torch.equal(model.rewards(TEXTS), expected)


def test_nested_ablations_are_the_ablation_of_the_union(models, family, site):
    _, model = models[family]
    reference, _ = models[family]
    tokens = model.encode(TEXTS[:2])
    neuron = st.tuples(st.integers(0, model.n_layers - 1), st.integers(0, model.d_mlp - 1))

    @settings(max_examples=10, deadline=None, database=None)
    @given(st.sets(neuron, max_size=30), st.sets(neuron, max_size=30), st.booleans())
    def check(left, right, mean):
        means = some_means(model) if mean else None
        a, b = (NeuronSet.of("set", site, (model.n_layers, model.d_mlp), one) for one in (left, right))
        values = np.zeros(a.shape) if means is None else means
        with ablated(model, a, means), ablated(model, b, means):
            nested = model.rewards(tokens)
        with ablated(model, a | b, means):
            torch.testing.assert_close(nested, model.rewards(tokens), atol=1e-6, rtol=0)
        expected = hugging_face_rewards(reference, tokens, site, a | b, values)
        torch.testing.assert_close(nested, expected, atol=1e-5, rtol=0)

    check()


def test_in_nested_ablations_the_inner_one_holds_a_neuron_of_both(models, family, site):
    _, model = models[family]
    neurons = some_neurons(model, site)
    with ablated(model, neurons):
        expected = model.rewards(TEXTS)
    with ablated(model, neurons, some_means(model)), ablated(model, neurons):
        assert torch.equal(model.rewards(TEXTS), expected)


@pytest.mark.parametrize("shape", [(2, 40), (4, 40), (3, 39), (3, 97), (40, 3)])
def test_a_set_of_another_network_is_refused(models, family, site, shape):
    _, model = models[family]
    with pytest.raises(RequestError, match=f"{shape[0]} layers of {shape[1]} neurons"):
        ablated(model, NeuronSet.of("foreign", site, shape, [(0, 0)])).__enter__()


def test_means_of_another_network_are_refused(models, family, site):
    _, model = models[family]
    means = some_means(model)[:, :-1]
    with pytest.raises(RequestError, match="means"), ablated(model, some_neurons(model, site), means):
        pass


# The planted neuron


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Of each family the model with the planted neuron, and comparisons."""
    folder = tmp_path_factory.mktemp("planted")
    data = Dataset(tuple(planted_comparisons(N_PLANTED)))
    saved = {family: save_checkpoint(planted_reward_model(family), folder / family) for family in FAMILIES}
    return {family: (HookedRewardModel.from_pretrained(path), data) for family, path in saved.items()}


def accuracies(model, data, *conditions):
    """The share of items right under each condition."""
    return [np.mean(table.correct) for table in evaluate_conditions(model, data, conditions).values()]


def planted_set(model, site):
    """The planted neuron alone."""
    return NeuronSet.of("planted", site, (model.n_layers, model.d_mlp), [PLANTED])


def assert_chance(accuracy):
    """The share lies within the central 95 % of fair coin tosses."""
    low, high = binom.interval(0.95, N_PLANTED, 0.5)
    assert low <= accuracy * N_PLANTED <= high
    assert 80 < low < high < 120


@pytest.mark.parametrize("scope", ["all", "last"])
def test_scoring_ranks_the_planted_neuron_first(planted, family, site, scope):
    model, data = planted[family]
    scores = score_neurons(model, data, site=site, scope=scope)
    importance = scores.importance("mean_abs")
    best = top_percent(importance, 100 / importance.size, "best", site)
    assert neuron_pairs(best) == (PLANTED,)
    if scope == "last":
        difference = np.abs(scores.values["chosen/mean"] - scores.values["rejected/mean"])
        assert np.unravel_index(difference.argmax(), difference.shape) == PLANTED


def test_without_the_planted_neuron_the_model_guesses(planted, family, site):
    model, data = planted[family]
    whole, without = accuracies(model, data, intact(), ablation(planted_set(model, site)))
    assert whole == 1
    assert_chance(without)


def test_at_its_mean_the_planted_neuron_tells_nothing_either(planted, family):
    # At post: it writes the same into every text. (At a gate it still passes on W_in x, which knows good from bad.)
    model, data = planted[family]
    means = score_neurons(model, data).importance("mean")
    assert_chance(accuracies(model, data, ablation(planted_set(model, "post"), "mean", means))[0])


def test_every_other_neuron_may_go(planted, family, site):
    model, data = planted[family]
    shape = (model.n_layers, model.d_mlp)
    everything = NeuronSet.of("all", site, shape, np.ndindex(*shape))
    assert accuracies(model, data, ablation(everything - planted_set(model, site))) == [1]


def test_a_random_control_of_the_same_size_does_no_harm(planted, family, site):
    model, data = planted[family]
    controls = random_controls(planted_set(model, site), 5)
    assert all(neuron_pairs(control.neurons) != (PLANTED,) for control in controls)
    assert accuracies(model, data, *controls) == [1] * 5
