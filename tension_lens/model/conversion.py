"""From a Hugging Face reward model's config and weights to those of a HookedTransformer with the value head.

Only this module knows how the configs of architectures differ. Weights go through TransformerLens' own GPT-2 and Llama
converters, without folding or centring, so that every activation is the one Hugging Face computes. The value head takes
the place of the unembedding (`d_vocab_out=1`): the model's "logit" is the reward.
"""

import warnings
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tension_lens.constants import ACTIVATION_FUNCTIONS
from tension_lens.errors import RequestError

__all__ = ["HookedTransformer", "hooked_config", "require_supported", "to_hooked"]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights, convert_llama_weights

SUPPORTED = {"gpt2": "GPT-2", "llama": "Llama, which is SmolLM2's"}


def _require(holds: bool, setting: str, found: Any) -> None:
    if not holds:
        raise RequestError(
            f"the checkpoint's config has {setting} = {found!r}, which the hooked model does not support"
        )


def _gpt2_config(hf: Any) -> dict[str, Any]:
    _require(hf.scale_attn_weights, "scale_attn_weights", hf.scale_attn_weights)
    _require(not hf.add_cross_attention, "add_cross_attention", hf.add_cross_attention)
    _require(hf.activation_function in ACTIVATION_FUNCTIONS, "activation_function", hf.activation_function)
    return {
        "d_head": hf.n_embd // hf.n_head,
        "d_mlp": hf.n_inner or 4 * hf.n_embd,
        "act_fn": hf.activation_function,
        "eps": hf.layer_norm_epsilon,
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
        "scale_attn_by_inverse_layer_idx": hf.scale_attn_by_inverse_layer_idx,
    }


def _llama_config(hf: Any) -> dict[str, Any]:
    rope = hf.rope_parameters
    _require(rope.get("rope_type", "default") == "default", "rope_type", rope.get("rope_type"))
    _require(not hf.attention_bias, "attention_bias", hf.attention_bias)
    _require(not hf.mlp_bias, "mlp_bias", hf.mlp_bias)
    _require(hf.hidden_act in ACTIVATION_FUNCTIONS, "hidden_act", hf.hidden_act)
    grouped = hf.num_key_value_heads != hf.num_attention_heads
    return {
        "d_head": hf.head_dim,
        "d_mlp": hf.intermediate_size,
        "act_fn": hf.hidden_act,
        "eps": hf.rms_norm_eps,
        "normalization_type": "RMS",
        "final_rms": True,
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_dim": hf.head_dim,
        "rotary_base": rope["rope_theta"],
        "rotary_adjacent_pairs": False,
        "n_key_value_heads": hf.num_key_value_heads if grouped else None,
    }


def require_supported(hf_config: Any) -> None:
    """Check that the checkpoint's architecture is supported."""
    if hf_config.model_type not in SUPPORTED:
        known = ", ".join(f"{key} ({name})" for key, name in SUPPORTED.items())
        raise RequestError(f"architecture {hf_config.model_type!r} is not supported; supported are {known}")


def hooked_config(hf_config: Any) -> HookedTransformerConfig:
    """The TransformerLens config of a Hugging Face GPT-2 or Llama reward model, in float32 on the CPU."""
    require_supported(hf_config)
    specific = _gpt2_config(hf_config) if hf_config.model_type == "gpt2" else _llama_config(hf_config)
    return HookedTransformerConfig(
        n_layers=hf_config.num_hidden_layers,
        d_model=hf_config.hidden_size,
        n_heads=hf_config.num_attention_heads,
        n_ctx=hf_config.max_position_embeddings,
        d_vocab=hf_config.vocab_size,
        d_vocab_out=1,
        model_name=f"{hf_config.model_type}-reward-model",
        original_architecture=hf_config.model_type,
        tokenizer_prepends_bos=False,
        init_weights=False,
        device="cpu",
        **specific,
    )


def _hooked_weights(hf_model: Any, config: HookedTransformerConfig) -> dict[str, Tensor]:
    head = SimpleNamespace(weight=hf_model.score.weight)
    if config.original_architecture == "gpt2":
        weights = convert_gpt2_weights(SimpleNamespace(transformer=hf_model.transformer, lm_head=head), config)
    else:
        weights = convert_llama_weights(SimpleNamespace(model=hf_model.model, lm_head=head), config)
    return {**weights, "unembed.b_U": torch.zeros(1)}


def to_hooked(hf_model: Any) -> HookedTransformer:
    """A HookedTransformer in float32 that computes what the sequence-classification model computes, at every token.

    `hooked(tokens)[..., 0]` is the reward read at each position, Float[Tensor, "batch pos"].

    Raises:
        RequestError: if the architecture is not supported.
        RuntimeError: if the conversion leaves a parameter without a value or a weight without a place.
    """
    config = hooked_config(hf_model.config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        hooked = HookedTransformer(config)
    weights = {name: weight.detach().float().clone() for name, weight in _hooked_weights(hf_model, config).items()}
    result = hooked.load_state_dict(weights, strict=False)
    parameters = {name for name, _ in hooked.named_parameters()}
    unset = sorted(parameters & set(result.missing_keys))
    if unset or result.unexpected_keys:
        raise RuntimeError(f"weight conversion left {unset} unset and {result.unexpected_keys} unplaced")
    return hooked.eval().requires_grad_(False)
