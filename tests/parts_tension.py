"""Item tables made by hand."""

import numpy as np

from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.ragged import Ragged


def item_table(correct, item=None, subtask=None, chosen=None, rejected=None):
    """A table of items judged as said; rewards, unless given, of one pair an item, 1 above or below."""
    n = len(correct)
    chosen = Ragged.of([[float(credit)] for credit in correct] if chosen is None else chosen)
    rejected = Ragged.of([[1.0 - credit] for credit in correct] if rejected is None else rejected)
    columns = (
        np.array(values, dtype=object)
        for values in (item or [str(row) for row in range(n)], subtask or ["a"] * n, ["unknown"] * n)
    )
    tokens = (Ragged(np.ones(len(side.values), dtype=np.int64), side.offsets) for side in (chosen, rejected))
    return ItemTable(*columns, chosen, rejected, *tokens, np.array(correct, dtype=np.float64))
