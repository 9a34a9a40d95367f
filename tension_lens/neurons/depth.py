"""The depth of a neuron set: shares by thirds of the model's layers, and counts by layer."""

import numpy as np
from jaxtyping import Int

from tension_lens.constants import BUCKETS
from tension_lens.neurons.sets import NeuronSet


def bucket_of(layer: int, n_layers: int) -> str:
    """The depth bucket of a layer, a third of the model's layers: floor(3 · layer / n_layers)."""
    return BUCKETS[3 * layer // n_layers]


def uniform_depth(n_layers: int) -> dict[str, float]:
    """Share of the model's layers, and so of uniformly drawn neurons, in each depth bucket."""
    layers = [bucket_of(layer, n_layers) for layer in range(n_layers)]
    return {bucket: layers.count(bucket) / n_layers for bucket in BUCKETS}


def depth_shares(neurons: NeuronSet) -> dict[str, float]:
    """Fraction of the set's neurons in each depth bucket; NaN for an empty set."""
    if not len(neurons):
        return dict.fromkeys(BUCKETS, float("nan"))
    counts = np.bincount(3 * neurons.layers // neurons.n_layers, minlength=len(BUCKETS))
    return {bucket: int(count) / len(neurons) for bucket, count in zip(BUCKETS, counts, strict=True)}


def layer_counts(neurons: NeuronSet) -> Int[np.ndarray, " layer"]:
    """Number of neurons of the set in each layer."""
    return np.bincount(neurons.layers, minlength=neurons.n_layers)
