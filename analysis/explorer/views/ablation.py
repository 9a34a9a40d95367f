"""The ablation view: rewards, margin and verdict of a pair with neurons ablated, for every model of a run."""

from typing import Any

import numpy as np
from dash import html
from jaxtyping import Float

from analysis.explorer.answering import Asked
from analysis.explorer.figures import margin_change, margin_sweep
from analysis.explorer.reading import pair_rewards
from analysis.explorer.selection import ablated_set
from analysis.explorer.state import SWEPT
from analysis.explorer.views.elements import graph, notice, signed, table, verdict
from tension_lens.data.comparisons import Comparison
from tension_lens.errors import RequestError
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.neurons.conditions import ablation, intact
from tension_lens.neurons.selectors import importance
from tension_lens.neurons.sets import NeuronSet, top_percent


def _rewards(
    asked: Asked, name: str, model: HookedRewardModel, comparison: Comparison, sets: list[NeuronSet]
) -> Float[np.ndarray, "condition side"]:
    """Rewards of the intact model `name` of the run, and with each of the sets ablated.

    Raises:
        RequestError: if mean ablation lacks the model's scores at the site, or a set or text does not fit the model.
    """
    run, how, means = asked.run, asked.question.ablation, None
    if how == "mean":
        scores = run.scores_at(sets[0].site, name)
        scores.require_of_model(model.weights_sha256, run.scores[run.sites()[scores.site][name]], f"models/{name}")
        means = scores.importance("mean")
    return pair_rewards(model, comparison, [intact(), *(ablation(one, how, means) for one in sets)])


def ablation_panel(asked: Asked) -> list[Any]:
    """A row for every model of the run."""
    question, run = asked.question, asked.run
    pair = asked.explorer.catalogue.pair(question)
    rewards, problems = {}, {}
    for name in run.models:
        # A newer request waits for one model at most.
        with asked.models() as models:
            try:
                model = models.get(run.model(name))
                neurons = ablated_set(run, question, (model.n_layers, model.d_mlp), model.weights_sha256)
                rewards[name] = _rewards(asked, name, model, pair.comparison, [neurons])
            except RequestError as error:
                problems[name] = str(error)
    if not rewards:
        raise RequestError("; ".join(dict.fromkeys(problems.values())))
    margins = {name: found[:, 0] - found[:, 1] for name, found in rewards.items()}
    rows = []
    for name, found in rewards.items():
        verdicts = list(dict.fromkeys(verdict(margin, pair.sides) for margin in margins[name]))
        numbers = [" → ".join(map(signed, column)) for column in (*found.T, margins[name])]
        judged = verdicts[0] if len(verdicts) == 1 else html.Strong(" → ".join(verdicts))
        rows.append([name, *numbers, signed(margins[name][1] - margins[name][0]), judged])
    head = ["model", *(f"reward of {side}" for side in pair.sides), "margin", "change", "verdict"]
    share = 100 * len(neurons) / (neurons.n_layers * neurons.d_mlp)
    caption = (
        f"Intact → ablated: {neurons.name} ({len(neurons):,} neurons, {share:.2g} %), {question.ablation} ablation"
    )
    return [
        html.P(pair.label, className="which"),
        table(head, rows, caption, id="effects"),
        graph(margin_change(margins), "Margin of every model, intact and ablated", tools=False),
        *(notice(f"{name}: {problem}") for name, problem in problems.items()),
    ]


def sweep_panel(asked: Asked) -> list[Any]:
    """Margin of every model against p, with the top p % of the chosen model's ranking ablated."""
    question, run = asked.question, asked.run
    pair = asked.explorer.catalogue.pair(question)
    ranking = importance(question.statistic, run.scores_at(question.site, question.model))
    sets = [top_percent(ranking, top, f"top {top:g} %", question.site) for top in SWEPT]
    margins = {}
    for name in run.models:
        with asked.models() as models:
            found = _rewards(asked, name, models.get(run.model(name)), pair.comparison, sets)
            margins[name] = found[:, 0] - found[:, 1]
    by = f"{question.statistic} of {question.model}"
    return [graph(margin_sweep([0.0, *SWEPT], margins, by), "Margin against the share of ablated neurons")]
