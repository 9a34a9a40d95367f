"""Small parts of the page that the views share."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from dash import dcc, html

from analysis.figures.style import PLOT_CONFIG


def notice(message: str) -> html.P:
    """A message in the place of a panel's content."""
    return html.P(message, className="empty", role="status")


def graph(figure: Any, label: str, tools: bool = True, **more: Any) -> html.Div:
    """A figure with a label for screen readers."""
    config = PLOT_CONFIG if tools else {**PLOT_CONFIG, "displayModeBar": False}
    plot = dcc.Graph(figure=figure, config=config, style={"height": f"{figure.layout.height}px"}, **more)
    return html.Div(plot, role="group", className="plot", **{"aria-label": label})


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], caption: str, **more: Any) -> html.Div:
    """A table; the first cell of each row is its heading."""
    body = [html.Tr([html.Th(row[0], scope="row"), *(html.Td(cell) for cell in row[1:])]) for row in rows]
    header = html.Thead(html.Tr([html.Th(name, scope="col") for name in head]))
    return html.Div(html.Table([html.Caption(caption), header, html.Tbody(body)], **more), className="scroll")


def link(label: str, state: Mapping[str, str]) -> html.Button:
    """A button that sets some of the page's controls."""
    return html.Button(label, className="go", **{"data-state": urlencode(state)})


def signed(number: float, form: str = "+.4f") -> str:
    """A number with a typographic minus, by default with its sign and four decimals."""
    return f"{number:{form}}".replace("-", "−")


def verdict(margin: float, sides: tuple[str, str]) -> str:
    """The response that a model prefers, in words; a margin of 0 is a tie."""
    return f"prefers {sides[int(margin < 0)]}" if margin else "a tie"
