"""Accuracy against the share of neurons switched off, for several ways to choose them and for random ones.

Writes to --out sweep.csv, a row for each choice and share (accuracy, its change from the intact model, both with 95 %
intervals, mean margin), and a run record. One pass over the data: every batch meets every condition.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tension_lens.artifacts.files import atomic_write, require_writable
from tension_lens.artifacts.layout import RUN_FILE, SWEEP_FILE
from tension_lens.cli import parse, run_command
from tension_lens.console import run_through
from tension_lens.constants import CHANGE_STATISTIC, RANDOM
from tension_lens.errors import RequestError
from tension_lens.inputs import OpenConfig, open_run
from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.paired import PairedCounts, count_pairs, paired_tests
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.controls import control_set
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.selectors import SELECTORS, select_neurons
from tension_lens.neurons.sets import NeuronSet, require_percent
from tension_lens.passes.rewards import item_rewards, stream_rewards

DEFAULT_STATISTICS = ("mean_abs", "mean", CHANGE_STATISTIC)
Choice = tuple[str, float, int]
"""Selector or `random`, share in percent, draw."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig(OpenConfig):
    """What to switch off, and how much of it."""

    scores: Path
    """Folder that tension_lens.score wrote for this model."""
    out: Path
    """Folder for sweep.csv and run.json."""
    statistics: list[str] = field(default_factory=list)
    """Selectors of tension_lens.select; by default mean_abs, mean, and change_rms where the scores hold it."""
    tops: list[float] = field(default_factory=lambda: [float(top) for top in range(2, 31, 2)])
    """Shares of neurons to switch off, in percent."""
    draws: int = 3
    """Random sets of each size."""


def choices(config: SweepConfig, scores: NeuronScores) -> dict[Choice, NeuronSet]:
    """The set of each (selector, share, draw), in the order of the table; selected sets have draw 0.

    Raises:
        RequestError: if a selector cannot be had from these scores, or a share lies outside (0, 100].
    """
    names = config.statistics or [name for name in DEFAULT_STATISTICS if name in scores.statistics]
    for name in names:
        if name in SELECTORS and SELECTORS[name].compares:
            raise RequestError(f"statistic {name} needs scores on two kinds of data; a sweep reads one")
    for what, values in (("--statistics", names), ("--tops", config.tops)):
        if len(set(values)) != len(values) or not len(values):
            raise RequestError(f"{what} must name each value once and at least one, found {values}")
    if config.draws < 0:
        raise RequestError(f"--draws must be at least 0, found {config.draws}")
    found = {}
    for name in names:
        for top in config.tops:
            found[name, top, 0] = select_neurons(scores, name, require_percent(top), f"{name} {top:g} %")
    for top in config.tops:
        like = found[names[0], top, 0]
        for draw in range(config.draws):
            found[RANDOM, top, draw] = control_set(like, "uniform", draw)
    return found


def sweep_rows(
    intact: ItemTable, switched: dict[tuple[str, float, int], tuple[int, ItemTable]]
) -> list[dict[str, Any]]:
    """A row for the intact model and one for each choice.

    Args:
        intact: items under the intact model.
        switched: by (selector, share, draw) how many neurons were off, and the same items then.
    """

    def row(selector: str, top: float, draw: int, neurons: int, items: ItemTable) -> dict[str, Any]:
        found = accuracy_of(items.correct.tolist())
        numbers = {"n": found.n, "accuracy": found.accuracy, "low": found.low, "high": found.high}
        about = {"selector": selector, "top": top, "draw": draw, "neurons": neurons}
        return {**about, **numbers, "mean_margin": float(np.mean(items.margin))}

    everything = np.full(len(intact), "all", dtype=object)
    counts: dict[tuple[str, ...], PairedCounts] = {}
    for key, (_, items) in switched.items():
        counts[tuple(map(str, key))] = count_pairs(intact.correct, items.correct, everything)
    tests = paired_tests(counts)
    rows = [row("intact", 0.0, 0, 0, intact)]
    for number, (key, (neurons, items)) in enumerate(switched.items()):
        rows.append({**row(*key, neurons, items), **tests.change(number)})
    return rows


def run(config: SweepConfig) -> dict[str, Any]:
    """Sweep as the config says and write the table.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    import pandas as pd

    require_writable(config.out, SWEEP_FILE, RUN_FILE)
    scores = NeuronScores.load(config.scores)
    sets = choices(config, scores)
    opened = open_run(config, "truncate")
    scores.require_of_model(opened.model.weights_sha256, config.scores, config.model)
    names = {key: f"{key[0]}-{key[1]:g}-{key[2]}" for key in sets}
    conditions = [Condition("intact"), *(Condition(names[key], neurons) for key, neurons in sets.items())]
    stream = stream_rewards(opened.model, opened.data, conditions, config.token_budget)
    work = opened.data.n_tokens * len(conditions)
    rewards, seconds = run_through(stream, work, "sweeping")
    tables = {name: item_rewards(opened.source.comparisons, opened.data, one) for name, one in rewards.items()}
    switched = {key: (len(neurons), tables[names[key]]) for key, neurons in sets.items()}
    rows = sweep_rows(tables["intact"], switched)
    (config.out / RUN_FILE).unlink(missing_ok=True)
    with atomic_write(config.out / SWEEP_FILE) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    card = opened.model.card
    about = {"backbone": card.backbone, "seed": card.seed, "objective": card.objective}
    note = f"McNemar's exact p, Holm-corrected over the {len(sets)} choices of this table"
    record = opened.record("tension_lens.sweep", config, seconds, work, model=about, correction=note)
    record.save(config.out / RUN_FILE)
    return {"table": str(config.out / SWEEP_FILE), "conditions": len(conditions), "n": len(tables["intact"])}


if __name__ == "__main__":
    run_command("tension_lens.sweep", lambda: run(parse(SweepConfig, "tension_lens.sweep", __doc__)))
