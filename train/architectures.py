"""Full-size configs of two published backbones, for random weights without the hub."""

from transformers import GPT2Config, LlamaConfig

SMOLLM2_135M = {
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
}


def gpt2_small(**changes: object) -> GPT2Config:
    """Config of GPT-2 small, which are transformers' defaults, with changes."""
    return GPT2Config(**changes)


def smollm2_135m(**changes: object) -> LlamaConfig:
    """Config of SmolLM2-135M, with changes."""
    return LlamaConfig(**{**SMOLLM2_135M, **changes})
