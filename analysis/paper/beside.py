"""Each published table together with the numbers of the runs, and the list of numbers that the runs lack."""

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.paper.published import MEAN, POOLED, SOURCE, TABLES, load, paper_backbones
from analysis.paper.subtasks import IDENTITY, PERCENT, by_paper_name, paper_changes, paper_retention, paper_scores
from analysis.results.folder import Results
from analysis.tables.depth import depth_table
from analysis.tables.neurons import LAYERS_FIRST
from tension_lens.constants import BASELINE, CHANGE_STATISTIC, OBJECTIVES, PARTS
from tension_lens.data.benchmarks import PAPER_SUBTASKS

__all__ = ["SOURCE", "TABLES", "beside", "depth_of_runs", "gaps", "load", "with_backbones"]

DERIVED = "derived: the mean of the six published values, which is not printed"
METHODS = {"magnitude": "mean", "change": CHANGE_STATISTIC, "random": "random", "none": "intact"}
"""The selector of our sweeps that corresponds to each method of the paper's code."""


def beside(ours: pd.DataFrame, table: str, paired: pd.DataFrame | None = None) -> pd.DataFrame:
    """A published table with the numbers of the runs, one row per published number, in the published unit.

    Columns: the keys of `TABLES[table]`; `ours` with the 95 % interval `low` to `high`; `interval`, what the interval
    is over: items with one training seed, seeds (Student's t) with several, else empty; `published`, `sd`, `artefact`,
    `corrected`, `caveat` (see `load`); `gap`, the reason if `ours` is missing, else empty. In rows of the backbone
    `mean`, `ours` is the mean over our backbones, which the caveat names. If the paper publishes no mean over
    backbones, these rows hold the mean of its values.

    Args:
        ours: for `accuracy`, `ablation_top10` and `ablation_partition` the table `scores` (`analysis.tables`), whose
            rows of rule `paper` are used; for `retention`, `rmsd` and `overlap` the table of that name; for `depth`
            `depth_of_runs`; for `ablation_curve` the rows of sweeps. In tables without a column `backbone` (see
            `with_backbones`) `runs` names the backbone.
        table: a name in `TABLES` other than `training`.
        paired: the table `conditions`, which has the intervals of the two ablation tables with one seed.

    Raises:
        RequestError: if there is no such published table.
    """
    keys = list(TABLES[table].keys)
    facts = _with_means(load(table), keys)
    found = _OURS[table](_named(ours), paired) if len(ours) else pd.DataFrame()
    if found.empty:
        found = pd.DataFrame(columns=[*keys, "seed", "ours", "low", "high", "n", "note"])
    across = _across_seeds(found, keys)
    known = set(across["backbone"])
    across = pd.concat([across, _across_backbones(across, keys)], ignore_index=True) if len(across) else across
    rows = facts.merge(across, on=keys, how="left")
    rows["caveat"] = (rows["caveat"] + "; " + rows["note"].fillna("")).str.strip("; ")
    rows["interval"] = rows["interval"].fillna("")
    rows["gap"] = _gap(rows["backbone"], known).where(rows["ours"].isna(), "")
    columns = ["ours", "low", "high", "interval", "published", "sd", "artefact", "corrected", "caveat", "gap"]
    return rows[[*keys, *columns]]


def gaps(rows: pd.DataFrame) -> list[str]:
    """Why numbers are missing in a table of `beside`: each reason with its number of rows."""
    counts = rows.loc[rows["gap"] != "", "gap"].value_counts(sort=False)
    return [f"{reason} ({count} {'row' if count == 1 else 'rows'})" for reason, count in counts.items()]


def depth_of_runs(results: Results) -> pd.DataFrame:
    """`analysis.depth.depth_table` of the objectives' sets of every run, with `runs`, `backbone` and `seed`."""
    frames = []
    for run, by_name in results.sets.items():
        sets = [by_name[name].renamed(name) for name in OBJECTIVES if name in by_name]
        if sets:
            frames.append(depth_table(sets).assign(runs=run))
    return with_backbones(pd.concat(frames, ignore_index=True), results) if frames else pd.DataFrame()


def with_backbones(table: pd.DataFrame, results: Results) -> pd.DataFrame:
    """A table about runs with the columns `backbone` and `seed`, taken from the training records.

    `runs` is a run's path relative to the folder of runs, or the last part of that path. For a run without a training
    record the name is read as BACKBONE-SEED or BACKBONE.
    """
    known: dict[str, tuple[str, str]] = {}
    if len(results.training):
        for run, backbone, seed in results.training[["run", "backbone", "seed"]].itertuples(index=False):
            folder = results.run_folders[run].path.name
            known[run] = known[folder] = (str(backbone), str(seed))
    both = [known.get(str(run)) or _named_by_folder(str(run)) for run in table["runs"]]
    return table.assign(backbone=[one for one, _ in both], seed=[seed for _, seed in both])


def _named_by_folder(run: str) -> tuple[str, str]:
    matched = re.fullmatch(r"(?:.*/)?([^/]+)-([0-9]+)", run)
    return (matched[1], matched[2]) if matched else (run, "")


def _named(ours: pd.DataFrame) -> pd.DataFrame:
    """Our table with a seed, and the backbones under the paper's names."""
    backbone = ours["backbone"] if "backbone" in ours else ours["runs"]
    seed = ours["seed"] if "seed" in ours else ours.get("runs", "")
    names = paper_backbones()
    return ours.assign(backbone=[names.get(str(one), str(one)) for one in backbone], seed=seed)


def _across_seeds(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row per key: the value with its interval over items, or the mean over seeds with Student's interval."""
    from scipy.stats import t

    groups = rows.groupby(keys, sort=False, dropna=False)
    found = groups.agg(
        ours=("ours", "mean"), low=("low", "first"), high=("high", "first"), n=("n", "first"), note=("note", "first"),
        spread=("ours", "std"), seeds=("ours", "count"),
    ).reset_index()  # fmt: skip
    several = found["seeds"] > 1
    half = t.ppf(0.975, found["seeds"].where(several) - 1) * found["spread"] / np.sqrt(found["seeds"])
    found["low"] = np.where(several, found["ours"] - half, found["low"].astype(float))
    found["high"] = np.where(several, found["ours"] + half, found["high"].astype(float))
    items = "over " + found["n"].map("{:.0f}".format) + " items"
    over = np.where(several, "over " + found["seeds"].astype(str) + " seeds", items)
    found["interval"] = np.where(found["low"].notna(), over, "")
    return found.drop(columns=["n", "spread", "seeds"])


def _with_means(facts: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Published rows; if none of them is a mean or a pool over backbones, the means are added."""
    if set(facts["backbone"]) & {MEAN, POOLED}:
        return facts
    others = [key for key in keys if key != "backbone"]
    means = facts.groupby(others, sort=False).agg(published=("published", "mean")).reset_index()
    about = {
        "backbone": MEAN,
        "sd": np.nan,
        "artefact": False,
        "corrected": np.nan,
        "caveat": DERIVED,
        "source": SOURCE,
    }
    return pd.concat([facts, means.assign(**about)], ignore_index=True)


def _across_backbones(across: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Means over our backbones; only the mean over a single backbone has an interval."""
    others = [key for key in keys if key != "backbone"]
    groups = across[across["backbone"] != POOLED].groupby(others, sort=False)
    means = groups.agg(
        ours=("ours", "mean"), names=("backbone", ", ".join), backbones=("backbone", "size"), note=("note", "first"),
        low=("low", "first"), high=("high", "first"), interval=("interval", "first"),
    ).reset_index()  # fmt: skip
    several = means.pop("backbones") > 1
    for column, nothing in (("low", np.nan), ("high", np.nan), ("interval", "")):
        means[column] = means[column].where(~several, nothing)
    names = means.pop("names")
    note = ("ours is the mean over " + names).where(several, "ours is " + names + " alone") + "; " + means["note"]
    return means.assign(backbone=MEAN, note=note.str.strip("; "))


def _gap(backbone: pd.Series, known: set[str]) -> pd.Series:
    gap = ("no result of this part of " + backbone).where(backbone.isin(known), "no result of " + backbone)
    return gap.where(~backbone.isin([MEAN, POOLED]), "no result to take this mean of")


def _standard(rows: pd.DataFrame, value: str, **columns: object) -> pd.DataFrame:
    start = {"ours": rows[value], "low": np.nan, "high": np.nan, "n": np.nan, "note": ""}
    return rows.assign(**{**start, **columns})


def _our_accuracy(scores: pd.DataFrame, _paired: pd.DataFrame | None) -> pd.DataFrame:
    rows = paper_scores(scores)
    rows = rows[rows["condition"] == BASELINE]
    return _standard(rows, "accuracy", low=rows["low"], high=rows["high"], n=rows["n"])


def _changes(scores: pd.DataFrame, paired: pd.DataFrame | None) -> pd.DataFrame:
    """`paper_changes` with paired intervals where they are known."""
    ablated = _standard(paper_changes(paper_scores(scores)), "change")
    if paired is None or paired.empty:
        return ablated
    known = by_paper_name(_named(paired))
    # The paired tests count an item of several pairs once, by all its pairs, so on the diagonal their rule differs.
    known = known[~known["diagonal"]].assign(subtask=known["paper"])
    keys = [*IDENTITY, "condition"]
    ablated = ablated.drop(columns=["low", "high", "n"]).merge(known[[*keys, "low", "high", "n"]], on=keys, how="left")
    return ablated.assign(**{name: PERCENT * ablated[name] for name in ("low", "high")})


def _our_top10(scores: pd.DataFrame, paired: pd.DataFrame | None) -> pd.DataFrame:
    rows = _changes(scores, paired)
    return rows[rows["set"] == "own"]


def _our_partition(scores: pd.DataFrame, paired: pd.DataFrame | None) -> pd.DataFrame:
    intact = _our_accuracy(scores, None)
    rows = pd.concat([intact, _changes(scores, paired)], ignore_index=True)
    rows = rows[(rows["objective"] == "mixed") & rows["condition"].isin([BASELINE, *PARTS])]
    types = rows["subtask"].map(PAPER_SUBTASKS)
    averages = []
    for task_type in ("helpful", "harmless"):
        whole = [name for name, one in PAPER_SUBTASKS.items() if one == task_type]
        groups = rows[types == task_type].groupby(["backbone", "seed", "condition"], sort=False)
        mean = groups.agg(ours=("ours", "mean"), parts=("subtask", "nunique")).reset_index()
        mean = mean[mean["parts"] == len(whole)].assign(subtask=f"Avg {task_type}")
        averages.append(_standard(mean, "ours"))
    return pd.concat([rows, *averages], ignore_index=True)


def _our_retention(table: pd.DataFrame, _paired: pd.DataFrame | None) -> pd.DataFrame:
    rows = paper_retention(table)
    return rows.assign(ours=rows["share"])


def _our_rmsd(table: pd.DataFrame, _paired: pd.DataFrame | None) -> pd.DataFrame:
    rows = table[table["layer"].astype(str) == LAYERS_FIRST]
    alike = (rows["statistic"] == "mean") & (rows["site"] == "gate")
    ours = "ours is of " + rows["statistic"] + " at site " + rows["site"]
    note = np.where(alike, "", ours + ", the paper's of mean at site gate (for GPT-2 the same as post)")
    return _standard(rows, "rmsd", note=note)


def _our_overlap(table: pd.DataFrame, _paired: pd.DataFrame | None) -> pd.DataFrame:
    return _standard(table, "jaccard")


def _our_depth(table: pd.DataFrame, _paired: pd.DataFrame | None) -> pd.DataFrame:
    rows = table.rename(columns={"set": "objective"}) if "objective" not in table else table
    rows = rows[rows["objective"].isin(OBJECTIVES)]
    counts = rows.assign(inside=rows["share"] * rows["neurons"])
    pooled = counts.groupby(["objective", "bucket"], sort=False)[["inside", "neurons"]].sum().reset_index()
    names = "ours is the pool of " + ", ".join(dict.fromkeys(rows["backbone"]))
    pooled = pooled.assign(backbone=POOLED, seed="", share=pooled["inside"] / pooled["neurons"])
    return pd.concat([_standard(rows, "share"), _standard(pooled, "share", note=names)], ignore_index=True)


def _our_curve(sweeps: pd.DataFrame, _paired: pd.DataFrame | None) -> pd.DataFrame:
    methods = {selector: method for method, selector in METHODS.items()}
    rows = sweeps[sweeps["selector"].isin(methods)]
    rows = rows.assign(method=rows["selector"].map(methods), top=rows["top"].astype(float))
    keys = ["backbone", "seed", "objective", "data", "method", "top"]
    # Draws of random sets are averaged first; only a single draw has an interval over items.
    rows = rows.groupby(keys, sort=False).agg(
        accuracy=("accuracy", "mean"), low=("low", "first"), high=("high", "first"), n=("n", "first"),
        draws=("draw", "nunique"),
    ).reset_index()  # fmt: skip
    limits = {name: (PERCENT * rows[name]).where(rows["draws"] == 1) for name in ("low", "high")}
    return _standard(
        rows, "accuracy", ours=PERCENT * rows["accuracy"], n=rows["n"], note="on " + rows["data"], **limits
    )


_OURS: dict[str, Callable[[pd.DataFrame, pd.DataFrame | None], pd.DataFrame]] = {
    "accuracy": _our_accuracy,
    "retention": _our_retention,
    "ablation_top10": _our_top10,
    "ablation_partition": _our_partition,
    "rmsd": _our_rmsd,
    "overlap": _our_overlap,
    "depth": _our_depth,
    "ablation_curve": _our_curve,
}
