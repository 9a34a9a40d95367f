"""The pair view: two responses token by token, coloured by reward, neuron or set, and the reward at every token."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from dash import html

from analysis.explorer.answering import Asked
from analysis.explorer.figures import running_reward
from analysis.explorer.reading import SideReading, read_pair, single_neuron
from analysis.explorer.tokens import CONTINUED
from analysis.explorer.views.elements import graph, signed, verdict
from tension_lens.metrics.ties import tie

LOW, HIGH = (213, 94, 0), (0, 114, 178)
"""Okabe and Ito's vermillion and blue, as red, green and blue: below and above the centre."""
STRONGEST = 0.6
"""Opacity at the ends of the scale, at which text stays legible on a light and on a dark page."""


def pair_panel(asked: Asked) -> list[Any]:
    """Margin, tokens of both sides, reward at every token."""
    question, run = asked.question, asked.run
    pair = asked.explorer.catalogue.pair(question)
    with asked.models() as models:
        model = models.get(run.model(question.model))
        neurons = None
        if question.colour == "neuron":
            neurons = single_neuron(model, question.layer, question.neuron, question.site)
        elif question.colour == "set":
            neurons = run.neuron_set(question.set)
        sides = read_pair(model, pair.comparison, neurons)
    what = {
        "reward": "reward at the token",
        "neuron": f"activation of neuron {question.layer}/{question.neuron} (site {question.site})",
        "set": f"mean activation of set {question.set}",
    }[question.colour]
    scale = Scale.over(sides, centred=question.colour == "reward")
    chosen, rejected = (side.reward for side in sides)
    margin = 0.0 if tie(chosen, rejected, model.dtype) else chosen - rejected
    columns = [
        html.Section(
            [
                html.H3([html.Span(name), html.Span(f"reward {signed(side.reward)}", className="number")]),
                _tokens(side, scale, f"{name}: tokens coloured by {what}"),
            ],
            className="side",
        )
        for name, side in zip(pair.sides, sides, strict=True)
    ]
    pooled, starts = zip(*((side.text.pooled, side.text.response_start) for side in sides), strict=True)
    figure = running_reward([side.rewards for side in sides], pair.sides, pooled, starts)
    judged = [html.Strong(signed(margin), id="margin"), html.Span(f" {verdict(margin, pair.sides)}")]
    return [
        html.P(pair.label, className="which"),
        html.P([html.Span("margin "), *judged], className="margin"),
        scale.legend(what),
        html.P(
            "Point at a token, or use the arrow keys in a text, to see its values.", id="token-detail", role="status"
        ),
        html.Div(columns, className="sides"),
        html.H3("Reward at every token"),
        graph(figure, "Reward at every token of both responses"),
    ]


@dataclass(frozen=True)
class Scale:
    """Values to colours: vermillion below the centre, blue above, stronger with the distance."""

    centre: float
    """The value without colour."""
    reach: float
    """Distance from the centre at which the colour is strongest."""

    @classmethod
    def over(cls, sides: tuple[SideReading, SideReading], centred: bool) -> "Scale":
        """One scale for both sides, around their mean if `centred`, else around 0."""
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
        marks = [self.centre + step * self.reach for step in (-1, 0, 1)]
        stops = ", ".join(map(self.colour, marks))
        bar = html.Span(className="ramp", style={"background": f"linear-gradient(90deg, {stops})"})
        numbers = html.Span([html.Span(signed(mark)) for mark in marks], className="ends")
        scale = html.Span([bar, numbers], className="scale")
        return html.Div([html.Span(f"Colour: {what}"), scale], className="legend")


def _tokens(side: SideReading, scale: Scale, label: str) -> html.Div:
    """The tokens of one text. Their text is set as text nodes and attributes, never as markup."""
    spans = []
    rows = zip(side.tokens, side.text.ids, side.values.tolist(), side.rewards.tolist(), strict=True)
    for position, (token, number, value, reward) in enumerate(rows):
        shown = "rest of a character" if token == CONTINUED else f"“{token.strip() or token}”"
        pooled = position == side.text.pooled
        title = (
            f"{shown} · token {position}, id {number} · value {signed(value)} · reward {signed(reward)}"
            f"{' (pooled token: the reward of the response)' if pooled else ''}"
        )
        names = f"t{' response' * (position >= side.text.response_start)}{' pooled' * pooled}"
        spans.append(html.Span(token, className=names, style={"backgroundColor": scale.colour(value)}, title=title))
    return html.Div(spans, className="tokens", tabIndex=0, role="group", dir="ltr", **{"aria-label": label})
