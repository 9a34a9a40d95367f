"""How well attribution forecasts the effect of ablating a whole set, over the sets of a sweep."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import linregress, norm, t

from analysis.tables.primary import COLUMNS
from tension_lens.constants import CONFIDENCE, INTACT

FEWEST = 4
"""Fewest sets for a correlation with an interval."""


def forecast_sets(sweeps: pd.DataFrame) -> pd.DataFrame:
    """The rows of `Results.sweeps` that are ablated sets with a forecast."""
    if "forecast" not in sweeps:
        return pd.DataFrame()
    return sweeps[(sweeps["selector"] != INTACT) & sweeps["forecast"].notna()]


def forecast_table(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Exact changes of the mean margin against those that attribution forecasts, over the sets of each swept model.

    Two rows for each model: `outcome` `forecast r`, Pearson's correlation with Fisher's 95 % interval, and
    `forecast slope`, exact = intercept + slope · forecast by least squares with Student's. `n` counts sets; sets of
    one sweep overlap, so the intervals are of these sets and not of new ones. A slope of 1 is a forecast of the right
    size. Columns are those of `primary_table`.

    Args:
        sweeps: `Results.sweeps`.
    """
    sets = forecast_sets(sweeps)
    rows: list[dict[str, Any]] = []
    if sets.empty:
        return pd.DataFrame()
    for (backbone, seed, objective, data), group in sets.groupby(["backbone", "seed", "objective", "data"], sort=False):
        x, y = group["forecast"].to_numpy(), group["margin_change"].to_numpy()
        if len(group) < FEWEST or not (np.ptp(x) > 0 and np.ptp(y) > 0):
            continue
        about: dict[str, Hashable] = {"backbone": backbone, "seed": str(seed), "objective": objective, "data": data}
        about |= {"set": f"{len(group)} swept sets", "against": "attribution", "ablation": "zero"}
        rows += [{**about, **row, "n": len(group)} for row in _fit(x, y)]
    return pd.DataFrame(rows)


def with_forecast(primary: pd.DataFrame, sweeps: pd.DataFrame) -> pd.DataFrame:
    """The primary table, empty without a study, followed by the rows of `forecast_table`."""
    frames = [one for one in (primary, forecast_table(sweeps)) if len(one)]
    return pd.concat(frames, ignore_index=True).reindex(columns=COLUMNS) if frames else primary


def _fit(x: np.ndarray, y: np.ndarray) -> list[dict[str, Any]]:
    line, n = linregress(x, y), len(x)
    half = norm.ppf((1 + CONFIDENCE) / 2) / np.sqrt(n - 3)
    transformed = np.arctanh(np.clip(line.rvalue, -1 + 1e-15, 1 - 1e-15))
    width = t.ppf((1 + CONFIDENCE) / 2, n - 2) * line.stderr
    return [
        {
            "outcome": "forecast r",
            "estimate": float(line.rvalue),
            "low": float(np.tanh(transformed - half)),
            "high": float(np.tanh(transformed + half)),
        },
        {
            "outcome": "forecast slope",
            "estimate": float(line.slope),
            "low": float(line.slope - width),
            "high": float(line.slope + width),
        },
    ]
