"""The paper's published numbers (arXiv 2606.13209) with their caveats: what is an artefact, and the corrected value."""

import tomllib
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
    keys: list[str]
    """Columns that identify a number."""
    unit: str
    where: str
    """Where it is in the paper and its notebook."""
    caveat: str
    """What holds for the table as a whole."""
    ours: str = ""
    """Our table that it is compared with; `scores` by the rule `paper`."""


TEXTS = tomllib.loads((Path(__file__).parent / "published.toml").read_text("utf-8"))
TABLES = {name: PublishedTable(**about) for name, about in TEXTS.items()}


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
