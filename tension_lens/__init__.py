"""Where helpfulness and harmlessness live inside reward models, and what the neurons they share do to the reward.

    import tension_lens as tl

The names below are imported on first use, so that `import tension_lens` does not wait for torch. `figures` is the one
name from outside this package: the figure functions of `analysis.figures`.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tension_lens.data.comparisons import Comparison
    from tension_lens.data.datasets import Dataset, load_comparisons
    from tension_lens.metrics.item_table import ItemTable
    from tension_lens.model.reward_model import HookedRewardModel
    from tension_lens.neurons.conditions import Condition, ablation, intact, random_controls
    from tension_lens.neurons.effects import compare
    from tension_lens.neurons.overlap import overlap
    from tension_lens.neurons.scores import NeuronScores
    from tension_lens.neurons.selectors import select_neurons
    from tension_lens.neurons.sets import NeuronSet, partition
    from tension_lens.passes.ablation import ablated
    from tension_lens.passes.activations import score_neurons
    from tension_lens.passes.rewards import evaluate_conditions

__all__ = [
    "Comparison",
    "Condition",
    "Dataset",
    "HookedRewardModel",
    "ItemTable",
    "NeuronScores",
    "NeuronSet",
    "ablated",
    "ablation",
    "compare",
    "evaluate_conditions",
    "figures",
    "intact",
    "load_comparisons",
    "overlap",
    "partition",
    "random_controls",
    "score_neurons",
    "select_neurons",
]

_HOMES = {
    "tension_lens.data.comparisons": ("Comparison",),
    "tension_lens.data.datasets": ("Dataset", "load_comparisons"),
    "tension_lens.metrics.item_table": ("ItemTable",),
    "tension_lens.model.reward_model": ("HookedRewardModel",),
    "tension_lens.neurons.conditions": ("Condition", "ablation", "intact", "random_controls"),
    "tension_lens.neurons.effects": ("compare",),
    "tension_lens.neurons.overlap": ("overlap",),
    "tension_lens.neurons.scores": ("NeuronScores",),
    "tension_lens.neurons.selectors": ("select_neurons",),
    "tension_lens.neurons.sets": ("NeuronSet", "partition"),
    "tension_lens.passes.ablation": ("ablated",),
    "tension_lens.passes.activations": ("score_neurons",),
    "tension_lens.passes.rewards": ("evaluate_conditions",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

try:
    __version__ = version("tension-lens")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name == "figures":
        return import_module("analysis.figures")
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
