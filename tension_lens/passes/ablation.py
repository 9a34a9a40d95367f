"""A context in which a neuron set is ablated."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float

from tension_lens.errors import RequestError
from tension_lens.model.hooks import Replacement, replacing
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.neurons.sets import NeuronSet


@contextmanager
def ablated(
    model: HookedRewardModel, neurons: NeuronSet, means: Float[np.ndarray, "layer neuron"] | None = None
) -> Iterator[None]:
    """While the context lasts, the neurons hold 0, or their means, at every position of every forward pass.

    Zero ablation is the same intervention at either site; with `means` each neuron holds its mean at the set's own
    site. Contexts nest. Leaving removes the hooks of this context only, also when the body raises.

    Raises:
        RequestError: if the set, or the means, are of a network of another shape.
    """
    neurons.require_fits(model.n_layers, model.d_mlp, what=f"model {model.name}")
    if means is not None and means.shape != neurons.shape:
        raise RequestError(f"means have the shape {means.shape}, the model {neurons.shape}")
    replacements: dict[int, Replacement] = {}
    for layer, indices in neurons.by_layer().items():
        index = torch.from_numpy(indices)
        values = torch.zeros(len(indices)) if means is None else torch.from_numpy(means[layer][indices]).float()
        replacements[layer] = (index, values)
    with replacing(model.hooked, neurons.site, replacements):
        yield
