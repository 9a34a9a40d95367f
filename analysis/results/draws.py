"""The random sets of a study: what the items of one data spec gave with each of them ablated."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from tension_lens.data.comparisons import first_of_each_type
from tension_lens.errors import RequestError
from tension_lens.metrics.benchmark_rules import item_credit
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.pairs import pair_margins, pairs_won
from tension_lens.neurons.conditions import Condition


@dataclass(frozen=True)
class Items:
    """The items of one data spec, the same for every model and condition."""

    item: Shaped[np.ndarray, " item"]
    subtask: Shaped[np.ndarray, " item"]
    task_type: Shaped[np.ndarray, " item"]
    prompt: Shaped[np.ndarray, " item"]
    """Key of each item's prompt."""
    sha256: str

    def at(self, rows: Int[np.ndarray, " row"]) -> "Items":
        """The items of these rows."""
        parts = {name: getattr(self, name)[rows] for name in ("item", "subtask", "task_type", "prompt")}
        return Items(**parts, sha256=self.sha256)


@dataclass(frozen=True, eq=False)
class Draws:
    """The random sets of one kind that belong to one set, in one model on one data spec."""

    backbone: str
    seed: str
    objective: str
    data: str
    condition: Condition
    """The control without its draw: its set, ablation and kind."""
    neurons: int
    """Size of the set, and of every random set."""
    rows: Int[np.ndarray, " row"]
    """The rows of the data's items that were run."""
    right: Bool[np.ndarray, "draw row pair"]
    """Which pairs are judged correctly, as in `Cell`."""
    margin: Float[np.ndarray, "draw row pair"]
    """Margins of the pairs, float32."""
    credit: Float[np.ndarray, "draw row"]
    """Credit by the benchmark's rule."""

    @property
    def model(self) -> tuple[str, str, str]:
        """Backbone, seed, objective."""
        return self.backbone, self.seed, self.objective


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
