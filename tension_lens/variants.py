"""Switch off the neurons that the paper's code would take beside those taken here, and judge the same items.

Writes to --out variants.csv, a row for each way to take neurons (how many, the Jaccard index with the set it is
compared with, accuracy, the paired difference from that set's accuracy), beside random sets; and a run record. One pass
over the data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tension_lens.artifacts.files import atomic_write, require_writable
from tension_lens.artifacts.layout import RUN_FILE, VARIANTS_FILE
from tension_lens.cli import parse, run_command
from tension_lens.console import run_through, tell
from tension_lens.constants import INTACT, RANDOM, SITES
from tension_lens.errors import RequestError
from tension_lens.inputs import OpenConfig, open_run
from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.paired import PairedCounts, count_pairs, paired_tests
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.controls import control_set
from tension_lens.neurons.overlap import jaccard
from tension_lens.neurons.paper_variants import TOOLKIT, VARIANTS, variant_sets
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet, require_percent
from tension_lens.passes.rewards import item_rewards, stream_rewards


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
            other, mine = sets.get(against[name]), sets[name]
            alike = jaccard(mine.mask(), other.mask()) if other else None
            number = tests.comparison.index((name,))
            about = {"neurons": len(mine), "site": mine.site, "against": against[name], "jaccard": alike}
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
