"""The neuron page: scores and ranks, activations, what drives a neuron most, what it writes, what it does to a pair."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

from dash import Dash, Input, Output, State, html

from analysis.explorer.figures import activation_histogram
from analysis.explorer.reading import (
    NeuronFacts,
    neuron_activations,
    neuron_facts,
    pair_rewards,
    single_neuron,
    token_views,
)
from analysis.explorer.runs import Run
from analysis.explorer.views.answering import Asked, Explorer, answer, graph, refusal, signed, table
from tension_lens.data.comparisons import Comparison
from tension_lens.data.datasets import Dataset
from tension_lens.errors import RequestError
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.neurons.conditions import ablation, intact
from tension_lens.neurons.depth import bucket_of
from tension_lens.neurons.examples import Example, TopExamples

HISTOGRAM_TOKENS = 4000
"""Tokens whose activations the histogram is of: what the smallest models read within a second."""
WORDS_SHOWN = 12
AROUND = 12
"""Tokens shown on either side of one that drives the neuron."""


def register(app: Dash, explorer: Explorer) -> None:
    """Let the page ask for the view; what drives the neuron and its histogram come on their own."""

    @app.callback(Output("neuron-panel", "children"), Input("ask-neuron", "data"))  # type: ignore[untyped-decorator]
    def show(asked: dict[str, Any] | None) -> Any:
        return answer(explorer, "neuron", asked, neuron_panel)

    # Asked once the first answer is there, which would otherwise wait for the model while this reads many texts.
    @app.callback(  # type: ignore[untyped-decorator]
        Output("driven-panel", "children"), Input("neuron-panel", "children"), State("ask-neuron", "data")
    )
    def driven(_: Any, asked: dict[str, Any] | None) -> Any:
        return answer(explorer, "driven", asked, driven_panel)


def neuron_panel(asked: Asked) -> list[Any]:
    """Scores and ranks, vocabulary, effects on the pair."""
    question, explorer = asked.question, asked.explorer
    run = explorer.run(question.run)
    layer, neuron = question.layer, question.neuron
    with asked.models() as models:
        model = models.get(run.model(question.model))
        alone = single_neuron(model, layer, neuron, question.site)
        try:
            pair = explorer.catalogue.pair(question)
            facts = neuron_facts(model, pair.comparison, layer, neuron, WORDS_SHOWN)
            found = pair_rewards(model, pair.comparison, [intact(), ablation(alone)])
            effects = [_effects(facts, found, pair.name, pair.sides), _vocabulary(facts)]
        except RequestError as error:
            effects = [refusal(f"effects on the pair: {error}")]
        shape = (model.n_layers, model.d_mlp)
    where = f"layer {layer} of {shape[0]} ({bucket_of(layer, shape[0])} third), neuron {neuron} of {shape[1]:,}"
    link = urlencode({"tab": "pair", "colour": "neuron"})
    off = urlencode({"tab": "off", "off": "neuron"})
    return [
        html.P([html.Strong(f"Neuron {layer}/{neuron}"), f" of model {question.model}: {where}"], className="which"),
        html.P(
            [
                html.Button("Colour the pair by it", className="go", **{"data-state": link}),
                html.Button("What if it is off?", className="go", **{"data-state": off}),
            ]
        ),
        *_scores(run, question.site, (layer, neuron), shape),
        *effects,
    ]


def _scores(run: Run, site: str, place: tuple[int, int], shape: tuple[int, int]) -> list[Any]:
    rows = []
    models = run.sites().get(site, {})
    for name in [*filter(models.get, run.models), *(name for name in models if name not in run.models)]:
        scores = run.scores_of(models[name])
        if scores.shape != shape:
            continue
        for statistic in scores.statistics:
            chosen, rejected = scores.sides(statistic)
            values = (chosen + rejected) / 2
            mine = values[place]
            in_layer, overall = (int((others > mine).sum()) + 1 for others in (values[place[0]], values))
            both = [signed(side[place], ".4g") for side in (chosen, rejected)]
            ranks = (f"{in_layer:,} of {shape[1]:,}", f"{overall:,} of {values.size:,}")
            rows.append([f"{name}, {statistic}", *both, *ranks])
    if not rows:
        return [refusal(f"run {run.name} has no scores of this shape at site {site}; tension_lens.score makes them")]
    head = ["scores of model, statistic", "chosen", "rejected", "rank in layer", "rank of all"]
    caption = f"Scores at site {site} by side, and rank by the mean of both sides (1 = highest)"
    return [table(head, rows, caption, id="neuron-scores")]


def _effects(facts: NeuronFacts, found: list[tuple[float, float]], name: str, sides: tuple[str, str]) -> html.Div:
    def row(what: str, both: tuple[float, float]) -> list[str]:
        return [what, *(signed(number, "+.4g") for number in (*both, both[0] - both[1]))]

    before, after = found
    drop = (before[0] - after[0], before[1] - after[1])
    rows = [
        row("reward, intact", before),
        row("reward, neuron off (zero)", after),
        row("drop when off", drop),
        row("drop to first order (attribution)", facts.attribution),
        row("direct effect (through no other layer)", facts.direct),
    ]
    caption = f"What it does to the reward of {name}"
    return table(["", *sides, "margin"], rows, caption, id="neuron-effects")


def _vocabulary(facts: NeuronFacts) -> html.Div:
    def words(title: str, found: tuple[tuple[str, float], ...]) -> html.Div:
        items = [html.Li([html.Code(word, dir="ltr"), f" {signed(value)}"]) for word, value in found]
        return html.Div([html.H4(title), html.Ol(items)])

    lists = html.Div(
        [words("Points to", facts.promoted), words("Points away from", facts.suppressed)], className="words"
    )
    note = (
        "Output weights through the final norm's weight and the embeddings (tied: what an active neuron would add to "
    )
    return html.Div([html.H3("Vocabulary of its output weights"), html.P(f"{note}each token's logit)."), lists])


def driven_panel(asked: Asked) -> list[Any]:
    """The pairs and tokens of the index that drive the neuron most, and its activations on either side."""
    question, explorer = asked.question, asked.explorer
    run = explorer.run(question.run)
    with asked.models() as models:
        model = models.get(run.model(question.model))
        single_neuron(model, question.layer, question.neuron)
    return [*_examples(asked, run), *_histogram(asked, run)]


def _histogram(asked: Asked, run: Run) -> list[Any]:
    question, explorer = asked.question, asked.explorer
    data = question.data
    try:
        comparisons = explorer.catalogue.source(data).comparisons
        with asked.models() as models:
            model = models.get(run.model(question.model))
            place = (question.layer, question.neuron)
            # A reader who has gone on to another neuron need not wait for the rest of this one.
            go_on = partial(explorer.questions.require_current, asked.session, "neuron", asked.token)
            values, read = neuron_activations(
                model, comparisons, place, site=question.site, budget=HISTOGRAM_TOKENS, go_on=go_on
            )
    except RequestError as error:
        return [html.H3("Activations"), refusal(str(error))]
    if not read:
        return [html.H3("Activations"), refusal(f"every pair of {data} is longer than this model's context")]
    heading = html.H3(f"Activations at the tokens of the first {read} pairs of {data}")
    return [heading, graph(activation_histogram(values), "Histogram of the neuron's activations on either side")]


def _examples(asked: Asked, run: Run) -> list[Any]:
    question, explorer = asked.question, asked.explorer
    heading = html.H3("What drives it most")
    folder = run.examples(question.model, question.site)
    if folder is None:
        return [
            heading,
            refusal(
                f"no index of top examples beside the scores of {question.model} at site {question.site}; "
                f"python -m tension_lens.score --site {question.site} --top-examples 10 makes one"
            ),
        ]
    try:
        index = TopExamples.load(folder)
        name = index.metadata["data"]
        if name not in explorer.catalogue.specs:
            raise RequestError(f"the index is of {name}; start the explorer with --data {name} to see its texts")
        source = explorer.catalogue.source(name)
        # The index may be of the first so many alone (--limit).
        indexed = Dataset(source.comparisons[: int(index.metadata["comparisons"])])
        if indexed.sha256 != index.metadata["data_sha256"]:
            raise RequestError(f"the index was made of other {name} than is here now; score again")
        with asked.models() as models:
            model = models.get(run.model(question.model))
            if index.metadata["weights_sha256"] != model.weights_sha256:
                raise RequestError(f"the index in scores/{folder.name} is of other weights; score again")
            examples = index.of(question.layer, question.neuron)
            rows = [_example(model, source.comparisons[one.item], one, name) for one in examples]
    except RequestError as error:
        return [heading, refusal(str(error))]
    if not rows:
        return [heading, refusal("the index holds no example of this neuron")]
    return [heading, html.Ol(rows, id="examples", className="examples")]


def _example(model: HookedRewardModel, comparison: Comparison, example: Example, data: str) -> html.Li:
    places = {"chosen": 0, "rejected": 0, example.side: example.response}
    pair = Comparison(
        comparison.prompt,
        (comparison.chosen[places["chosen"]],),
        (comparison.rejected[places["rejected"]],),
        comparison.subtask,
        comparison.task_type,
        comparison.id,
        comparison.templated,
    )
    text = next(text for text in model.tokenizer(pair, 0) if text.side == example.side)
    views = token_views(model, pair, text)
    first, last = max(0, example.position - AROUND), min(len(views), example.position + AROUND + 1)
    spans = [
        html.Mark(view.text) if position == example.position else html.Span(view.text)
        for position, view in enumerate(views[first:last], start=first)
    ]
    item = f"{example.item}.{places['chosen']}.{places['rejected']}"
    link = urlencode({"tab": "pair", "colour": "neuron", "source": "pick", "data": data, "item": item})
    about = f"{signed(example.value)} · {example.side} of {comparison.id} · token {example.position} "
    return html.Li(
        [
            html.Span(about, className="number"),
            html.Button("Open pair", className="go", **{"data-state": link}),
            html.Div([html.Span("… " * (first > 0)), *spans], className="context", dir="ltr"),
        ]
    )
