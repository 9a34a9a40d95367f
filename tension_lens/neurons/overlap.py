"""How much two neuron sets share, beside what random sets of their sizes would."""

from dataclasses import dataclass

import numpy as np

from tension_lens.neurons.sets import NeuronSet


@dataclass(frozen=True)
class Overlap:
    """How much two sets share, beside what two random sets of their sizes would."""

    intersection: int
    union: int
    jaccard: float
    """intersection / union; not a number for two empty sets."""
    expected_intersection: float
    """|A| · |B| / N, the hypergeometric mean."""
    expected_jaccard: float
    """E[i / (|A| + |B| − i)] over the hypergeometric distribution of i."""
    p_value: float
    """P(intersection at least as large | random sets), hypergeometric."""


def overlap(a: NeuronSet, b: NeuronSet) -> Overlap:
    """Intersection, union and Jaccard index of two sets against chance.

    Chance: A fixed, B drawn uniformly among all N = n_layers · d_mlp neurons, so that the intersection is
    hypergeometric(N, |A|, |B|).

    Raises:
        RequestError: if the sets are of different networks or sites.
    """
    from scipy.stats import hypergeom

    shared, union = len(a & b), len(a | b)
    if union == 0:
        return Overlap(0, 0, float("nan"), 0.0, float("nan"), 1.0)
    total = a.n_layers * a.d_mlp
    chance = hypergeom(total, len(a), len(b))
    low, high = chance.support()
    counts = np.arange(low, high + 1)
    expected_jaccard = float((chance.pmf(counts) * counts / (len(a) + len(b) - counts)).sum())
    return Overlap(
        shared, union, shared / union, len(a) * len(b) / total, expected_jaccard, float(chance.sf(shared - 1))
    )
