"""Switch off the neurons that the paper's code would take beside those taken here, and judge the same items.

Writes to --out variants.csv, a row for each way to take neurons (how many, the Jaccard index with the set it is
compared with, accuracy, the paired difference from that set's accuracy), beside random sets; and a run record. One pass
over the data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.cli import parse, run_command, tell
from tension_lens.controls import control_set
from tension_lens.errors import RequestError
from tension_lens.evaluation import Condition, accuracy_of, item_rewards, stream_rewards
from tension_lens.importance import NeuronScores
from tension_lens.items import ItemTable
from tension_lens.neurons import NeuronSet, require_percent, top_percent
from tension_lens.opening import OpenConfig, open_run, run_through
from tension_lens.paired import PairedCounts, count_pairs, paired_tests
from tension_lens.records import RUN_FILE, atomic_write, require_writable
from tension_lens.vocabulary import SITES

VARIANTS_FILE = "variants.csv"
INTACT, TOOLKIT, SIGNED, GATE, PERCENTILE, CLAMPED, PAPER, RANDOM = (
    "intact",
    "toolkit",
    "signed mean",
    "gate",
    "percentile",
    "clamped",
    "paper",
    "random",
)


@dataclass(frozen=True)
class Variant:
    """One way to take neurons."""

    statistic: str
    against: str
    """What its accuracy is compared with: the variant that it differs from in one respect."""
    at_gate: bool = False
    """Whether neurons are ranked at the gate, where the model has one."""
    by_percentile: bool = False
    """Whether every neuron with importance >= the percentile is taken, and not exactly so many."""
    clamped: bool = False
    """Whether importances below 0 count as 0."""


VARIANTS = {
    TOOLKIT: Variant("mean_abs", INTACT),
    SIGNED: Variant("mean", TOOLKIT),
    GATE: Variant("mean_abs", TOOLKIT, at_gate=True),
    PERCENTILE: Variant("mean_abs", TOOLKIT, by_percentile=True),
    CLAMPED: Variant("mean", SIGNED, by_percentile=True, clamped=True),
    PAPER: Variant("mean", TOOLKIT, at_gate=True, by_percentile=True),
}
"""This toolkit's way, each departure of the paper's code from it alone, and that code's way to select for ablation."""


@dataclass(frozen=True, kw_only=True)
class VariantsConfig(OpenConfig):
    """Model, scores and how many neurons."""

    scores: Path
    """Folder that tension_lens.score wrote for this model, at site post."""
    out: Path
    """Folder for variants.csv and run.json."""
    gate_scores: Path | None = None
    """Folder that tension_lens.score --site gate wrote for this model on the same data; SmolLM2 needs it to compare
    sites. GPT-2 has no gate: both sites are one."""
    top: float = 10.0
    """Share of neurons to take, in percent."""
    draws: int = 3
    """Random sets of the size of the toolkit's, to compare with it."""


def taken_by_percentile(importance: Float[np.ndarray, "layer neuron"], top: float) -> Bool[np.ndarray, "layer neuron"]:
    """Which neurons `importance >= percentile(importance, 100 − top)` takes, as the paper's code does.

    The percentile lies between two importances (numpy's linear interpolation). All that are tied at it are taken.
    """
    taken: Bool[np.ndarray, "layer neuron"] = importance >= np.percentile(importance, 100 - top)
    return taken


def variant_sets(scores: NeuronScores, gate: NeuronScores | None, gated: bool, top: float) -> dict[str, NeuronSet]:
    """The neurons that each of `VARIANTS` takes; without scores at the gate of a gated model, those at `post` alone.

    Args:
        scores: at `post`.
        gate: at `gate`, of the same model on the same data.
        gated: whether the model's MLPs have a gate; otherwise both sites are one, and `GATE` is left out.
        top: share of neurons in percent.
    """
    found = {}
    for name, variant in VARIANTS.items():
        source = gate if variant.at_gate and gated else scores
        if source is None or (name == GATE and not gated):
            continue
        importance = source.importance(variant.statistic)
        if variant.clamped:
            importance = np.maximum(importance, 0)
        origin = {"statistic": variant.statistic, "scope": source.scope, **source.metadata}
        if variant.by_percentile:
            neurons = [(layer, index) for layer, index in np.argwhere(taken_by_percentile(importance, top)).tolist()]
            found[name] = NeuronSet.of(name, source.site, source.shape, neurons, top_percent=top, **origin)
        else:
            found[name] = top_percent(importance, top, name, source.site, **origin)
    return found


def variant_rows(sets: dict[str, NeuronSet], items: dict[str, ItemTable]) -> list[dict[str, Any]]:
    """A row for the intact model, each variant and each random set.

    `jaccard` is of the neurons with those of the set that `against` names; `difference` the accuracy minus that set's
    on the same items, with Tango's 95 % interval; `p_holm` McNemar's exact p after Holm's correction over the rows.

    Args:
        sets: by the name of its condition; the name of a random set starts with `random`.
        items: by the name of the condition, `intact` among them.
    """
    against = {name: VARIANTS[name].against if name in VARIANTS else TOOLKIT for name in sets}
    everything = np.full(len(items[INTACT]), "all", dtype=object)
    counts: dict[tuple[str, ...], PairedCounts] = {
        (name,): count_pairs(items[other].correct, items[name].correct, everything) for name, other in against.items()
    }
    tests = paired_tests(counts)
    rows = []
    for name, table in items.items():
        accuracy = accuracy_of(table.correct.tolist())
        row = {"variant": name, "n": accuracy.n, "accuracy": accuracy.accuracy, "low": accuracy.low}
        rows.append({**row, "high": accuracy.high, "neurons": 0})
        if name in sets:
            other, mine = sets.get(against[name]), set(sets[name].neurons)
            shared = len(mine & set(other.neurons)) if other else 0
            jaccard = shared / (len(mine) + len(other) - shared) if other else None
            number = tests.comparison.index((name,))
            about = {"neurons": len(mine), "site": sets[name].site, "against": against[name], "jaccard": jaccard}
            rows[-1].update({**about, **tests.change(number), "family_size": tests.family_size})
    return rows


def read_scores(config: VariantsConfig) -> tuple[NeuronScores, NeuronScores | None]:
    """The scores at both sites.

    Raises:
        RequestError: if they are not of the site they are given for, or not of one model on one data set.
    """
    post, gate = _at_site("--scores", config.scores, SITES[0]), None
    if config.gate_scores is not None:
        gate = _at_site("--gate-scores", config.gate_scores, SITES[1])
        sides = [{**one.metadata, "scope": one.scope} for one in (post, gate)]
        for what in ("scope", "data_sha256", "weights_sha256"):
            if sides[0].get(what) != sides[1].get(what):
                raise RequestError(f"{config.scores} and {config.gate_scores} differ in {what}; score one model twice")
    return post, gate


def _at_site(flag: str, folder: Path, site: str) -> NeuronScores:
    scores = NeuronScores.load(folder)
    if scores.site != site:
        raise RequestError(f"{flag} {folder} holds scores at site {scores.site}, it must hold those at {site}")
    return scores


def run(config: VariantsConfig) -> dict[str, Any]:
    """Switch off what each variant takes and write the table.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    import pandas as pd

    require_writable(config.out, VARIANTS_FILE, RUN_FILE)
    require_percent(config.top)
    if config.draws < 0:
        raise RequestError(f"--draws must be at least 0, found {config.draws}")
    scores, gate = read_scores(config)
    opened = open_run(config, "truncate")
    scores.require_of_model(opened.model.weights_sha256, config.scores, config.model)
    gated = bool(opened.model.hooked.cfg.gated_mlp)
    if gated and gate is None:
        tell("note: without --gate-scores nothing is said about the site; tension_lens.score --site gate makes them")
    sets = variant_sets(scores, gate, gated, config.top)
    for draw in range(config.draws):
        sets[f"{RANDOM}-{draw}"] = control_set(sets[TOOLKIT], "uniform", draw)
    conditions = [Condition(INTACT), *(Condition(name, neurons) for name, neurons in sets.items())]
    stream = stream_rewards(opened.model, opened.data, conditions, config.token_budget)
    work = opened.data.n_tokens * len(conditions)
    rewards, seconds = run_through(stream, work, "switching off")
    items = {name: item_rewards(opened.source.comparisons, opened.data, one) for name, one in rewards.items()}
    (config.out / RUN_FILE).unlink(missing_ok=True)
    with atomic_write(config.out / VARIANTS_FILE) as temporary:
        pd.DataFrame(variant_rows(sets, items)).to_csv(temporary, index=False)
    card = opened.model.card
    about = {"backbone": card.backbone, "seed": card.seed, "objective": card.objective}
    record = opened.record("tension_lens.variants", config, seconds, work, model=about)
    record.save(config.out / RUN_FILE)
    return {"table": str(config.out / VARIANTS_FILE), "conditions": len(conditions), "n": len(items[INTACT])}


if __name__ == "__main__":
    run_command("tension_lens.variants", lambda: run(parse(VariantsConfig, "tension_lens.variants", __doc__)))
