"""One number with an interval from several models: seeds of a backbone are averaged before backbones are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analysis.figures.frame import WHO, members_column

FEWEST = 3
"""Numbers that an interval of their mean takes: that of two would be nine times as wide to each side as their standard
deviation, and say nothing."""
STUDENT = "Student's over backbones (or seeds of one backbone) for a mean of three or more"
MEANS = f"{STUDENT}; small dots are the backbones, each with an interval of its own where there are two"
"""What captions say of means over models, the second one where the backbones are drawn beside their mean."""
OVER_ITEMS, OVER_SEEDS, OVER_BACKBONES, NO_INTERVAL = "items", "seeds", "backbones", ""
"""What the 95 % interval of a pooled number is over."""
COLUMNS = ["value", "low", "high", "backbones", "models", *WHO, "over", *map(members_column, WHO)]


def pool(rows: pd.DataFrame, value: str, by: Sequence[str], carry: Sequence[str] = ()) -> pd.DataFrame:
    """The mean of a measure over models, by group, with a 95 % interval.

    Seeds of a backbone are averaged first, so that each backbone counts once. The interval is the row's own (`low` to
    `high`, over items) where there is one model; Student's over backbones where there are several; Student's over seeds
    where there is one backbone; none for a mean of two. Rows without a value are left out, groups without any have no
    row.

    Args:
        rows: one for each `backbone`, `seed` and group, with columns `low` and `high`.
        value: the column of the measure.
        by: what makes a group.
        carry: more columns to take along, from the group's first row; of use where the group is one model.

    Returns:
        The columns `by`, `value`, `low`, `high`, how many `backbones` and `models`, whose it is (`backbone`, `seed`,
        each empty where there are several; all of them in the columns of `members`), `over`, what the interval is over,
        and those carried.
    """
    there = rows[rows[value].notna()]
    if there.empty:
        return pd.DataFrame(columns=[*dict.fromkeys((*by, *COLUMNS, *carry))])
    keys = [name for name in by if name != "backbone"]
    first = {name: (name, "first") for name in ("seed", "low", "high", *carry)}
    models = there.groupby([*keys, "backbone"], sort=False, as_index=False).agg(
        mean=(value, "mean"), sd=(value, "std"), models=(value, "size"), seeds=("seed", "nunique"), **first
    )
    first = {name: (name, "first") for name in ("backbone", "seed", "low", "high", *carry) if name not in by}
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
    half = _student(n.to_numpy()) * found["between"].where(several, found["within"]) / np.sqrt(n)
    found["low"] = found["low"].astype(float).where(single, found["value"] - half)
    found["high"] = found["high"].astype(float).where(single, found["value"] + half)
    found["over"] = np.select([single, several], [OVER_ITEMS, OVER_BACKBONES], OVER_SEEDS)
    found.loc[found["low"].isna(), "over"] = NO_INTERVAL
    if "backbone" not in by:
        found["backbone"] = found["backbone"].astype(object).where(~several, "")
    found["seed"] = found["seed"].astype(object).where((found["seeds"] == 1) & ~several, "")
    return found.drop(columns=["between", "within", "seeds"]).merge(members(there, by), on=list(by), how="left")


def members(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Whose numbers are pooled in each group: with the columns `by`, the `backbone_of` and `seed_of` it, as tuples."""
    groups = rows.groupby(list(by), sort=False)
    found = {members_column(key): groups[key].agg(lambda values: tuple(dict.fromkeys(values))) for key in WHO}
    return pd.DataFrame(found).reset_index()


def pool_levels(rows: pd.DataFrame, value: str, by: Sequence[str], carry: Sequence[str] = ()) -> pd.DataFrame:
    """`pool` over all models, and of each backbone by itself where there are several; column `alone` tells them."""
    levels = [pool(rows, value, by, carry).assign(alone=False)]
    if rows["backbone"].nunique() > 1:
        levels.append(pool(rows, value, [*by, "backbone"], carry).assign(alone=True))
    return pd.concat(levels, ignore_index=True)


def _student(n: Int[np.ndarray, " group"]) -> Float[np.ndarray, " group"]:
    """Half-width of the 95 % interval of a mean of n numbers, in standard errors; not a number for one or two."""
    from scipy.stats import t

    half: Float[np.ndarray, " group"] = np.where(n >= FEWEST, t.ppf(0.975, np.maximum(n - 1, 1)), np.nan)
    return half


def whose(row: pd.Series) -> str:
    """Of how many models a pooled number is."""
    if row["backbones"] > 1:
        return f"mean over {row['backbones']} backbones, {row['models']} models"
    return f"{row['backbone']}, mean over {row['models']} seeds" if row["models"] > 1 else f"{row['backbone']}"


def interval_words(row: pd.Series, factor: float = 100, unit: str = " %") -> str:
    """`61.2 % [58, 64.3]` and what the interval is over, for a pooled row."""
    text = f"{factor * row['value']:.4g}{unit}"
    if not row["over"]:
        return f"{text}, no interval"
    return f"{text} [{factor * row['low']:.4g}, {factor * row['high']:.4g}], 95 % over {row['over']}"
