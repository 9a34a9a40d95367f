"""What switching sets off does, in words: told from nothing at all, and told from random sets of the same size."""

import numpy as np
import pandas as pd

from analysis.findings.wording import FEW, Finding, change, luck, many, model_name, p_text, percent, points, sentence
from analysis.tables.effects import KEYS
from tension_lens.constants import ALPHA, CONTROLS, INTACT
from tension_lens.constants import RANDOM as RANDOM_CHOICE

SET, RANDOM, UNCONTROLLED, UNCHANGED = "set", "random", "uncontrolled", "unchanged"
"""Verdicts of a change: of the set itself, not told from a random set's, without a control, not told from none."""


def verdicts(conditions: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """The rows of `conditions` with what may be said of each change, as `verdict`.

    `unchanged`: Holm-corrected McNemar p ≥ 0.05 against the intact model. `set`: below that, and against each of the
    set's random controls, too, in the same direction. `random`: not told from at least one control. `uncontrolled`:
    there is no control to compare with. `draws`, `control_low` and `control_high`: how many controls there are, and
    the range of their changes from the intact model.
    """
    keys = [*KEYS, "subtask"]
    against = effects[effects["against"] != INTACT]
    against = against.merge(conditions[[*keys, "difference"]], on=keys, suffixes=("", "_of_set"))
    beyond = (against["p_holm"] < ALPHA) & (np.sign(against["difference"]) == np.sign(against["difference_of_set"]))
    groups = against.assign(beyond=beyond).groupby(keys, sort=False)["beyond"]
    controls = groups.agg(["all", "size"]).reset_index().rename(columns={"all": "beyond", "size": "draws"})
    rows = conditions.merge(controls, on=keys, how="left")
    changed, judged = rows["p_holm"] < ALPHA, rows["draws"].notna()
    told = [~changed, changed & ~judged, changed & rows["beyond"].eq(True)]
    limits = {
        name: rows[[f"{kind}_{what}" for kind in CONTROLS if f"{kind}_{what}" in rows]].agg(what, axis=1)
        for name, what in (("control_low", "min"), ("control_high", "max"))
    }
    verdict = np.select(told, [UNCHANGED, UNCONTROLLED, SET], RANDOM)
    return rows.assign(draws=rows["draws"].fillna(0).astype(int), verdict=verdict, **limits)


def ablation_finding(conditions: pd.DataFrame, effects: pd.DataFrame) -> Finding:
    """What switching sets off does to accuracy, and whether that is more than random sets do."""
    if conditions.empty:
        return Finding("No set was switched off, so what a set does to the reward cannot be said.")
    rows = verdicts(conditions, effects)
    counts = rows["verdict"].value_counts()
    told = {name: int(counts.get(name, 0)) for name in (SET, RANDOM, UNCONTROLLED, UNCHANGED)}
    changed, total = len(rows) - told[UNCHANGED], len(rows)
    tests = many(total, "change of accuracy", "changes of accuracy")
    if not changed:
        widest = f"from {points(rows['low'].min())} to {points(rows['high'].max())} points"
        lead = (
            "No change of accuracy by switching a set off can be told from no change after Holm's correction "
            f"({tests}, a set, sub-task and model each)"
        )
        return Finding(f"{lead}.", [f"{lead}; the intervals reach {widest}, so effects inside them are not ruled out."])
    lead = (
        f"Of {tests} by switching a set off (a set, sub-task and model each), {changed:,} can be told from no change "
        f"after Holm's correction; {_attributed(told, changed)}"
    )
    models = len(rows[list(KEYS[:3])].drop_duplicates())
    families = f"The correction is for the tests of one model; {luck(models, ALPHA)} of {many(models, 'model')} would"
    families += " show a change by luck alone."
    lines = [_by_set(name, ablation, part) for (name, ablation), part in rows.groupby(["set", "ablation"], sort=False)]
    lines += _strongest(rows[rows["verdict"] == SET], "Told from every random set")
    if not told[SET]:
        lines += _strongest(rows[rows["verdict"] == RANDOM], "Not told from random sets of the same size", 1)
    return Finding(f"{lead}.", [f"{lead}. {families}", *lines])


def _attributed(told: dict[str, int], changed: int) -> str:
    if told[UNCONTROLLED] == changed:
        return "none can be laid to its set, since no random set was switched off in its place"
    some = f"{told[SET]:,}" if told[SET] else "none"
    words = f"{some} of these can be told from every random set of the same size, too"
    if told[RANDOM]:
        words += f"; {told[RANDOM]:,} cannot, as a random set may change accuracy as much"
    if told[UNCONTROLLED]:
        words += f"; {told[UNCONTROLLED]:,} have no random set to compare with"
    return words


def _by_set(name: str, ablation: str, rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    changed = len(rows) - int(counts.get(UNCHANGED, 0))
    what = "the model's own set" if name == "own" else f"the set {name}"
    text = f"{sentence(what)} ({ablation} ablation): {changed:,} of {len(rows):,} changes told from no change"
    if not changed:
        return f"{text}."
    text += f", {int(counts.get(SET, 0)):,} of them from every random set, too"
    if without := int(counts.get(UNCONTROLLED, 0)):
        text += f", {without:,} without one"
    middle = rows.groupby("subtask")["difference"].mean()
    return f"{text}; mean change by sub-task from {points(middle.min())} to {points(middle.max())} points."


def _strongest(rows: pd.DataFrame, what: str, most: int = FEW) -> list[str]:
    order = rows["difference"].abs().sort_values(ascending=False, kind="stable").index[:most]
    return [f"{what}: {_told(row)}" for row in rows.loc[order].to_dict("records")]


def _told(row: dict[str, float]) -> str:
    model = model_name(str(row["backbone"]), row["seed"], str(row["objective"]))
    moved = f"from {percent(row['before'])} to {percent(row['after'])} on {row['n']:,} items"
    size = change(row["difference"], row["low"], row["high"])
    text = (
        f"{row['condition']} ({row['neurons']:,} neurons) off in {model} takes {row['subtask']} of {row['data']} "
        f"{moved}: {size}, Holm-corrected {p_text(row['p_holm'])}"
    )
    if row["draws"]:
        low, high = points(row["control_low"]), points(row["control_high"])
        text += f"; {many(int(row['draws']), 'random control')}: {low if low == high else f'{low} to {high}'} points"
    return f"{text}."


def sweep_finding(sweeps: pd.DataFrame) -> Finding:
    """How many choices of neurons change accuracy in the sweeps, and how many random sets of the same sizes do.

    A sweep keeps no items, so a chosen set and a random one are not tested against each other: nothing is laid to a
    choice here.
    """
    if sweeps.empty:
        return Finding(
            "", ["No sweep is among the results: how accuracy falls with the share of neurons is not known."]
        )
    rows = sweeps[sweeps["p_holm"].notna()]
    drawn = {top: part["difference"] for top, part in rows[rows["selector"] == RANDOM_CHOICE].groupby("top")}
    lines = []
    for selector, part in rows.groupby("selector", sort=False):
        changed = int((part["p_holm"] < ALPHA).sum())
        text = (
            f"Sweeps, {selector}: {changed:,} of {len(part):,} sets ({part['top'].min():g} to {part['top'].max():g} % "
            f"of the neurons) change accuracy by what can be told from no change after Holm's correction; changes from "
            f"{points(part['difference'].min())} to {points(part['difference'].max())} points"
        )
        if selector != RANDOM_CHOICE and drawn:
            below = sum(
                row["difference"] < drawn[row["top"]].min() for row in part.to_dict("records") if row["top"] in drawn
            )
            text += f", {below:,} of them below every random set of their size (not a test)"
        lines.append(f"{text}.")
    return Finding("", lines)
