"""Rows of our tables by the paper's sub-tasks, under its names and, where there is a choice, by its rule."""

import numpy as np
import pandas as pd

from analysis.results.scores import PAPER
from tension_lens.constants import BASELINE
from tension_lens.data.benchmarks import BENCHMARKS, SUBTASKS, find_subtask
from tension_lens.data.datasets import Spec

NO_DIAGONAL = "ours counts an RM-Bench row only where every chosen response wins, the paper each pair of one style"
PERCENT = 100
IDENTITY = ["backbone", "seed", "objective", "subtask"]


def paper_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Of the table `scores` the rows by the paper's rule without controls; accuracy, low and high in percent."""
    rows = scores[(scores["rule"] == PAPER) & (scores["control"] == "")]
    return rows.assign(**{name: PERCENT * rows[name].astype(float) for name in ("accuracy", "low", "high")})


def paper_changes(scores: pd.DataFrame) -> pd.DataFrame:
    """Of rows of `paper_scores` every zero ablation's `change` from the intact model, in percentage points."""
    intact = scores.loc[scores["condition"] == BASELINE, [*IDENTITY, "accuracy"]]
    off = scores[(scores["condition"] != BASELINE) & (scores["ablation"] == "zero")]
    off = off.merge(intact, on=IDENTITY, suffixes=("", "_intact"))
    return off.assign(change=off["accuracy"] - off["accuracy_intact"])


def by_paper_name(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of sub-tasks that the paper has, with its name for each in `paper`; `diagonal` where it counts pairs."""
    found: dict[tuple[str, str], tuple[str | None, bool]] = {}
    for data, subtask in rows[["data", "subtask"]].drop_duplicates().itertuples(index=False):
        benchmark = Spec.parse(data).name
        known = subtask in {one.name for one in SUBTASKS if one.benchmark == benchmark}
        paper = find_subtask(benchmark, subtask).paper if benchmark in BENCHMARKS and known else None
        found[data, subtask] = paper, benchmark == "rm-bench" or paper == "Math"
    both = [found[key] for key in zip(rows["data"], rows["subtask"], strict=True)]
    rows = rows.assign(paper=[one for one, _ in both], diagonal=[one for _, one in both])
    return rows[rows["paper"].notna()]


def paper_retention(table: pd.DataFrame) -> pd.DataFrame:
    """Of the table `retention` the rows of the paper's sub-tasks, with its names: intact and each set's zero ablation.

    Math is the mean of its two, without an interval, and missing where one is. `note` says where the rule is another.
    """
    wanted = (table["control"] == "") & table["ablation"].isin(["", "zero"]) & (table["subtask"] != "all")
    rows = by_paper_name(table[wanted])
    numbers = {name: rows[name].astype(float) for name in ("share", "low", "high")}
    note = np.where(rows["diagonal"], NO_DIAGONAL, "")
    rows = rows.assign(subtask=rows["paper"], n=rows["denominator"].astype(float), note=note, **numbers)
    is_math = rows["subtask"] == "Math"
    groups = rows[is_math].groupby([*IDENTITY, "condition", "measure"], sort=False)
    means = groups.agg(share=("share", "mean"), parts=("share", "count")).reset_index()
    means = means[means["parts"] > 1].assign(low=np.nan, high=np.nan, n=np.nan, note=NO_DIAGONAL)
    return pd.concat([rows[~is_math], means], ignore_index=True)
