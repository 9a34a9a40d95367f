"""Read the random sets of a study."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from analysis.results.cells import Draws, Items
from tension_lens.data.comparisons import first_of_each_type
from tension_lens.errors import RequestError
from tension_lens.metrics.benchmark_rules import item_credit
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.pairs import pair_margins, pairs_won
from tension_lens.neurons.conditions import Condition


def draws_of(tables: Mapping[Condition, ItemTable], items: Items) -> list[Draws]:
    """The item tables of one model's random sets on one data spec, by set, ablation and kind.

    Raises:
        RequestError: if a table holds other items than those that its metadata names.
    """
    groups: dict[Condition, list[ItemTable]] = {}
    for condition, table in tables.items():
        kind = Condition(condition.set, condition.ablation, condition.control)
        groups.setdefault(kind, []).append(table)
    found = []
    for kind, drawn in groups.items():
        about = drawn[0].metadata
        rows = _rows(items, about.get("draw_items", ""))
        wanted = items.at(rows)
        same = (one.metadata["data_sha256"] == items.sha256 and np.array_equal(one.item, wanted.item) for one in drawn)
        if not all(same):
            raise RequestError(
                f"random sets of {about['set']!r} in the {about['objective']} model of {about['backbone']}, seed "
                f"{about['seed']}, hold other items of {about['data']} than the sets; run tension_lens.study again"
            )
        found.append(
            Draws(
                **{name: about[name] for name in ("backbone", "seed", "objective", "data")},
                condition=kind,
                neurons=int(about["neurons"]),
                rows=rows,
                right=np.array([pairs_won(one) for one in drawn]),
                margin=np.array([pair_margins(one) for one in drawn], dtype=np.float32),
                credit=np.array([item_credit(one) for one in drawn]),
            )
        )
    return found


def _rows(items: Items, draw_items: str) -> Int[np.ndarray, " row"]:
    """The rows on which random sets were run: all, or as many of each task type as `draw_items` says."""
    if not draw_items:
        return np.arange(len(items.item))
    return np.array(first_of_each_type(items.task_type.tolist(), items.subtask.tolist(), int(draw_items)))
