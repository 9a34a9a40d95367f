"""The neuron map: helpful against harmless importance of every neuron, the depth of a selection, and exports."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dash import html
from plotly.graph_objects import Figure

from analysis.explorer.answering import Asked
from analysis.explorer.figures import depth_by_layer, neuron_map
from analysis.explorer.runs import Run
from analysis.explorer.selection import AXES, map_importances, map_sets, region_corners, selected
from analysis.explorer.state import Question
from analysis.explorer.views.elements import graph, notice
from analysis.figures.style import GREY, PLOT_CONFIG
from tension_lens.constants import PARTS
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

EXPORTED = ("selection", *AXES, *PARTS)
GRAPH_ID = "map-graph"


def map_figure(run: Run, question: Question) -> Figure:
    """The map, with the outline of the selection."""
    sets = map_sets(run, question) if question.by == "membership" else {}
    groups = {name: sets[name] for name in PARTS} if sets else None
    figure = neuron_map(map_importances(run, question), AXES, question.statistic, groups, question.scale)
    corners = region_corners(question)
    if corners is not None:
        x, y = np.vstack([corners, corners[:1]]).T
        line = {"color": GREY, "dash": "dot", "width": 2}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, name="selection", hoverinfo="skip")
    return figure


def map_panel(asked: Asked) -> list[Any]:
    """The map, and how many neurons it cannot show."""
    question, run = asked.question, asked.run
    figure = map_figure(run, question)
    content: list[Any] = [graph(figure, "Every neuron: helpful against harmless importance", id=GRAPH_ID)]
    helpful, harmless = map_importances(run, question)
    hidden = int(((helpful <= 0) | (harmless <= 0)).sum())
    if question.scale == "log" and hidden:
        content.append(
            notice(f"{hidden:,} neurons with an importance of 0 or below cannot be shown on log axes; choose linear")
        )
    return content


def depth_panel(asked: Asked) -> list[Any]:
    """The depth of the selection, or of the top p % of either model if nothing is selected."""
    question, run = asked.question, asked.run
    found = selected(run, question)
    if found is None:
        sets = map_sets(run, question)
        shown = {name: sets[name] for name in AXES}
        words = f"Nothing is selected. Shown: the top {question.top:g} % of either model."
    elif len(found):
        shown, words = {"selection": found}, f"{len(found):,} neurons are selected. Double-click the map to clear."
    else:
        raise RequestError("no neuron lies inside the selection; draw it around some points")
    figure = graph(depth_by_layer(shown), "Share of the neurons by layer")
    return [html.P(words, id="selected", role="status"), figure]


def export(run: Run, question: Question, name: str, form: str) -> tuple[str, str, int | None]:
    """Content, file name and number of neurons of an export.

    Args:
        run: the run on the page.
        question: the state of the page.
        name: the set: the selection, the top p % of a model, or a part of these.
        form: `html` for the map, `json` for the NeuronSet that `tension_lens.evaluate --ablate` takes, or `csv`.

    Raises:
        RequestError: if nothing is selected or the name is unknown.
    """
    if form == "html":
        return map_figure(run, question).to_html(include_plotlyjs=True, config=PLOT_CONFIG), "neuron-map.html", None
    if name not in EXPORTED:
        raise RequestError(f"unknown set {name!r}; known are {', '.join(EXPORTED)}")
    neurons = selected(run, question) if name == "selection" else map_sets(run, question)[name]
    if neurons is None or (name == "selection" and not len(neurons)):
        raise RequestError("nothing is selected: draw a lasso or a box in the map, or export another set")
    content = as_csv(run, question, neurons) if form == "csv" else as_json(neurons)
    return content, f"{neurons.name}.{form}", len(neurons)


def as_json(neurons: NeuronSet) -> str:
    """A set as NeuronSet JSON."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.json"
        neurons.save(path)
        return path.read_text("utf-8")


def as_csv(run: Run, question: Question, neurons: NeuronSet) -> str:
    """A set as a table: layer, neuron, both importances, and the neuron's part of the top p %."""
    sets = map_sets(run, question)
    place = (neurons.layers, neurons.indices)
    membership = np.select([sets[name].mask()[place] for name in PARTS], PARTS, "neither")
    values = {
        f"{name}_{question.statistic}": one[place].astype(float)
        for name, one in zip(AXES, map_importances(run, question), strict=True)
    }
    columns = {"layer": neurons.layers, "neuron": neurons.indices, **values, "membership": membership}
    return str(pd.DataFrame(columns).to_csv(index=False, lineterminator="\n"))
