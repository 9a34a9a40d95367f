"""Conditions: the intact model, or a neuron set ablated."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from tension_lens.neurons.sets import NeuronSet

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Condition:
    """The intact model (`neurons` None) or the model with a set switched off, by zero or by mean."""

    name: str
    neurons: NeuronSet | None = None
    means: Float[np.ndarray, "layer neuron"] | None = None
    """Values the neurons hold; None means zero."""
