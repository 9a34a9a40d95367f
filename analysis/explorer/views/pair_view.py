"""The pair view: two responses token by token, coloured by a neuron, a set or the reward; the reward as it runs."""

from typing import Any

import numpy as np
from dash import Dash, Input, Output, html

from analysis.explorer.figures import running_reward
from analysis.explorer.reading import CONTINUED, SideReading, read_pair, single_neuron
from analysis.explorer.views.answering import Asked, Explorer, answer, graph, signed

LOW, HIGH = (213, 94, 0), (0, 114, 178)
"""Okabe and Ito's vermillion and blue, as red, green and blue: below and above the centre."""
STRONGEST = 0.6
"""Opacity at the end of the scale, at which ink on it still reads in light and in dark."""


def register(app: Dash, explorer: Explorer) -> None:
    """Let the page ask for the view."""

    @app.callback(Output("pair-panel", "children"), Input("ask-pair", "data"))  # type: ignore[untyped-decorator]
    def show(asked: dict[str, Any] | None) -> Any:
        return answer(explorer, "pair", asked, pair_panel)


def pair_panel(asked: Asked) -> list[Any]:
    """Margin, tokens of both sides, running reward."""
    question, explorer = asked.question, asked.explorer
    run = explorer.run(question.run)
    pair = explorer.catalogue.pair(question)
    with asked.models() as models:
        model = models.get(run.model(question.model))
        neurons = None
        if question.colour == "neuron":
            neurons = single_neuron(model, question.layer, question.neuron, question.site)
        elif question.colour == "set":
            neurons = run.neuron_set(question.set)
        sides = read_pair(model, pair.comparison, neurons)
    what = {
        "reward": "the reward read at the token",
        "neuron": f"the activation of neuron {question.layer}/{question.neuron} (site {question.site})",
        "set": f"the mean activation of set {question.set}",
    }[question.colour]
    scale = Scale.over(sides, centred=question.colour == "reward")
    first, second = (side.reward for side in sides)
    columns = [
        html.Section(
            [
                html.H3([html.Span(name), html.Span(f"reward {signed(side.reward)}", className="number")]),
                tokens(side, scale, f"{name}: tokens coloured by {what}"),
            ],
            className="side",
        )
        for name, side in zip(pair.sides, sides, strict=True)
    ]
    starts = [sum(not token.in_response for token in side.tokens) for side in sides]
    pooled = [next(i for i, token in enumerate(side.tokens) if token.pooled) for side in sides]
    figure = running_reward([side.rewards for side in sides], pair.sides, pooled, starts)
    return [
        html.P([html.Span(pair.name, className="name")], className="which"),
        html.P(
            [
                html.Span("margin "),
                html.Strong(signed(first - second), id="margin"),
                html.Span(f" {verdict(first - second, pair.sides)}"),
            ],
            className="margin",
        ),
        scale.legend(what),
        html.P("Hover or use the arrow keys in a text to read a token.", id="token-detail", role="status"),
        html.Div(columns, className="sides"),
        html.H3("Reward as the text goes on"),
        graph(figure, "Reward read at every token of both responses"),
    ]


def verdict(margin: float, sides: tuple[str, str]) -> str:
    """Which response a model prefers, in words."""
    if margin == 0:
        return "a tie"
    return f"prefers {sides[0] if margin > 0 else sides[1]}"


class Scale:
    """From values to colours: vermillion below the centre, blue above, stronger the further away.

    Args:
        centre: the value without colour.
        reach: the distance from it at which colour is strongest.
    """

    def __init__(self, centre: float, reach: float) -> None:
        self.centre, self.reach = centre, reach

    @classmethod
    def over(cls, sides: tuple[SideReading, SideReading], centred: bool) -> "Scale":
        """A scale for both sides; around their mean if `centred`, else around 0."""
        values = np.concatenate([side.values for side in sides])
        centre = float(values.mean()) if centred else 0.0
        return cls(centre, float(np.abs(values - centre).max()) or 1.0)

    def colour(self, value: float) -> str:
        """The CSS colour of a value."""
        share = (value - self.centre) / self.reach
        red, green, blue = HIGH if share > 0 else LOW
        return f"rgba({red},{green},{blue},{STRONGEST * min(1.0, abs(share)):.3f})"

    def legend(self, what: str) -> html.Div:
        """The scale as a bar with its numbers."""
        ends = [signed(self.centre + step * self.reach) for step in (-1, 0, 1)]
        stops = ", ".join(self.colour(self.centre + step * self.reach) for step in (-1, 0, 1))
        bar = html.Span(className="ramp", style={"background": f"linear-gradient(90deg, {stops})"})
        numbers = html.Span([html.Span(end) for end in ends], className="ends")
        return html.Div(
            [html.Span(f"Colour: {what}"), html.Span([bar, numbers], className="scale")], className="legend"
        )


def tokens(side: SideReading, scale: Scale, label: str) -> html.Div:
    """The tokens of one text. Letters are text children and attributes, never markup."""
    spans = []
    for position, (token, value, reward) in enumerate(zip(side.tokens, side.values, side.rewards, strict=True)):
        shown = "rest of a character" if token.text == CONTINUED else f"“{token.text.strip() or token.text}”"
        names = ["t", *(["response"] if token.in_response else []), *(["pooled"] if token.pooled else [])]
        read = " (the reward is read here)" if token.pooled else ""
        spans.append(
            html.Span(
                token.text,
                className=" ".join(names),
                style={"backgroundColor": scale.colour(float(value))},
                title=f"{shown} · token {position}, id {token.id} · value {signed(float(value))} "
                f"· reward {signed(float(reward))}{read}",
            )
        )
    return html.Div(spans, className="tokens", tabIndex=0, role="group", dir="ltr", **{"aria-label": label})
