"""What each departure from the paper's code changes, measured on neuron scores, sets and tables of runs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import spearmanr

from analysis.results.folder import Results, scores_folders
from analysis.results.scores import DIAGONAL, STRICT
from tension_lens.artifacts.layout import RUN_FILE
from tension_lens.artifacts.record import RunRecord
from tension_lens.constants import BASELINE, BUCKETS, OBJECTIVES, RANDOM
from tension_lens.neurons.depth import depth_shares
from tension_lens.neurons.overlap import jaccard
from tension_lens.neurons.paper_variants import VARIANTS, selected_by_percentile
from tension_lens.neurons.rmsd import rmsd
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet, top_percent

TOP = 10.0
"""The percentage of neurons that the paper selects."""
MEAN, MAGNITUDE = "mean", "mean_abs"
Models = dict[tuple[str, str], NeuronScores]
"""Neuron scores by run and objective."""
Importance = Float[np.ndarray, "layer neuron"]
Rows = Iterator[dict[str, Any]]


def _folders(results: Results, site: str = "post") -> dict[tuple[str, str], Path]:
    folders = {run: scores_folders(folder, site) for run, folder in results.run_folders.items()}
    return {(run, objective): path for run, paths in folders.items() for objective, path in paths.items()}


def scored_models(results: Results, site: str = "post") -> Models:
    """The neuron scores of every run and objective at one site; a damaged file raises RequestError."""
    return {model: NeuronScores.load(path) for model, path in _folders(results, site).items()}


def by_model(models: Models, measure: Callable[[NeuronScores], Rows]) -> pd.DataFrame:
    """The rows that `measure` yields for the scores of each model, with the columns run, objective and site."""
    return pd.DataFrame(
        {"run": run, "objective": objective, "site": scores.site, **row}
        for (run, objective), scores in models.items()
        for row in measure(scores)
    )


def _top(importance: Importance) -> Bool[np.ndarray, "layer neuron"]:
    return top_percent(importance, TOP, "top", "post").mask()


def _agreement(a: Importance, b: Importance) -> dict[str, float]:
    """Spearman's rank correlation over all neurons, and the Jaccard index of the top 10 % sets."""
    return {"spearman": float(spearmanr(a, b, axis=None).statistic), "jaccard": jaccard(_top(a), _top(b))}


def rankings(scores: NeuronScores) -> Rows:
    """Agreement of the rankings by signed mean and by mean magnitude: `spearman`, and `jaccard` of the top 10 % sets.

    `chance` is the Jaccard index k / (2N − k) of two independent rankings that select k of N neurons.
    """
    signed, magnitude = scores.importance(MEAN), scores.importance(MAGNITUDE)
    k, total = round(TOP / 100 * signed.size), signed.size
    yield {"neurons": total, **_agreement(signed, magnitude), "chance": k / (2 * total - k)}


def thresholds(scores: NeuronScores) -> Rows:
    """The number of neurons selected `exactly`, by `>= percentile`, and by the percentile of `clamped` importances.

    `jaccard` compares the exact with the clamped set; `zero` is true where clamping selects every neuron.
    """
    for statistic in (MEAN, MAGNITUDE):
        importance = scores.importance(statistic)
        exact, clamped = _top(importance), selected_by_percentile(np.maximum(importance, 0), TOP)
        counts = {"exactly": exact.sum(), "percentile": selected_by_percentile(importance, TOP).sum()}
        of_clamped = {"clamped": clamped.sum(), "jaccard": jaccard(exact, clamped), "zero": bool(clamped.all())}
        yield {"statistic": statistic, "neurons": importance.size, **counts, **of_clamped}


def rmsd_variants(scores: NeuronScores) -> Rows:
    """RMSD between chosen and rejected `overall`, with `layers_averaged_first`, and the `ratio` of second to first."""
    for statistic in (MEAN, MAGNITUDE):
        found = rmsd(scores, statistic)
        ratio = found.layers_averaged_first / found.overall if found.overall else np.nan
        numbers = {"overall": found.overall, "layers_averaged_first": found.layers_averaged_first}
        yield {"statistic": statistic, **numbers, "ratio": ratio}


def sites(models: Models, at_gate: Models) -> pd.DataFrame:
    """Agreement of the rankings at `post` and `gate`, where scores of the same model and data exist at both.

    Models without a gate are left out: for them both sites are the same.
    """

    def key(scores: NeuronScores) -> tuple[str | None, ...]:
        return scores.metadata.get("weights_sha256"), scores.metadata.get("data_sha256"), scores.scope

    gates = {key(scores): scores for scores in at_gate.values() if None not in key(scores)}
    gated = {model: scores for model, scores in models.items() if scores.metadata.get("gated") != "no"}
    return pd.DataFrame(
        {"run": run, "objective": objective, "statistic": statistic}
        | _agreement(scores.importance(statistic), gates[key(scores)].importance(statistic))
        for (run, objective), scores in gated.items()
        if key(scores) in gates
        for statistic in (MEAN, MAGNITUDE)
    )


def shared_by_layer(sets: dict[str, dict[str, NeuronSet]]) -> pd.DataFrame:
    """The number of neurons in the intersection (`shared`) and in the paper's shared set (`paper`), one row per run.

    The paper's set also holds all neurons of a layer that has neurons in only one of the two sets.
    """
    rows = []
    for run, by_name in sets.items():
        if "helpful" in by_name and "harmless" in by_name:
            helpful, harmless = by_name["helpful"].mask(), by_name["harmless"].mask()
            alone = helpful.any(axis=1, keepdims=True) ^ harmless.any(axis=1, keepdims=True)
            shared = helpful & harmless
            paper = shared | ((helpful | harmless) & alone)
            counts = {"shared": shared.sum(), "paper": paper.sum(), "layers_in_one_set": alone.sum()}
            rows.append({"run": run, **counts})
    return pd.DataFrame(rows)


def depth_thirds(sets: dict[str, dict[str, NeuronSet]]) -> pd.DataFrame:
    """Depth shares by thirds of all layers (`share`) and of those up to the `highest` selected layer (`paper`)."""
    rows = []
    for run, by_name in sets.items():
        for name, one in by_name.items():
            if name in OBJECTIVES and len(one):
                highest = int(one.layers.max())
                ours, paper = depth_shares(one), depth_shares(replace(one, n_layers=highest + 1))
                about = {"run": run, "objective": name, "layers": one.n_layers, "highest": highest}
                rows += [{**about, "bucket": which, "share": ours[which], "paper": paper[which]} for which in BUCKETS]
    return pd.DataFrame(rows)


def rm_bench_rules(scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of the intact models on each RM-Bench domain by the paper's rule, RM-Bench's own and the strict one."""
    if scores.empty:
        return scores
    rules = {DIAGONAL: "diagonal", "RM-Bench average": "average", STRICT: "strict"}
    of_bench = scores["data"].astype(str).str.startswith("rm-bench")
    rows = scores[of_bench & (scores["condition"] == BASELINE) & scores["rule"].isin(rules)]
    keys = ["backbone", "seed", "objective", "subtask"]
    wide = rows.replace({"rule": rules}).pivot_table(index=keys, columns="rule", values="accuracy", sort=False)
    return wide.reset_index().rename_axis(columns=None)


def lengths(results: Results) -> pd.DataFrame:
    """The number of pairs kept, dropped as too long and truncated for scoring, one row per run and objective."""
    names = {"kept": "kept", "dropped": "dropped_too_long", "truncated": "truncated"}
    paths = {model: path / RUN_FILE for model, path in _folders(results).items()}
    counts = {model: RunRecord.load(path).counts for model, path in paths.items() if path.is_file()}
    return pd.DataFrame(
        {"run": run, "objective": objective} | {name: found.get(key, 0) for name, key in names.items()}
        for (run, objective), found in counts.items()
    )


def variant_effects(variants: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By variant, the changes of accuracy over all `models`, and those of random sets under `random`.

    `least` to `most` is the range of the changes, `low` to `high` that of their 95 % intervals.
    """
    if variants.empty:
        return {}
    rows = variants.assign(variant=variants["variant"].mask(variants["control"].notna(), RANDOM))
    found = rows[rows["variant"].isin([*VARIANTS, RANDOM])].groupby("variant").agg(
        models=("difference", "size"), least=("difference", "min"), most=("difference", "max"),
        low=("difference_low", "min"), high=("difference_high", "max"),
    )  # fmt: skip
    return dict(found.to_dict("index"))
