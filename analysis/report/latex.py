r"""The paper's tables as LaTeX, made from these results.

They need booktabs, graphicx and xcolor with its option table. Numbers are those of the tables; mean ± standard
deviation (n − 1) stands only where there are several seeds.
"""

from collections.abc import Callable, Mapping

import pandas as pd

from analysis.paper.beside import with_backbones
from analysis.paper.subtasks import paper_changes, paper_retention, paper_scores
from analysis.report.latex_parts import MISSING, escape, number, signed, tabular
from analysis.results.folder import Results
from analysis.results.scores import STRICT
from analysis.tables.neurons import LAYERS_FIRST, OVERALL
from tension_lens.constants import BASELINE, OBJECTIVES, PARTS
from tension_lens.data.benchmarks import PAPER_SUBTASKS

Cell = Callable[[float | None, float | None], str]


def latex_tables(results: Results, tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """The paper's tables by file name without its ending; a table without a single number is left out.

    `accuracy-OBJECTIVE` by sub-task and backbone; `retention` by sub-task and backbone and `retention-ablated` by
    sub-task and condition; `ablation-OBJECTIVE`, changes with the model's own set off; `partition`, the mixed model
    with each part off; `rmsd`, `overlap`; `hh`, accuracies on HH-RLHF pairs.

    Args:
        results: what the folder of runs holds.
        tables: what `analysis.tables.study.tables_of` made of it; empty without a study.
    """
    found: dict[str, str] = {}
    scores, retention = tables.get("scores", pd.DataFrame()), tables.get("retention", pd.DataFrame())
    if len(scores):
        by_paper = paper_scores(scores)
        found.update(_accuracy(by_paper))
        found.update(_ablation(paper_changes(by_paper)))
        found.update(_partition(paper_changes(by_paper)))
    if len(retention):
        found.update(_retention(retention))
    for name, make in (("rmsd", _rmsd), ("overlap", _overlap)):
        if len(table := tables.get(name, pd.DataFrame())):
            found[name] = make(with_backbones(table, results))
    found.update(_pairs(results.training, scores))
    return found


def _grid(
    rows: pd.DataFrame, value: str, row: str, column: str, show: Cell = number
) -> tuple[list[str], dict[str, list[str]]]:
    """Mean and sd over seeds of a value by row and column: the columns' names, and each row's cells by its name."""
    spread = rows.groupby([row, column], sort=False)[value].agg(["mean", "std"])
    found = {
        (str(one), str(other)): tuple(pair) for (one, other), pair in zip(spread.index, spread.to_numpy(), strict=True)
    }
    columns, names = (list(dict.fromkeys(rows[one].astype(str))) for one in (column, row))
    return columns, {name: [show(*found.get((name, one), (None, None))) for one in columns] for name in names}


def _in_order(cells: dict[str, list[str]]) -> list[list[str]]:
    """Rows of sub-tasks in the paper's order below their task type; the paper's names first, others as they come."""
    rows: list[list[str]] = []
    for task_type in dict.fromkeys(PAPER_SUBTASKS.values()):
        part = [name for name, one in PAPER_SUBTASKS.items() if one == task_type and name in cells]
        if part:
            rows += [[f"\\textit{{{task_type} sub-tasks}}"], *([escape(name), *cells[name]] for name in part)]
    return rows + [[escape(name), *row] for name, row in cells.items() if name not in PAPER_SUBTASKS]


def _seeds(rows: pd.DataFrame) -> str:
    """How many seeds a backbone's number is of."""
    counts = rows.groupby("backbone")["seed"].nunique()
    least, most = counts.min(), counts.max()
    if most > 1:
        return f"mean ± sd (n − 1) of {most if least == most else f'{least} to {most}'} seeds"
    seeds = list(dict.fromkeys(rows["seed"].astype(str)))
    return f"one seed ({seeds[0]})" if len(seeds) == 1 else f"one seed a backbone ({', '.join(seeds)})"


def _accuracy(scores: pd.DataFrame) -> dict[str, str]:
    found = {}
    for objective in OBJECTIVES:
        rows = scores[(scores["objective"] == objective) & (scores["condition"] == BASELINE)]
        if len(rows):
            columns, cells = _grid(rows, "accuracy", "subtask", "backbone")
            name = f"accuracy-{objective}"
            caption = f"Accuracy of {objective} models on the paper's sub-tasks in percent; {_seeds(rows)}."
            found[name] = tabular(caption, name, ["Sub-task", *columns], _in_order(cells))
    return found


def _ablation(changes: pd.DataFrame) -> dict[str, str]:
    found = {}
    for objective in OBJECTIVES:
        rows = changes[(changes["objective"] == objective) & (changes["set"] == "own")]
        if len(rows):
            columns, cells = _grid(rows, "change", "subtask", "backbone", signed)
            name = f"ablation-{objective}"
            caption = (
                f"Change of accuracy of {objective} models in percentage points with their own set at zero; "
                f"{_seeds(rows)}. conditions.csv has the random sets of the same size."
            )
            found[name] = tabular(caption, name, ["Sub-task", *columns], _in_order(cells))
    return found


def _partition(changes: pd.DataFrame) -> dict[str, str]:
    rows = changes[(changes["objective"] == "mixed") & changes["set"].isin(PARTS)]
    if rows.empty:
        return {}
    of, heads, cells = _over_backbones(rows, "change", "set", signed)
    order = [heads.index(part) for part in PARTS if part in heads]
    body = _in_order({name: [row[place] for place in order] for name, row in cells.items()})
    caption = f"Change of accuracy of the mixed model in percentage points with a part of the sets at zero; {of}."
    return {"partition": tabular(caption, "partition", ["Sub-task", *(heads[place] for place in order)], body)}


def _over_backbones(
    rows: pd.DataFrame, value: str, column: str, show: Cell
) -> tuple[str, list[str], dict[str, list[str]]]:
    """What the numbers are of, and `_grid` by sub-task. Of several backbones it is the plain mean of their means.

    A deviation over backbones and seeds at once would be of neither: it stands for one backbone only.
    """
    backbones = list(dict.fromkeys(rows["backbone"]))
    if len(backbones) == 1:
        return f"{backbones[0]}, {_seeds(rows)}", *_grid(rows, value, "subtask", column, show)
    means = rows.groupby(["subtask", column, "backbone"], sort=False)[value].mean().reset_index()
    grid = _grid(means, value, "subtask", column, lambda mean, _sd: show(mean, None))
    return f"mean over {len(backbones)} backbones", *grid


def _retention(table: pd.DataFrame) -> dict[str, str]:
    combined = table[table["measure"] == "combined"]
    rows = paper_retention(combined)
    if rows.empty:
        whole = (combined["control"] == "") & combined["ablation"].isin(["", "zero"]) & (combined["subtask"] == "all")
        rows = combined[whole]
        rows = rows.assign(subtask=rows["data"] + ", " + rows["task_type"])
    rows = rows[rows["share"].notna()]
    rows = rows.assign(percent=100 * rows["share"].astype(float))
    what = "Retention in percent: of the items that the helpful or the harmless model judges right, how many the mixed"
    of_rm_bench = rows["data"].astype(str).str.startswith("rm-bench").any()
    rule = " An RM-Bench item counts where every chosen response wins." if of_rm_bench else ""
    found = {}
    intact = rows[rows["condition"] == BASELINE]
    if len(intact):
        columns, cells = _grid(intact, "percent", "subtask", "backbone")
        caption = f"{what} model does too; {_seeds(intact)}.{rule}"
        found["retention"] = tabular(caption, "retention", ["Sub-task", *columns], _in_order(cells))
    if len(intact) < len(rows):
        of, heads, cells = _over_backbones(rows, "percent", "condition", number)
        caption = f"{what} model does too, intact and with sets at zero; {of}.{rule}"
        found["retention-ablated"] = tabular(caption, "retention-ablated", ["Sub-task", *heads], _in_order(cells))
    return found


def _rmsd(table: pd.DataFrame) -> str:
    rows = table[table["layer"].isin([OVERALL, LAYERS_FIRST])]
    body = []
    for (backbone, objective, site), part in rows.groupby(["backbone", "objective", "site"], sort=False):
        spread = part.groupby("layer")["rmsd"].agg(["mean", "std"])
        body.append(
            [
                escape(backbone),
                escape(objective),
                escape(site),
                *(number(spread.loc[one, "mean"], spread.loc[one, "std"], 6) for one in (OVERALL, LAYERS_FIRST)),
            ]
        )
    of = ", ".join(dict.fromkeys(rows["statistic"]))
    caption = f"Root-mean-square difference between chosen and rejected responses of neurons' {of}; {_seeds(rows)}."
    heads = ["Backbone", "Objective", "Site", "All layers", "Layers averaged first"]
    return tabular(caption, "rmsd", heads, body, words=3)


def _overlap(table: pd.DataFrame) -> str:
    measures = {"intersection": 0, "union": 0, "jaccard": 3, "expected_jaccard": 3}
    body = []
    for (backbone, left, right), part in table.groupby(["backbone", "left", "right"], sort=False):
        cells = [number(part[name].mean(), part[name].std(), digits) for name, digits in measures.items()]
        body.append([escape(backbone), escape(f"{left}, {right}"), *cells])
    caption = f"Overlap of the objectives' sets of neurons beside random sets of their sizes; {_seeds(table)}."
    heads = ["Backbone", "Sets", "Shared", "Union", "Jaccard", "By chance"]
    return tabular(caption, "overlap", heads, body, words=2)


def _pairs(training: pd.DataFrame, scores: pd.DataFrame) -> dict[str, str]:
    """Accuracies on HH-RLHF pairs: held out of training, and of the study's intact models."""
    columns = ["backbone", "seed", "objective", "pairs", "accuracy", "low", "high"]
    frames = []
    if len(training):
        frames.append(training.assign(pairs="held out of " + training["data"].astype(str))[columns])
    if len(scores):
        wanted = (scores["rule"] == STRICT) & (scores["condition"] == BASELINE) & (scores["control"] == "")
        rows = scores[wanted & scores["data"].str.partition(":")[0].isin(["hh-rlhf", "sample"])]
        frames.append(rows.assign(pairs=rows["data"] + ", " + rows["subtask"])[columns])
    if not any(map(len, frames)):
        return {}
    rows = pd.concat(frames, ignore_index=True).astype({"seed": str})
    body = []
    for (backbone, pairs), part in rows.groupby(["backbone", "pairs"], sort=False):
        cells = [_pair_cell(part[part["objective"] == objective]) for objective in OBJECTIVES]
        body.append([escape(backbone), escape(pairs), *cells])
    alone = not rows.duplicated(["backbone", "pairs", "objective"], keep=False).all()
    caption = f"Accuracy on HH-RLHF pairs in percent; {_seeds(rows)}"
    caption += "; in brackets Wilson's 95 % interval of one model." if alone else "."
    heads = ["Backbone", "Pairs", *(f"{one} model" for one in OBJECTIVES)]
    return {"hh": tabular(caption, "hh", heads, body, words=2)}


def _pair_cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return MISSING
    percent = 100 * rows["accuracy"]
    if len(rows) > 1:
        return number(percent.mean(), percent.std())
    low, high = 100 * rows[["low", "high"]].iloc[0]
    return f"{number(percent.iloc[0])} [{low:.1f}, {high:.1f}]"
