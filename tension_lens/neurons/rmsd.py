"""How far neurons' scores differ between chosen and rejected responses."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tension_lens.constants import SIDES, require_one_of
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
    """√(mean over neuron indices of (mean over layers of chosen − mean over layers of rejected)²), as the paper's code
    has it for Table 16. Neurons of one index in different layers have nothing in common, and their differences cancel:
    it is never above `overall`."""


def rmsd(scores: NeuronScores, statistic: str) -> Rmsd:
    """How much one statistic of the neurons differs between chosen and rejected responses, in its own units.

    Raises:
        RequestError: if the scores do not hold that statistic.
    """
    require_one_of("statistic", statistic, scores.statistics)
    chosen, rejected = (scores.values[f"{side}/{statistic}"].astype(np.float64) for side in SIDES)
    difference = chosen - rejected
    return Rmsd(
        statistic,
        np.sqrt((difference**2).mean(axis=1)),
        float(np.sqrt((difference**2).mean())),
        float(np.sqrt((difference.mean(axis=0) ** 2).mean())),
    )
