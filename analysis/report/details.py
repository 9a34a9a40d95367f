"""Tables of the report in full, with the captions of `templates/captions.toml`."""

import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files

import pandas as pd

from analysis.report.page import Exhibit

MOST_FLIPPED = 300
"""Rows in the list of the items that flip most often."""
CHANGES = ("difference", "uniform_mean", "layer_mean", "activation_mean")
"""Columns of differences."""
CAPTIONS: dict[str, dict[str, str]] = tomllib.loads(
    (files("analysis") / "report" / "templates" / "captions.toml").read_text("utf-8")
)


def details(tables: dict[str, pd.DataFrame]) -> Iterator[Exhibit]:
    """An exhibit for each table that has rows and a caption."""
    for name in CAPTIONS:
        file = name.removeprefix("table-")
        table = tables.get(file)
        if name != file and table is not None and len(table):
            signed = [one for one in CHANGES if one in table]
            yield _captioned(name, table, signed, f" File: tables/{file}.csv.")


def changes_by_backbone(conditions: pd.DataFrame) -> list[Exhibit]:
    """Changes of accuracy in percentage points, with a column for each backbone, coloured by sign."""
    if conditions.empty:
        return []
    keys = ["objective", "condition", "data", "subtask"]
    wide = 100 * conditions.pivot_table("difference", keys, "backbone", sort=False, observed=True)
    counts = conditions.groupby(keys, sort=False, observed=True)["n"].first()
    table = wide.reset_index().merge(counts.reset_index(), on=keys)[[*keys, "n", *wide.columns]]
    return [_captioned("changes", table, list(map(str, wide.columns)))]


def flipped(flips: pd.DataFrame) -> list[Exhibit]:
    """The number of items that flip, and the items that flip in the most models."""
    if flips.empty:
        return []
    keys = ["backbone", "seed", "objective", "data", "condition", "reference"]
    counts = flips.groupby([*keys, "flip"], sort=False, observed=True).size().unstack("flip", fill_value=0)
    counts = counts.reindex(columns=["lost", "gained"], fill_value=0).reset_index()
    same = ["data", "condition", "objective", "reference", "flip", "subtask", "item"]
    often = flips.groupby(same, sort=False, observed=True).size().rename("models").reset_index()
    often = often.sort_values("models", ascending=False, kind="stable").head(MOST_FLIPPED)
    return [_captioned("flip-counts", counts), _captioned("flip-items", often)]


def _captioned(name: str, table: pd.DataFrame, signed: Sequence[str] = (), note: str = "") -> Exhibit:
    text = CAPTIONS[name]
    fold = text.get("fold", "").strip()
    caption = text["caption"].strip() + note
    return Exhibit(name, text["heading"], caption, table=table, signed=tuple(signed), fold=fold)
