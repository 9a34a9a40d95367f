"""What each departure from the paper's code changes, measured on the neuron scores, sets and tables at hand."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from analysis.results.folder import Results, scores_folders
from analysis.results.scores import STRICT
from tension_lens.artifacts.layout import RUN_FILE
from tension_lens.artifacts.record import RunRecord
from tension_lens.constants import BASELINE, BUCKETS, OBJECTIVES
from tension_lens.neurons.depth import depth_shares
from tension_lens.neurons.paper_variants import taken_by_percentile
from tension_lens.neurons.rmsd import rmsd
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet

TOP = 10.0
"""Share of neurons that the paper takes, in percent."""
MEAN, MAGNITUDE = "mean", "mean_abs"
PAIR = ("helpful", "harmless")


@dataclass(frozen=True, eq=False)
class ScoredModel:
    """The neuron scores of one model, with where they are from."""

    run: str
    objective: str
    scores: NeuronScores


def scored_models(results: Results, site: str = "post") -> list[ScoredModel]:
    """The neuron scores of every run and objective, at one site.

    Raises:
        RequestError: if a file is damaged.
    """
    return [
        ScoredModel(run, objective, NeuronScores.load(path))
        for run, folder in results.run_folders.items()
        for objective, path in scores_folders(folder, site).items()
    ]


def taken_exactly(importance: Float[np.ndarray, "layer neuron"], top: float = TOP) -> Bool[np.ndarray, "layer neuron"]:
    """Which neurons `top_percent` takes, without a list of them, which takes longer to make."""
    taken = np.zeros(importance.size, dtype=bool)
    taken[np.argsort(-importance.reshape(-1), kind="stable")[: round(top / 100 * importance.size)]] = True
    return taken.reshape(importance.shape)


def _jaccard(a: Bool[np.ndarray, "layer neuron"], b: Bool[np.ndarray, "layer neuron"]) -> float:
    return float((a & b).sum() / (a | b).sum())


def _rank_correlation(a: Float[np.ndarray, "layer neuron"], b: Float[np.ndarray, "layer neuron"]) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def rankings(models: list[ScoredModel]) -> pd.DataFrame:
    """How far the signed mean and the mean magnitude rank neurons alike, a row for each model.

    Columns: run, objective, site, `neurons`, `spearman` (rank correlation over all neurons), `jaccard` of the top 10 %
    sets, and `chance`, what two independent rankings would have: k / (2N − k) for k of N neurons.
    """
    rows = []
    for one in models:
        signed, magnitude = (one.scores.importance(name) for name in (MEAN, MAGNITUDE))
        taken = taken_exactly(signed), taken_exactly(magnitude)
        k, total = int(taken[0].sum()), signed.size
        about = {"run": one.run, "objective": one.objective, "site": one.scores.site, "neurons": total}
        numbers = {"spearman": _rank_correlation(signed, magnitude), "jaccard": _jaccard(*taken)}
        rows.append({**about, **numbers, "chance": k / (2 * total - k)})
    return pd.DataFrame(rows)


def thresholds(models: list[ScoredModel]) -> pd.DataFrame:
    """How many neurons exact top 10 % takes and how many `>= percentile`, a row for each model and statistic.

    Columns: run, objective, site, statistic, `neurons`; how many are taken `exactly`, by `percentile`, and by
    `clamped`, the percentile of importances clamped at 0; `jaccard` of the exact with the clamped set, and `zero`,
    whether the clamped threshold is 0, so that every neuron is taken.
    """
    rows = []
    for one in models:
        for statistic in (MEAN, MAGNITUDE):
            importance = one.scores.importance(statistic)
            exact, clamped = taken_exactly(importance), taken_by_percentile(np.maximum(importance, 0), TOP)
            about = {"run": one.run, "objective": one.objective, "site": one.scores.site, "statistic": statistic}
            counts = {"exactly": exact.sum(), "percentile": taken_by_percentile(importance, TOP).sum()}
            row = {**about, "neurons": importance.size, **counts, "clamped": clamped.sum()}
            rows.append({**row, "jaccard": _jaccard(exact, clamped), "zero": bool(clamped.all())})
    return pd.DataFrame(rows)


def sites(models: list[ScoredModel], at_gate: list[ScoredModel]) -> pd.DataFrame:
    """How far `gate` and `post` rank neurons alike, where scores of one model on the same data exist of both.

    Columns: run, objective, statistic, `spearman`, `jaccard` of the top 10 % sets. Models whose scores say that they
    have no gate are left out: there both sites are one.
    """

    def key(one: ScoredModel) -> tuple[str | None, ...]:
        return *(one.scores.metadata.get(what) for what in ("weights_sha256", "data_sha256")), one.scores.scope

    of_gate = {key(one): one for one in at_gate if None not in key(one)}
    rows = []
    for one in models:
        other = of_gate.get(key(one))
        if other is not None and one.scores.metadata.get("gated") != "no":
            for statistic in (MEAN, MAGNITUDE):
                pair = [each.scores.importance(statistic) for each in (one, other)]
                numbers = {"spearman": _rank_correlation(*pair), "jaccard": _jaccard(*map(taken_exactly, pair))}
                rows.append({"run": one.run, "objective": one.objective, "statistic": statistic, **numbers})
    return pd.DataFrame(rows)


def rmsd_variants(models: list[ScoredModel]) -> pd.DataFrame:
    """Chosen against rejected RMSD over all neurons and with layers averaged first, a row for each model and statistic.

    Columns: run, objective, site, statistic, `overall` and `layers_averaged_first` in units of the statistic, `ratio`
    of the second to the first.
    """
    rows = []
    for one in models:
        for statistic in (MEAN, MAGNITUDE):
            found = rmsd(one.scores, statistic)
            about = {"run": one.run, "objective": one.objective, "site": one.scores.site, "statistic": statistic}
            numbers = {"overall": found.overall, "layers_averaged_first": found.layers_averaged_first}
            ratio = found.layers_averaged_first / found.overall if found.overall else np.nan
            rows.append({**about, **numbers, "ratio": ratio})
    return pd.DataFrame(rows)


def shared_by_layer(sets: dict[str, dict[str, NeuronSet]]) -> pd.DataFrame:
    """Neurons of the shared set as an intersection, and as the paper's code has it, a row for each run.

    There, a layer that has neurons in only one of the two sets stays whole: its neurons count as shared.
    """
    rows = []
    for run, by_name in sets.items():
        if all(name in by_name for name in PAIR):
            helpful, harmless = (by_name[name] for name in PAIR)
            layers = set(helpful.by_layer()) ^ set(harmless.by_layer())
            extra = sum(int(np.isin(one.layers, list(layers)).sum()) for one in (helpful, harmless))
            shared = len(helpful & harmless)
            rows.append({"run": run, "shared": shared, "paper": shared + extra, "layers_in_one_set": len(layers)})
    return pd.DataFrame(rows)


def depth_thirds(sets: dict[str, dict[str, NeuronSet]]) -> pd.DataFrame:
    """Depth shares by thirds of all layers, and of the layers up to the highest selected one, as the paper cuts them.

    A row for each run, objective and bucket: `share` and `paper`, fractions of the set.
    """
    rows = []
    for run, by_name in sets.items():
        for name in OBJECTIVES:
            one = by_name.get(name)
            if one is not None and len(one):
                highest = int(one.layers.max())
                cut = replace(one, n_layers=highest + 1)
                ours, paper = depth_shares(one), depth_shares(cut)
                about = {"run": run, "objective": name, "layers": one.n_layers, "highest": highest}
                rows += [{**about, "bucket": which, "share": ours[which], "paper": paper[which]} for which in BUCKETS]
    return pd.DataFrame(rows)


def rm_bench_rules(scores: pd.DataFrame) -> pd.DataFrame:
    """Intact accuracy on each RM-Bench domain by three rules, a row for each model and domain.

    Columns: backbone, seed, objective, subtask; `diagonal` (the paper's: pairs of one style), `average` (RM-Bench's
    own: all 3 × 3 pairs) and `strict` (every chosen response above every rejected one), fractions.
    """
    if scores.empty:
        return pd.DataFrame()
    rules = {"RM-Bench diagonal": "diagonal", "RM-Bench average": "average", STRICT: "strict"}
    of_bench = scores["data"].astype(str).str.startswith("rm-bench")
    rows = scores[of_bench & (scores["condition"] == BASELINE) & scores["rule"].isin(rules)]
    keys = ["backbone", "seed", "objective", "subtask"]
    wide = rows.assign(rule=rows["rule"].map(rules)).pivot_table(
        index=keys, columns="rule", values="accuracy", sort=False
    )
    return wide.reset_index().rename_axis(columns=None)


def lengths(results: Results) -> pd.DataFrame:
    """How many pairs were kept, dropped as too long and truncated for scoring, a row for each run and objective."""
    rows = []
    for run, folder in results.run_folders.items():
        for objective, path in scores_folders(folder).items():
            if (path / RUN_FILE).is_file():
                counts = RunRecord.load(path / RUN_FILE).counts
                dropped, truncated = counts.get("dropped_too_long", 0), counts.get("truncated", 0)
                numbers = {"kept": counts.get("kept", 0), "dropped": dropped, "truncated": truncated}
                rows.append({"run": run, "objective": objective, **numbers})
    return pd.DataFrame(rows)
