"""Neurons are read and written where the table of sites says, and hooks leave nothing behind."""

from contextlib import nullcontext
from itertools import product

import pytest
import torch
from parts import PAIRS, hugging_face_activations

from tension_lens.errors import RequestError
from tension_lens.model.hooks import reading, replacing

TEXTS = [text for pair in PAIRS for text in pair]
OUTER = {
    0: (torch.tensor([1, 30]), torch.tensor([0.7, -1.3])),
    2: (torch.tensor([0, 5, 39]), torch.tensor([2.0, 0, -3])),
}
INNER = {0: (torch.tensor([30]), torch.tensor([4.0])), 1: (torch.tensor([8, 9]), torch.tensor([-2.0, 1.0]))}


def hugging_face_rewards_with(reference, ids, site, replacements):
    """Hugging Face's reward at the last token, the neurons set by plain hooks on its own modules, in any order."""
    layers = reference.transformer.h if hasattr(reference, "transformer") else reference.model.layers
    handles = []

    def changed(values, layer):
        index, held = replacements[layer]
        values = values.clone()
        values[..., index] = held
        return values

    for layer in replacements:
        mlp = layers[layer].mlp
        if site == "post":
            down = mlp.c_proj if hasattr(mlp, "c_proj") else mlp.down_proj
            hook = down.register_forward_pre_hook(lambda _, inputs, layer=layer: (changed(inputs[0], layer),))
        else:
            act = mlp.act if hasattr(mlp, "act") else mlp.act_fn
            hook = act.register_forward_hook(lambda _, __, output, layer=layer: changed(output, layer))
        handles.append(hook)
    with torch.no_grad():
        rewards = [reference(input_ids=torch.tensor([row])).logits[0, 0] for row in ids]
    for handle in handles:
        handle.remove()
    return torch.stack(rewards)


def hooks_of(model):
    """Every hook of every module."""
    return [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]


def read_all(model, ids, site):
    """The activations of each layer of one text, and what the forward pass gave."""
    seen = {}
    with reading(model.hooked, site, lambda layer, activations: seen.update({layer: activations.clone()})):
        rewards = model.rewards_at_every_token(torch.tensor([ids]))
    return seen, rewards


def ignore(layer, activations):
    """A reader that wants nothing."""


# Reading


def test_what_is_read_is_what_hugging_face_computes_in_every_layer(models, family, site):
    reference, model = models[family]
    for ids in model.encode(TEXTS):
        expected = hugging_face_activations(reference, ids, site)
        seen, rewards = read_all(model, ids, site)
        assert torch.equal(rewards, model.rewards_at_every_token(torch.tensor([ids]))), "reading changes nothing"
        assert list(seen) == [0, 1, 2]
        for layer in seen:
            assert seen[layer].shape == (1, len(ids), model.d_mlp)
            torch.testing.assert_close(seen[layer][0], expected[layer], atol=1e-5, rtol=0)


def test_each_forward_pass_calls_once_a_layer(models, family, site):
    _, model = models[family]
    tokens = torch.tensor(model.encode(TEXTS[:1]))
    calls = []
    with reading(model.hooked, site, lambda layer, _: calls.append(layer)):
        for _ in range(2):
            model.hooked(tokens)
    model.hooked(tokens)
    assert calls == [0, 1, 2] * 2


def test_a_batch_is_read_whole(models, family, site):
    reference, model = models[family]
    rows = [row[:20] for row in model.encode(TEXTS[:3])]
    seen = {}
    with reading(model.hooked, site, lambda layer, activations: seen.update({layer: activations.clone()})):
        model.hooked(torch.tensor(rows))
    for number, row in enumerate(rows):
        for layer, expected in enumerate(hugging_face_activations(reference, row, site)):
            torch.testing.assert_close(seen[layer][number], expected, atol=1e-5, rtol=0)


# Writing


@pytest.mark.parametrize("held", [OUTER, {1: (torch.tensor([39, 3, 17]), torch.tensor([1.0, 2.0, 3.0]))}])
def test_replacing_writes_what_it_says_where_it_says(models, family, site, held):
    reference, model = models[family]
    ids = model.encode(TEXTS)
    expected = hugging_face_rewards_with(reference, ids, site, held)
    with replacing(model.hooked, site, held):
        found = model.rewards(TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (found - model.rewards(TEXTS)).abs().min() > 1e-3, "the replacement would make no difference"


def test_no_replacement_changes_nothing(models, family, site):
    _, model = models[family]
    expected = model.rewards(TEXTS)
    before = hooks_of(model.hooked)
    with replacing(model.hooked, site, {}):
        assert hooks_of(model.hooked) == before
        assert torch.equal(model.rewards(TEXTS), expected)


def test_of_nested_contexts_both_write_and_the_inner_wins(models, family, site):
    reference, model = models[family]
    ids = model.encode(TEXTS)
    # Neuron 30 of layer 0 stands in both.
    united = {**OUTER, **INNER, 0: (torch.tensor([1, 30]), torch.tensor([0.7, 4.0]))}
    expected = hugging_face_rewards_with(reference, ids, site, united)
    with replacing(model.hooked, site, OUTER):
        with replacing(model.hooked, site, INNER):
            torch.testing.assert_close(model.rewards(TEXTS), expected, atol=1e-5, rtol=0)
        outer_alone = hugging_face_rewards_with(reference, ids, site, OUTER)
        torch.testing.assert_close(model.rewards(TEXTS), outer_alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("outer", "inner"), [("post", "gate"), ("gate", "post")])
def test_the_inner_context_wins_over_an_outer_one_at_the_other_site(models, family, outer, inner):
    reference, model = models[family]
    expected = hugging_face_rewards_with(reference, model.encode(TEXTS), inner, OUTER)
    other = {layer: (index, values + 1) for layer, (index, values) in OUTER.items()}
    with replacing(model.hooked, outer, other), replacing(model.hooked, inner, OUTER):
        torch.testing.assert_close(model.rewards(TEXTS), expected, atol=1e-5, rtol=0)


def test_what_was_replaced_before_is_read_at_post(models, family):
    _, model = models[family]
    (ids,) = model.encode(TEXTS[:1])
    plain, _ = read_all(model, ids, "post")
    with replacing(model.hooked, "post", OUTER):
        seen, _ = read_all(model, ids, "post")
    untouched = [i for i in range(model.d_mlp) if i not in (1, 30)]
    assert torch.equal(seen[0][0, :, untouched], plain[0][0, :, untouched])
    for layer, (index, values) in OUTER.items():
        torch.testing.assert_close(seen[layer][0][:, index], values.expand(len(ids), -1), atol=0, rtol=0)


def test_a_gate_that_was_replaced_is_read_at_post_times_the_linear_part(models):
    reference, model = models["llama"]
    (ids,) = model.encode(TEXTS[:1])
    kept = []
    handle = reference.model.layers[0].mlp.up_proj.register_forward_hook(lambda _, __, output: kept.append(output[0]))
    hugging_face_activations(reference, ids, "post")
    handle.remove()
    index, values = OUTER[0]
    with replacing(model.hooked, "gate", OUTER):
        seen, _ = read_all(model, ids, "post")
    torch.testing.assert_close(seen[0][0][:, index], kept[0][:, index] * values, atol=1e-5, rtol=0)


# Hooks of others


def doubled(output, hook=None):
    """A user's hook."""
    return 2 * output


@pytest.mark.parametrize("raises", [False, True])
def test_nothing_is_left_behind(models, family, site, raises):
    _, model = models[family]
    before, expected = hooks_of(model.hooked), model.rewards(TEXTS)
    ends = pytest.raises(KeyError, match="of the body") if raises else nullcontext()
    with ends, reading(model.hooked, site, ignore), replacing(model.hooked, site, OUTER):
        assert len(hooks_of(model.hooked)) > len(before)
        model.rewards(TEXTS[:1])
        if raises:
            raise KeyError("of the body")
    assert hooks_of(model.hooked) == before
    assert torch.equal(model.rewards(TEXTS), expected)


def test_nothing_is_left_behind_when_a_reader_raises_in_the_forward_pass(models, family, site):
    _, model = models[family]
    before = hooks_of(model.hooked)

    def read(layer, activations):
        if layer == 1:
            raise KeyError("of the reader")

    with pytest.raises(KeyError, match="of the reader"), reading(model.hooked, site, read):
        model.rewards(TEXTS[:1])
    assert hooks_of(model.hooked) == before


def test_a_forward_pass_that_failed_midway_does_not_disturb_the_next(models, family, site):
    reference, model = models[family]
    expected = hugging_face_rewards_with(reference, model.encode(TEXTS), site, OUTER)

    def fail(_, __, output):
        raise KeyError("of the user")

    with replacing(model.hooked, site, OUTER):
        handle = model.hooked.blocks[0].mlp.hook_post.register_forward_hook(fail, prepend=True)
        with pytest.raises(KeyError, match="of the user"):
            model.rewards(TEXTS)
        handle.remove()
        torch.testing.assert_close(model.rewards(TEXTS), expected, atol=1e-5, rtol=0)


def test_nothing_is_left_behind_when_entering_fails(models, family, site):
    _, model = models[family]
    before = hooks_of(model.hooked)
    beyond = {0: OUTER[0], 7: OUTER[2]}
    with pytest.raises(IndexError), replacing(model.hooked, site, beyond):
        pass
    assert hooks_of(model.hooked) == before


@pytest.mark.parametrize(("kind", "when"), [*product(("transformer_lens", "pytorch"), ("before", "within"))])
@pytest.mark.parametrize("raises", [False, True])
def test_a_users_hook_on_the_same_point_survives_and_fires(models, family, kind, when, raises):
    _, model = models[family]
    hooked = model.hooked
    intact = model.rewards(TEXTS)
    handles = []

    def add():
        if kind == "transformer_lens":
            hooked.add_hook("blocks.1.mlp.hook_post", doubled)
        else:
            point = hooked.blocks[1].mlp.hook_post
            handles.append(point.register_forward_hook(lambda _, __, output: doubled(output)))

    try:
        add()
        expected = model.rewards(TEXTS)
        hooked.reset_hooks()
        while handles:
            handles.pop().remove()
        assert (expected - intact).abs().min() > 1e-3, "the user's hook would make no difference"
        if when == "before":
            add()
        try:
            with replacing(hooked, "post", OUTER), replacing(hooked, "gate", OUTER), reading(hooked, "gate", ignore):
                if when == "within":
                    add()
                model.rewards(TEXTS[:1])
                if raises:
                    raise KeyError("of the body")
        except KeyError:
            pass
        assert torch.equal(model.rewards(TEXTS), expected)
    finally:
        hooked.reset_hooks()
        for handle in handles:
            handle.remove()
    assert torch.equal(model.rewards(TEXTS), intact)


def test_transformer_lens_own_tools_run_inside_and_take_no_hook_of_ours_away(models, family, site):
    reference, model = models[family]
    (ids,) = model.encode(TEXTS[:1])
    expected = hugging_face_rewards_with(reference, [ids], site, OUTER)[0]
    with replacing(model.hooked, site, OUTER):
        for _ in range(2):
            rewards, cache = model.hooked.run_with_cache(torch.tensor([ids]))
            assert float(rewards[0, -1, 0]) == pytest.approx(float(expected), abs=1e-5)
        rewards = model.hooked.run_with_hooks(torch.tensor([ids]), fwd_hooks=[("hook_embed", doubled)])
        assert float(rewards[0, -1, 0]) != pytest.approx(float(expected), abs=1e-5)
        model.hooked.reset_hooks()
        assert float(model.rewards([ids])) == pytest.approx(float(expected), abs=1e-5)
    index, values = OUTER[2]
    if site == "post":
        assert torch.equal(cache["blocks.2.mlp.hook_post"][0][:, index], values.expand(len(ids), -1))


def test_an_unknown_site_is_refused_by_name(models, family):
    _, model = models[family]
    before = hooks_of(model.hooked)
    with pytest.raises(RequestError, match="'pre'"), reading(model.hooked, "pre", ignore):
        pass
    with pytest.raises(RequestError, match="'pre'"), replacing(model.hooked, "pre", OUTER):
        pass
    assert hooks_of(model.hooked) == before
