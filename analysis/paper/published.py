"""The paper's published numbers (arXiv 2606.13209) with their caveats: what is an artefact, and the corrected value."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from tension_lens.constants import BUCKETS, OBJECTIVES, PARTS
from tension_lens.errors import RequestError

FOLDER = Path(__file__).parent / "tables"
SOURCE = "arXiv 2606.13209 and its notebook plotsNresults.ipynb (repository commit 96efa92)"
MEAN = "mean"
"""In the place of a backbone: a mean over backbones."""
POOLED = "pooled"
"""In the place of a backbone: the neurons of all backbones together."""
PAPER_SEEDS = 3
SIX = "mean over the paper's six backbones"
SEVEN = "the published mean is over seven backbones, not the six reported; the seventh is not named"
NO_SPLIT = f"{SEVEN}; the change cannot be split by backbone, so no six-backbone value can be given"
RUNNING = "published (Table 19) as a running mean over the conditions so far, since lists are not reset in between"
ONE_MODEL = (
    "published as an average, but it is gpt2-large alone (the last value of a loop), and a Jaccard index instead of "
    "the retention of the other tables"
)
ALL_NEURONS = (
    "artefact: the harmless set of gpt2-large is all 184,320 neurons (after clamping at 0 the threshold is 0 and >= "
    "takes everything)"
)
MATH = "mean of RewardBench 2 Math and RM-Bench math"
EXCLUDED = "the corrected value leaves gpt2-large out"


@dataclass(frozen=True)
class PublishedTable:
    """One table of published numbers."""

    heading: str
    keys: tuple[str, ...]
    """Columns that say what a number is of."""
    unit: str
    where: str
    """Where in the paper and its notebook."""
    caveat: str
    """What holds for the table as a whole."""


TABLES: dict[str, PublishedTable] = {
    "accuracy": PublishedTable(
        "Accuracy by sub-task",
        ("backbone", "objective", "subtask"),
        "%",
        "A.7, notebook cells 13 and 14",
        f"Mean over three seeds. The published standard deviation divides by n; here it divides by n − 1. Math is the "
        f"{MATH}, and its deviation the mean of two deviations. RM-Bench counts by the diagonal.",
    ),
    "retention": PublishedTable(
        "Retention of the mixed model",
        ("backbone", "condition", "measure", "subtask"),
        "fraction",
        "Tables 1, 4, 11, 12, 19; notebook cells 21, 22, 23, 76",
        f"Averages printed by cell 76 are of seven backbones. Math is the {MATH}. RM-Bench counts by the diagonal.",
    ),
    "ablation_top10": PublishedTable(
        "Change of accuracy with a model's own top 10 % switched off",
        ("backbone", "objective", "subtask"),
        "percentage points",
        "Tables 2, 3, A.10; notebook cell 69",
        "No interval, no random control and no standard deviation is published with the changes.",
    ),
    "ablation_partition": PublishedTable(
        "Mixed model with a part of the partition switched off",
        ("backbone", "condition", "subtask"),
        "% for the baseline, percentage points for the changes",
        "Tables 17 and 18",
        "One block averaged over seven backbones. The order of its rows and p = 10 are inferred from the retention "
        "changes. The code's shared set also holds every neuron of a layer that occurs in only one of the two sets.",
    ),
    "rmsd": PublishedTable(
        "Chosen against rejected RMSD",
        ("backbone", "objective"),
        "units of activation",
        "Table 16, notebook cell 40",
        "Signed means, averaged over layers for each neuron index before the difference is taken. Table 16 cuts three "
        "cells off instead of rounding them; these are the notebook's digits.",
    ),
    "overlap": PublishedTable(
        "Overlap of the top 10 % sets",
        ("backbone", "left", "right"),
        "Jaccard index",
        "notebook cells 48, 50, 52",
        "Seed-averaged scores clamped at 0, threshold by >= percentile. No chance level is published.",
    ),
    "depth": PublishedTable(
        "Depth of the top 10 % sets",
        ("backbone", "objective", "bucket"),
        "share of the set",
        "figures 43 and 44",
        "Read off figures (±0.01, pooled ±0.003). Thirds are cut at the highest selected layer.",
    ),
    "ablation_curve": PublishedTable(
        "Accuracy against the share of neurons switched off",
        ("backbone", "objective", "method", "top"),
        "%",
        "figures 60 and 65, notebook cells 59 and 62 to 64",
        "On the HH-RLHF test split of the model's own objective, which also chose the checkpoint. Mostly read off "
        "figures. `magnitude` is the signed mean; what the sd of cell 59 is over is not said.",
    ),
    "training": PublishedTable(
        "Training",
        ("parameter",),
        "",
        "paper, repository code, uv.lock",
        "Values of the paper's Table 5 are lost in its text except the scheduler.",
    ),
}


def load(table: str) -> pd.DataFrame:
    """A published table, a row for each number.

    Columns: the keys of `TABLES[table]`; `published`; `sd` (over three seeds, n − 1) where there is one; `artefact`,
    whether the number is not what its place says; `corrected`, the value it should have, not a number where it needs
    none or none can be recovered; `caveat` and `source`, both text. `training` holds settings: parameter, value, note,
    source.

    Raises:
        RequestError: if there is no such table.
    """
    if table not in TABLES:
        raise RequestError(f"unknown published table {table!r}; known are {', '.join(TABLES)}")
    raw = _raw(table)
    if table == "training":
        return raw.copy()
    found = _READERS[table](raw)
    where = found["source"] if "source" in found else TABLES[table].where
    found = found.assign(source=where)
    columns = [*TABLES[table].keys, "published", "sd", "artefact", "corrected", "caveat", "source"]
    return found[columns].reset_index(drop=True)


def paper_backbones() -> dict[str, str]:
    """The paper's name of each backbone, by hub id and by its own name."""
    rows = load("training")
    models = rows[rows["parameter"].str.startswith("model_") & (rows["parameter"] != "model_dtype")]
    hubs = {hub: name.removeprefix("model_") for name, hub in zip(models["parameter"], models["value"], strict=True)}
    return {**hubs, **{name: name for name in hubs.values()}}


@cache
def _raw(table: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{table}.csv", keep_default_na=table != "training")


def _marked(raw: pd.DataFrame, value: str, **columns: object) -> pd.DataFrame:
    """The columns every table has, before anything is marked; `columns` over those."""
    start = {"published": raw[value], "sd": np.nan, "artefact": False, "corrected": np.nan, "caveat": ""}
    return raw.rename(columns={"model": "backbone"}).assign(**{**start, **columns})


def _sd(raw: pd.DataFrame) -> pd.Series:
    """The published standard deviation over three seeds, which divides by n, with n − 1."""
    return raw["std"] * np.sqrt(PAPER_SEEDS / (PAPER_SEEDS - 1))


def _mark(rows: pd.DataFrame, which: pd.Series, caveat: str, corrected: object = np.nan) -> None:
    """Mark rows as artefacts, in place."""
    rows.loc[which, "artefact"] = True
    rows.loc[which, "caveat"] = caveat
    rows.loc[which, "corrected"] = corrected


def _accuracy(raw: pd.DataFrame) -> pd.DataFrame:
    rows = _marked(raw, "mean", sd=_sd(raw))
    rows.loc[rows["subtask"] == "Math", "caveat"] = f"{MATH}; its sd is the mean of two"
    return rows


def _retention(raw: pd.DataFrame) -> pd.DataFrame:
    measures = {"combined": "combined", "mixed_harmless": "jaccard_harmless", "mixed_helpful": "jaccard_helpful"}
    rows = _marked(raw, "mean", sd=_sd(raw), measure=raw["kind"].map(measures))
    is_derived = raw["source"].str.startswith("derived")
    keys = ["condition", "measure", "subtask"]
    better = rows[is_derived].set_index(keys)["published"]
    rows = rows[~is_derived].copy()
    averaged = rows["backbone"] == "all"
    corrected = better.reindex(pd.MultiIndex.from_frame(rows.loc[averaged, keys])).to_numpy()
    _mark(rows, averaged, "", corrected)
    running = averaged & (rows["condition"] != "baseline")
    rows.loc[averaged & ~running, "caveat"] = f"{SEVEN}; the corrected value is the {SIX}"
    rows.loc[running, "caveat"] = f"{RUNNING}; the corrected value undoes that, and is still of seven backbones"
    _mark(rows, rows["measure"] != "combined", f"{ONE_MODEL}; no average can be recovered")
    return rows.assign(backbone=rows["backbone"].replace("all", MEAN))


def _ablation_top10(raw: pd.DataFrame) -> pd.DataFrame:
    rows = _marked(raw, "delta")
    rows["caveat"] = np.where(rows["backbone"] == "all", SIX, "")
    return rows.assign(backbone=rows["backbone"].replace("all", MEAN))


def _ablation_partition(raw: pd.DataFrame) -> pd.DataFrame:
    columns = {"baseline": "baseline", **{f"delta_{part}": part for part in PARTS}}
    rows = raw.melt(["subtask", "baseline_6models"], list(columns), "condition", "value")
    rows = _marked(rows, "value", condition=rows["condition"].map(columns), backbone=MEAN)
    intact = rows["condition"] == "baseline"
    _mark(rows, intact, f"{SEVEN}; the corrected value is the {SIX}", rows.loc[intact, "baseline_6models"])
    _mark(rows, ~intact, NO_SPLIT)
    return rows


def _rmsd(raw: pd.DataFrame) -> pd.DataFrame:
    return _marked(raw, "rmsd")


def _overlap(raw: pd.DataFrame) -> pd.DataFrame:
    rows = _marked(raw, "jaccard")
    pairs = [_in_order(a, b) for a, b in zip(raw["set_a"], raw["set_b"], strict=True)]
    rows[["left", "right"]] = pairs
    note = raw["note"].fillna("")
    without = rows[rows["backbone"] == "mean_excl_gpt2-large"].set_index(["left", "right"])["published"]
    rows = rows[rows["backbone"] != "mean_excl_gpt2-large"].copy()
    note = note[rows.index]
    _mark(rows, note.str.startswith("artefact"), f"{ALL_NEURONS}; the true value cannot be recovered")
    means = rows["backbone"] == "mean_6models"
    corrected = without.reindex(pd.MultiIndex.from_frame(rows[["left", "right"]]))
    corrected.index = rows.index
    mixed_up = means & note.str.contains("artefact")
    _mark(rows, mixed_up, f"includes the gpt2-large artefact; {EXCLUDED}", corrected[mixed_up])
    for row in rows.index[means & ~mixed_up]:
        rows.loc[row, "caveat"] = f"{corrected[row]:.4f} without gpt2-large, as the corrected means are"
    return rows.assign(backbone=rows["backbone"].replace("mean_6models", MEAN))


def _in_order(a: str, b: str) -> tuple[str, str]:
    """Two sets in the order of the objectives; a union of two before the third."""
    order = [*OBJECTIVES, a]
    left, right = sorted((a, b), key=order.index) if a in OBJECTIVES else (a, b)
    return left, right


def _depth(raw: pd.DataFrame) -> pd.DataFrame:
    rows = raw.melt(["model", "objective", "note", "source"], list(BUCKETS), "bucket", "share")
    rows = _marked(rows, "share", caveat=rows["note"].fillna(""))
    keys = ["objective", "bucket"]
    without = rows[rows["backbone"] == "pooled_excl_gpt2-large"].set_index(keys)["published"]
    rows = rows[rows["backbone"] != "pooled_excl_gpt2-large"].copy()
    one = (rows["backbone"] == "gpt2-large") & (rows["objective"] == "harmless")
    _mark(rows, one, f"{ALL_NEURONS}, hence a third each; the true value cannot be recovered")
    pooled = (rows["backbone"] == "pooled_6models") & (rows["objective"] == "harmless")
    corrected = without.reindex(pd.MultiIndex.from_frame(rows.loc[pooled, keys])).to_numpy()
    _mark(rows, pooled, f"80 % of this pool is the gpt2-large artefact; {EXCLUDED}", corrected)
    return rows.assign(backbone=rows["backbone"].replace("pooled_6models", POOLED))


def _ablation_curve(raw: pd.DataFrame) -> pd.DataFrame:
    rows = _marked(raw, "value", sd=raw["std"], top=raw["p"].astype(float), caveat=raw["note"].fillna(""))
    drop = raw["metric"] == "relative_drop_pct"
    caveat = "a relative drop in percent, averaged over random, change and magnitude selection together"
    _mark(rows, drop, f"{caveat}; the values of each method are in the other rows")
    return rows.assign(backbone=rows["backbone"].replace("all", MEAN))


_READERS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "accuracy": _accuracy,
    "retention": _retention,
    "ablation_top10": _ablation_top10,
    "ablation_partition": _ablation_partition,
    "rmsd": _rmsd,
    "overlap": _overlap,
    "depth": _depth,
    "ablation_curve": _ablation_curve,
}
