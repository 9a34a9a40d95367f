"""Means over models with intervals: seeds of a backbone are averaged first, then backbones."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import t

from analysis.figures.frame import WHO
from tension_lens.constants import CONFIDENCE

FEWEST = 3
"""Fewest numbers with an interval of their mean. Of two, it would reach nine standard deviations to each side."""
OVER_ITEMS, OVER_SEEDS, OVER_BACKBONES, NO_INTERVAL = "items", "seeds", "backbones", ""
"""What the 95 % interval of a pooled number is over."""


def pool(rows: pd.DataFrame, value: str, by: Sequence[str], carry: Sequence[str] = ()) -> pd.DataFrame:
    """The mean of a measure over models, by group, with a 95 % interval.

    Seeds of a backbone are averaged first, so that each backbone counts once. The interval is

    - the row's own (`low` to `high`, over items) for one model,
    - Student's over backbones for several backbones,
    - Student's over seeds for one backbone,
    - none for a mean of two.

    Rows without a value are excluded; groups without any value have no row.

    Args:
        rows: a row for each `backbone`, `seed` and group, with columns `low` and `high`.
        value: the column of the measure.
        by: columns of the group.
        carry: more columns to keep, from the group's first row; meaningful if the group is one model.

    Returns:
        The columns `by`, `value`, `low`, `high`, the numbers of `backbones` and `models`, `backbone` and `seed` (empty
        if there are several, all of them in the columns of `members`), `over` (what the interval is over), and `carry`.
    """
    there = rows[rows[value].notna()]
    if there.empty:
        of = [f"{key}_of" for key in WHO]
        columns = (*by, "value", "low", "high", "backbones", "models", *WHO, "over", *of, *carry)
        return pd.DataFrame(columns=list(dict.fromkeys(columns)))
    keys = [name for name in by if name != "backbone"]
    first = {name: (name, "first") for name in ("seed", "low", "high", *carry)}
    models = there.groupby([*keys, "backbone"], sort=False, as_index=False).agg(
        mean=(value, "mean"), sd=(value, "std"), models=(value, "size"), seeds=("seed", "nunique"), **first
    )
    first = {name: (name, "first") for name in ("backbone", *first) if name not in by}
    found = models.groupby(list(by), sort=False, as_index=False).agg(
        value=("mean", "mean"),
        between=("mean", "std"),
        within=("sd", "first"),
        backbones=("mean", "size"),
        models=("models", "sum"),
        seeds=("seeds", "max"),
        **first,
    )
    several, single = found["backbones"] > 1, found["models"] == 1
    n = found["backbones"].where(several, found["models"])
    half = student(n.to_numpy()) * found["between"].where(several, found["within"]) / np.sqrt(n)
    found["low"] = found["low"].astype(float).where(single, found["value"] - half)
    found["high"] = found["high"].astype(float).where(single, found["value"] + half)
    found["over"] = np.select([single, several], [OVER_ITEMS, OVER_BACKBONES], OVER_SEEDS)
    found.loc[found["low"].isna(), "over"] = NO_INTERVAL
    if "backbone" not in by:
        found["backbone"] = found["backbone"].astype(object).where(~several, "")
    found["seed"] = found["seed"].astype(object).where((found["seeds"] == 1) & ~several, "")
    return found.drop(columns=["between", "within", "seeds"]).merge(members(there, by), on=list(by), how="left")


def pool_levels(rows: pd.DataFrame, value: str, by: Sequence[str], carry: Sequence[str] = ()) -> pd.DataFrame:
    """`pool` over all models and, with several backbones, of each backbone; `alone` marks the rows of one backbone."""
    levels = [pool(rows, value, by, carry).assign(alone=False)]
    if rows["backbone"].nunique() > 1:
        levels.append(pool(rows, value, [*by, "backbone"], carry).assign(alone=True))
    return pd.concat(levels, ignore_index=True)


def pool_controls(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Random controls by group, over all draws and models: mean `value`, minimum `low`, maximum `high`, `draws`.

    Args:
        rows: with these four columns, for one draw or several; rows without a value are excluded.
        by: columns of the group.
    """
    there = rows[rows["value"].notna()]
    found = there.groupby(list(by), sort=False, as_index=False).agg(
        value=("value", "mean"), low=("low", "min"), high=("high", "max"), draws=("draws", "sum")
    )
    return found.merge(members(there, by), on=list(by))


def members(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The backbones and seeds of each group as tuples: the columns `by`, `backbone_of` and `seed_of`."""
    groups = rows.groupby(list(by), sort=False)
    found = {f"{key}_of": groups[key].agg(lambda values: tuple(dict.fromkeys(values))) for key in WHO}
    return pd.DataFrame(found).reset_index()


def student(n: Int[np.ndarray, " group"]) -> Float[np.ndarray, " group"]:
    """Half-width of the 95 % interval of a mean of n numbers, in standard errors; NaN for n < 3."""
    quantile = t.ppf((1 + CONFIDENCE) / 2, np.maximum(n - 1, 1))
    half: Float[np.ndarray, " group"] = np.where(n >= FEWEST, quantile, np.nan)
    return half


def whose(row: pd.Series) -> str:
    """The models that a pooled number is over."""
    if row["backbones"] > 1:
        return f"mean over {row['backbones']} backbones, {row['models']} models"
    return f"{row['backbone']}, mean over {row['models']} seeds" if row["models"] > 1 else f"{row['backbone']}"


def interval_words(row: pd.Series, factor: float = 100, unit: str = " %") -> str:
    """A pooled number with its interval and what that is over, such as `61.2 % [58, 64.3], 95 % over items`."""
    text = f"{factor * row['value']:.4g}{unit}"
    if not row["over"]:
        return f"{text}, no interval"
    return f"{text} [{factor * row['low']:.4g}, {factor * row['high']:.4g}], 95 % over {row['over']}"
