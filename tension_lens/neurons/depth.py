"""Where a neuron set lies in depth: thirds of the model's layers, and counts by layer."""

import numpy as np
from jaxtyping import Int

from tension_lens.constants import BUCKETS
from tension_lens.neurons.sets import NeuronSet


def bucket_of(layer: int, n_layers: int) -> str:
    """The depth bucket of a layer: thirds of the model's own layers, floor(3 · layer / n_layers)."""
    return BUCKETS[3 * layer // n_layers]


def uniform_depth(n_layers: int) -> dict[str, float]:
    """Share of the model's layers, hence of uniformly drawn neurons, in each depth bucket."""
    layers = [bucket_of(layer, n_layers) for layer in range(n_layers)]
    return {bucket: layers.count(bucket) / n_layers for bucket in BUCKETS}


def depth_shares(neurons: NeuronSet) -> dict[str, float]:
    """Fraction of the set's neurons in each depth bucket; NaN for an empty set."""
    counts = np.bincount(3 * neurons.layers // neurons.n_layers, minlength=len(BUCKETS))
    return {
        bucket: int(count) / len(neurons) if len(neurons) else float("nan")
        for bucket, count in zip(BUCKETS, counts, strict=True)
    }


def layer_counts(neurons: NeuronSet) -> Int[np.ndarray, " layer"]:
    """How many neurons of the set lie in each layer, layer 0 first."""
    return np.bincount(neurons.layers, minlength=neurons.n_layers)
