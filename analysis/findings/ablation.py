"""Verdicts on ablations: is a change of accuracy significant, and does it differ from that of random sets?"""

import numpy as np
import pandas as pd

from analysis.results.folder import MODEL
from analysis.tables.effects import KEYS
from tension_lens.constants import ALPHA, CONTROLS, INTACT, RANDOM

SPECIFIC, UNSPECIFIC, UNCONTROLLED, UNCHANGED = "specific", "unspecific", "uncontrolled", "unchanged"


def ablation_verdicts(conditions: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """The rows of `conditions` with a `verdict` on each change of accuracy.

    `unchanged`: Holm-corrected McNemar p ≥ 0.05 against the intact model. `specific`: significant against the intact
    model and, in the same direction, against each of the set's random controls. `unspecific`: significant against the
    intact model, but not against every control. `uncontrolled`: significant, without a control to compare with.
    `draws` is the number of controls, `control_low` and `control_high` the range of their changes from the intact
    model.
    """
    if conditions.empty:
        return conditions
    keys = [*KEYS, "subtask"]
    against = effects[effects["against"] != INTACT]
    against = against.merge(conditions[[*keys, "difference"]], on=keys, suffixes=("", "_of_set"))
    beyond = (against["p_holm"] < ALPHA) & (np.sign(against["difference"]) == np.sign(against["difference_of_set"]))
    groups = against.assign(beyond=beyond).groupby(keys, sort=False)["beyond"]
    controls = groups.agg(["all", "size"]).reset_index().rename(columns={"all": "beyond", "size": "draws"})
    rows = conditions.merge(controls, on=keys, how="left")
    changed, controlled = rows["p_holm"] < ALPHA, rows["draws"].notna()
    cases = [~changed, ~controlled, rows["beyond"].eq(True)]
    limits = {
        name: rows[[f"{kind}_{what}" for kind in CONTROLS if f"{kind}_{what}" in rows]].agg(what, axis=1)
        for name, what in (("control_low", "min"), ("control_high", "max"))
    }
    verdict = np.select(cases, [UNCHANGED, UNCONTROLLED, SPECIFIC], UNSPECIFIC)
    return rows.assign(draws=rows["draws"].fillna(0).astype(int), verdict=verdict, **limits)


def sweep_summary(sweeps: pd.DataFrame) -> pd.DataFrame:
    """One row per selector of the sweeps.

    `tests` counts the sets and `changed` those with a Holm-corrected p < 0.05 against the intact model. `top_low`,
    `top_high` (percent), `low` and `high` are the ranges of the shares of neurons and of the changes of accuracy.
    `controlled` counts the sets with random sets of their size, drawn in the same sweep, and `below` those of them
    whose change lies below that of every such random set. A sweep keeps no items, so this comparison is not a test.
    """
    if sweeps.empty:
        return sweeps
    rows = sweeps[sweeps["p_holm"].notna()]
    drawn = rows["difference"].where(rows["selector"] == RANDOM)
    least = drawn.groupby([rows[key] for key in (*MODEL, "top")], dropna=False).transform("min")
    controlled = least.notna() & (rows["selector"] != RANDOM)
    below = controlled & (rows["difference"] < least)
    rows = rows.assign(changed=rows["p_holm"] < ALPHA, controlled=controlled, below=below)
    return rows.groupby("selector", sort=False).agg(
        tests=("changed", "size"), changed=("changed", "sum"), top_low=("top", "min"), top_high=("top", "max"),
        low=("difference", "min"), high=("difference", "max"),
        controlled=("controlled", "sum"), below=("below", "sum"),
    ).reset_index()  # fmt: skip
