"""The words that stand alike in configs, column names, file names and axis labels."""

from tension_lens.errors import RequestError

OBJECTIVES = ("helpful", "harmless", "mixed")
SIDES = ("chosen", "rejected")
SITES = ("post", "gate")
SCOPES = ("all", "response", "last")
STATISTICS = ("mean", "mean_abs", "rms", "frequency", "max")
CHANGE_STATISTIC = "change_rms"
"""The statistic that needs the backbone before fine-tuning."""
CONTRIBUTIONS = ("attribution", "direct")
"""What a neuron adds to the reward: by gradient through the whole network, and by its own write to the value head."""
OPTIONAL_STATISTICS = {CHANGE_STATISTIC: "--base", **dict.fromkeys(CONTRIBUTIONS, "--attribution")}
"""Statistics that scores hold only where tension_lens.score was given this flag."""
ENGINES = ("fast", "native")
"""Forward passes: each distinct token of a comparison once and no padding, or HookedTransformer's own."""
BUCKETS = ("early", "middle", "late")
PARTS = ("helpful_only", "harmless_only", "shared")
ABLATIONS = ("zero", "mean")
CONTROLS = ("uniform", "layer", "activation")
"""What a random set is matched to: nothing, the layers of the set, or the activations of the set."""


def require_one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    """The value itself, if it is one of the known words.

    Raises:
        RequestError: if it is not, naming the known ones.
    """
    if value not in known:
        raise RequestError(f"unknown {what} {value!r}; known are {', '.join(known)}")
    return value
