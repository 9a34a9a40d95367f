"""The paper's published numbers (arXiv 2606.13209) with their caveats: what is an artefact, and the corrected value."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from tension_lens.errors import RequestError

FOLDER = Path(__file__).parent / "tables"
SOURCE = "arXiv 2606.13209 and its notebook plotsNresults.ipynb (repository commit 96efa92)"
MEAN = "mean"
"""In the column `backbone`: a mean over backbones."""
POOLED = "pooled"
"""In the column `backbone`: the neurons of all backbones together."""
COLUMNS = ("published", "sd", "artefact", "corrected", "caveat", "source")
"""Columns of every table but `training`, after its keys."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of published numbers."""

    heading: str
    keys: tuple[str, ...]
    """Columns that identify a number."""
    unit: str
    where: str
    """Where it is in the paper and its notebook."""
    caveat: str
    """What holds for the table as a whole."""


TABLES: dict[str, PublishedTable] = {
    "accuracy": PublishedTable(
        "Accuracy by sub-task",
        ("backbone", "objective", "subtask"),
        "%",
        "A.7, notebook cells 13 and 14",
        "Mean over three seeds. The published standard deviation divides by n; the one given here divides by n − 1. "
        "Math is the mean of RewardBench 2 Math and RM-Bench math, and its standard deviation is the mean of the two "
        "standard deviations. RM-Bench is scored on the diagonal.",
    ),
    "retention": PublishedTable(
        "Retention of the mixed model",
        ("backbone", "condition", "measure", "subtask"),
        "fraction",
        "Tables 1, 4, 11, 12, 19; notebook cells 21, 22, 23, 76",
        "The averages printed by cell 76 are over seven backbones. Math is the mean of RewardBench 2 Math and RM-Bench "
        "math. RM-Bench is scored on the diagonal.",
    ),
    "ablation_top10": PublishedTable(
        "Change of accuracy when a model's own top 10 % are ablated",
        ("backbone", "objective", "subtask"),
        "percentage points",
        "Tables 2, 3, A.10; notebook cell 69",
        "The changes are published without intervals, random controls and standard deviations.",
    ),
    "ablation_partition": PublishedTable(
        "Mixed model with a part of the partition ablated",
        ("backbone", "condition", "subtask"),
        "% for the baseline, percentage points for the changes",
        "Tables 17 and 18",
        "One block, averaged over seven backbones. The order of its rows and p = 10 are inferred from the changes of "
        "retention. The shared set of the paper's code also holds every neuron of a layer that occurs in only one of "
        "the two sets.",
    ),
    "rmsd": PublishedTable(
        "RMSD between chosen and rejected responses",
        ("backbone", "objective"),
        "units of activation",
        "Table 16, notebook cell 40",
        "Signed means, averaged over layers for each neuron index before the difference is taken. Table 16 truncates "
        "three values instead of rounding them; the values here are the notebook's.",
    ),
    "overlap": PublishedTable(
        "Overlap of the top 10 % sets",
        ("backbone", "left", "right"),
        "Jaccard index",
        "notebook cells 48, 50, 52",
        "Scores are averaged over seeds and clamped at 0; neurons are selected by >= percentile. No chance level is "
        "published.",
    ),
    "depth": PublishedTable(
        "Depth of the top 10 % sets",
        ("backbone", "objective", "bucket"),
        "share of the set",
        "figures 43 and 44",
        "Read off figures (±0.01, pooled ±0.003). Thirds are cut at the highest selected layer.",
    ),
    "ablation_curve": PublishedTable(
        "Accuracy against the share of ablated neurons",
        ("backbone", "objective", "method", "top"),
        "%",
        "figures 60 and 65, notebook cells 59 and 62 to 64",
        "On the HH-RLHF test split of the model's own objective, which was also used to select the checkpoint. Most "
        "values are read off figures. `magnitude` is the signed mean. The notebook does not say what the standard "
        "deviation in cell 59 is over.",
    ),
    "training": PublishedTable(
        "Training",
        ("parameter",),
        "",
        "paper, repository code, uv.lock",
        "The values of the paper's Table 5 are missing from its text, except the scheduler.",
    ),
}


@cache
def _read(table: str) -> pd.DataFrame:
    # `None` is a setting in the table `training`, not a missing value.
    settings = table == "training"
    return pd.read_csv(FOLDER / f"{table}.csv", dtype={"caveat": str, "top": float}, keep_default_na=not settings)


def load(table: str) -> pd.DataFrame:
    """Read a published table, one row per number.

    Columns: the keys of `TABLES[table]`; `published`; `sd` over three seeds (n − 1), NaN where none is published;
    `artefact`, true if the number does not measure what its table says; `corrected`, the right value of an artefact,
    NaN where there is none or it cannot be recovered; `caveat` and `source`, both text. The table `training` holds
    settings instead: parameter, value, note, source.

    Raises:
        RequestError: if there is no such table.
    """
    if table not in TABLES:
        raise RequestError(f"unknown published table {table!r}; known tables: {', '.join(TABLES)}")
    rows = _read(table)
    if table == "training":
        return rows.copy()
    return rows.assign(caveat=rows["caveat"].fillna(""))[[*TABLES[table].keys, *COLUMNS]]


def paper_backbones() -> dict[str, str]:
    """The paper's name of each backbone, by hub id and by the paper's own name."""
    rows = load("training")
    models = rows[rows["parameter"].str.startswith("model_") & (rows["parameter"] != "model_dtype")]
    hubs = {hub: name.removeprefix("model_") for name, hub in zip(models["parameter"], models["value"], strict=True)}
    return {**hubs, **{name: name for name in hubs.values()}}
