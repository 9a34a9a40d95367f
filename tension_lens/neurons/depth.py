"""Where a neuron set lies in depth: thirds of the model's layers, and counts by layer."""

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
    """Share of the set's neurons in each depth bucket; not a number for an empty set."""
    found = [bucket_of(layer, neurons.n_layers) for layer, _ in neurons.neurons]
    return {bucket: found.count(bucket) / len(found) if found else float("nan") for bucket in BUCKETS}


def layer_counts(neurons: NeuronSet) -> list[int]:
    """How many neurons of the set lie in each layer, layer 0 first."""
    counts = [0] * neurons.n_layers
    for layer, _ in neurons.neurons:
        counts[layer] += 1
    return counts
