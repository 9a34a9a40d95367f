"""The ways in which the paper's code selects neurons, and this toolkit's."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.constants import INTACT
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet, top_percent

TOOLKIT, SIGNED, GATE, PERCENTILE = "toolkit", "signed mean", "gate", "percentile"
CLAMPED, PAPER = "clamped", "paper"


@dataclass(frozen=True)
class Variant:
    """One way to select neurons."""

    statistic: str
    against: str
    """The variant whose accuracy it is compared with, which differs from it in one respect."""
    at_gate: bool = False
    """Whether neurons are ranked at the gate, if the model has one."""
    by_percentile: bool = False
    """Whether every neuron with importance >= the percentile is selected, instead of an exact number."""
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
"""This toolkit's way, each departure of the paper's code on its own, and the way its code selects for ablation."""


def selected_by_percentile(
    importance: Float[np.ndarray, "layer neuron"], top: float
) -> Bool[np.ndarray, "layer neuron"]:
    """Which neurons `importance >= percentile(importance, 100 − top)` selects, as the paper's code does.

    The percentile is numpy's linear interpolation between two importances. All neurons tied at it are selected.
    """
    selected: Bool[np.ndarray, "layer neuron"] = importance >= np.percentile(importance, 100 - top)
    return selected


def variant_sets(scores: NeuronScores, gate: NeuronScores | None, gated: bool, top: float) -> dict[str, NeuronSet]:
    """The neurons that each of `VARIANTS` selects; without scores at the gate of a gated model, only those at `post`.

    Args:
        scores: at `post`.
        gate: at `gate`, of the same model on the same data.
        gated: whether the model's MLPs have a gate; otherwise both sites are the same and `GATE` is left out.
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
            selected = selected_by_percentile(importance, top)
            found[name] = NeuronSet.from_mask(name, source.site, selected, top_percent=top, **origin)
        else:
            found[name] = top_percent(importance, top, name, source.site, **origin)
    return found
