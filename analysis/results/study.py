"""Read the item tables of a study into scores by rule and compact cells, from which tables and figures are made.

Several studies can be read as one. Rewards are read one model at a time and dropped; a cell keeps only the margins of
every item's pairs and which of them are judged correctly.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.results.cells import ABOUT_SET, IDENTITY, Cell, Draws, Items
from analysis.results.draws import draws_of
from analysis.results.gaps import missing_cells
from analysis.results.scores import score_rows
from tension_lens.artifacts.layout import RUN_FILE, StudyFolder
from tension_lens.artifacts.record import RunRecord
from tension_lens.constants import SIDES
from tension_lens.errors import RequestError
from tension_lens.metrics.benchmark_rules import item_credit
from tension_lens.metrics.distributions import score_shift
from tension_lens.metrics.item_table import ItemTable, read_metadata
from tension_lens.metrics.pairs import pair_margins, pairs_won
from tension_lens.neurons.conditions import Condition

ABOUT = ("condition", "set", "ablation", "control", "draw", "neurons")
Group = tuple[str, str, str, str]
"""Backbone, seed, objective, data."""
CellKey = tuple[str, str, str, str, Condition]
"""Backbone, seed, objective, data, condition."""


@dataclass(frozen=True, eq=False)
class Study:
    """All cells of one or more studies, their random sets, the scores by every rule, and the missing cells."""

    cells: dict[CellKey, Cell]
    """The intact model and every ablated set."""
    draws: list[Draws]
    """The random sets of every set."""
    items: dict[str, Items]
    """By data spec."""
    scores: list[dict[str, Any]]
    """A row for each model, condition, rule and sub-task."""
    distributions: list[dict[str, Any]]
    """The distribution of rewards, a row for each model, condition, data, side and time (`before` or `after` the
    ablation). `edges` and `density` are the arrays of a histogram, with the same edges before and after."""
    unavailable: dict[Group, dict[Condition, str]]
    """Why a set has no random sets of a kind, by model and data, and by the control without its draw."""
    gaps: list[dict[str, str]]
    """Missing cells of the grid and controls that a set cannot have, a row for each with the reason."""

    def groups(self) -> dict[Group, dict[Condition, Cell]]:
        """Cells by condition, for each backbone, seed, objective and data."""
        found: dict[Group, dict[Condition, Cell]] = {}
        for (backbone, seed, objective, data, condition), cell in self.cells.items():
            found.setdefault((backbone, seed, objective, data), {})[condition] = cell
        return found


def read_study(*studies: Path) -> Study:
    """Every finished table of a study, or of several studies as one.

    A model may be in several studies with the same weights, on other data or under other conditions in each.

    Raises:
        RequestError: if there is no table, a table is damaged or missing though its record names it, two tables have
            the same model, data and condition, or tables of one model have different weights or items.
    """
    cells: dict[CellKey, Cell] = {}
    draws: list[Draws] = []
    items: dict[str, Items] = {}
    scores: list[dict[str, Any]] = []
    distributions: list[dict[str, Any]] = []
    finished = [tables for study in studies for tables in StudyFolder(study).finished().values()]
    if not finished:
        raise RequestError(f"{', '.join(map(str, studies))} holds no finished tables; run tension_lens.study first")
    for paths in _by_model(finished):
        tables = _tables_of_one_model(paths)
        for data, by_condition in tables.items():
            of_draws = {one: table for one, table in by_condition.items() if one.is_control}
            of_sets = {one: table for one, table in by_condition.items() if not one.is_control}
            for table in of_sets.values():
                _require_known_items(items, data, table)
                cell = _cell(table)
                cells[(*cell.model, data, cell.condition)] = cell
            if data in items:
                draws += draws_of(of_draws, items[data])
            distributions += _distributions(of_sets)
        scores += _scores(tables)
    unavailable = _unavailable(finished)
    present = [*cells, *((*one.model, one.data, one.condition) for one in draws)]
    gaps = list(missing_cells(present, list(items), unavailable))
    return Study(cells, draws, items, scores, distributions, unavailable, gaps)


def _by_model(finished: list[list[Path]]) -> list[list[Path]]:
    """The tables of each model. The first table of a folder names the model of all of them."""
    found: dict[tuple[str, ...], list[Path]] = {}
    for paths in finished:
        for path in paths[:1]:
            metadata = _labels(read_metadata(path), path)
            found.setdefault(tuple(metadata[name] for name in IDENTITY), []).extend(paths)
    return list(found.values())


def _labels(metadata: dict[str, str], path: Path) -> dict[str, str]:
    """The metadata, with all labels of a study's table."""
    if missing := [key for key in (*IDENTITY, "data", *ABOUT, "weights_sha256") if key not in metadata]:
        raise RequestError(f"item table {path} does not say its {', '.join(missing)}; is it of a study?")
    return metadata


def _name(metadata: dict[str, str]) -> str:
    return f"the {metadata['objective']} model of {metadata['backbone']}, seed {metadata['seed']},"


def _tables_of_one_model(paths: list[Path]) -> dict[str, dict[Condition, ItemTable]]:
    """Tables by data and condition."""
    found: dict[str, dict[Condition, ItemTable]] = {}
    origins: dict[tuple[str, Condition], Path] = {}
    weights: dict[str, Path] = {}
    for path in paths:
        table = ItemTable.load(path)
        about = _labels(table.metadata, path)
        weights.setdefault(about["weights_sha256"], path)
        if len(weights) > 1:
            first, second = weights.values()
            raise RequestError(
                f"item tables of {_name(about)} are of different weights: {first} and {second}; run tension_lens.study "
                "on one of the two again, or report on each by itself"
            )
        data, condition = about["data"], Condition.of(about)
        other = origins.setdefault((data, condition), path)
        if other != path:
            raise RequestError(
                f"{other.parent} and {path.parent} both hold {_name(about)} on {data} under {condition.label}; keep "
                "one of the two, or report on each study by itself"
            )
        found.setdefault(data, {})[condition] = table
    return found


def _cell(table: ItemTable) -> Cell:
    about = table.metadata
    return Cell(
        **{name: about[name] for name in (*IDENTITY, "data")},
        condition=Condition.of(about),
        neurons=int(about["neurons"]),
        right=pairs_won(table),
        margin=pair_margins(table).astype(np.float32),
        credit=item_credit(table),
    )


def _require_known_items(items: dict[str, Items], data: str, table: ItemTable) -> None:
    about = table.metadata
    ours = Items(table.item, table.subtask, table.task_type, table.prompt, about["data_sha256"])
    known = items.setdefault(data, ours)
    same = all(np.array_equal(getattr(known, name), getattr(table, name)) for name in ("item", "subtask", "task_type"))
    if known.sha256 != about["data_sha256"] or not same:
        raise RequestError(
            f"tables of {_name(about)} under {about['condition']} hold other items of {data} than those of another "
            "model or condition; run tension_lens.study on the same items, or report on each study by itself"
        )


def _scores(tables: dict[str, dict[Condition, ItemTable]]) -> Iterator[dict[str, Any]]:
    """The score rows of every condition of one model; random sets are left out."""
    for condition in dict.fromkeys(condition for by_condition in tables.values() for condition in by_condition):
        if condition.is_control:
            continue
        by_data = {data: found[condition] for data, found in tables.items() if condition in found}
        metadata = next(iter(by_data.values())).metadata
        labels = {name: metadata[name] for name in (*IDENTITY, *ABOUT_SET)}
        for row in score_rows(by_data):
            yield {**labels, **row}


def _distributions(by_condition: dict[Condition, ItemTable]) -> Iterator[dict[str, Any]]:
    """Rewards of the intact model and with each set ablated, on the same bins."""
    intact = by_condition.get(Condition())
    for condition, table in by_condition.items():
        if intact is None or condition.is_intact:
            continue
        shift = score_shift(intact, table)
        labels = {key: table.metadata[key] for key in (*IDENTITY, "data", "condition", "set", "ablation")}
        for when in ("before", "after"):
            scores = getattr(shift, when)
            for side in SIDES:
                one = getattr(scores, side)
                quantiles = {f"q{100 * share:02.0f}": value for share, value in one.quantiles.items()}
                about = {**labels, "when": when, "side": side, **asdict(one.moments), **quantiles, "auc": scores.auc}
                yield {**about, "edges": shift.edges, "density": one.density}


def _unavailable(finished: list[list[Path]]) -> dict[Group, dict[Condition, str]]:
    """Why a set has no control of a kind, by the control without its draw; from the run record of each folder."""
    found: dict[Group, dict[Condition, str]] = {}
    for paths in finished:
        for path in paths[:1]:
            about = _labels(read_metadata(path), path)
            group = (about["backbone"], about["seed"], about["objective"], about["data"])
            for one in RunRecord.load(path.parent / RUN_FILE).results.get("unavailable", ()):
                control = Condition(one["set"], one["ablation"], one["control"])
                found.setdefault(group, {})[control] = one["why"]
    return found
