"""The page: its controls, and who answers when they change.

What the controls say is gathered in the browser (assets/explorer.js), written into the URL, and sent as one question to
each view whose part of it has changed and that is on the screen.
"""

from importlib.resources import files
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from analysis.explorer.state import COLOUR_BY, COLOURINGS, MAX_CHARACTERS, SCALES, Question
from analysis.explorer.views import neuron_map, neuron_page, pair_view, what_if
from analysis.explorer.views.answering import Explorer, refusal
from analysis.explorer.views.neuron_map import EXPORTED
from tension_lens.constants import ABLATIONS, BUCKETS, CHANGE_STATISTIC, CONTRIBUTIONS, SITES, STATISTICS
from tension_lens.errors import RequestError

TABS = {"pair": "Pair", "off": "What if", "map": "Neuron map", "neuron": "Neuron"}
RANKINGS = (*STATISTICS, CHANGE_STATISTIC, "contrast", *CONTRIBUTIONS)
"""The selectors that need the scores of one kind of data alone."""
OFF_LABELS = {
    "set": "a saved set",
    "bucket": "a depth bucket of it",
    "random": "a random set of its size",
    "neuron": "one neuron",
    "selection": "the map's selection",
}
CONTROLS = (
    "run", "model", "tab", "source", "data", "item", "typed", "colour", "layer", "neuron", "set", "off", "bucket",
    "draw", "ablation", "statistic", "site", "top", "by", "scale", "region",
)  # fmt: skip
"""Ids of what a reader sets, in the order in which assets/explorer.js takes them."""
STORES = ("item", "typed", "region")
"""Those of `CONTROLS` that are no widgets."""
QUESTIONS = ("ask-pair", "ask-off", "ask-map", "ask-depth", "ask-neuron")
PANES = (*TABS, "pair-choice", "type-choice", "pick-choice")


def make_app(explorer: Explorer, only_local: bool = True) -> Dash:
    """The explorer as a Dash app.

    Args:
        explorer: what it serves.
        only_local: answer only to requests that name this machine's loopback address as their host, so that no web
            site can reach the page through a name that it makes point here.
    """
    app = Dash(
        "analysis.explorer",
        title="tension lens explorer",
        assets_folder=str(files("analysis") / "explorer" / "assets"),
        serve_locally=True,
        suppress_callback_exceptions=True,
        update_title="Working … tension lens explorer",
    )
    app.layout = lambda: page(explorer)
    _clientside(app)
    _search(app, explorer)
    for view in (pair_view, what_if, neuron_map, neuron_page):
        view.register(app, explorer)
    # WebGL drawing makes functions at run time, which is what unsafe-eval allows; nothing comes from elsewhere.
    scripts = " ".join(app.csp_hashes())
    policy = (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    if only_local:
        app.server.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost", "[::1]"]

    @app.server.after_request  # type: ignore[untyped-decorator]
    def secure(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return app


def _clientside(app: Dash) -> None:
    def values(part: type) -> list[Any]:
        return [part(name, "data" if name in STORES else "value") for name in CONTROLS]

    texts = [Output(name, "value") for name in ("prompt", "first", "second")]
    app.clientside_callback(
        ClientsideFunction("explorer", "restore"),
        *values(Output),
        *texts,
        Input("url", "hash"),
        Input("link", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("explorer", "ask"),
        *(Output(name, "data") for name in QUESTIONS),
        *(Output(name, "className") for name in (f"pane-{pane}" for pane in PANES)),
        *values(Input),
    )
    app.clientside_callback(
        ClientsideFunction("explorer", "type"),
        Output("link", "data", allow_duplicate=True),
        Input("read", "n_clicks"),
        *(State(name, "value") for name in ("prompt", "first", "second")),
        prevent_initial_call=True,
    )
    graph = neuron_map.GRAPH_ID
    app.clientside_callback(
        ClientsideFunction("explorer", "select"),
        Output("link", "data", allow_duplicate=True),
        Input(graph, "selectedData"),
        State("ask-map", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("explorer", "open"),
        Output("link", "data", allow_duplicate=True),
        Input(graph, "clickData"),
        prevent_initial_call=True,
    )


def _search(app: Dash, explorer: Explorer) -> None:
    @app.callback(  # type: ignore[untyped-decorator]
        Output("hits", "children"), Input("data", "value"), Input("words", "value")
    )
    def search(data: str | None, words: str | None) -> Any:
        try:
            found, count = explorer.catalogue.search(str(data), str(words or "")[:200])
        except RequestError as error:
            return refusal(str(error))
        if not found:
            return refusal(f"no pair of {data} holds all these words; leave one out")
        buttons = [html.Button(label, className="go hit", **{"data-item": item}) for item, label in found]
        shown = f"{count:,} pairs" if count == len(found) else f"{count:,} pairs, the first {len(found)}"
        return [html.P(shown, className="count", role="status"), *buttons]


def page(explorer: Explorer) -> html.Div:
    """The layout, made anew for every visitor: the names in it are those on disk now."""
    runs = explorer.runs.values()
    models = list(dict.fromkeys(name for run in runs for name in run.models))
    sets = list(dict.fromkeys(name for run in runs for name in run.sets))
    stores = [dcc.Store(id=name) for name in (*STORES, *QUESTIONS, "link")]
    header = html.Header(
        [
            html.H1("Tension lens explorer"),
            _field("Run", _dropdown("run", list(explorer.runs))),
            _field("Model", _dropdown("model", models, "mixed" if "mixed" in models else None)),
            html.Div(_radio("tab", TABS, "pair"), className="tabs", role="navigation"),
        ]
    )
    panes = {
        "pair": [_colouring(), _panel("pair-panel")],
        "off": [_switching(sets), _panel("off-panel"), _sweep()],
        "map": _map(),
        "neuron": [_panel("neuron-panel"), _panel("driven-panel")],
    }
    main = [
        _pane("pair-choice", _choosing(explorer)),
        html.Details(
            [
                html.Summary("Neuron and set"),
                html.Div(
                    [
                        _field("Layer", _number("layer", Question.layer)),
                        _field("Neuron", _number("neuron", Question.neuron)),
                        _field("Set", _dropdown("set", sets, "shared" if "shared" in sets else None)),
                        _field("Site", _radio("site", SITES, Question.site)),
                    ],
                    className="fields",
                ),
            ],
            open=True,
        ),
        *(_pane(name, children) for name, children in panes.items()),
    ]
    return html.Div(
        [dcc.Location(id="url", refresh=False), dcc.Download(id="download"), *stores, header, html.Main(main)],
        id="page",
    )


def _choosing(explorer: Explorer) -> list[Any]:
    specs = list(explorer.catalogue.specs)
    words = dcc.Input(id="words", type="search", debounce=0.4, value="", placeholder="words the pair holds")
    pick = [
        html.Div([_field("Data", _dropdown("data", specs)), _field("Search", words)], className="fields"),
        html.Div(id="hits", className="hits"),
    ]
    limit = f"up to {MAX_CHARACTERS:,} characters each"
    write = [
        html.P(f"Text is shown to the model as its template says; {limit}.", className="hint"),
        html.Div(
            [
                _field("Prompt", dcc.Textarea(id="prompt", rows=3, value="")),
                _field("Response A", dcc.Textarea(id="first", rows=3, value="")),
                _field("Response B", dcc.Textarea(id="second", rows=3, value="")),
            ],
            className="texts",
        ),
        html.Button("Read this pair", id="read"),
    ]
    source = _radio("source", {"pick": "Pick a pair", "type": "Type a pair"}, "pick")
    return [
        html.Details(
            [html.Summary("Which pair"), source, _pane("pick-choice", pick), _pane("type-choice", write)], open=True
        )
    ]


def _colouring() -> html.Div:
    labels = dict(zip(COLOURINGS, ("the reward", "the neuron's activation", "the set's mean"), strict=True))
    return html.Div(_field("Colour tokens by", _radio("colour", labels, "reward")), className="fields")


def _switching(sets: list[str]) -> html.Div:
    return html.Div(
        [
            _field("Switch off", _radio("off", OFF_LABELS, "set")),
            _field("Bucket", _radio("bucket", BUCKETS, "early")),
            _field("Draw of the random set", _number("draw", 0)),
            _field(
                "Neurons hold", _radio("ablation", dict(zip(ABLATIONS, ("zero", "their mean"), strict=True)), "zero")
            ),
        ],
        className="fields",
    )


def _sweep() -> html.Div:
    return html.Div(
        [
            html.H3("Margin against p"),
            html.P(
                "The top p % of the model chosen above, ranked by the map's statistic and site, off in every model."
            ),
            html.Button("Draw the sweep", id="sweep"),
            _panel("sweep-panel"),
        ]
    )


def _map() -> list[Any]:
    controls = html.Div(
        [
            _field("Statistic", _dropdown("statistic", list(RANKINGS), Question.statistic)),
            _field("Top p, %", _number("top", Question.top, step="any", maximum=100)),
            _field("Colour by", _radio("by", COLOUR_BY, "membership")),
            _field("Axes", _radio("scale", SCALES, "linear")),
        ],
        className="fields",
    )
    export = html.Div(
        [
            _field("Export", _dropdown("export", list(EXPORTED), "selection")),
            html.Button("Neuron set (JSON)", id="export-json"),
            html.Button("Table (CSV)", id="export-csv"),
            html.Button("Map (HTML)", id="export-html"),
            html.Span(id="export-status", role="status"),
        ],
        className="fields",
    )
    hint = html.P("Drag to select; the depth beside follows. Click a point to open its neuron.", className="hint")
    return [controls, hint, html.Div([_panel("map-panel"), _panel("depth-panel")], className="beside"), export]


def _panel(name: str) -> Any:
    waiting = html.P("Waiting for a first answer …", className="empty")
    overlay = {"visibility": "visible", "opacity": 0.5}
    return dcc.Loading(html.Div(waiting, id=name), delay_show=300, overlay_style=overlay, type="dot")


def _pane(name: str, children: list[Any]) -> html.Div:
    return html.Div(children, id=f"pane-{name}", className="pane")


def _field(label: str, widget: Any) -> html.Div:
    return html.Div([html.Label(label, htmlFor=getattr(widget, "id", None)), widget], className="field")


def _dropdown(name: str, options: list[str], value: str | None = None) -> dcc.Dropdown:
    first = options[0] if options else None
    return dcc.Dropdown(id=name, options=options, value=value or first, clearable=False)


def _radio(name: str, options: Any, value: str) -> dcc.RadioItems:
    labels = options if isinstance(options, dict) else {one: one for one in options}
    return dcc.RadioItems(id=name, options=labels, value=value, inline=True)


def _number(name: str, value: float, step: Any = 1, maximum: float | None = None) -> dcc.Input:
    return dcc.Input(id=name, type="number", value=value, min=0, max=maximum, step=step, debounce=True)
