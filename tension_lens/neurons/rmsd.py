"""Root-mean-square difference of neuron scores between chosen and rejected responses."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tension_lens.neurons.scores import NeuronScores


@dataclass(frozen=True, eq=False)
class Rmsd:
    """Root-mean-square difference between neurons' scores on the chosen and on the rejected side."""

    statistic: str
    by_layer: Float[np.ndarray, " layer"]
    """√(mean over neurons of (chosen − rejected)²) of each layer."""
    overall: float
    """√(mean over all neurons of all layers of (chosen − rejected)²)."""
    layers_averaged_first: float
    """√(mean over neuron indices of (mean over layers of (chosen − rejected))²), as in the paper's code for Table 16.
    It is at most `overall`, since differences of unrelated neurons with the same index in different layers cancel."""


def rmsd(scores: NeuronScores, statistic: str) -> Rmsd:
    """The RMSD of one statistic between chosen and rejected responses, in its own units.

    Raises:
        RequestError: if the scores do not hold that statistic.
    """
    chosen, rejected = scores.sides(statistic)
    difference = chosen - rejected
    return Rmsd(
        statistic,
        np.sqrt((difference**2).mean(axis=1)),
        float(np.sqrt((difference**2).mean())),
        float(np.sqrt((difference.mean(axis=0) ** 2).mean())),
    )
