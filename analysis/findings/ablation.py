"""What the sweeps show: how much accuracy changes with the share of ablated neurons, by selector."""

import pandas as pd

from analysis.results.folder import MODEL
from tension_lens.constants import RANDOM


def sweep_summary(sweeps: pd.DataFrame) -> pd.DataFrame:
    """One row per selector of the sweeps.

    `sets` counts the sets. `top_low`, `top_high` (percent), `low` and `high` are the ranges of the shares of neurons
    and of the changes of accuracy from the intact model. `controlled` counts the sets with random sets of their size,
    drawn in the same sweep, and `below` those of them whose change lies below that of every such random set. A sweep
    keeps no items, so this comparison is not a test.
    """
    if sweeps.empty:
        return sweeps
    rows = sweeps[sweeps["difference"].notna()]
    drawn = rows["difference"].where(rows["selector"] == RANDOM)
    least = drawn.groupby([rows[key] for key in (*MODEL, "top")], dropna=False).transform("min")
    controlled = least.notna() & (rows["selector"] != RANDOM)
    below = controlled & (rows["difference"] < least)
    rows = rows.assign(controlled=controlled, below=below)
    return rows.groupby("selector", sort=False).agg(
        sets=("difference", "size"), top_low=("top", "min"), top_high=("top", "max"),
        low=("difference", "min"), high=("difference", "max"),
        controlled=("controlled", "sum"), below=("below", "sum"),
    ).reset_index()  # fmt: skip
