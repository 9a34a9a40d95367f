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
"""Statistics that are computed only with this flag of tension_lens.score."""
ENGINES = ("fast", "native")
"""Forward passes: the packed one (each distinct token once, no padding), and HookedTransformer's own."""
BUCKETS = ("early", "middle", "late")
PARTS = ("helpful_only", "harmless_only", "shared")
BASELINE = "baseline"
"""Label of the condition in which no neuron is ablated."""
INTACT = "intact"
"""The model without an ablation, as what an ablated one is compared with."""
RANDOM = "random"
"""Neurons drawn at random, in the place of a selector."""
ABLATIONS = ("zero", "mean")
CONTROLS = ("uniform", "layer", "activation")
"""What a random set is matched to: nothing, the layers of the set, or the activations of the set."""
CONFIDENCE = 0.95
"""Of every interval."""
ALPHA = 0.05
"""Significance level of every test, after correction."""
RM_BENCH_STYLES = 3
"""RM-Bench writes each response in three styles: concise, detailed, detailed with markdown."""
ACTIVATION_FUNCTIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
"""Activation functions of MLPs that both forward passes compute, by Hugging Face's names."""


def require_one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    """Return the value if it is one of the known ones.

    Raises:
        RequestError: if it is not.
    """
    if value not in known:
        raise RequestError(f"unknown {what} {value!r}; known are {', '.join(known)}")
    return value
