"""Random neuron sets of the size of a given set, optionally matched to it by layer or by activation."""

import numpy as np
from jaxtyping import Float, Int

from tension_lens.constants import CONTROLS, require_one_of
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

ACTIVATION_BINS = 20
"""Bins of equally many neurons; an activation-matched control has as many neurons in each bin as its set."""


def strata(
    kind: str, shape: tuple[int, int], activation: Float[np.ndarray, "layer neuron"] | None = None
) -> Int[np.ndarray, "layer neuron"]:
    """The stratum of each neuron within which a control is drawn.

    `uniform`: one stratum. `layer`: the layer. `activation`: the neuron's bin among `ACTIVATION_BINS` bins of equally
    many neurons in order of activation, floor(bins · rank / N), ties by (layer, index).

    Raises:
        RequestError: if the kind is unknown, or `activation` is missing or of another network.
    """
    require_one_of("control", kind, CONTROLS)
    if kind == "uniform":
        return np.zeros(shape, dtype=np.int64)
    if kind == "layer":
        return np.broadcast_to(np.arange(shape[0])[:, None], shape)
    if activation is None:
        raise RequestError("an activation-matched control needs the activation of every neuron")
    if activation.shape != shape:
        raise RequestError(f"activations are of a network of {activation.shape}, the set of one of {shape}")
    order = np.argsort(activation.reshape(-1), kind="stable")
    ranks = np.empty(order.size, dtype=np.int64)
    ranks[order] = np.arange(order.size)
    return (ACTIVATION_BINS * ranks // order.size).reshape(shape)


def control_set(
    like: NeuronSet, kind: str, draw: int, activation: Float[np.ndarray, "layer neuron"] | None = None
) -> NeuronSet:
    """Neurons drawn without replacement, from every stratum as many as `like` has there; `draw` is the seed.

    Neurons of `like` may be drawn too; `origin` records how many. Where a set fills a stratum (the top 10 % by
    activation fill two bins of twenty), its control can only hold the same neurons.

    Raises:
        RequestError: as `strata`.
    """
    stratum = strata(kind, like.shape, activation).reshape(-1)
    random = np.random.default_rng(draw)
    drawn = []
    for number, size in zip(*np.unique(stratum[like.flat], return_counts=True), strict=True):
        drawn.append(random.choice(np.flatnonzero(stratum == number), size=size, replace=False))
    picked = np.concatenate(drawn) if drawn else like.flat
    shared = int(np.isin(picked, like.flat).sum())
    origin = {"control_of": like.name, "control": kind, "draw": draw, "shared_with_set": shared}
    return NeuronSet(f"{kind}-{draw}", like.site, *like.shape, np.sort(picked), origin)
