"""Verdicts on accuracy against chance, and on what the mixed model retains of the single-objective models."""

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact
from statsmodels.stats.proportion import proportion_confint

from analysis.results.scores import DIAGONAL, STRICT
from tension_lens.constants import ALPHA, BASELINE, RM_BENCH_STYLES
from tension_lens.metrics.paired import holm

OWN = {"helpful": ("helpful",), "harmless": ("harmless",), "mixed": ("helpful", "harmless")}
"""The task types that a model of each objective is trained for."""
ABOVE, BELOW, UNCLEAR = "above", "below", "unclear"
MORE = "more"


def against_chance(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `verdict`: the interval `low` to `high` is `above` or `below` the column `chance`, or `unclear`."""
    if rows.empty:
        return rows
    outside = [rows["low"] > rows["chance"], rows["high"] < rows["chance"]]
    return rows.assign(verdict=np.select(outside, [ABOVE, BELOW], UNCLEAR))


def own_accuracies(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each intact model on the items of its own objective, one row per data spec and task type.

    An item is correct if every chosen response beats every rejected one. Columns: backbone, seed, objective, data,
    task_type, `n`, `accuracy` with Wilson's 95 % `low` and `high`, `chance` (of random rewards under the same rule) and
    `verdict`, see `against_chance`.
    """
    if scores.empty:
        return scores
    rows = scores[(scores["rule"] == STRICT) & (scores["condition"] == BASELINE)]
    rows = rows[[kind in OWN.get(one, ()) for one, kind in zip(rows["objective"], rows["task_type"], strict=True)]]
    rows = rows.assign(correct=rows["accuracy"] * rows["n"], by_chance=rows["chance"] * rows["n"])
    by = ["backbone", "seed", "objective", "data", "task_type"]
    found = rows.groupby(by, sort=False)[["correct", "by_chance", "n"]].sum().reset_index()
    correct, by_chance = found.pop("correct").round(), found.pop("by_chance")
    low, high = proportion_confint(correct, found["n"], method="wilson")
    chance = by_chance / found["n"]
    return against_chance(found.assign(accuracy=correct / found["n"], low=low, high=high, chance=chance))


def retention_verdicts(retention: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Retention of each intact mixed model against its accuracy on the other pairs.

    `share` with `low` and `high` is the share of the `denominator` pairs that the helpful or the harmless model judges
    correctly and the mixed model too. `elsewhere` is the mixed model's accuracy on the other pairs. An item of RM-Bench
    has three pairs, any other item one; `unit` is `pair` or `item` accordingly. `p_holm` is of Fisher's exact one-sided
    test that the first is no larger than the second; `verdict` is `more` where it is below 0.05, else `unclear`. Three
    pairs of an item are not independent, so the test divides the counts of RM-Bench by three.
    """
    if retention.empty:
        return retention
    whole = (retention["subtask"] == "all") & (retention["task_type"] == "all")
    rows = retention[whole & (retention["measure"] == "combined") & (retention["condition"] == BASELINE)]
    rows = rows[rows["share"].notna()].astype({"share": float, "numerator": int, "denominator": int})
    keys = ["backbone", "seed", "data"]
    by_pair = scores.loc[scores["rule"] == DIAGONAL, "data"].unique()
    rule = scores["data"].isin(by_pair).map({True: DIAGONAL, False: STRICT})
    intact = scores[(scores["rule"] == rule) & (scores["condition"] == BASELINE) & (scores["objective"] == "mixed")]
    intact = intact.assign(correct=intact["accuracy"] * intact["n"]).groupby(keys)[["correct", "n"]].sum().round()
    rows = rows.merge(intact.reset_index(), on=keys)
    kept, missed = rows["numerator"], rows["denominator"] - rows["numerator"]
    correct = rows["correct"] - kept
    wrong = rows["n"] - rows["denominator"] - correct
    pairs = rows["data"].isin(by_pair).map({True: RM_BENCH_STYLES, False: 1})
    tables = zip(*((count / pairs).round() for count in (kept, missed, correct, wrong)), strict=True)
    p_value = [fisher_exact([[a, b], [c, d]], "greater").pvalue for a, b, c, d in tables]
    p_holm = holm(np.array(p_value))
    verdict = np.where(p_holm < ALPHA, MORE, UNCLEAR)
    unit = np.where(pairs > 1, "pair", "item")
    return rows.assign(elsewhere=correct / (correct + wrong), unit=unit, p_holm=p_holm, verdict=verdict)
