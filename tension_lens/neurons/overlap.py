"""The overlap of two neuron sets, compared with that of random sets of the same sizes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from tension_lens.neurons.sets import NeuronSet


@dataclass(frozen=True)
class Overlap:
    """The overlap of two sets, compared with that of two random sets of the same sizes."""

    intersection: int
    union: int
    jaccard: float
    """intersection / union; NaN for two empty sets."""
    expected_intersection: float
    """|A| · |B| / N, the hypergeometric mean."""
    expected_jaccard: float
    """E[i / (|A| + |B| − i)] over the hypergeometric distribution of i."""
    p_value: float
    """P(intersection at least as large | random sets), hypergeometric."""

    def __str__(self) -> str:
        return (
            f"{self.intersection:,} of {self.union:,} neurons shared, Jaccard {self.jaccard:.3f}; random sets of these "
            f"sizes: {self.expected_intersection:,.0f}, Jaccard {self.expected_jaccard:.3f} (p = {self.p_value:.2g})"
        )


def jaccard(a: Bool[np.ndarray, "layer neuron"], b: Bool[np.ndarray, "layer neuron"]) -> float:
    """|a ∩ b| / |a ∪ b| of two masks; NaN for two empty ones."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else float("nan")


def overlap(a: NeuronSet, b: NeuronSet) -> Overlap:
    """Intersection, union and Jaccard index of two sets, compared with chance.

    By chance: A fixed, B drawn uniformly among all N = n_layers · d_mlp neurons, so that the intersection is
    hypergeometric(N, |A|, |B|).

    Raises:
        RequestError: if the sets belong to different networks or sites.
    """
    from scipy.stats import hypergeom

    shared = len(a & b)
    if not len(a) + len(b):
        return Overlap(0, 0, float("nan"), 0.0, float("nan"), 1.0)
    total = a.n_layers * a.d_mlp
    chance = hypergeom(total, len(a), len(b))
    counts = np.arange(chance.support()[0], chance.support()[1] + 1)
    return Overlap(
        intersection=shared,
        union=len(a | b),
        jaccard=jaccard(a.mask(), b.mask()),
        expected_intersection=len(a) * len(b) / total,
        expected_jaccard=float((chance.pmf(counts) * counts / (len(a) + len(b) - counts)).sum()),
        p_value=float(chance.sf(shared - 1)),
    )
