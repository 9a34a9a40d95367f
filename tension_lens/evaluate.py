"""Reward every response of preference data, with or without a neuron set switched off.

Writes the item table to --out (parquet) and a run record beside it; with --random N also one table for each random
control of the set's size, FILE.random-0.parquet and so on.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tension_lens.artifacts.files import require_writable, sha256_of_files
from tension_lens.cli import parse, run_command
from tension_lens.console import run_through, tell
from tension_lens.constants import ABLATIONS, require_one_of
from tension_lens.errors import RequestError
from tension_lens.inputs import OpenConfig, Opened, open_run
from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.metrics.item_table import ItemTable
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.controls import control_set
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet
from tension_lens.passes.activations import finish_scores, stream_statistics
from tension_lens.passes.rewards import item_rewards, stream_rewards


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(OpenConfig):
    """What to evaluate, and what to switch off."""

    out: Path
    """The item table, a .parquet file."""
    long: Literal["drop", "truncate"] = "truncate"
    """What becomes of a comparison with a text over --max-length."""
    ablate: Path | None = None
    """NeuronSet JSON: these neurons are switched off at every token."""
    ablation: Literal["zero", "mean"] = "zero"
    """What the neurons hold instead: 0, or their mean."""
    means: Path | None = None
    """Scores of this same model whose mean the neurons hold; without it the mean over the evaluated texts."""
    random: int = 0
    """Also switch off so many random sets of the same size, one after another."""


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate as the config says and write the tables.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    require_one_of("ablation", config.ablation, ABLATIONS)
    if config.out.suffix != ".parquet":
        raise RequestError(f"--out must be a .parquet file, found {config.out}")
    if config.random < 0 or (config.random and config.ablate is None):
        raise RequestError("--random N needs --ablate, whose size the N controls have")
    if config.ablation == "mean" and config.ablate is None:
        raise RequestError("--ablation mean needs --ablate, which says what to switch off")
    if config.means is not None and config.ablation != "mean":
        raise RequestError("--means is read by --ablation mean alone")
    off = None if config.ablate is None else NeuronSet.load(config.ablate)
    require_writable(config.out.parent, config.out.name)
    opened = open_run(config, config.long)
    if off is not None:
        off.require_fits(opened.model.n_layers, opened.model.d_mlp, what=f"model {config.model}")
    tables, seconds = evaluate(opened, conditions_of(config, opened, off), config.token_budget)
    config.out.with_suffix(".run.json").unlink(missing_ok=True)
    provenance = {"weights_sha256": opened.model.weights_sha256, "data_sha256": opened.source.sha256}
    summaries = []
    for number, (condition, items) in enumerate(tables.items()):
        path = config.out if number == 0 else config.out.with_suffix(f".random-{number - 1}.parquet")
        items.save(path, {"condition": condition, **provenance})
        summaries.append({"condition": condition, "table": str(path), **summary(items)})
    tokens = opened.data.n_tokens * len(tables)
    results = {**summaries[0], "controls": summaries[1:]}
    if config.ablate is not None:
        opened.resolved["ablate_sha256"] = sha256_of_files([config.ablate])
    record = opened.record("tension_lens.evaluate", config, seconds, tokens, **results)
    record.save(config.out.with_suffix(".run.json"))
    return results


def conditions_of(config: EvaluateConfig, opened: Opened, off: NeuronSet | None) -> list[Condition]:
    """The intact model, or the ablated one and its random controls."""
    trained_on = opened.model.card.data or ""
    if trained_on.startswith("sample") and opened.resolved["data"].startswith("hh-rlhf"):
        tell("warning: the embedded sample is drawn from HH-RLHF's test files, and this model was trained on it")
    if off is None:
        return [Condition("baseline")]
    means = mean_activations(config, opened, off.site) if config.ablation == "mean" else None
    controls = [control_set(off, "uniform", draw) for draw in range(config.random)]
    return [Condition(one.name, one, means) for one in (off, *controls)]


def mean_activations(config: EvaluateConfig, opened: Opened, site: str) -> Any:
    """Each neuron's mean over both sides, Float[ndarray, "layer neuron"]: from --means, else over the evaluated texts.

    Raises:
        RequestError: if the scores given are of another model or were read at another site.
    """
    if config.means is not None:
        scores = NeuronScores.load(config.means)
        scores.require_of_model(opened.model.weights_sha256, config.means, config.model)
        if scores.site != site:
            raise RequestError(f"{config.means} was read at site {scores.site}, the neuron set at {site}")
    else:
        stream = stream_statistics(
            opened.model, opened.data.texts, site=site, scope="all", token_budget=config.token_budget
        )
        sides, _ = run_through(stream, opened.data.n_tokens, "mean activations")
        scores = finish_scores(sides, site, "all", {})
    return scores.importance("mean")


def evaluate(opened: Opened, conditions: list[Condition], token_budget: int) -> tuple[dict[str, ItemTable], float]:
    """Item rewards by condition, and the seconds they took; every batch meets every condition in turn."""
    stream = stream_rewards(opened.model, opened.data, conditions, token_budget)
    rewards, seconds = run_through(stream, opened.data.n_tokens * len(conditions), "evaluating")
    comparisons = opened.source.comparisons
    return {name: item_rewards(comparisons, opened.data, one) for name, one in rewards.items()}, seconds


def summary(items: ItemTable) -> dict[str, Any]:
    """Accuracy with its 95 % interval, over all items and by subtask."""
    subtasks = {name: items.correct[items.subtask == name] for name in sorted(items.subtasks())}
    by_subtask = {name: asdict(accuracy_of(correct)) for name, correct in subtasks.items()}
    return {**asdict(accuracy_of(items.correct)), "subtasks": by_subtask}


if __name__ == "__main__":
    run_command("tension_lens.evaluate", lambda: run(parse(EvaluateConfig, "tension_lens.evaluate", __doc__)))
