"""Rows of our tables for the paper's sub-tasks, under its names and by its rule."""

import numpy as np
import pandas as pd

from analysis.results.scores import PAPER
from tension_lens.constants import BASELINE
from tension_lens.data.benchmarks import SUBTASKS
from tension_lens.data.datasets import Spec

PERCENT = 100
MATH = "Math"
"""The sub-task that the paper makes of two."""
IDENTITY = ["backbone", "seed", "objective", "subtask"]


def paper_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table `scores` by the paper's rule; accuracy, low and high in percent."""
    rows = scores[scores["rule"] == PAPER]
    return rows.assign(**{name: PERCENT * rows[name].astype(float) for name in ("accuracy", "low", "high")})


def paper_changes(scores: pd.DataFrame) -> pd.DataFrame:
    """The `change` of accuracy from the intact model for each zero ablation in `paper_scores`, in percentage points."""
    intact = scores.loc[scores["condition"] == BASELINE, [*IDENTITY, "accuracy"]]
    ablated = scores[(scores["condition"] != BASELINE) & (scores["ablation"] == "zero")]
    ablated = ablated.merge(intact, on=IDENTITY, suffixes=("", "_intact"))
    return ablated.assign(change=ablated["accuracy"] - ablated["accuracy_intact"])


def by_paper_name(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the paper's sub-tasks, with the paper's name in `paper`."""
    papers = {(one.benchmark, one.name): one.paper for one in SUBTASKS}
    benchmark = rows["data"].map({data: Spec.parse(data).name for data in rows["data"].unique()})
    rows = rows.assign(paper=[papers.get(key) for key in zip(benchmark, rows["subtask"], strict=True)])
    return rows[rows["paper"].notna()]


def paper_retention(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table `retention` for the paper's sub-tasks: the intact model and the zero ablation of each set.

    Math is the mean of its two parts, without an interval; it is missing if one part is.
    """
    rows = by_paper_name(table[table["ablation"].isin(["", "zero"]) & (table["subtask"] != "all")])
    numbers = {name: rows[name].astype(float) for name in ("share", "low", "high")}
    rows = rows.assign(subtask=rows["paper"], n=rows["items"].astype(float), note="", **numbers)
    is_math = rows["subtask"] == MATH
    groups = rows[is_math].groupby([*IDENTITY, "condition", "measure"], sort=False)
    means = groups.agg(share=("share", "mean"), parts=("share", "count")).reset_index()
    means = means[means["parts"] > 1].assign(low=np.nan, high=np.nan, n=np.nan, note="")
    return pd.concat([rows[~is_math], means], ignore_index=True)
