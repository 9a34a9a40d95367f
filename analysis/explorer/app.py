"""The Dash app: callbacks of the page, and its security headers.

The browser gathers the state of the controls (assets/explorer.js), writes it into the URL, and sends it as a request to
each view on the screen that it concerns.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from analysis.explorer.answering import Asked, Explorer, answer
from analysis.explorer.page import CONTROLS, PANES, QUESTIONS, STORES, TEXTS, page
from analysis.explorer.state import Question
from analysis.explorer.views.ablation import ablation_panel, sweep_panel
from analysis.explorer.views.elements import notice
from analysis.explorer.views.neuron_map import GRAPH_ID, depth_panel, export, map_panel
from analysis.explorer.views.neuron_page import driven_panel, neuron_panel
from analysis.explorer.views.pair_view import pair_panel
from tension_lens.errors import RequestError

VIEWS: dict[str, Callable[[Asked], list[Any]]] = {
    "pair": pair_panel,
    "off": ablation_panel,
    "map": map_panel,
    "depth": depth_panel,
    "neuron": neuron_panel,
}
FORMS = ("json", "csv", "html")


def make_app(explorer: Explorer, only_local: bool = True) -> Dash:
    """The explorer as a Dash app.

    Args:
        explorer: what it serves.
        only_local: answer only requests whose Host header is a loopback address. This stops DNS rebinding: a web site
            cannot reach the page through a host name that it resolves to this machine.
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
    for view, panel in VIEWS.items():
        _answer(app, explorer, view, panel)
    _follow_ups(app, explorer)
    _search(app, explorer)
    _export(app, explorer)
    # Plotly's WebGL compiles functions at run time, which needs unsafe-eval; every script comes from this server.
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
    """The callbacks that run in the browser: functions of assets/explorer.js."""

    def values(part: type) -> list[Any]:
        return [part(name, "data" if name in STORES else "value") for name in CONTROLS]

    def run(function: str, *parts: Any, **more: Any) -> None:
        app.clientside_callback(ClientsideFunction("explorer", function), *parts, **more)

    texts = [Output(name, "value") for name in TEXTS]
    run("restore", *values(Output), *texts, Input("url", "hash"), Input("link", "data"))
    questions = [Output(name, "data") for name in QUESTIONS]
    run("ask", *questions, *(Output(f"pane-{pane}", "className") for pane in PANES), *values(Input))
    for function, *inputs in (
        ("type", Input("read", "n_clicks"), *(State(name, "value") for name in TEXTS)),
        ("select", Input(GRAPH_ID, "selectedData"), State("ask-map", "data")),
        ("open", Input(GRAPH_ID, "clickData")),
    ):
        run(function, Output("link", "data", allow_duplicate=True), *inputs, prevent_initial_call=True)


def _answer(app: Dash, explorer: Explorer, view: str, panel: Callable[[Asked], list[Any]]) -> None:
    @app.callback(Output(f"{view}-panel", "children"), Input(f"ask-{view}", "data"))  # type: ignore[untyped-decorator]
    def show(asked: dict[str, Any] | None) -> Any:
        return answer(explorer, view, asked, panel)


def _follow_ups(app: Dash, explorer: Explorer) -> None:
    # Top examples read many texts, so they start after the first part of the neuron view is shown.
    @app.callback(  # type: ignore[untyped-decorator]
        Output("driven-panel", "children"), Input("neuron-panel", "children"), State("ask-neuron", "data")
    )
    def driven(_: Any, asked: dict[str, Any] | None) -> Any:
        return answer(explorer, "driven", asked, driven_panel)

    @app.callback(  # type: ignore[untyped-decorator]
        Output("sweep-panel", "children"), Input("sweep", "n_clicks"), Input("ask-off", "data")
    )
    def sweep(_: int | None, asked: dict[str, Any] | None) -> Any:
        if ctx.triggered_id != "sweep":
            # A new request clears the sweep of the last one.
            return notice("Press the button to draw the margin against p for this pair.")
        return answer(explorer, "sweep", asked, sweep_panel)


def _search(app: Dash, explorer: Explorer) -> None:
    @app.callback(  # type: ignore[untyped-decorator]
        Output("hits", "children"), Input("data", "value"), Input("words", "value")
    )
    def search(data: str | None, words: str | None) -> Any:
        try:
            found, count = explorer.catalogue.search(str(data), str(words or "")[:200])
        except RequestError as error:
            return notice(str(error))
        if not found:
            return notice(f"no pair of {data} contains all these words")
        buttons = [html.Button(label, className="go hit", **{"data-item": item}) for item, label in found]
        shown = f"{count:,} pairs" if count == len(found) else f"{count:,} pairs, first {len(found)} shown"
        return [html.P(shown, className="count", role="status"), *buttons]


def _export(app: Dash, explorer: Explorer) -> None:
    @app.callback(  # type: ignore[untyped-decorator]
        Output("download", "data"),
        Output("export-status", "children"),
        *(Input(f"export-{form}", "n_clicks") for form in FORMS),
        State("ask-depth", "data"),
        State("ask-map", "data"),
        State("export", "value"),
        prevent_initial_call=True,
    )
    def save(*states: Any) -> tuple[Any, Any]:
        depth, shown, name = states[len(FORMS) :]
        try:
            # The map's request has the colouring, the depth's request the selection.
            question = Question.of({**(shown or {}), **(depth or {})})
            form = str(ctx.triggered_id).removeprefix("export-")
            content, file, count = export(explorer.run(question.run), question, name, form)
        except RequestError as error:
            return no_update, notice(str(error))
        size = "" if count is None else f", {count:,} neurons"
        return dcc.send_string(content, file), f"Written: {file}{size}"
