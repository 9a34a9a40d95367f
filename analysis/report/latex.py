r"""The paper's tables as LaTeX, from these results.

They need booktabs, graphicx and xcolor with its option table. A mean ± standard deviation (n − 1) is over training
seeds; without several seeds there is no standard deviation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import pandas as pd
from pandas.api.typing import SeriesGroupBy

from analysis.paper.comparison import with_backbones
from analysis.paper.subtasks import paper_changes, paper_retention, paper_scores
from analysis.report.latex_parts import MISSING, escape, number, signed, tabular
from analysis.results.folder import Results
from analysis.results.scores import STRICT
from analysis.tables.neurons import LAYERS_FIRST, OVERALL
from tension_lens.constants import BASELINE, OBJECTIVES, PARTS
from tension_lens.data.benchmarks import PAPER_SUBTASKS

Cell = Callable[[float, float | None], str]
"""Formats a mean and a standard deviation."""
ACCURACY = "Accuracy of {objective} models on the paper's sub-tasks in percent; {seeds}."
ABLATION = (
    "Change of accuracy of {objective} models in percentage points with their own set zero-ablated; {seeds}. "
    "conditions.csv has the random sets of the same size."
)


def latex_tables(results: Results, tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """The paper's tables by file name without its ending; a table without a single number is left out.

    `accuracy-OBJECTIVE` by sub-task and backbone; `retention` by sub-task and backbone and `retention-ablated` by
    sub-task and condition; `ablation-OBJECTIVE`, changes with the model's own set ablated; `partition`, the mixed model
    with each part ablated; `rmsd`, `overlap`; `hh`, accuracies on HH-RLHF pairs.

    Args:
        results: the contents of the folder of runs.
        tables: `analysis.tables.study.tables_of` of its study; empty without a study.
    """
    found: dict[str, str] = {}
    scores, retention = tables.get("scores", pd.DataFrame()), tables.get("retention", pd.DataFrame())
    if len(scores):
        by_paper = paper_scores(scores)
        changes = paper_changes(by_paper)
        intact = by_paper[by_paper["condition"] == BASELINE]
        found.update(_by_objective(intact, "accuracy", ACCURACY, "accuracy"))
        found.update(_by_objective(changes[changes["set"] == "own"], "ablation", ABLATION, "change", signed))
        found.update(_partition(changes))
    if len(retention):
        found.update(_retention(retention))
    for name, make in (("rmsd", _rmsd), ("overlap", _overlap)):
        if len(table := tables.get(name, pd.DataFrame())):
            found[name] = make(with_backbones(table, results))
    found.update(_pairs(results.training, scores))
    return found


def _shown(groups: SeriesGroupBy, show: Cell = number) -> pd.Series:
    """The mean and standard deviation of each group as a cell."""
    numbers = groups.agg(["mean", "std"])
    return pd.Series([show(*pair) for pair in numbers.to_numpy()], numbers.index, dtype=object)


def _unstacked(cells: pd.Series, columns: Sequence[str]) -> pd.DataFrame:
    """Cells with the innermost key in columns; the rows keep their order and their keys are escaped."""
    grid = cells.unstack(fill_value=MISSING)
    return grid.reindex(cells.index.droplevel(-1).unique()).reindex(columns=columns, fill_value=MISSING).rename(escape)


def _by_subtask(rows: pd.DataFrame, value: str, column: str, show: Cell = number) -> pd.DataFrame:
    """Cells by sub-task and column; sub-tasks in the paper's order under their task type, then all others."""
    cells = _unstacked(_shown(rows.groupby(["subtask", column], sort=False)[value], show), rows[column].unique())
    parts = []
    for task_type in dict.fromkeys(PAPER_SUBTASKS.values()):
        names = [name for name, one in PAPER_SUBTASKS.items() if one == task_type and name in cells.index]
        if names:
            parts += [pd.DataFrame("", [f"\\textit{{{task_type} sub-tasks}}"], cells.columns), cells.loc[names]]
    return pd.concat([*parts, cells.drop(index=list(PAPER_SUBTASKS), errors="ignore")]).rename_axis("Sub-task")


def _over_backbones(rows: pd.DataFrame, value: str, column: str, show: Cell) -> tuple[str, pd.DataFrame]:
    """What the numbers are of, and `_by_subtask`: of several backbones, the mean of their means.

    It has no standard deviation, which would mix the variation of backbones and seeds.
    """
    backbones = rows["backbone"].unique()
    if len(backbones) == 1:
        return f"{backbones[0]}, {_seeds(rows)}", _by_subtask(rows, value, column, show)
    means = rows.groupby(["subtask", column, "backbone"], sort=False)[value].mean().reset_index()
    cells = _by_subtask(means, value, column, lambda mean, _sd: show(mean, None))
    return f"mean over {len(backbones)} backbones", cells


def _seeds(rows: pd.DataFrame) -> str:
    """The number of seeds of each backbone."""
    counts = rows.groupby("backbone")["seed"].nunique()
    least, most = counts.min(), counts.max()
    if most > 1:
        return f"mean ± sd (n − 1) of {most if least == most else f'{least} to {most}'} seeds"
    seeds = list(dict.fromkeys(rows["seed"].astype(str)))
    return f"one seed ({seeds[0]})" if len(seeds) == 1 else f"one seed per backbone ({', '.join(seeds)})"


def _by_objective(
    rows: pd.DataFrame, name: str, caption: str, value: str, show: Cell = number
) -> Iterator[tuple[str, str]]:
    """A table for each objective with rows, by sub-task and backbone; `caption` has the fields objective and seeds."""
    for objective in OBJECTIVES:
        of_model = rows[rows["objective"] == objective]
        if len(of_model):
            label = f"{name}-{objective}"
            cells = _by_subtask(of_model, value, "backbone", show)
            yield label, tabular(caption.format(objective=objective, seeds=_seeds(of_model)), label, cells)


def _partition(changes: pd.DataFrame) -> Iterator[tuple[str, str]]:
    rows = changes[(changes["objective"] == "mixed") & changes["set"].isin(PARTS)]
    if len(rows):
        of, cells = _over_backbones(rows, "change", "set", signed)
        caption = f"Change of accuracy of the mixed model in percentage points with one part zero-ablated; {of}."
        yield "partition", tabular(caption, "partition", cells[[one for one in PARTS if one in cells]])


def _retention(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    combined = table[table["measure"] == "combined"]
    rows = paper_retention(combined)
    if rows.empty:
        rows = combined[combined["ablation"].isin(["", "zero"]) & (combined["subtask"] == "all")]
        rows = rows.assign(subtask=rows["data"] + ", " + rows["task_type"])
    rows = rows[rows["share"].notna()]
    rows = rows.assign(percent=100 * rows["share"].astype(float))
    what = "Retention in percent: of the items that the helpful or the harmless model judges correctly, the share that"
    of_rm_bench = rows["data"].astype(str).str.startswith("rm-bench").any()
    rule = " An RM-Bench item counts as three pairs, one for each style." if of_rm_bench else ""
    intact = rows[rows["condition"] == BASELINE]
    if len(intact):
        caption = f"{what} the mixed model judges correctly too; {_seeds(intact)}.{rule}"
        yield "retention", tabular(caption, "retention", _by_subtask(intact, "percent", "backbone"))
    if len(intact) < len(rows):
        of, cells = _over_backbones(rows, "percent", "condition", number)
        caption = f"{what} the mixed model judges correctly too, intact and with sets ablated; {of}.{rule}"
        yield "retention-ablated", tabular(caption, "retention-ablated", cells)


def _rmsd(table: pd.DataFrame) -> str:
    rows = table[table["layer"].isin([OVERALL, LAYERS_FIRST])]
    groups = rows.groupby(["backbone", "objective", "site", "layer"], sort=False)["rmsd"]
    cells = _unstacked(_shown(groups, partial(number, digits=6)), [OVERALL, LAYERS_FIRST])
    of = ", ".join(rows["statistic"].unique())
    caption = f"Root-mean-square difference between chosen and rejected responses of neurons' {of}; {_seeds(rows)}."
    return tabular(caption, "rmsd", cells.rename(columns=str.capitalize).rename_axis(["Backbone", "Objective", "Site"]))


def _overlap(table: pd.DataFrame) -> str:
    groups = table.assign(sets=table["left"] + ", " + table["right"]).groupby(["backbone", "sets"], sort=False)
    heads = {"intersection": "Shared", "union": "Union", "jaccard": "Jaccard", "expected_jaccard": "By chance"}
    columns = {
        head: _shown(groups[name], partial(number, digits=3 if "jaccard" in name else 0))
        for name, head in heads.items()
    }
    caption = f"Overlap of the objectives' neuron sets, compared with random sets of the same sizes; {_seeds(table)}."
    return tabular(caption, "overlap", pd.DataFrame(columns).rename(escape).rename_axis(["Backbone", "Sets"]))


def _pairs(training: pd.DataFrame, scores: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Accuracies on HH-RLHF pairs: held out from training, and of the study's intact models."""
    frames = []
    if len(training):
        frames.append(training.assign(pairs="held out of " + training["data"].astype(str)))
    if len(scores):
        wanted = (scores["rule"] == STRICT) & (scores["condition"] == BASELINE)
        rows = scores[wanted & scores["data"].str.partition(":")[0].isin(["hh-rlhf", "sample"])]
        frames.append(rows.assign(pairs=rows["data"] + ", " + rows["subtask"]))
    if not any(map(len, frames)):
        return
    keys = ["backbone", "pairs", "objective"]
    columns = [*keys, "seed", "accuracy", "low", "high"]
    rows = pd.concat([frame[columns] for frame in frames], ignore_index=True).astype({"seed": str})
    cells = _unstacked(rows.groupby(keys, sort=False)[["accuracy", "low", "high"]].apply(_pair_cell), OBJECTIVES)
    alone = not rows.duplicated(keys, keep=False).all()
    caption = f"Accuracy on HH-RLHF pairs in percent; {_seeds(rows)}"
    caption += "; in brackets the 95 % interval (Wilson) of one model." if alone else "."
    yield "hh", tabular(caption, "hh", cells.add_suffix(" model").rename_axis(["Backbone", "Pairs"]))


def _pair_cell(rows: pd.DataFrame) -> str:
    accuracy, low, high = 100 * rows.to_numpy().T
    if len(rows) > 1:
        return number(accuracy.mean(), accuracy.std(ddof=1))
    return f"{number(accuracy[0])} [{low[0]:.1f}, {high[0]:.1f}]"
