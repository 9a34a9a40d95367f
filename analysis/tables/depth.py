"""Where neuron sets lie in depth, as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tension_lens.constants import BUCKETS
from tension_lens.errors import RequestError
from tension_lens.neurons.depth import depth_shares, uniform_depth
from tension_lens.neurons.sets import NeuronSet

if TYPE_CHECKING:
    pass


def depth_table(sets: Sequence[NeuronSet]) -> pd.DataFrame:
    """Share of each set's neurons in each depth bucket, beside the share of layers there.

    Columns: `set`, `bucket`, `share`, `uniform` (fractions of 1), `neurons` (the set's size). Buckets are thirds of the
    model's own layers. The share of an empty set is not a number.

    Raises:
        RequestError: if there is no set, two have one name, or their networks differ in shape.
    """
    _require_comparable(sets)
    return pd.DataFrame(
        [
            {
                "set": one.name,
                "bucket": bucket,
                "share": depth_shares(one)[bucket],
                "uniform": uniform_depth(one.n_layers)[bucket],
                "neurons": len(one),
            }
            for one in sets
            for bucket in BUCKETS
        ]
    )


def _require_comparable(sets: Sequence[NeuronSet]) -> None:
    if not sets:
        raise RequestError("give at least one neuron set")
    names = [one.name for one in sets]
    if len(set(names)) != len(names):
        raise RequestError(f"neuron sets must have different names to be told apart, found {', '.join(names)}")
    for one in sets[1:]:
        one.require_fits(*sets[0].shape, what=f"set {sets[0].name!r}")
