"""The ways in which the paper's code takes neurons, beside this toolkit's."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.constants import INTACT
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet, top_percent

TOOLKIT, SIGNED, GATE = "toolkit", "signed mean", "gate"
PERCENTILE, CLAMPED, PAPER = "percentile", "clamped", "paper"


@dataclass(frozen=True)
class Variant:
    """One way to take neurons."""

    statistic: str
    against: str
    """What its accuracy is compared with: the variant that it differs from in one respect."""
    at_gate: bool = False
    """Whether neurons are ranked at the gate, where the model has one."""
    by_percentile: bool = False
    """Whether every neuron with importance >= the percentile is taken, and not exactly so many."""
    clamped: bool = False
    """Whether importances below 0 count as 0."""


VARIANTS = {
    TOOLKIT: Variant("mean_abs", INTACT),
    SIGNED: Variant("mean", TOOLKIT),
    GATE: Variant("mean_abs", TOOLKIT, at_gate=True),
    PERCENTILE: Variant("mean_abs", TOOLKIT, by_percentile=True),
    CLAMPED: Variant("mean", SIGNED, by_percentile=True, clamped=True),
    PAPER: Variant("mean", TOOLKIT, at_gate=True, by_percentile=True),
}
"""This toolkit's way, each departure of the paper's code from it alone, and that code's way to select for ablation."""


def taken_by_percentile(importance: Float[np.ndarray, "layer neuron"], top: float) -> Bool[np.ndarray, "layer neuron"]:
    """Which neurons `importance >= percentile(importance, 100 − top)` takes, as the paper's code does.

    The percentile lies between two importances (numpy's linear interpolation). All that are tied at it are taken.
    """
    taken: Bool[np.ndarray, "layer neuron"] = importance >= np.percentile(importance, 100 - top)
    return taken


def variant_sets(scores: NeuronScores, gate: NeuronScores | None, gated: bool, top: float) -> dict[str, NeuronSet]:
    """The neurons that each of `VARIANTS` takes; without scores at the gate of a gated model, those at `post` alone.

    Args:
        scores: at `post`.
        gate: at `gate`, of the same model on the same data.
        gated: whether the model's MLPs have a gate; otherwise both sites are one, and `GATE` is left out.
        top: share of neurons in percent.
    """
    found = {}
    for name, variant in VARIANTS.items():
        source = gate if variant.at_gate and gated else scores
        if source is None or (name == GATE and not gated):
            continue
        importance = source.importance(variant.statistic)
        if variant.clamped:
            importance = np.maximum(importance, 0)
        origin = {"statistic": variant.statistic, "scope": source.scope, **source.metadata}
        if variant.by_percentile:
            taken = taken_by_percentile(importance, top)
            found[name] = NeuronSet.from_mask(name, source.site, taken, top_percent=top, **origin)
        else:
            found[name] = top_percent(importance, top, name, source.site, **origin)
    return found
