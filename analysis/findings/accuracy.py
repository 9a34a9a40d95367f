"""What the models judge right, in words: accuracy against chance, and what the mixed model keeps of the others."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.findings.wording import FEW, Finding, interval, luck, model_name, of_all, percent, points, sentence, span
from analysis.results.scores import STRICT
from tension_lens.constants import ALPHA, BASELINE
from tension_lens.metrics.paired import holm

OWN = {"helpful": ("helpful",), "harmless": ("harmless",), "mixed": ("helpful", "harmless")}
"""The task types that a model of each objective is trained for."""
HALF = 0.5
ABOVE, BELOW, UNCLEAR = "above", "below", "unclear"
"""Verdicts: the whole interval lies above chance, below it, or reaches it."""
WORDS = {ABOVE: "better than chance", BELOW: "worse than chance", UNCLEAR: "not told from chance"}


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    told = [rows["low"] > rows["chance"], rows["high"] < rows["chance"]]
    return rows.assign(verdict=np.select(told, [ABOVE, BELOW], UNCLEAR))


def held_out_finding(training: pd.DataFrame) -> Finding:
    """Accuracy of each trained model on the pairs held out of its own training; chance is one half."""
    if training.empty:
        return Finding("", ["No training record is among the results: accuracy on held-out pairs is not known."])
    rows = _verdicts(training.assign(chance=HALF))
    what = "held-out pairs of " + rows["data"].astype(str)
    return _against_chance(rows.assign(what=what), "On pairs held out of training")


def own_accuracies(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each intact model on the items of its own kind, a row for each data spec and task type.

    An item is right where every chosen response beats every rejected one. Columns: backbone, seed, objective, data,
    task_type, `n`, `accuracy` with Wilson's 95 % `low` and `high`, `chance` (of random rewards under the same rule) and
    `verdict`: `above`, `below` or `unclear`, by whether the interval reaches chance.
    """
    from statsmodels.stats.proportion import proportion_confint

    by = ["backbone", "seed", "objective", "data", "task_type"]
    rows = scores[(scores["rule"] == STRICT) & (scores["condition"] == BASELINE)]
    own = [kind in OWN.get(one, ()) for one, kind in zip(rows["objective"], rows["task_type"], strict=True)]
    rows = rows[own]
    rows = rows.assign(right=rows["accuracy"] * rows["n"], lucky=rows["chance"] * rows["n"])
    found = rows.groupby(by, sort=False)[["right", "lucky", "n"]].sum().reset_index()
    right, lucky = found.pop("right").round(), found.pop("lucky")
    low, high = proportion_confint(right, found["n"], method="wilson")
    return _verdicts(found.assign(accuracy=right / found["n"], low=low, high=high, chance=lucky / found["n"]))


def accuracy_finding(scores: pd.DataFrame) -> Finding:
    """Whether the models judge the items of their own kind better than random rewards would."""
    missing = Finding("", ["No intact model was judged on items of its own kind: accuracy there is not known."])
    if scores.empty:
        return missing
    found = own_accuracies(scores)
    if found.empty:
        return missing
    return _against_chance(
        found.assign(what=found["task_type"] + " items of " + found["data"]), "On test items of their own kind"
    )


def _against_chance(rows: pd.DataFrame, where: str) -> Finding:
    """A finding on accuracies with `verdict`, `chance` and `what` they are of."""
    above, below, total = (rows["verdict"] == ABOVE).sum(), (rows["verdict"] == BELOW).sum(), len(rows)
    unclear = total - above - below
    lead = f"{where}, {of_all(above, total)} {'accuracy lies' if total == 1 else 'accuracies lie'} above chance"
    lead += " with the whole 95 % interval" if above else ""
    lead += f", {unclear:,} cannot be told from it" if unclear else ""
    lead += f", {below:,} lie below it" if below else ""
    if total <= FEW:
        return Finding(f"{lead}.", [_line(row) for row in rows.to_dict("records")])
    lines = [f"{lead}. Were all at chance, luck would put {luck(total)} of the {total:,} above it, and as many below."]
    kinds = ["objective", *(["task_type"] if "task_type" in rows else [])]
    for kind, part in rows.groupby(kinds, sort=False):
        name = f"{kind[0]} models" + (f" on {kind[1]} items" if len(kind) > 1 else "")
        gain, level = part["accuracy"] - part["chance"], 100 * part["accuracy"].to_numpy()
        lines.append(
            f"{sentence(name)}: {of_all((part['verdict'] == ABOVE).sum(), len(part))} above chance; accuracies "
            f"{span(level, ' %')}, that is {points(gain.min())} to {points(gain.max())} points from chance."
        )
    return Finding(f"{lead}.", lines)


def _line(row: dict[str, float]) -> str:
    model = sentence(model_name(str(row["backbone"]), row["seed"], str(row["objective"])))
    accuracy = f"{percent(row['accuracy'])} {interval(row['low'], row['high'])}"
    verdict = f"{WORDS[str(row['verdict'])]} ({percent(row['chance'])})"
    return f"{model} judges {accuracy} of {row['n']:,} {row['what']} right: {verdict}."


def retention_finding(retention: pd.DataFrame, scores: pd.DataFrame) -> Finding:
    """How much of what the single-objective models judge right the intact mixed model judges right too.

    Compared with its share of right ones among the other items: a mixed model that had nothing in common with them
    would judge both kinds of items alike.
    """
    if retention.empty:
        return Finding("", ["Retention needs the mixed and both single-objective models; they are not all there."])
    whole = (retention["subtask"] == "all") & (retention["task_type"] == "all")
    wanted = whole & (retention["measure"] == "combined") & (retention["condition"] == BASELINE)
    rows = retention[wanted & retention["share"].notna()]
    if rows.empty:
        return Finding("", ["The single-objective models judge no item right, so there is nothing to keep."])
    rows = rows.assign(share=rows["share"].astype(float), **_elsewhere(rows, scores))
    more, total = rows["p_value"] < ALPHA, len(rows)
    if total == 1:
        row = rows.iloc[0]
        verdict = "more than" if more.iloc[0] else "which cannot be told from"
        lead = (
            f"The mixed model keeps {percent(row['share'])} {interval(row['low'], row['high'])} of the "
            f"{int(row['denominator']):,} items that the helpful or the harmless model judges right, {verdict} what it "
            f"judges right of the other items ({percent(row['elsewhere'])})."
        )
        return Finding(lead, [lead])
    kept, others = (span(100 * rows[name].dropna().to_numpy(), " %") for name in ("share", "elsewhere"))
    lead = (
        f"Mixed models keep {kept} of the items that the helpful or the harmless model judges right; in "
        f"{of_all(more.sum(), total)} cases that can be told to be more than of the other items"
    )
    detail = f"{lead}, of which they judge {others} right (Fisher's exact test, Holm-corrected)."
    return Finding(f"{lead}.", [detail])


def _elsewhere(rows: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Float[np.ndarray, " row"]]:
    """The mixed model's accuracy on the other items, and the corrected one-sided p that it keeps no more than that."""
    from scipy.stats import fisher_exact

    keys = ["backbone", "seed", "data"]
    intact = scores[(scores["rule"] == STRICT) & (scores["condition"] == BASELINE) & (scores["objective"] == "mixed")]
    sums = intact.assign(right=intact["accuracy"] * intact["n"]).groupby(keys)[["right", "n"]].sum()
    p_values, elsewhere = [], []
    for row in rows.to_dict("records"):
        kept, union = int(row["numerator"]), int(row["denominator"])
        right, n = sums.loc[tuple(row[name] for name in keys)]
        rest, rest_right = round(n) - union, round(right) - kept
        p_values.append(fisher_exact([[kept, union - kept], [rest_right, rest - rest_right]], "greater").pvalue)
        elsewhere.append(rest_right / rest if rest else np.nan)
    return {"p_value": holm(np.array(p_values)), "elsewhere": np.array(elsewhere)}
