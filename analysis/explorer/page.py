"""The layout of the page: its controls, and empty panels for the views."""

from collections.abc import Sequence
from typing import Any

from dash import dcc, html

from analysis.explorer.answering import Explorer
from analysis.explorer.state import CHOICES, MAX_CHARACTERS, Question
from analysis.explorer.views.elements import notice
from analysis.explorer.views.neuron_map import EXPORTED
from tension_lens.constants import CHANGE_STATISTIC, CONTRIBUTIONS, SITES, STATISTICS

TABS = {"pair": "Pair", "off": "Ablation", "map": "Neuron map", "neuron": "Neuron"}
RANKINGS = (*STATISTICS, CHANGE_STATISTIC, "contrast", *CONTRIBUTIONS)
"""The selectors that need the scores of one model only."""
ABLATED = {
    "set": "a saved set",
    "bucket": "a depth bucket of the set",
    "random": "a random control of the set",
    "neuron": "one neuron",
    "selection": "the map's selection",
}
COLOURINGS = {"reward": "reward", "neuron": "activation of the neuron", "set": "mean activation of the set"}
CONTROLS = (
    "run", "model", "tab", "source", "data", "item", "typed", "colour", "layer", "neuron", "set", "off", "bucket",
    "draw", "ablation", "statistic", "site", "top", "by", "scale", "region",
)  # fmt: skip
"""Ids of the controls, in the order of NAMES in assets/explorer.js."""
STORES = ("item", "typed", "region")
"""The `CONTROLS` that are not widgets."""
TEXTS = {"prompt": "Prompt", "first": "Response A", "second": "Response B"}
QUESTIONS = ("ask-pair", "ask-off", "ask-map", "ask-depth", "ask-neuron")
PANES = (*TABS, "pair-choice", "type-choice", "pick-choice")


def page(explorer: Explorer) -> html.Div:
    """The layout, rebuilt for every visit from the names that are on disk."""
    runs = explorer.runs.values()
    models = list(dict.fromkeys(name for run in runs for name in run.models))
    sets = list(dict.fromkeys(name for run in runs for name in run.sets))
    stores = [dcc.Store(id=name) for name in (*STORES, *QUESTIONS, "link")]
    header = html.Header(
        [
            html.H1("Tension lens explorer"),
            _dropdown("run", "Run", list(explorer.runs)),
            _dropdown("model", "Model", models, "mixed"),
            html.Div(_options("tab", TABS), className="tabs", role="navigation"),
        ]
    )
    neuron_and_set = _fields(
        _number("layer", "Layer", Question.layer),
        _number("neuron", "Neuron", Question.neuron),
        _dropdown("set", "Set", sets, "shared"),
        _radio("site", "Site", SITES),
    )
    ablated = _fields(
        _radio("off", "Ablate", ABLATED),
        _radio("bucket", "Bucket", CHOICES["bucket"]),
        _number("draw", "Draw of the random control", Question.draw),
        _radio("ablation", "Neurons hold", {"zero": "zero", "mean": "mean"}),
    )
    sweep = [
        html.H3("Margin against p"),
        html.P("The top p % of the chosen model, ranked by the map's statistic and site, ablated in every model."),
        html.Button("Draw the sweep", id="sweep"),
        _panel("sweep-panel"),
    ]
    panes = {
        "pair": [_fields(_radio("colour", "Colour tokens by", COLOURINGS)), _panel("pair-panel")],
        "off": [ablated, _panel("off-panel"), *sweep],
        "map": _map(),
        "neuron": [_panel("neuron-panel"), _panel("driven-panel")],
    }
    main = [
        _pane("pair-choice", [_folding("Pair", _choosing(explorer))]),
        _folding("Neuron and set", [neuron_and_set]),
        *(_pane(name, children) for name, children in panes.items()),
    ]
    always = [dcc.Location(id="url", refresh=False), dcc.Download(id="download"), *stores]
    return html.Div([*always, header, html.Main(main)], id="page")


def _choosing(explorer: Explorer) -> list[Any]:
    words = dcc.Input(id="words", type="search", debounce=0.4, value="", placeholder="words in the pair")
    pick = [
        _fields(_dropdown("data", "Data", list(explorer.catalogue.specs)), _field("Search", words)),
        html.Div(id="hits", className="hits"),
    ]
    areas = [_field(label, dcc.Textarea(id=name, rows=3, value="")) for name, label in TEXTS.items()]
    hint = f"The model's template joins prompt and response. At most {MAX_CHARACTERS:,} characters each."
    read = html.Button("Score this pair", id="read")
    write = [html.P(hint, className="hint"), html.Div(areas, className="texts"), read]
    source = _options("source", {"pick": "Pick a pair", "type": "Type a pair"})
    return [source, _pane("pick-choice", pick), _pane("type-choice", write)]


def _map() -> list[Any]:
    controls = _fields(
        _dropdown("statistic", "Statistic", RANKINGS, Question.statistic),
        _number("top", "Top p, %", Question.top, step="any", max=100),
        _radio("by", "Colour by", CHOICES["by"]),
        _radio("scale", "Axes", CHOICES["scale"]),
    )
    export = _fields(
        _dropdown("export", "Export", EXPORTED),
        html.Button("Neuron set (JSON)", id="export-json"),
        html.Button("Table (CSV)", id="export-csv"),
        html.Button("Map (HTML)", id="export-html"),
        html.Span(id="export-status", role="status"),
    )
    hint = html.P("Draw a lasso or a box to select neurons. Click a point to open its neuron.", className="hint")
    return [controls, hint, html.Div([_panel("map-panel"), _panel("depth-panel")], className="beside"), export]


def _panel(name: str) -> Any:
    overlay = {"visibility": "visible", "opacity": 0.5}
    return dcc.Loading(html.Div(notice("Loading …"), id=name), delay_show=300, overlay_style=overlay, type="dot")


def _pane(name: str, children: list[Any]) -> html.Div:
    return html.Div(children, id=f"pane-{name}", className="pane")


def _folding(title: str, children: list[Any]) -> html.Details:
    return html.Details([html.Summary(title), *children], open=True)


def _fields(*fields: Any) -> html.Div:
    return html.Div(list(fields), className="fields")


def _field(label: str, widget: Any) -> html.Div:
    return html.Div([html.Label(label, htmlFor=widget.id), widget], className="field")


def _dropdown(name: str, label: str, options: Sequence[str], preferred: str | None = None) -> html.Div:
    value = preferred if preferred in options else next(iter(options), None)
    return _field(label, dcc.Dropdown(id=name, options=list(options), value=value, clearable=False))


def _radio(name: str, label: str, options: Sequence[str] | dict[str, str]) -> html.Div:
    return _field(label, _options(name, options if isinstance(options, dict) else {one: one for one in options}))


def _options(name: str, labels: dict[str, str]) -> dcc.RadioItems:
    return dcc.RadioItems(id=name, options=labels, value=next(iter(labels)), inline=True)


def _number(name: str, label: str, value: float, **more: Any) -> html.Div:
    settings = {"step": 1, **more}
    return _field(label, dcc.Input(id=name, type="number", value=value, min=0, debounce=True, **settings))
