"""What if: rewards, margin and verdict of a pair with neurons switched off, for every model of a run."""

from typing import Any

import numpy as np
from dash import Dash, Input, Output, ctx, html
from jaxtyping import Float

from analysis.explorer.figures import Effect, margin_change, margin_sweep
from analysis.explorer.reading import pair_rewards
from analysis.explorer.runs import Run
from analysis.explorer.selection import off_set
from analysis.explorer.state import SWEPT
from analysis.explorer.views.answering import Asked, Explorer, answer, graph, refusal, signed, table
from analysis.explorer.views.pair_view import verdict
from tension_lens.errors import RequestError
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.neurons.conditions import ablation, intact
from tension_lens.neurons.selectors import importance
from tension_lens.neurons.sets import top_percent


def register(app: Dash, explorer: Explorer) -> None:
    """Let the page ask for the view and for the sweep."""

    @app.callback(Output("off-panel", "children"), Input("ask-off", "data"))  # type: ignore[untyped-decorator]
    def show(asked: dict[str, Any] | None) -> Any:
        return answer(explorer, "off", asked, off_panel)

    @app.callback(  # type: ignore[untyped-decorator]
        Output("sweep-panel", "children"), Input("sweep", "n_clicks"), Input("ask-off", "data")
    )
    def sweep(_: int | None, asked: dict[str, Any] | None) -> Any:
        if ctx.triggered_id != "sweep":
            # The question has changed, so that an earlier sweep would answer another one.
            return refusal("Press the button to draw margin against p for this pair.")
        return answer(explorer, "sweep", asked, sweep_panel)


def means_of(run: Run, name: str, model: HookedRewardModel, site: str) -> Float[np.ndarray, "layer neuron"]:
    """The mean activation of every neuron from the model's scores, as `tension_lens.evaluate --means` takes it.

    Raises:
        RequestError: if there are no scores of this model at the site.
    """
    folder = run.sites().get(site, {}).get(name)
    if folder is None:
        raise RequestError(
            f"mean ablation needs the mean activations of model {name} at site {site}, and run {run.name} has no such "
            "scores; run tension_lens.score, or switch off by zero"
        )
    scores = run.scores_of(folder)
    if scores.metadata.get("weights_sha256") != model.weights_sha256:
        raise RequestError(f"scores/{folder} holds the means of another model than models/{name}; score it again")
    return scores.importance("mean")


def off_panel(asked: Asked) -> list[Any]:
    """A row for every model of the run."""
    question, explorer = asked.question, asked.explorer
    run, pair = explorer.run(question.run), explorer.catalogue.pair(question)
    effects, troubles = [], []
    for name in run.models:
        # The lock is taken anew for every model, so that a newer question need not wait for all of them.
        with asked.models() as models:
            try:
                model = models.get(run.model(name))
                off = off_set(run, question, (model.n_layers, model.d_mlp))
                means = means_of(run, name, model, off.site) if question.ablation == "mean" else None
                conditions = [intact(), ablation(off, question.ablation, means)]
                effects.append(Effect(name, *pair_rewards(model, pair.comparison, conditions)))
            except RequestError as error:
                troubles.append(f"{name}: {error}")
    if not effects:
        raise RequestError("; ".join(dict.fromkeys(trouble.partition(": ")[2] for trouble in troubles)))
    share = len(off) / (off.n_layers * off.d_mlp)
    rows = []
    for effect in effects:
        before, after = effect.margins
        verdicts = [verdict(margin, pair.sides) for margin in (before, after)]
        same = verdicts[0] == verdicts[1]
        judged = verdicts[0] if same else html.Strong(" → ".join(verdicts))
        numbers = [f"{signed(one)} → {signed(other)}" for one, other in zip(effect.before, effect.after, strict=True)]
        margins = f"{signed(before)} → {signed(after)}"
        rows.append([effect.model, *numbers, margins, signed(after - before), judged])
    head = ["model", *(f"reward of {side}" for side in pair.sides), "margin", "change", "verdict"]
    caption = (
        f"Before → after {off.name} ({len(off):,} neurons, {100 * share:.2g} %) is switched off by {question.ablation}"
    )
    return [
        html.P([html.Span(pair.name, className="name")], className="which"),
        table(head, rows, caption, id="effects"),
        graph(margin_change(effects), "Margin of every model before and after", tools=False),
        *(refusal(trouble) for trouble in troubles),
    ]


def sweep_panel(asked: Asked) -> list[Any]:
    """Margin of every model against p, for the top p % of the chosen model's ranking."""
    question, explorer = asked.question, asked.explorer
    run, pair = explorer.run(question.run), explorer.catalogue.pair(question)
    folder = run.sites().get(question.site, {}).get(question.model)
    if folder is None:
        raise RequestError(
            f"a sweep needs a ranking, and run {run.name} has no scores of {question.model} at site {question.site}"
        )
    ranking = importance(question.statistic, run.scores_of(folder))
    sets = {top: top_percent(ranking, top, f"top {top:g} %", question.site) for top in SWEPT}
    margins = {}
    for name in run.models:
        with asked.models() as models:
            model = models.get(run.model(name))
            means = means_of(run, name, model, question.site) if question.ablation == "mean" else None
            conditions = [intact(), *(ablation(one, question.ablation, means) for one in sets.values())]
            found = pair_rewards(model, pair.comparison, conditions)
            margins[name] = [first - second for first, second in found]
    by = f"{question.statistic} of {question.model}"
    return [graph(margin_sweep([0.0, *SWEPT], margins, by), "Margin against the share of neurons switched off")]
