"""The hooked reward model computes Hugging Face's rewards, and refuses what is no reward model."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import (
    BYTES,
    END_OF_TEXT,
    PAD,
    PAIRS,
    VOCABULARY,
    byte_tokenizer,
    make_reward_model,
    save_checkpoint,
    script,
)
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    LlamaForCausalLM,
)

from tension_lens.artifacts.layout import CARD_FILE
from tension_lens.data.comparisons import HH_TEMPLATE, Comparison
from tension_lens.data.datasets import load_comparisons
from tension_lens.errors import RequestError
from tension_lens.model import reward_model
from tension_lens.model.checkpoints import RewardModelCard
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.model.tokenization import TextTokenizer

TEXTS = [text for pair in PAIRS for text in pair]
SIXTEEN_TEXTS = [*TEXTS, *(text[:-9] for text in TEXTS[:4]), f"An end{END_OF_TEXT}in the midst", f"Last{END_OF_TEXT}"]
EOS = 0
OTHER_PAD = 1
parity = script("parity")


@torch.no_grad()
def alone(reference, ids):
    """Hugging Face's reward of each sequence, one at a time, with nothing to pad."""
    return torch.stack([reference(input_ids=torch.tensor([row])).logits[0, 0] for row in ids])


@torch.no_grad()
def together(reference, ids):
    """Hugging Face's rewards of all sequences as one batch, padded on the right."""
    longest = max(map(len, ids))
    pad = reference.config.pad_token_id
    tokens = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    return reference(input_ids=tokens, attention_mask=mask).logits[:, 0]


def open_model(reference, folder, **card):
    """The reference saved, with a card if one is given, and loaded again as a hooked reward model."""
    save_checkpoint(reference, folder)
    if card:
        (folder / CARD_FILE).write_text(json.dumps(card))
    return HookedRewardModel.from_pretrained(folder)


# Parity


@pytest.mark.parametrize("pad_token_id", [EOS, OTHER_PAD, None])
def test_rewards_equal_hugging_face_one_text_at_a_time(family, pad_token_id, tmp_path):
    reference = make_reward_model(family, pad_token_id=pad_token_id)
    model = open_model(reference, tmp_path / "model")
    expected = alone(reference, model.encode(SIXTEEN_TEXTS))
    for token_budget in (1, 64, 100_000):
        torch.testing.assert_close(model.rewards(SIXTEEN_TEXTS, token_budget), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pad_token_id", [EOS, OTHER_PAD])
def test_rewards_equal_hugging_face_in_a_batch_of_sixteen(family, pad_token_id, tmp_path):
    reference = make_reward_model(family, pad_token_id=pad_token_id)
    model = open_model(reference, tmp_path / "model")
    assert len(SIXTEEN_TEXTS) == 16
    expected = together(reference, model.encode(SIXTEEN_TEXTS))
    torch.testing.assert_close(model.rewards(SIXTEEN_TEXTS), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gpt2", {"activation_function": "relu"}),
        ("gpt2", {"activation_function": "gelu"}),
        ("gpt2", {"activation_function": "gelu_pytorch_tanh"}),
        ("gpt2", {"n_inner": 33}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt2", {"layer_norm_epsilon": 0.01}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"num_key_value_heads": 4}),
        ("llama", {"num_key_value_heads": 1}),
        ("llama", {"head_dim": 10}),
        ("llama", {"rms_norm_eps": 0.01}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
    ],
)
def test_every_supported_setting_of_a_config_is_honoured(kind, changes, tmp_path):
    reference = make_reward_model(kind, **changes)
    model = open_model(reference, tmp_path / "model")
    expected = alone(reference, model.encode(TEXTS))
    torch.testing.assert_close(model.rewards(TEXTS), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pad_token_id", [EOS, OTHER_PAD, None])
def test_the_parity_a_model_reports_is_small_and_was_measured(family, pad_token_id, tmp_path):
    reference = make_reward_model(family, pad_token_id=pad_token_id)
    model = open_model(reference, tmp_path / "model")
    assert 0 <= model.parity < 1e-5
    with torch.no_grad():
        reference.score.weight *= 1.01
    ids = model.encode(TEXTS)
    for batch_size in (1, 16):
        moved = (alone(reference, ids) - model.rewards(TEXTS)).abs().max()
        assert model.parity_with(reference, ids, batch_size) == pytest.approx(float(moved), abs=1e-5)
        assert moved > 1e-4


def test_the_reward_at_every_token_is_hugging_faces_reward_of_that_prefix(family, tmp_path):
    # Without a pad token Hugging Face reads a prefix at its last token, whatever that is.
    reference = make_reward_model(family, pad_token_id=None)
    model = open_model(reference, tmp_path / "model")
    (ids,) = model.encode([f"\n\nHuman: é{END_OF_TEXT}\n\nAssistant: ☃ snow"])
    expected = alone(reference, [ids[: end + 1] for end in range(len(ids))])
    found = model.rewards_at_every_token(torch.tensor([ids]))
    assert found.shape == (1, len(ids))
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=0)


def test_the_reward_at_every_token_ignores_whatever_stands_to_its_right(models, family):
    _, model = models[family]
    (ids,) = model.encode(TEXTS[:1])
    expected = model.rewards_at_every_token(torch.tensor([ids]))[0]

    @settings(max_examples=10, deadline=None, database=None)
    @given(st.lists(st.integers(0, 257), min_size=1, max_size=40))
    def check(filler):
        found = model.rewards_at_every_token(torch.tensor([ids + filler]))[0, : len(ids)]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    check()


def test_a_reward_depends_on_neither_batch_nor_order_nor_padding(models, family):
    reference, model = models[family]
    # 0 is eos and pad at once: it may stand anywhere, also at the end or alone.
    rows_of_ids = st.lists(st.lists(st.sampled_from([0, *range(250)]), min_size=1, max_size=30), min_size=1, max_size=8)

    @settings(max_examples=15, deadline=None, database=None)
    @given(rows_of_ids, st.integers(1, 300), st.randoms(use_true_random=False))
    def check(rows, token_budget, random):
        order = random.sample(range(len(rows)), len(rows))
        found = model.rewards([rows[i] for i in order], token_budget)
        torch.testing.assert_close(found, alone(reference, rows)[order], atol=1e-5, rtol=0)

    check()


# What is read


def test_an_appended_eos_that_is_not_the_pad_token_is_where_the_reward_is_read(family, tmp_path):
    reference = make_reward_model(family, pad_token_id=OTHER_PAD)
    model = open_model(reference, tmp_path / "model", eos_appended=True)
    plain = byte_tokenizer()(TEXTS).input_ids
    expected = alone(reference, [[*ids, EOS] for ids in plain])
    torch.testing.assert_close(model.rewards(TEXTS), expected, atol=1e-5, rtol=0)
    assert (expected - alone(reference, plain)).abs().min() > 1e-4, "the EOS would make no difference"


def test_without_a_pad_token_an_appended_eos_is_the_last_token_and_is_read(family, tmp_path):
    reference = make_reward_model(family, pad_token_id=None)
    model = open_model(reference, tmp_path / "model", eos_appended=True)
    expected = alone(reference, [[*ids, EOS] for ids in byte_tokenizer()(TEXTS).input_ids])
    torch.testing.assert_close(model.rewards(TEXTS), expected, atol=1e-5, rtol=0)


def test_an_appended_eos_that_is_the_pad_token_is_passed_over(family, tmp_path):
    reference = make_reward_model(family, pad_token_id=EOS)
    model = open_model(reference, tmp_path / "model", eos_appended=True)
    plain = byte_tokenizer()(TEXTS).input_ids
    torch.testing.assert_close(model.rewards(TEXTS), alone(reference, plain), atol=1e-5, rtol=0)
    # As in training, where the EOS is there and Hugging Face passes over it.
    in_training = alone(reference, [[*ids, EOS] for ids in plain])
    torch.testing.assert_close(model.rewards(TEXTS), in_training, atol=1e-5, rtol=0)


@pytest.mark.parametrize("eos_appended", [False, True])
@pytest.mark.parametrize("pad_token_id", [EOS, OTHER_PAD, None])
def test_a_comparison_is_read_as_its_whole_text_is(eos_appended, pad_token_id, tmp_path):
    reference = make_reward_model("gpt2", pad_token_id=pad_token_id)
    model = open_model(reference, tmp_path / "model", eos_appended=eos_appended)
    comparison = Comparison("\n\nHuman: é?\n\nAssistant:", (" ☃", " snow"), (" no",), "any", "helpful", "0")
    texts = model.tokenizer(comparison, 0)
    assert [list(text.ids) for text in texts] == model.encode(
        [comparison.prompt + end for end in (" ☃", " snow", " no")]
    )
    # With pad = eos the EOS is passed over; elsewhere the last token is read.
    assert [text.pooled for text in texts] == [len(text.ids) - 1 for text in texts]


def test_no_bos_is_added_even_where_the_tokenizer_would_add_one(checkpoint):
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{END_OF_TEXT} $A {END_OF_TEXT}", special_tokens=[(END_OF_TEXT, EOS)]
    )
    tokenizer.save_pretrained(checkpoint)
    assert AutoTokenizer.from_pretrained(checkpoint)("ab").input_ids[0] == EOS, "the tokenizer adds nothing to forbid"
    model = HookedRewardModel.from_pretrained(checkpoint)
    ids_of = {token: number for number, token in enumerate([END_OF_TEXT, PAD, *BYTES])}
    assert model.encode(["ab"]) == [[ids_of["a"], ids_of["b"]]]
    (text, _) = model.tokenizer(Comparison("a", ("b",), ("c",), "any", "helpful", "0"), 0)
    assert text.ids == (ids_of["a"], ids_of["b"])


def test_rewards_take_strings_or_token_ids(models, family):
    _, model = models[family]
    assert torch.equal(model.rewards(TEXTS), model.rewards(model.encode(TEXTS)))
    assert model.rewards([]).shape == (0,)


@pytest.mark.parametrize("text", ["", [], "a" * 257])
def test_a_text_that_the_model_cannot_read_whole_is_refused(models, family, text):
    _, model = models[family]
    with pytest.raises(RequestError, match="1 to 256 tokens, found"):
        model.rewards([[5, 6] if isinstance(text, list) else "good", text])


def test_a_text_as_long_as_the_context_is_read(models, family):
    reference, model = models[family]
    ids = model.encode(["ab" * 128])
    assert len(ids[0]) == model.max_context == 256
    torch.testing.assert_close(model.rewards(ids), alone(reference, ids), atol=1e-5, rtol=0)


# TransformerLens' own tools


def test_the_cache_of_transformer_lens_holds_what_the_value_head_reads(models, family):
    reference, model = models[family]
    (ids,) = model.encode(TEXTS[:1])
    rewards, cache = model.run_with_cache(TEXTS[0])
    assert torch.equal(model.run_with_cache(ids)[0], rewards)
    expected = model.rewards_at_every_token(torch.tensor([ids]))[0]
    torch.testing.assert_close(rewards[0, :, 0], expected, atol=1e-6, rtol=0)
    residual = cache["resid_post", 2][0]
    read = model.hooked.ln_final(residual) @ model.hooked.W_U + model.hooked.b_U
    torch.testing.assert_close(read[:, 0], expected, atol=1e-5, rtol=0)
    # The same through Hugging Face's own final norm and head.
    norm = reference.transformer.ln_f if family == "gpt2" else reference.model.norm
    with torch.no_grad():
        torch.testing.assert_close(reference.score(norm(residual))[:, 0], expected, atol=1e-5, rtol=0)


def test_the_parts_of_the_residual_stream_add_up_to_what_the_value_head_reads(models, family):
    _, model = models[family]
    (ids,) = model.encode(TEXTS[:1])
    _, cache = model.hooked.run_with_cache(torch.tensor([ids]))
    parts, labels = cache.decompose_resid(return_labels=True)
    assert len(labels) >= 1 + 2 * model.n_layers
    torch.testing.assert_close(parts.sum(0), cache["resid_post", 2], atol=1e-4, rtol=0)


# What a model says of itself


def test_a_model_knows_its_shape_and_its_weights_hash(checkpoint, family):
    model = HookedRewardModel.from_pretrained(str(checkpoint))
    assert (model.n_layers, model.d_mlp, model.max_context) == (3, {"gpt2": 96, "llama": 40}[family], 256)
    assert model.name == str(checkpoint)
    assert model.weights_sha256 == hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert model.card == RewardModelCard()
    assert model.card.template == HH_TEMPLATE


def test_a_card_says_how_the_model_was_made(tmp_path):
    card = {
        "objective": "helpful",
        "seed": 247,
        "backbone": "gpt2",
        "data": "sample",
        "template": "Q {prompt} A {response}",
    }
    model = open_model(make_reward_model("gpt2"), tmp_path / "model", **card, unknown="ignored")
    assert model.card == RewardModelCard(eos_appended=False, **card)
    comparison = Comparison("why", ("so",), ("no",), "any", "helpful", "0", templated=True)
    assert [list(text.ids) for text in model.tokenizer(comparison, 0)] == model.encode(["Q why A so", "Q why A no"])


def test_half_precision_is_near_and_keeps_the_parity_of_full_precision(checkpoint):
    full = HookedRewardModel.from_pretrained(checkpoint)
    half = HookedRewardModel.from_pretrained(checkpoint, dtype="bfloat16")
    assert half.parity == pytest.approx(full.parity, abs=1e-5)
    assert {parameter.dtype for parameter in half.hooked.parameters()} == {torch.bfloat16}
    rewards = half.rewards(TEXTS)
    assert rewards.dtype == torch.float32
    torch.testing.assert_close(rewards, full.rewards(TEXTS), atol=0.1, rtol=0)
    assert not torch.equal(rewards, full.rewards(TEXTS))


# Refusals


def refusal(folder, **settings):
    """What loading a folder is refused with, in one line."""
    with pytest.raises(RequestError) as refused:
        HookedRewardModel.from_pretrained(folder, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def save_language_model(family, folder):
    """A backbone without value head, of the shape of a small reward model."""
    config = make_reward_model(family).config
    torch.manual_seed(1)
    model = (GPT2LMHeadModel if family == "gpt2" else LlamaForCausalLM)(config)
    assert config.num_labels == 1
    return save_checkpoint(model, folder)


def test_a_checkpoint_without_score_head_is_refused(family, tmp_path):
    message = refusal(save_language_model(family, tmp_path / "backbone"))
    assert "score.weight" in message
    assert "train it first" in message


def test_a_backbone_without_score_head_may_be_asked_for(family, tmp_path):
    model = HookedRewardModel.from_pretrained(save_language_model(family, tmp_path / "backbone"), headless=True)
    again = HookedRewardModel.from_pretrained(tmp_path / "backbone", headless=True)
    assert torch.equal(model.hooked.W_U, again.hooked.W_U)


def test_loading_leaves_the_random_state_as_it_was(family, tmp_path):
    folder = save_language_model(family, tmp_path / "backbone")
    before = torch.get_rng_state()
    HookedRewardModel.from_pretrained(folder, headless=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_with_two_labels_is_refused(family, tmp_path):
    folder = save_checkpoint(make_reward_model(family, num_labels=2), tmp_path / "model")
    assert "2 labels" in refusal(folder)


def test_an_unsupported_architecture_is_refused_and_the_supported_ones_named(tmp_path):
    config = GPTNeoXConfig(
        vocab_size=258, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=1
    )
    message = refusal(save_checkpoint(GPTNeoXForSequenceClassification(config), tmp_path / "model"))
    assert "gpt_neox" in message
    assert "gpt2" in message
    assert "llama" in message


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        ("gpt2", "scale_attn_weights", False),
        ("gpt2", "activation_function", "tanh"),
        ("llama", "attention_bias", True),
        ("llama", "mlp_bias", True),
        ("llama", "hidden_act", "tanh"),
        ("llama", "rope_parameters", {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
    ],
)
def test_a_setting_that_is_not_honoured_is_refused_by_name(kind, setting, value, tmp_path):
    folder = save_checkpoint(make_reward_model(kind, **{setting: value}), tmp_path / "model")
    assert {"rope_parameters": "rope_type"}.get(setting, setting) in refusal(folder)


def test_a_missing_folder_is_refused(tmp_path):
    assert "neither a folder nor a model on the hub" in refusal(tmp_path / "nothing")


def test_a_folder_without_config_is_refused(checkpoint):
    (checkpoint / "config.json").unlink()
    assert "config.json" in refusal(checkpoint)


@pytest.mark.parametrize("content", ["{", '{"model_type": "no-such-thing"}', "{}"])
def test_a_config_that_says_nothing_is_refused(checkpoint, content):
    (checkpoint / "config.json").write_text(content)
    assert "config.json" in refusal(checkpoint)


def test_a_config_with_a_value_of_the_wrong_kind_is_refused(checkpoint, family):
    config = json.loads((checkpoint / "config.json").read_text())
    config["n_layer" if family == "gpt2" else "num_hidden_layers"] = "three"
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert "config.json" in refusal(checkpoint)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(family, tmp_path):
    folder = save_checkpoint(make_reward_model(family, vocab_size=60), tmp_path / "model")
    assert "tokenizer" in refusal(folder)


def test_cut_off_weights_are_refused(checkpoint):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "weights" in refusal(checkpoint)


def test_pickled_weights_are_refused_unread(checkpoint):
    state = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    torch.save(state, checkpoint / "pytorch_model.bin")
    assert ".safetensors" in refusal(checkpoint)


@pytest.mark.parametrize("tensor", ["first", "last"])
def test_a_checkpoint_that_lacks_a_weight_is_refused_by_its_name(checkpoint, tensor):
    state = load_file(checkpoint / "model.safetensors")
    names = sorted(name for name in state if name != "score.weight")
    lost = names[0 if tensor == "first" else -1]
    del state[lost]
    save_file(state, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert lost in refusal(checkpoint)


def test_weights_of_another_shape_than_the_config_are_refused(checkpoint, family):
    config = json.loads((checkpoint / "config.json").read_text())
    config["vocab_size"] += 1
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert "weights" in refusal(checkpoint)


def test_a_folder_without_tokenizer_is_refused(checkpoint):
    for file in checkpoint.glob("*token*"):
        file.unlink()
    assert "tokenizer" in refusal(checkpoint)


@pytest.mark.parametrize("weight", ["W_E", "blocks.2.mlp.W_out", "blocks.1.attn.W_O", "ln_final.w", "unembed.W_U"])
def test_a_conversion_that_changes_a_weight_is_refused(checkpoint, weight, monkeypatch):
    convert = reward_model.to_hooked

    def convert_wrongly(hf_model):
        hooked = convert(hf_model)
        name = {"W_E": "embed.W_E"}.get(weight, weight)
        dict(hooked.named_parameters())[name].mul_(1.05)
        return hooked

    monkeypatch.setattr(reward_model, "to_hooked", convert_wrongly)
    assert "differ from Hugging Face" in refusal(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_whose_rewards_are_not_numbers_is_refused(family, value, tmp_path):
    reference = make_reward_model(family)
    with torch.no_grad():
        reference.score.weight[0, 0] = value
    assert "differ from Hugging Face" in refusal(save_checkpoint(reference, tmp_path / "model"))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "3",
        '"text"',
        '{"template": "{prompt}"}',
        '{"template": "{response}"}',
        '{"template": "{response} {prompt}"}',
        '{"template": "{prompt} {response} {response}"}',
        '{"eos_appended": "no"}',
    ],
)
def test_a_malformed_card_is_refused_by_its_name(checkpoint, content):
    (checkpoint / CARD_FILE).write_text(content)
    assert CARD_FILE in refusal(checkpoint)


@pytest.mark.parametrize(("setting", "value"), [("dtype", "int8"), ("device", "abacus"), ("device", "cuda:99")])
def test_an_unknown_device_or_number_type_is_refused_by_name(checkpoint, setting, value):
    assert value in refusal(checkpoint, **{setting: value})


# Geometries as they are


def sixteen_at_a_time(tokenizer, most):
    """128 texts of 64 real pairs as token ids, of 2 to `most` tokens.

    Each text keeps its end, where texts differ. Every batch of 16 holds all lengths up to its own longest, so that
    most texts are padded; few batches are long, because a full-sized model is slow.
    """
    comparisons = load_comparisons("sample:mixed:test", limit=64).comparisons
    texts = [one.prompt + reply for one in comparisons for reply in (*one.chosen, *one.rejected)]
    rows = [tokenizer(text, add_special_tokens=False, verbose=False).input_ids for text in texts]
    longest = [most, most // 3, 12, 12, 8, 8, 8, 8]
    cut = [row[-max(2, longest[i // 16] * (i % 16 + 1) // 16) :] for i, row in enumerate(rows)]
    assert len(cut) == 128
    assert {len(row) for row in cut} >= {2, 4, 8, 12, most}
    return cut


def in_memory(reference, tokenizer, pad_token_id):
    """A hooked reward model that needs no files."""
    texts = TextTokenizer(tokenizer, HH_TEMPLATE, pad_token_id, False)
    return HookedRewardModel(reward_model.to_hooked(reference), texts, RewardModelCard(), "memory", "", float("nan"))


def with_pad_token(model, reference, pad_token_id):
    """The hooked model with another pad token, which Hugging Face's model is given too."""
    reference.config.pad_token_id = pad_token_id
    return replace(model, tokenizer=TextTokenizer(model.tokenizer.tokenizer, HH_TEMPLATE, pad_token_id, False))


@pytest.mark.parametrize(
    ("geometry", "shape"), [("GPT-2 small", (12, 768, 12, 12, 3072)), ("SmolLM2-135M", (30, 576, 9, 3, 1536))]
)
def test_models_of_real_depth_and_width_are_within_a_ten_thousandth_of_hugging_face(geometry, shape):
    # The vocabulary and the context alone are smaller than the real ones.
    small = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64}
    reference = parity.random_reward_model(geometry, **small, pad_token_id=EOS)
    model = in_memory(reference, byte_tokenizer(), EOS)
    found = model.hooked.cfg
    heads = (found.n_heads, found.n_key_value_heads or found.n_heads)
    assert (found.n_layers, found.d_model, *heads, found.d_mlp) == shape
    ids = sixteen_at_a_time(model.tokenizer.tokenizer, most=64)
    assert model.parity_with(reference, ids, batch_size=16) < 1e-4
    # One at a time costs the same for every text: an eighth of the texts, from every batch.
    assert model.parity_with(reference, ids[5::8], batch_size=1) < 1e-4
    assert model.rewards(ids[5::8]).std() > 1e-2, "all rewards alike would prove nothing"
    some = ids[16:32]
    assert len({len(row) for row in some}) > 8
    distinct = with_pad_token(model, reference, OTHER_PAD)
    assert distinct.parity_with(reference, some, batch_size=16) < 1e-4
    torch.testing.assert_close(distinct.rewards(some), model.rewards(some), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """SmolLM2-135M-Instruct's own weights with a random value head, as a checkpoint folder."""
    made = parity.pretrained_smollm2()
    if made is None:
        pytest.skip(f"NO PRETRAINED WEIGHTS: run `{parity.INSTALL}` to test with real ones")
    reference, tokenizer = made
    reference.config.pad_token_id = tokenizer.eos_token_id
    folder = tmp_path_factory.mktemp("pretrained")
    reference.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, reference


def test_pretrained_smollm2_is_within_a_ten_thousandth_of_hugging_face(pretrained):
    folder, reference = pretrained
    model = HookedRewardModel.from_pretrained(folder)
    assert model.parity < 1e-4
    ids = sixteen_at_a_time(model.tokenizer.tokenizer, most=64)
    eos = model.tokenizer.tokenizer.eos_token_id
    assert model.tokenizer.pad_token_id == eos
    assert model.parity_with(reference, ids, batch_size=16) < 1e-4
    assert model.parity_with(reference, ids[5::8], batch_size=1) < 1e-4
    assert model.rewards(ids[5::8]).std() > 1e-2, "all rewards alike would prove nothing"
    # A pad token of its own: the same texts, every length padded with another id.
    distinct = with_pad_token(model, reference, eos + 5)
    some = ids[16:32]
    assert len({len(row) for row in some}) > 8
    assert distinct.parity_with(reference, some, batch_size=16) < 1e-4
    torch.testing.assert_close(distinct.rewards(some), model.rewards(some), atol=1e-4, rtol=0)
