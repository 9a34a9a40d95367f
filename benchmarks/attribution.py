"""How well attribution and direct effect tell what zeroing a neuron does, against zeroing each neuron on its own.

    python -m benchmarks.attribution --model runs/demo/gpt2-tiny/models/mixed --data sample:mixed:test --limit 50

Draws neurons at random, zeroes each alone in a pass over the data, and compares the exact drop of the mean margin
with the two estimates that one backward pass gives for all neurons.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tension_lens.cli import parse, run_command
from tension_lens.console import run_through
from tension_lens.errors import RequestError
from tension_lens.inputs import OpenConfig, open_run
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.selectors import importance
from tension_lens.neurons.sets import NeuronSet
from tension_lens.passes.activations import finish_scores, stream_statistics
from tension_lens.passes.attribution import stream_contributions, with_contributions
from tension_lens.passes.rewards import item_rewards, stream_rewards


@dataclass(frozen=True, kw_only=True)
class AttributionConfig(OpenConfig):
    """What to compare on."""

    neurons: int = 200
    """Neurons to zero, each alone."""
    seed: int = 0
    """Of their choice."""


def run(config: AttributionConfig) -> dict[str, Any]:
    """Measure both estimates against exact ablation.

    Raises:
        RequestError: if anything asked for cannot be had, or there are fewer neurons than asked for.
    """
    from scipy.stats import linregress, pearsonr, spearmanr

    opened = open_run(config, "drop")
    model, texts = opened.model, opened.data.texts
    shape = (model.n_layers, model.d_mlp)
    if not 2 <= config.neurons <= shape[0] * shape[1]:
        raise RequestError(f"--neurons must be 2 to {shape[0] * shape[1]}, found {config.neurons}")
    drawn = np.random.default_rng(config.seed).choice(shape[0] * shape[1], config.neurons, replace=False)
    picked = [(int(flat) // shape[1], int(flat) % shape[1]) for flat in drawn]
    single = [Condition(f"{one}", NeuronSet.of(f"{one}", "post", shape, [one])) for one in picked]
    conditions = [Condition("intact"), *single]
    stream = stream_rewards(model, opened.data, conditions, config.token_budget)
    rewards, exact_seconds = run_through(stream, opened.data.n_tokens * len(conditions), "zeroing each neuron")
    margins = {
        name: float(item_rewards(opened.source.comparisons, opened.data, one).margin.mean())
        for name, one in rewards.items()
    }
    exact = np.array([margins["intact"] - margins[one.name] for one in single])
    statistics = stream_statistics(model, texts, site="post", scope="all", token_budget=config.token_budget)
    sides, _ = run_through(statistics, opened.data.n_tokens, "scoring")
    contributions = stream_contributions(model, texts, token_budget=config.token_budget)
    found, seconds = run_through(contributions, opened.data.n_tokens, "attributing")
    scores = with_contributions(finish_scores(sides, "post", "all", {}), found)
    results: dict[str, Any] = {
        "model": config.model,
        "data": opened.resolved["data"],
        "items": opened.data.counts["kept"],
        "neurons": config.neurons,
        "exact_ablation_seconds": round(exact_seconds, 1),
        "attribution_seconds_for_all_neurons": round(seconds, 1),
    }
    for name in ("attribution", "direct"):
        estimate = np.array([importance(name, scores)[one] for one in picked])
        results[name] = {
            "pearson": round(float(pearsonr(estimate, exact).statistic), 4),
            "spearman": round(float(spearmanr(estimate, exact).statistic), 4),
            "slope": round(float(linregress(estimate, exact).slope), 3),
            "same_sign": round(float(np.mean(np.sign(estimate) == np.sign(exact))), 3),
        }
    return results


if __name__ == "__main__":
    run_command("benchmarks.attribution", lambda: run(parse(AttributionConfig, "benchmarks.attribution", __doc__)))
