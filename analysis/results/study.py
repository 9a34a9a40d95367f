"""Read a study's item tables into scores by rule and compact cells, from which tables and figures are made.

Several studies can be read as one. Rewards are read one model at a time and not kept; a cell keeps for every item only
whether it is correct and its margin.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from analysis.results.scores import score_rows
from tension_lens.artifacts.layout import StudyFolder
from tension_lens.constants import OBJECTIVES
from tension_lens.errors import RequestError
from tension_lens.metrics.distributions import Scores, score_shift
from tension_lens.metrics.item_table import ItemTable, read_metadata
from tension_lens.neurons.conditions import Condition

IDENTITY = ("backbone", "seed", "objective")
ABOUT = ("condition", "set", "ablation", "control", "draw", "neurons", "shared_with_set")
Group = tuple[str, str, str, str]
"""Backbone, seed, objective, data."""
CellKey = tuple[str, str, str, str, Condition]
"""Backbone, seed, objective, data, condition."""


@dataclass(frozen=True)
class Items:
    """The items of one data spec, the same for every model and condition."""

    item: Shaped[np.ndarray, " item"]
    subtask: Shaped[np.ndarray, " item"]
    task_type: Shaped[np.ndarray, " item"]
    sha256: str


@dataclass(frozen=True, eq=False)
class Cell:
    """One model under one condition on one data spec."""

    backbone: str
    seed: str
    objective: str
    data: str
    condition: Condition
    neurons: int
    """How many are ablated."""
    shared_with_set: str
    """For a control: how many of its neurons are in its set."""
    right: Bool[np.ndarray, " item"]
    """min(chosen rewards) > max(rejected rewards)."""
    margin: Float[np.ndarray, " item"]
    """min(chosen rewards) − max(rejected rewards), float32."""

    @property
    def model(self) -> tuple[str, str, str]:
        """Backbone, seed, objective."""
        return self.backbone, self.seed, self.objective

    def labels(self) -> dict[str, Any]:
        """The first columns of a row about this cell: the model, the data and the condition."""
        model = {name: getattr(self, name) for name in (*IDENTITY, "data")}
        return {
            **model,
            **self.condition.columns(),
            "neurons": self.neurons,
            "shared_with_set": self.shared_with_set,
        }


@dataclass(frozen=True, eq=False)
class Study:
    """All cells of one or more studies, the scores by every rule, and the missing cells."""

    cells: dict[CellKey, Cell]
    items: dict[str, Items]
    """By data."""
    scores: list[dict[str, Any]]
    """A row for each model, condition, rule and sub-task."""
    distributions: list[dict[str, Any]]
    """The distribution of rewards, a row for each model, condition, data, side and time (before and after the
    ablation). `edges` and `density` are arrays, the histogram; before and after have the same edges."""
    gaps: list[dict[str, str]]
    """Missing cells of the grid, a row for each with the reason."""

    def groups(self) -> dict[Group, dict[Condition, Cell]]:
        """Cells by condition, for each backbone, seed, objective and data."""
        found: dict[Group, dict[Condition, Cell]] = {}
        for (backbone, seed, objective, data, condition), cell in self.cells.items():
            found.setdefault((backbone, seed, objective, data), {})[condition] = cell
        return found


def read_study(*studies: Path) -> Study:
    """Every finished table of a study, or of several as if they were one.

    A model may stand in several studies: on other data or under other conditions in each, with the same weights.

    Raises:
        RequestError: if there is none, a table is damaged or missing though its record names it, two tables are of one
            model, data and condition, or tables that must be of one model or of the same items are not.
    """
    cells: dict[CellKey, Cell] = {}
    items: dict[str, Items] = {}
    scores: list[dict[str, Any]] = []
    distributions: list[dict[str, Any]] = []
    finished = [tables for study in studies for tables in StudyFolder(study).finished().values()]
    if not finished:
        raise RequestError(f"{', '.join(map(str, studies))} holds no finished tables; run tension_lens.study first")
    for paths in _by_model(finished):
        tables = _tables_of_one_model(paths)
        for data, by_condition in tables.items():
            for table in by_condition.values():
                _require_known_items(items, data, table)
                cell = _cell(table)
                cells[(*cell.model, data, cell.condition)] = cell
            distributions += list(_distributions(by_condition))
        scores += list(_scores(tables))
    return Study(cells, items, scores, distributions, list(_gaps(cells, list(items))))


def _by_model(finished: list[list[Path]]) -> list[list[Path]]:
    """The tables of each model, which the first table of each DATA folder names."""
    found: dict[tuple[str, ...], list[Path]] = {}
    for paths in finished:
        for path in paths[:1]:
            metadata = read_metadata(path)
            _require_labels(metadata, path)
            found.setdefault(tuple(metadata[name] for name in IDENTITY), []).extend(paths)
    return list(found.values())


def _tables_of_one_model(paths: list[Path]) -> dict[str, dict[Condition, ItemTable]]:
    """Tables by data and condition."""
    found: dict[str, dict[Condition, ItemTable]] = {}
    origins: dict[tuple[str, Condition], Path] = {}
    weights: dict[str, Path] = {}
    for path in paths:
        table = ItemTable.load(path)
        about = table.metadata
        _require_labels(about, path)
        weights.setdefault(about["weights_sha256"], path)
        model = f"the {about['objective']} model of {about['backbone']}, seed {about['seed']}"
        if len(weights) > 1:
            first, second = weights.values()
            raise RequestError(
                f"item tables of {model}, are of different weights: {first} and {second}; run tension_lens.study on "
                "one of the two again, or report on each by itself"
            )
        key = about["data"], Condition.of(about)
        if key in origins:
            raise RequestError(
                f"{origins[key].parent} and {path.parent} both hold {model}, on {key[0]} under {key[1].label}; keep "
                "one of the two, or report on each study by itself"
            )
        origins[key] = path
        found.setdefault(key[0], {})[key[1]] = table
    return found


def _require_labels(metadata: dict[str, str], path: Path) -> None:
    if lacking := [key for key in (*IDENTITY, "data", *ABOUT, "weights_sha256") if key not in metadata]:
        raise RequestError(f"item table {path} does not say its {', '.join(lacking)}; is it of a study?")


def _cell(table: ItemTable) -> Cell:
    about = table.metadata
    return Cell(
        **{name: about[name] for name in (*IDENTITY, "data", "shared_with_set")},
        condition=Condition.of(about),
        neurons=int(about["neurons"]),
        right=table.right,
        margin=table.margin.astype(np.float32),
    )


def _require_known_items(items: dict[str, Items], data: str, table: ItemTable) -> None:
    about = table.metadata
    known = items.setdefault(data, Items(table.item, table.subtask, table.task_type, about["data_sha256"]))
    same = known.sha256 == about["data_sha256"] and len(known.item) == len(table)
    if not same or (known.item != table.item).any():
        model = f"the {about['objective']} model of {about['backbone']}, seed {about['seed']},"
        raise RequestError(
            f"tables of {model} under {about['condition']} hold other items of {data} than those of another model or "
            "condition; run tension_lens.study on the same items, or report on each study by itself"
        )


def _scores(tables: dict[str, dict[Condition, ItemTable]]) -> Iterator[dict[str, Any]]:
    """The score rows of every condition of one model."""
    conditions: dict[Condition, dict[str, ItemTable]] = {}
    for data, by_condition in tables.items():
        for condition, table in by_condition.items():
            conditions.setdefault(condition, {})[data] = table
    for by_data in conditions.values():
        metadata = next(iter(by_data.values())).metadata
        labels = {name: metadata[name] for name in (*IDENTITY, *ABOUT)}
        for row in score_rows(by_data):
            yield {**labels, **row}


def _distributions(by_condition: dict[Condition, ItemTable]) -> Iterator[dict[str, Any]]:
    """Rewards of the intact model and under each set's ablation, on one grid per pair; controls are left out."""
    intact = by_condition.get(Condition())
    if intact is None:
        return
    for condition, table in by_condition.items():
        if condition.is_intact or condition.is_control:
            continue
        shift = score_shift(intact, table)
        labels = {key: table.metadata[key] for key in (*IDENTITY, "data", "condition", "set", "ablation")}
        for when, scores in (("before", shift.before), ("after", shift.after)):
            yield from _distribution_rows({**labels, "when": when}, scores, shift.edges)


def _distribution_rows(
    labels: dict[str, Any], scores: Scores, edges: Float[np.ndarray, " edge"]
) -> Iterator[dict[str, Any]]:
    for side in ("chosen", "rejected"):
        one = getattr(scores, side)
        quantiles = {f"q{100 * share:02.0f}": value for share, value in one.quantiles.items()}
        histogram = {"edges": edges, "density": one.density}
        yield {**labels, "side": side, **asdict(one.moments), **quantiles, "auc": scores.auc, **histogram}


def _gaps(cells: dict[CellKey, Cell], data: list[str]) -> Iterator[dict[str, str]]:
    """The cells that are missing from the grid of every model, data spec and condition of an objective."""
    seeds = sorted({(backbone, seed) for backbone, seed, *_ in cells})
    for backbone, seed in seeds:
        for objective in OBJECTIVES:
            wanted = dict.fromkeys(condition for _, _, one, _, condition in cells if one == objective)
            have = {key[3:] for key in cells if key[:3] == (backbone, seed, objective)}
            for spec in data:
                present = [condition for condition in wanted if (spec, condition) in have]
                about = {"backbone": backbone, "seed": seed, "objective": objective, "data": spec}
                if not present:
                    why = "no table of this data" if have else "no model of this objective"
                    yield {**about, "condition": "every", "why": why}
                for condition in wanted if present else ():
                    if condition not in present:
                        yield {**about, "condition": condition.label, "why": "no table of this condition"}
