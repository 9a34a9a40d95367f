"""What ablation does to accuracy: conditions compared with the intact model on the same items."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.paired import PairedCounts, count_pairs, paired_tests, require_same_items
from tension_lens.neurons.conditions import Condition, intact


def accuracy_columns(items: ItemTable) -> dict[str, Any]:
    """`n`, `accuracy`, and `low` and `high` of its Wilson 95 % interval."""
    found = accuracy_of(items.correct)
    return {"n": found.n, "accuracy": found.accuracy, "low": found.low, "high": found.high}


def paired_changes(pairs: Sequence[tuple[ItemTable, ItemTable]]) -> list[dict[str, float]]:
    """The change of accuracy from the first to the second table of each pair, all pairs as one family of tests.

    Returns `difference` with `difference_low` and `difference_high` (Tango's 95 % interval), `p_value` (McNemar's exact
    test) and `p_holm` (corrected over all pairs) for each pair.

    Raises:
        RequestError: if the tables of a pair hold different items, or a credit is neither 0 nor 1.
    """
    counts: dict[tuple[str, ...], PairedCounts] = {}
    for number, (before, after) in enumerate(pairs):
        require_same_items(before=before, after=after)
        counts[(str(number),)] = count_pairs(before.correct, after.correct, np.full(len(before), "all", dtype=object))
    if not counts:
        return []
    tests = paired_tests(counts)
    return [tests.change(number) for number in range(len(pairs))]


def compare(tables: Mapping[Condition, ItemTable]) -> pd.DataFrame:
    """Accuracy under each condition and its change from the intact model, a row for each condition.

    Columns: `condition` (label), `set`, `ablation`, `control`, `draw`; `n`, `accuracy`, `low`, `high` (Wilson's 95 %
    interval); `difference`, `difference_low`, `difference_high` (change of accuracy with Tango's 95 % interval);
    `p_value` (McNemar's exact test) and `p_holm` (Holm's correction over the conditions). Changes of the intact row are
    empty.

    Args:
        tables: item tables of the same items, the intact condition among them.

    Raises:
        RequestError: if there is no intact condition, items differ, or a credit is neither 0 nor 1.
    """
    if intact() not in tables:
        raise RequestError("conditions are compared with the intact model; add intact() to the conditions")
    ablated = [condition for condition in tables if condition != intact()]
    changes = dict(zip(ablated, paired_changes([(tables[intact()], tables[one]) for one in ablated]), strict=True))
    rows = []
    for condition, items in tables.items():
        fields: dict[str, Any] = {"condition": condition.label, "set": condition.set, "ablation": condition.ablation}
        fields |= {"control": condition.control, "draw": condition.draw}
        rows.append({**fields, **accuracy_columns(items), **changes.get(condition, {})})
    return pd.DataFrame(rows).astype({"draw": "Int64"})
