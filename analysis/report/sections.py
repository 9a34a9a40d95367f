"""The report in its order of reading: what the runs show in plain words, the findings, then all detail."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from analysis.figures.ablation import effects_caption, effects_figure
from analysis.figures.accuracy import subtask_caption, subtask_figure, training_caption, training_figure
from analysis.figures.layers import depth_figure
from analysis.figures.neurons import depth_by_model_figure, depth_caption, rmsd_caption, rmsd_figure
from analysis.figures.overlap import overlap_caption, overlap_figure, partition_caption, partition_figure
from analysis.figures.rewards import density_caption, density_figure
from analysis.figures.sweeps import sweep_caption, sweep_figure
from analysis.figures.tension import margins_caption, margins_figure, retention_caption, retention_figure
from analysis.findings.findings import findings, lead_paragraph
from analysis.paper.beside import with_backbones
from analysis.report.details import changes_by_backbone, details, flipped
from analysis.report.page import Exhibit, Section, filters_of
from analysis.report.paper_sections import departures_section, published_section
from analysis.results.folder import Results
from analysis.tables.depth import depth_table
from analysis.tables.neurons import overlap_table, rmsd_table
from analysis.tables.study import tables_of
from tension_lens.constants import OBJECTIVES, PARTS

STATISTIC = "mean_abs"
"""Of the neuron scores, for RMSD."""
BY_LAYER = (
    "Top: share of each set's neurons in the early, middle and late third of this model's layers. Below: share by "
    "layer. n stands over each panel. Grey and dashed: what a uniformly drawn set would have. The sets are counted and "
    "not sampled, so there is no interval."
)
READING = (
    "All rows behind the figures. A click on a column's name sorts. An empty cell is missing and counts nowhere as "
    "zero. Fractions are of 1; numbers are shown to four digits and saved in full."
)


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the report's files are made of."""

    title: str
    lead: list[str]
    sections: list[Section]
    tables: dict[str, pd.DataFrame]
    """By file name, whole."""
    filters: dict[str, list[str]] = field(default_factory=dict)
    """What a reader can choose by: values of the runs, not of published tables."""
    notes: list[str] = field(default_factory=list)
    """What whoever runs the command should know."""


def report_of(results: Results) -> Report:
    """The report of everything that a folder of runs holds.

    Raises:
        RequestError: if a file with neuron scores is damaged.
    """
    tables = _tables(results)
    published, beside = published_section(tables)
    departed, departure_table = departures_section(results, tables)
    shown = [
        Section("findings", "Findings", [], [], tuple(findings(results, tables))),
        *_models(tables),
        *_tension(tables),
        *_neurons(results, tables),
        *_switched_off(results, tables),
        *_flips(tables),
    ]
    full = Section("tables", "Every table in full", [READING], list(details(tables)))
    filters = filters_of([exhibit for section in (*shown, full) for exhibit in section.exhibits])
    missing = len(tables.get("gaps", ()))
    notes = [f"{missing} cells of the study are missing; tables/gaps.csv names them"] if missing else []
    tables = {**tables, **beside, "departures": departure_table}
    sections = [*shown, published, departed, full]
    return Report(_title(results), [lead_paragraph(results, tables)], sections, tables, filters, notes)


def _title(results: Results) -> str:
    backbones = {cell.backbone for cell in results.study.cells.values()} if results.study else set()
    backbones |= set(results.training["backbone"]) if len(results.training) else set()
    names = sorted(map(str, backbones))
    whose = f" of {names[0]}" if len(names) == 1 else ""
    return f"Helpfulness and harmlessness inside reward models{whose}"


def _tables(results: Results) -> dict[str, pd.DataFrame]:
    """Every table by its file name; those that nothing here is about are left out."""
    found = tables_of(results.study) if results.study else {}
    folders = results.run_folders
    for name, table in (("rmsd", rmsd_table(folders, STATISTIC)), ("overlap", overlap_table(folders))):
        found[name] = with_backbones(table, results) if len(table) else table
    found["depth"] = _depth(results)
    found["training"] = results.training
    found["sweeps"], found["variants"] = results.sweeps, results.variants
    return {name: table for name, table in found.items() if len(table.columns)}


def _depth(results: Results) -> pd.DataFrame:
    """Shares of every set in thirds of depth, over all runs."""
    frames = [
        depth_table([one.renamed(name) for name, one in of_run.items()]).assign(runs=run)
        for run, of_run in results.sets.items()
        if of_run
    ]
    return with_backbones(pd.concat(frames, ignore_index=True), results) if frames else pd.DataFrame()


def _rows(tables: dict[str, pd.DataFrame], name: str) -> pd.DataFrame | None:
    """A table, if it is there and has rows."""
    table = tables.get(name)
    return table if table is not None and len(table) else None


def _models(tables: dict[str, pd.DataFrame]) -> Iterator[Section]:
    """How well the models judge."""
    exhibits = []
    if (training := _rows(tables, "training")) is not None:
        exhibits.append(
            Exhibit(
                "training",
                "Accuracy on held-out pairs",
                training_caption(training),
                training_figure(training),
                numbers="table-training",
            )
        )
    if (scores := _rows(tables, "scores")) is not None:
        for task_type in ("helpful", "harmless"):
            if ((scores["condition"] == "baseline") & (scores["task_type"] == task_type)).any():
                exhibits.append(
                    Exhibit(
                        f"subtasks-{task_type}",
                        f"Accuracy on {task_type} sub-tasks",
                        subtask_caption(scores, task_type),
                        subtask_figure(scores, task_type),
                        numbers="table-scores",
                    )
                )
    if exhibits:
        yield Section("models", "How well the models judge", [], exhibits)


def _tension(tables: dict[str, pd.DataFrame]) -> Iterator[Section]:
    """What the mixed model keeps."""
    exhibits = []
    if (retention := _rows(tables, "retention")) is not None:
        caption = retention_caption(retention)
        figure = retention_figure(retention)
        exhibits.append(Exhibit("retention", "Retention", caption, figure, numbers="table-retention"))
    if (margins := _rows(tables, "margins")) is not None:
        caption = margins_caption(margins)
        figure = margins_figure(margins)
        exhibits.append(Exhibit("margins", "Margins of retained items", caption, figure, numbers="table-margins"))
    if exhibits:
        yield Section("tension", "What the mixed model keeps of the two others", [], exhibits)


def _neurons(results: Results, tables: dict[str, pd.DataFrame]) -> Iterator[Section]:
    """Where the neurons lie and what the sets share."""
    exhibits = []
    about = _about_runs(results)
    sets = {run: found for run, found in results.sets.items() if any(one in found for one in OBJECTIVES)}
    if sets:
        figure = depth_by_model_figure(sets, about)
        caption = depth_caption(sets)
        exhibits.append(Exhibit("depth", "Depth of the neuron sets", caption, figure, numbers="table-depth"))
    for number, (run, of_run) in enumerate(sets.items()):
        each = depth_figure([of_run[one].renamed(one) for one in OBJECTIVES if one in of_run], meta=about[run])
        exhibits.append(Exhibit(f"depth-{number}", f"Depth by layer: {run}", BY_LAYER, each, numbers="table-depth"))
    parted = {run: found for run, found in results.sets.items() if all(part in found for part in PARTS)}
    if parted:
        caption = partition_caption(parted)
        figure = partition_figure(parted, about)
        exhibits.append(Exhibit("partition", "The partition", caption, figure, numbers="table-depth"))
    if (overlap := _rows(tables, "overlap")) is not None:
        figure = overlap_figure(overlap)
        caption = overlap_caption(overlap)
        exhibits.append(Exhibit("overlap", "What the sets share", caption, figure, numbers="table-overlap"))
    if (rmsd := _rows(tables, "rmsd")) is not None:
        heading = "Chosen against rejected, by layer"
        exhibits.append(Exhibit("rmsd", heading, rmsd_caption(rmsd), rmsd_figure(rmsd), numbers="table-rmsd"))
    if exhibits:
        yield Section("neurons", "Where the neurons lie and what they share", [], exhibits)


def _about_runs(results: Results) -> dict[str, dict[str, str]]:
    """Backbone and seed of each run folder."""
    runs = with_backbones(pd.DataFrame({"runs": list(results.run_folders)}), results)
    return {row["runs"]: {"backbone": row["backbone"], "seed": row["seed"]} for _, row in runs.iterrows()}


def _switched_off(results: Results, tables: dict[str, pd.DataFrame]) -> Iterator[Section]:
    """What switching neurons off does."""
    exhibits = []
    if (conditions := _rows(tables, "conditions")) is not None:
        caption, figure = effects_caption(conditions), effects_figure(conditions)
        heading = "Change of accuracy by sub-task"
        exhibits.append(Exhibit("effects", heading, caption, figure, numbers="table-conditions"))
        exhibits.append(changes_by_backbone(conditions))
    if (sweeps := _rows(tables, "sweeps")) is not None:
        caption, figure = sweep_caption(sweeps), sweep_figure(sweeps)
        heading = "Accuracy against the share of neurons off"
        exhibits.append(Exhibit("sweep", heading, caption, figure, numbers="table-sweeps"))
    rewards = pd.DataFrame(results.study.distributions) if results.study else pd.DataFrame()
    if len(rewards):
        caption, figure = density_caption(rewards), density_figure(rewards)
        heading = "Rewards before and after"
        exhibits.append(Exhibit("rewards", heading, caption, figure, numbers="table-distributions"))
    if exhibits:
        yield Section("ablation", "What switching neurons off does", [], exhibits)


def _flips(tables: dict[str, pd.DataFrame]) -> Iterator[Section]:
    if (flips := _rows(tables, "flips")) is not None:
        yield Section("flips", "Items that change sides", [], list(flipped(flips)))
