"""How well attribution and direct effect predict the effect of zeroing a neuron, against zeroing each neuron alone.

    python -m benchmarks.attribution --model runs/demo/gpt2-tiny/models/mixed --data sample:mixed:test --limit 50

Draws neurons at random, zeroes each alone in a pass over the data, and compares the exact drop of the mean margin
with the two estimates that one backward pass gives for all neurons.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import linregress, pearsonr, spearmanr

from benchmarks.timing import timed
from tension_lens.cli import command
from tension_lens.errors import RequestError
from tension_lens.inputs import OpenConfig
from tension_lens.neurons.conditions import ablation, intact
from tension_lens.neurons.selectors import importance
from tension_lens.neurons.sets import NeuronSet
from tension_lens.passes.activations import score_neurons
from tension_lens.passes.attribution import add_contributions
from tension_lens.passes.rewards import evaluate_conditions


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
        RequestError: if the input is invalid, or there are fewer neurons than asked for.
    """
    model, data = config.open()
    shape, total = (model.n_layers, model.d_mlp), model.n_layers * model.d_mlp
    if not 2 <= config.neurons <= total:
        raise RequestError(f"--neurons must be 2 to {total}, found {config.neurons}")
    drawn = np.random.default_rng(config.seed).choice(total, config.neurons, replace=False)
    picked = [divmod(int(flat), model.d_mlp) for flat in drawn]
    conditions = [intact(), *(ablation(NeuronSet.of(f"{one}", "post", shape, [one])) for one in picked)]
    budget = config.token_budget
    with timed() as ablating:
        tables = evaluate_conditions(model, data, conditions, token_budget=budget, what="zeroing each neuron")
    margins = np.array([tables[one].margin.mean() for one in conditions])
    exact = margins[0] - margins[1:]
    scores = score_neurons(model, data, token_budget=budget)
    with timed() as attributing:
        scores = add_contributions(scores, model, data, token_budget=budget)
    about = {"model": config.model, "data": data.dataset.spec, "items": data.counts["kept"], "neurons": config.neurons}
    results: dict[str, Any] = {
        **about,
        "exact_ablation_seconds": round(ablating.seconds, 1),
        "attribution_seconds_for_all_neurons": round(attributing.seconds, 1),
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
    command("benchmarks.attribution", AttributionConfig, run, __doc__)()
