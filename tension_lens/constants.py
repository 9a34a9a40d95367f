"""Names and numbers shared by configs, columns, file names and axis labels."""

from tension_lens.errors import RequestError

OBJECTIVES = ("helpful", "harmless", "mixed")
SIDES = ("chosen", "rejected")
SITES = ("post", "gate")
SCOPES = ("all", "response", "last")
STATISTICS = ("mean", "mean_abs", "rms", "frequency", "max")
CHANGE_STATISTIC = "change_rms"
"""The statistic that needs the backbone before fine-tuning."""
CONTRIBUTIONS = ("attribution", "direct")
"""Contributions of a neuron to the reward: by gradient attribution, and by its direct write to the value head."""
OPTIONAL_STATISTICS = {CHANGE_STATISTIC: "--base", **dict.fromkeys(CONTRIBUTIONS, "--attribution")}
"""Statistics that tension_lens.score computes only with this flag."""
ENGINES = ("fast", "native")
"""Forward passes: packed (each distinct token once, no padding), and HookedTransformer's own."""
BUCKETS = ("early", "middle", "late")
PARTS = ("helpful_only", "harmless_only", "shared")
BASELINE = "baseline"
"""Label of the condition in which no neuron is ablated."""
INTACT = "intact"
"""The model without an ablation, as the reference of a comparison."""
RANDOM = "random"
"""Neurons drawn at random, in place of a selector."""
ABLATIONS = ("zero", "mean")
CONTROLS = ("uniform", "layer", "activation")
"""How a random control is matched to its set: by size only, also by layer, or also by activation."""
CONFIDENCE = 0.95
"""Confidence level of every interval."""
ALPHA = 0.05
"""Significance level of every test, after correction."""
RM_BENCH_STYLES = 3
"""RM-Bench has each response in three styles: concise, detailed, detailed with markdown."""
ACTIVATION_FUNCTIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
"""MLP activation functions that both forward passes support, by Hugging Face's names."""


def require_one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    """Return the value.

    Raises:
        RequestError: if it is not one of the known ones.
    """
    if value not in known:
        raise RequestError(f"unknown {what} {value!r}; known are {', '.join(known)}")
    return value
