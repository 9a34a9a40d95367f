"""The neuron map: helpful against harmless importance of every neuron, where a selection lies in depth, its export."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from analysis.explorer.figures import depth_by_layer, neuron_map
from analysis.explorer.runs import Run
from analysis.explorer.selection import AXES, map_importances, map_sets, region_corners, selected
from analysis.explorer.state import Question
from analysis.explorer.views.answering import Asked, Explorer, answer, graph, refusal
from analysis.figures.style import GREY, PLOT_CONFIG
from tension_lens.constants import PARTS
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

EXPORTED = ("selection", *AXES, *PARTS)
GRAPH_ID = "map-graph"


def register(app: Dash, explorer: Explorer) -> None:
    """Let the page ask for the map, the depth beside it, and the exports."""

    @app.callback(Output("map-panel", "children"), Input("ask-map", "data"))  # type: ignore[untyped-decorator]
    def show(asked: dict[str, Any] | None) -> Any:
        return answer(explorer, "map", asked, map_panel)

    @app.callback(Output("depth-panel", "children"), Input("ask-depth", "data"))  # type: ignore[untyped-decorator]
    def depth(asked: dict[str, Any] | None) -> Any:
        return answer(explorer, "depth", asked, depth_panel)

    @app.callback(  # type: ignore[untyped-decorator]
        Output("download", "data"),
        Output("export-status", "children"),
        Input("export-json", "n_clicks"),
        Input("export-csv", "n_clicks"),
        Input("export-html", "n_clicks"),
        State("ask-depth", "data"),
        State("ask-map", "data"),
        State("export", "value"),
        prevent_initial_call=True,
    )
    def export(*states: Any) -> tuple[Any, Any]:
        in_depth, in_map, name = states[-3:]
        try:
            # The map's own question knows how it is coloured, that of the depth what is selected.
            question = Question.of({**(in_map or {}), **(in_depth or {})})
            run = explorer.run(question.run)
            if ctx.triggered_id == "export-html":
                page = map_figure(run, question).to_html(include_plotlyjs=True, config=PLOT_CONFIG)
                return dcc.send_string(page, "neuron-map.html", type="text/html"), "Written: neuron-map.html"
            neurons = set_named(run, question, name)
            if ctx.triggered_id == "export-csv":
                content, file = as_csv(run, question, neurons), f"{neurons.name}.csv"
            else:
                content, file = as_json(neurons), f"{neurons.name}.json"
        except RequestError as error:
            return no_update, refusal(str(error))
        return dcc.send_string(content, file), f"Written: {file}, {len(neurons):,} neurons"


def map_figure(run: Run, question: Question) -> Any:
    """The map as the question asks for it."""
    groups = None
    if question.by == "membership":
        sets = map_sets(run, question)
        groups = {name: sets[name] for name in PARTS}
    figure = neuron_map(map_importances(run, question), AXES, question.statistic, groups, question.scale)
    corners = region_corners(question)
    if corners is not None:
        figure.add_scatter(
            x=[*corners[:, 0], corners[0, 0]],
            y=[*corners[:, 1], corners[0, 1]],
            mode="lines",
            line={"color": GREY, "dash": "dot", "width": 2},
            name="selection",
            hoverinfo="skip",
        )
    return figure


def map_panel(asked: Asked) -> list[Any]:
    """The map, and what it cannot show."""
    question = asked.question
    run = asked.explorer.run(question.run)
    importances = map_importances(run, question)
    notes = []
    if question.scale == "log":
        hidden = int(((importances[0] <= 0) | (importances[1] <= 0)).sum())
        if hidden:
            notes.append(
                refusal(f"{hidden:,} neurons with an importance of 0 or less have no place on log axes; choose linear")
            )
    figure = map_figure(run, question)
    return [graph(figure, "Every neuron: helpful against harmless importance", id=GRAPH_ID), *notes]


def depth_panel(asked: Asked) -> list[Any]:
    """Where the selection, or else the top p % of either model, lies in depth."""
    question = asked.question
    run = asked.explorer.run(question.run)
    found = selected(run, question)
    if found is None:
        sets = map_sets(run, question)
        shown = {name: sets[name] for name in AXES}
        words = f"Nothing is selected: the top {question.top:g} % of either model. Draw a lasso or a box in the map."
    elif len(found):
        shown, words = {"selection": found}, f"{len(found):,} neurons are selected. Double-click the map to let go."
    else:
        raise RequestError("no neuron lies inside the selection; draw it around some points")
    return [
        html.P(words, id="selected", role="status"),
        graph(depth_by_layer(shown), "In which layers the neurons lie"),
    ]


def set_named(run: Run, question: Question, name: str) -> NeuronSet:
    """The set to export: the selection, the top p % of a model, or a part of the two.

    Raises:
        RequestError: if nothing is selected or the name is unknown.
    """
    if name != "selection":
        sets = map_sets(run, question)
        if name not in sets:
            raise RequestError(f"unknown set {name!r}; known are {', '.join(EXPORTED)}")
        return sets[name]
    found = selected(run, question)
    if found is None or not len(found):
        raise RequestError("nothing is selected: draw a lasso or a box in the map, or export another set")
    return found


def as_json(neurons: NeuronSet) -> str:
    """A set as the NeuronSet JSON that `tension_lens.evaluate --ablate` takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.json"
        neurons.save(path)
        return path.read_text("utf-8")


def as_csv(run: Run, question: Question, neurons: NeuronSet) -> str:
    """A set as a table: layer, neuron, either importance, and the part of the top p % it belongs to."""
    sets = map_sets(run, question)
    membership = np.full(neurons.shape, "neither", dtype=object)
    for name in PARTS:
        membership[sets[name].mask()] = name
    helpful, harmless = map_importances(run, question)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["layer", "neuron", *(f"{name}_{question.statistic}" for name in AXES), "membership"])
    for place in map(tuple, neurons.neurons.tolist()):
        writer.writerow([*place, float(helpful[place]), float(harmless[place]), membership[place]])
    return stream.getvalue()
