"""What a mixed model retains of the single-objective models, intact and ablated: retention, margins, flips."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from analysis.results.cells import Cell
from analysis.results.study import Study
from tension_lens.constants import INTACT
from tension_lens.metrics.pairs import item_credits
from tension_lens.metrics.retention import retained_margins, retention
from tension_lens.neurons.conditions import Condition

EVERY = "all"
SINGLE = ("helpful", "harmless")
FLIP_LABELS = ("backbone", "seed", "objective", "data", "condition", "set", "ablation")


def _parts(study: Study, data: str, by_subtask: bool) -> Iterator[tuple[dict[str, str], Bool[np.ndarray, " item"]]]:
    """(sub-task and task type, their items): all items, each task type and, if asked, each sub-task."""
    items = study.items[data]
    yield {"subtask": EVERY, "task_type": EVERY}, np.ones(len(items.item), dtype=bool)
    for task_type in dict.fromkeys(items.task_type.tolist()):
        yield {"subtask": EVERY, "task_type": task_type}, items.task_type == task_type
    if by_subtask:
        for subtask in dict.fromkeys(items.subtask.tolist()):
            rows = items.subtask == subtask
            yield {"subtask": subtask, "task_type": str(items.task_type[rows][0])}, rows


def _intact(study: Study, cell: Cell, *objectives: str) -> dict[str, Cell]:
    """The intact models of these objectives with the cell's backbone, seed and data; those that exist."""
    keys = {one: (cell.backbone, cell.seed, one, cell.data, Condition()) for one in objectives}
    return {one: study.cells[key] for one, key in keys.items() if key in study.cells}


def _mixed(study: Study) -> Iterator[tuple[Cell, dict[str, Cell]]]:
    """Every cell of a mixed model that is no control, with the intact single-objective models."""
    for cell in study.cells.values():
        if cell.objective == "mixed":
            yield cell, _intact(study, cell, *SINGLE)


def retention_table(study: Study) -> pd.DataFrame:
    """Retention of the mixed model, intact and with each set ablated, over all items, by task type and by sub-task.

    A row for each `measure`: `combined`, `helpful`, `harmless`, `jaccard_helpful`, `jaccard_harmless` (see
    `Retention`), with `numerator` and `denominator` (pairs, see `pairs_won`), `items` with a pair in the denominator,
    `share`, Wilson's `low` and `high` over items. `reason` says why a share is missing. Only models with both
    single-objective models have rows.
    """
    rows: list[dict[str, Any]] = []
    for cell, single in _mixed(study):
        if len(single) < len(SINGLE):
            continue
        for about, part in _parts(study, cell.data, by_subtask=True):
            right = (one.right[part] for one in (*single.values(), cell))
            for measure, share in asdict(retention(*right)).items():
                rows.append({**cell.labels(), **about, "measure": measure, **share})
    return pd.DataFrame(rows)


def margin_table(study: Study) -> pd.DataFrame:
    """Margins of the pairs that the mixed and a single-objective model both judge correctly, averaged within an item.

    A row for each mixed cell that is no control, `reference` model, part and `units`: `raw` (each model's own units of
    reward) or `standardised` (divided by the sd of that model's margins over all pairs of the part). Columns: `n`
    items, `reference_mean`, `mixed_mean`, their `sd`, `difference` = mixed − reference on the same items with Student's
    95 % interval.
    """
    rows: list[dict[str, Any]] = []
    for cell, single in _mixed(study):
        for name, other in single.items():
            for about, part in _parts(study, cell.data, by_subtask=False):
                right = [one.right[part] for one in (other, cell)]
                margins = [one.margin[part].astype(np.float64) for one in (other, cell)]
                found = retained_margins(right[0], margins[0], right[1], margins[1])
                for units, compared in (("raw", found.raw), ("standardised", found.standardised)):
                    if compared is None:
                        continue
                    reference, mixed, change = compared.reference, compared.mixed, compared.difference
                    which = {**cell.labels(), "reference": name, **about, "units": units, "n": reference.n}
                    sides = {"reference_mean": reference.mean, "reference_sd": reference.sd}
                    sides |= {"mixed_mean": mixed.mean, "mixed_sd": mixed.sd}
                    interval = {"difference": change.mean, "low": change.low, "high": change.high}
                    rows.append({**which, **sides, **interval})
    return pd.DataFrame(rows)


def flip_table(study: Study) -> pd.DataFrame:
    """Items of which one of two models or conditions judges more pairs correctly than the other, a row each.

    `reference` is `helpful` or `harmless` (intact models, compared with the intact mixed model) or `intact` (the same
    model, compared with each of its sets ablated); `flip` is `lost` (more pairs correct in the reference) or `gained`.
    """
    frames = []
    for cell in study.cells.values():
        if cell.condition.is_intact and cell.objective != "mixed":
            continue
        names = {one: one for one in SINGLE} if cell.condition.is_intact else {cell.objective: INTACT}
        items = study.items[cell.data]
        about = {name: cell.labels()[name] for name in FLIP_LABELS}
        for objective, other in _intact(study, cell, *names).items():
            before, after = item_credits(other.right), item_credits(cell.right)
            for flip, rows in (("lost", after < before), ("gained", after > before)):
                constant = {**about, "reference": names[objective], "flip": flip}
                columns = {name: np.full(int(rows.sum()), value, dtype=object) for name, value in constant.items()}
                frames.append(pd.DataFrame({**columns, "subtask": items.subtask[rows], "item": items.item[rows]}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["item", "flip"])
