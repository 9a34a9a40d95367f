"""What a mixed model keeps of the single-objective models, intact and with sets switched off, as tables."""

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from analysis.results.study import Cell, Study
from tension_lens.constants import INTACT
from tension_lens.metrics.retention import MarginComparison, Retention, Share, retained_margins, retention
from tension_lens.neurons.conditions import Condition

EVERY = "all"
FLIP_LABELS = ("backbone", "seed", "objective", "data", "condition", "set", "ablation")


def _parts(study: Study, data: str, by_subtask: bool) -> Iterator[tuple[str, str, Bool[np.ndarray, " item"]]]:
    """(part, task type, its items): all items, those of each task type and, if asked, those of each sub-task."""
    items = study.items[data]
    yield EVERY, EVERY, np.ones(len(items.item), dtype=bool)
    for task_type in dict.fromkeys(items.task_type.tolist()):
        yield EVERY, task_type, items.task_type == task_type
    if by_subtask:
        for subtask in dict.fromkeys(items.subtask.tolist()):
            rows = items.subtask == subtask
            yield subtask, str(items.task_type[rows][0]), rows


def _mixed(study: Study) -> Iterator[tuple[Cell, dict[str, Cell]]]:
    """Every cell of a mixed model with the intact single-objective models of its backbone, seed and data."""
    for cell in study.cells.values():
        if cell.objective == "mixed":
            keys = {one: (cell.backbone, cell.seed, one, cell.data, Condition()) for one in ("helpful", "harmless")}
            yield cell, {one: study.cells[key] for one, key in keys.items() if key in study.cells}


def retention_table(study: Study) -> pd.DataFrame:
    """Retention of the mixed model under every condition, over all items, by task type and by sub-task.

    A row for each `measure`: `combined`, `helpful`, `harmless`, `jaccard_helpful`, `jaccard_harmless` (see
    `Retention`), with `numerator`, `denominator`, `share`, Wilson's `low` and `high`; where no
    share can be given, `reason` says why. Models without both single-objective ones have no row.
    """
    rows: list[dict[str, Any]] = []
    for cell, single in _mixed(study):
        if len(single) < len(("helpful", "harmless")):
            continue
        for subtask, task_type, part in _parts(study, cell.data, by_subtask=not cell.condition.is_control):
            credits = (one.right[part].astype(np.float64) for one in (single["helpful"], single["harmless"], cell))
            found = retention(*credits)
            about = {**cell.labels(), "subtask": subtask, "task_type": task_type}
            for measure in fields(Retention):
                share: Share = getattr(found, measure.name)
                rows.append({**about, "measure": measure.name, **asdict(share)})
    return pd.DataFrame(rows)


def margin_table(study: Study) -> pd.DataFrame:
    """Margins of the items that the mixed and a single-objective model both judge correctly.

    A row for each mixed cell that is no control, `reference` model, part and `units`: `raw` (each model's own units of
    reward) or `standardised` (divided by the sd of that model's margins over all items of the part). `reference_mean`,
    `mixed_mean`, their `sd`, `difference` = mixed − reference over the same items with Student's 95 % interval.
    """
    rows: list[dict[str, Any]] = []
    for cell, single in _mixed(study):
        if cell.condition.is_control:
            continue
        for name, other in single.items():
            for subtask, task_type, part in _parts(study, cell.data, by_subtask=False):
                columns = []
                for one in (other, cell):
                    columns += [one.right[part].astype(np.float64), one.margin[part].astype(np.float64)]
                found = retained_margins(*columns)
                about = {**cell.labels(), "reference": name, "subtask": subtask, "task_type": task_type}
                for units, compared in (("raw", found.raw), ("standardised", found.standardised)):
                    if compared is not None:
                        rows.append({**about, "units": units, **_margins(compared)})
    return pd.DataFrame(rows)


def _margins(compared: MarginComparison) -> dict[str, Any]:
    difference = {
        "difference": compared.difference.mean,
        "low": compared.difference.low,
        "high": compared.difference.high,
    }
    sides = {
        f"{name}_{what}": getattr(getattr(compared, name), what)
        for name in ("reference", "mixed")
        for what in ("mean", "sd")
    }
    return {"n": compared.reference.n, **sides, **difference}


def flip_table(study: Study) -> pd.DataFrame:
    """Items that change sides, a row each: between a single-objective model and the mixed, and from intact to ablated.

    `reference` is `helpful` or `harmless` (their intact models, against the intact mixed one) or `intact` (the same
    model, against each set switched off); `flip` is `lost` (right in the reference alone) or `gained`.
    """
    frames = []
    for cell in study.cells.values():
        if cell.condition.is_control:
            continue
        others = {}
        if not cell.condition.is_intact:
            others[INTACT] = study.cells.get((*cell.model, cell.data, Condition()))
        elif cell.objective == "mixed":
            for one in ("helpful", "harmless"):
                others[one] = study.cells.get((cell.backbone, cell.seed, one, cell.data, Condition()))
        for reference, other in others.items():
            if other is not None:
                frames += [_flips(study, cell, reference, flip, rows) for flip, rows in _changed(other, cell)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["item", "flip"])


def _changed(reference: Cell, cell: Cell) -> Iterator[tuple[str, Bool[np.ndarray, " item"]]]:
    yield "lost", reference.right & ~cell.right
    yield "gained", ~reference.right & cell.right


def _flips(study: Study, cell: Cell, reference: str, flip: str, rows: Bool[np.ndarray, " item"]) -> pd.DataFrame:
    items = study.items[cell.data]
    about = {name: cell.labels()[name] for name in FLIP_LABELS}
    constant = {**about, "reference": reference, "flip": flip}
    columns = {name: np.full(int(rows.sum()), value, dtype=object) for name, value in constant.items()}
    return pd.DataFrame({**columns, "subtask": items.subtask[rows], "item": items.item[rows]})
