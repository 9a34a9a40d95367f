"""Depth of neuron sets as a table."""

from collections.abc import Sequence

import pandas as pd

from tension_lens.errors import RequestError
from tension_lens.neurons.depth import depth_shares, uniform_depth
from tension_lens.neurons.sets import NeuronSet


def depth_table(sets: Sequence[NeuronSet]) -> pd.DataFrame:
    """Fraction of each set's neurons in each depth bucket, next to the fraction of layers in that bucket.

    Columns: `set`, `bucket`, `share`, `uniform` (fractions of 1), `neurons` (size of the set). Buckets are thirds of
    the model's layers. The share of an empty set is NaN.

    Raises:
        RequestError: if there is no set, two have the same name, or their networks differ in shape.
    """
    if not sets:
        raise RequestError("give at least one neuron set")
    names = [one.name for one in sets]
    if len(set(names)) != len(names):
        raise RequestError(f"neuron sets must have different names, found {', '.join(names)}")
    for one in sets[1:]:
        one.require_fits(*sets[0].shape, what=f"set {sets[0].name!r}")
    uniform = uniform_depth(sets[0].n_layers)
    return pd.DataFrame(
        [
            {"set": one.name, "bucket": bucket, "share": share, "uniform": uniform[bucket], "neurons": len(one)}
            for one in sets
            for bucket, share in depth_shares(one).items()
        ]
    )
