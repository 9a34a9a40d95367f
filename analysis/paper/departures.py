"""Where this toolkit departs from the paper's code, why, and what each departure changes on the runs at hand."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Int

from analysis.findings.wording import interval, many, of_all, percent, points, sentence, span
from analysis.paper import measured
from analysis.paper.departure import UNSEEN, Departure
from analysis.paper.measured import ScoredModel, scored_models
from analysis.results.folder import Results
from tension_lens.artifacts.layout import SITE_SUFFIXES
from tension_lens.constants import ALPHA, RANDOM
from tension_lens.neurons.paper_variants import CLAMPED, GATE, PERCENTILE, SIGNED, TOOLKIT, VARIANTS

NO_SCORES = (
    "no neuron scores are among the results; `python -m tension_lens.score --model DIR --data SPEC --out "
    "RUN/scores/OBJECTIVE` makes them"
)
AGAINST = {TOOLKIT: "the toolkit's", SIGNED: "exactly so many by the signed mean"}
"""What a variant is compared with, in words."""
NO_SETS = "no helpful and harmless sets of one run are among the results; `python -m tension_lens.select` makes them"
NO_VARIANTS = (
    "No accuracy effect can be given: no such set was switched off; `python -m tension_lens.variants --model DIR "
    "--scores DIR --data SPEC --out DIR` does"
)


def departures(results: Results, tables: Mapping[str, pd.DataFrame]) -> list[Departure]:
    """Every departure, measured where result files allow it; those that can be measured stand first.

    Args:
        results: what the folder of runs holds; neuron scores are read from its run folders.
        tables: what `analysis.tables.study.tables_of` made of it; empty without a study.

    Raises:
        RequestError: if a scores file is damaged.
    """
    models = scored_models(results)
    return [
        _signed(models, results.variants),
        _site(models, measured.scored_models(results, "gate"), results.variants),
        _percentile(models, results.variants),
        _shared(results),
        _depth(results),
        _rmsd(models),
        _rm_bench(tables.get("scores", pd.DataFrame())),
        _lengths(results),
        *UNSEEN,
    ]


def departure_table(found: list[Departure]) -> pd.DataFrame:
    """All departures, a row each: `departure`, `paper's code`, `this toolkit`, `why`, `on these runs`."""
    names = {
        "departure": "name",
        "paper's code": "paper",
        "this toolkit": "ours",
        "why": "why",
        "on these runs": "here",
    }
    return pd.DataFrame({head: [getattr(one, name) for one in found] for head, name in names.items()})


def _signed(models: list[ScoredModel], variants: pd.DataFrame) -> Departure:
    table = measured.rankings(models)
    here = f"Not known: {NO_SCORES}." if table.empty else (
        f"In {many(len(table), 'model')} the rank correlation of the two is {span(table['spearman'].to_numpy())} and "
        f"the top {measured.TOP:g} % sets have a Jaccard index of {span(table['jaccard'].to_numpy())}; two independent "
        f"rankings would have {span(table['chance'].to_numpy())}."
    )  # fmt: skip
    return Departure(
        "signed mean or mean magnitude",
        "Ranks neurons by the mean of the signed activation, though the text speaks of its absolute value.",
        "Ranks by the mean of the absolute activation; `--statistic mean` gives the paper's.",
        "A neuron that is strongly negative on every token is as active as one that is positive, and ranks last by a "
        "signed mean.",
        f"{here} {_effect(variants, SIGNED)}",
        table,
    )


def _effect(variants: pd.DataFrame, name: str, known: str = "") -> str:
    """What switching off the set of a variant does to accuracy, instead of the set that it is compared with."""
    if variants.empty or (variants["variant"] == name).sum() == 0:
        return f"{NO_VARIANTS}{known}."
    rows = variants[variants["variant"] == name]
    change, significant = rows["difference"], int((rows["p_holm"] < ALPHA).sum())
    differs = points(change.min())
    if change.max() > change.min():
        differs += f" to {points(change.max())}"
    text = (
        f"With these neurons off instead of {AGAINST[VARIANTS[name].against]}, accuracy differs by {differs} points in "
        f"{many(len(rows), 'model')} (95 % intervals within "
        f"{interval(rows['difference_low'].min(), rows['difference_high'].max())}); "
        f"{of_all(significant, len(rows))} {'is' if significant == 1 else 'are'} significant (McNemar's exact test, "
        "Holm's correction over the variants of a model)."
    )
    random = variants[variants["variant"].astype(str).str.startswith(RANDOM)]["difference"]
    if len(random) and VARIANTS[name].against == TOOLKIT:
        text += f" Random neurons instead of the toolkit's: {points(random.min())} to {points(random.max())} points."
    return text


def _site(models: list[ScoredModel], at_gate: list[ScoredModel], variants: pd.DataFrame) -> Departure:
    table = measured.sites(models, at_gate)
    gated = [one for one in models if one.scores.metadata.get("gated") != "no"]
    if len(table):
        here = "; ".join(
            f"by {statistic} the rank correlation of the two sites is {span(rows['spearman'].to_numpy())} and the "
            f"Jaccard index of the top {measured.TOP:g} % sets {span(rows['jaccard'].to_numpy())}"
            for statistic, rows in table.groupby("statistic", sort=False)
        )
        here = f"In {many(table[['run', 'objective']].drop_duplicates().shape[0], 'model')}, {here}. "
        here += _effect(variants, GATE, " with --gate-scores")
    elif gated:
        one = gated[0].scores
        here = (
            f"Not known: no model was scored at both sites; `python -m tension_lens.score --model "
            f"{one.metadata.get('model', 'DIR')} --data {one.metadata.get('data', 'SPEC')} --site gate --out "
            f"{gated[0].run}/scores/{gated[0].objective}{SITE_SUFFIXES['gate']}` adds the other site to one."
        )
    elif models:
        here = f"Nothing: none of the {many(len(models), 'model')} has a gate, so both sites are one."
    else:
        here = f"Not known: {NO_SCORES}."
    return Departure(
        "site of reading",
        "Reads SmolLM2 after the activation function of the gate, act(W_gate x).",
        "Reads what the neuron writes, act(W_gate x) · (W_in x); `--site gate` gives the paper's. For GPT-2 both are "
        "one.",
        "Of a gated neuron the gate alone is half: with W_in x near 0 it writes nothing, however open the gate.",
        here,
        table,
    )


def _percentile(models: list[ScoredModel], variants: pd.DataFrame) -> Departure:
    table = measured.thresholds(models)
    if table.empty:
        here = f"Not known: {NO_SCORES}."
    else:
        signed = table[table["statistic"] == measured.MEAN]
        more = (signed["percentile"] - signed["exactly"]).to_numpy()
        every, total = int(signed["zero"].sum()), len(signed)
        here = (
            f"By the signed mean, >= percentile takes {_neurons(more)} more than exactly "
            f"{measured.TOP:g} %; after clamping at 0 the threshold is 0, and every neuron is taken, in "
            f"{of_all(every, total)} {'model' if total == 1 else 'models'} (Jaccard index of the clamped with the "
            f"exact set {span(signed['jaccard'].to_numpy())}). By percentile alone: {_effect(variants, PERCENTILE)} "
            f"After clamping, by the signed mean: {_effect(variants, CLAMPED)}"
        )
    return Departure(
        "how many neurons are taken",
        "Takes every neuron with a score >= the 90th percentile; for overlap and depth after averaging seeds and "
        "clamping at 0.",
        "Takes exactly round(p/100 · N) neurons, ties broken by layer and index, without clamping.",
        "Where many scores share the threshold all of them are taken: for GPT-2 large harmless it is 0 and all 184,320 "
        "neurons are selected, which gives the published Jaccard index of exactly 0.1.",
        here,
        table,
    )


def _neurons(counts: Int[np.ndarray, " model"]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return many(high, "neuron") if low == high else f"{low:,} to {high:,} neurons"


def _shared(results: Results) -> Departure:
    table = measured.shared_by_layer(results.sets)
    if table.empty:
        here = f"Not known: {NO_SETS}."
    else:
        extra = int((table["paper"] > table["shared"]).sum())
        here = (
            f"In {extra:,} of {many(len(table), 'run')} the paper's shared set would be "
            f"larger; the largest difference is {many(int((table['paper'] - table['shared']).max()), 'neuron')}."
        )
    return Departure(
        "shared neurons",
        "Intersects layer by layer; a layer that occurs in only one of the two sets stays whole in the shared set.",
        "Takes the neurons that are in both sets.",
        "A neuron of one set alone is not shared.",
        here,
        table,
    )


def _depth(results: Results) -> Departure:
    table = measured.depth_thirds(results.sets)
    if table.empty:
        here = f"Not known: {NO_SETS}."
    else:
        moved = (table["share"] - table["paper"]).abs()
        cut = table[table["highest"] < table["layers"] - 1]
        sets = table[["run", "objective"]].drop_duplicates()
        affected = len(cut[["run", "objective"]].drop_duplicates())
        here = (
            f"{sentence(of_all(affected, len(sets)))} {'set ends' if affected == 1 else 'sets end'} below the last "
            f"layer; a third's share moves by up to {100 * moved.max():.1f} points."
        )
    return Departure(
        "thirds of depth",
        "Cuts the layers up to the highest selected one in three.",
        "Cuts the model's own layers in three, and shows what uniformly drawn neurons would have.",
        "Thirds that depend on the set make the sets of two models, or of two objectives, incomparable.",
        here,
        table,
    )


def _rmsd(models: list[ScoredModel]) -> Departure:
    table = measured.rmsd_variants(models)
    here = f"Not known: {NO_SCORES}." if table.empty else "In these runs " + "; ".join(
        f"by {statistic} the paper's variant is {span(rows['ratio'].to_numpy())} of the RMSD over all neurons"
        for statistic, rows in table.groupby("statistic", sort=False)
    ) + f" ({many(len(table) // 2, 'model')})."  # fmt: skip
    return Departure(
        "RMSD of chosen against rejected",
        "Averages over layers for each neuron index first, then takes the root mean square over indices.",
        "Takes it over all neurons, and by layer; the paper's variant stands beside under its own name.",
        "Neurons of one index in different layers have nothing in common, and their differences cancel.",
        here,
        table,
    )


def _rm_bench(scores: pd.DataFrame) -> Departure:
    table = measured.rm_bench_rules(scores)
    here = "Not known: no model was judged on RM-Bench; `python -m tension_lens.study --data rm-bench` does."
    if len(table):
        rules = {"the diagonal": "diagonal", "the 3 × 3 average": "average", "the strict rule": "strict"}
        means = ", ".join(f"{percent(table[column].mean())} by {name}" for name, column in rules.items())
        gap = table["diagonal"] - table["average"]
        here = (
            f"Mean over {many(len(table), 'model and domain', 'models and domains')}: {means}. The diagonal lies "
            f"{points(gap.min())} to {points(gap.max())} points from the average."
        )
    return Departure(
        "RM-Bench",
        "Counts the diagonal of the 3 × 3 comparisons: pairs of one style.",
        "Gives the diagonal beside easy, normal, hard and their average, RM-Bench's own score; an item is right in "
        "paired tests where every chosen response beats every rejected one.",
        "RM-Bench is about a plain right answer against a fancy wrong one, which the diagonal leaves out.",
        here,
        table,
    )


def _lengths(results: Results) -> Departure:
    table = measured.lengths(results)
    here = f"Not known: {NO_SCORES}."
    if len(table):
        pairs = int((table["kept"] + table["dropped"]).sum())
        here = (
            f"Of {many(pairs, 'pair')} scored over {many(len(table), 'model')}, {int(table['dropped'].sum()):,} were "
            f"dropped as too long and {int(table['truncated'].sum()):,} truncated."
        )
    return Departure(
        "over-long pairs",
        "Drops them in training, truncates them for scoring.",
        "Drops them for scoring too; evaluation truncates, so that every item keeps its row. All are counted.",
        "A truncated text ends in the middle of a word: its reward is read where the model never learnt to give one.",
        here,
        table,
    )
