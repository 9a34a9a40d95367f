"""The explorer's figures as plain functions of numbers, for notebooks too. Backgrounds are clear: the page's own shows.

Colours are those of `analysis.figures.style`; the two sides of a pair differ in colour and in dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analysis.figures.style import CLEAR, GREY, colours, translucent
from tension_lens.constants import BUCKETS
from tension_lens.neurons.depth import bucket_of, layer_counts
from tension_lens.neurons.sets import NeuronSet

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SIDE_LOOKS = (("#1B9E77", "solid"), ("#AA4499", "dash"))
"""Colour and dash of the first and the second side; both show on a light and on a dark page."""
LAYER_SCALE = "Cividis"
GRID = translucent(GREY, 0.25)
FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#777777"}
BINS = 60
MANY_POINTS = 30_000
"""From here on the map's points are smaller: they would hide each other, and large ones take longer to draw."""


@dataclass(frozen=True)
class Effect:
    """The rewards of one pair by one model, intact and with neurons off: (first side, second side)."""

    model: str
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def margins(self) -> tuple[float, float]:
        """First minus second reward, before and after."""
        return self.before[0] - self.before[1], self.after[0] - self.after[1]


def _styled(figure: "Figure", height: int, **layout: Any) -> "Figure":
    figure.update_layout(
        template="none",
        height=height,
        font=FONT,
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        margin={"l": 62, "r": 44, "t": 14, "b": 46},
        modebar={"bgcolor": CLEAR, "color": GREY, "activecolor": SIDE_LOOKS[1][0], "orientation": "v"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"bgcolor": "#333333", "font": {"color": "#ffffff"}},
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GREY, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GREY, automargin=True)
    figure.update_layout(**layout)
    return figure


def running_reward(
    rewards: Sequence[Float[np.ndarray, " pos"]],
    names: Sequence[str],
    pooled: Sequence[int],
    response_starts: Sequence[int],
) -> "Figure":
    """The reward read at every token of both texts; a disc marks the token whose reward counts.

    Args:
        rewards: of each text the reward at every position.
        names: of the texts.
        pooled: the position at which each text's reward is read.
        response_starts: where each response starts; the first of them is marked.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for values, name, place, (colour, dash) in zip(rewards, names, pooled, SIDE_LOOKS, strict=True):
        hover = f"{name}, token %{{x}}: %{{y:.4f}}<extra></extra>"
        figure.add_scatter(
            x=np.arange(len(values)), y=values, name=name, line={"color": colour, "dash": dash}, hovertemplate=hover
        )
        figure.add_scatter(
            x=[place],
            y=[values[place]],
            mode="markers",
            marker={"color": colour, "size": 11, "line": {"color": "#ffffff", "width": 1.5}},
            hovertemplate=hover,
            showlegend=False,
        )
    figure.add_vline(x=min(response_starts) - 0.5, line={"color": GREY, "dash": "dot"})
    where = {"x": min(response_starts) - 0.5, "y": 1, "yref": "paper", "xanchor": "right", "xshift": -4}
    figure.add_annotation(text="responses start", showarrow=False, **where)
    return _styled(figure, 300, xaxis_title="token", yaxis_title="reward read here", hovermode="closest")


def margin_change(effects: Sequence[Effect]) -> "Figure":
    """Of every model the margin before (ring) and after (disc); the line between them is the change."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for effect, colour in zip(effects, colours([effect.model for effect in effects]), strict=True):
        before, after = effect.margins
        figure.add_scatter(
            x=[before, after],
            y=[effect.model] * 2,
            mode="lines+markers",
            line={"color": colour, "width": 3},
            marker={"size": 14, "symbol": ["circle-open", "circle"], "color": colour, "line": {"width": 2.5}},
            hovertemplate="%{y}, %{customdata}: margin %{x:.4f}<extra></extra>",
            customdata=["before", "after"],
            showlegend=False,
        )
    figure.add_vline(x=0, line={"color": GREY, "width": 1.5})
    height = 90 + 42 * len(effects)
    title = "margin (ring: before, disc: after)"
    return _styled(figure, height, xaxis_title=title, yaxis={"autorange": "reversed", "gridcolor": GRID})


def margin_sweep(shares: Sequence[float], margins: Mapping[str, Sequence[float]], ranking: str) -> "Figure":
    """Margin against the share of neurons switched off, a line for each model.

    Args:
        shares: percent of all neurons, from 0 (the intact model).
        margins: of each model one for every share.
        ranking: what the neurons were ranked by.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    symbols = ("circle", "square", "diamond", "cross", "x")
    for number, (name, colour) in enumerate(zip(margins, colours(list(margins)), strict=True)):
        figure.add_scatter(
            x=list(shares),
            y=list(margins[name]),
            name=name,
            mode="lines+markers",
            line={"color": colour},
            marker={"symbol": symbols[number % len(symbols)], "size": 8},
            hovertemplate=f"{name}, top %{{x}} % off: margin %{{y:.4f}}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": GREY, "width": 1.5})
    return _styled(figure, 320, xaxis_title=f"% of neurons off, by {ranking}", yaxis_title="margin")


def neuron_map(
    importances: Sequence[Float[np.ndarray, "layer neuron"]],
    names: tuple[str, str],
    statistic: str,
    groups: Mapping[str, NeuronSet] | None,
    scale: str = "linear",
) -> "Figure":
    """Every neuron as a point, one importance against the other (WebGL).

    Args:
        importances: the two, of one shape.
        names: of the models they are of.
        statistic: what they are.
        groups: sets to colour by, those of no set being grey; None colours by layer.
        scale: `linear` or `log` axes; on `log` a neuron that is not positive on both cannot be shown.
    """
    import plotly.graph_objects as go

    first, second = (importance.astype(np.float32).reshape(-1) for importance in importances)
    n_layers, d_mlp = importances[0].shape
    places = np.stack([np.repeat(np.arange(n_layers), d_mlp), np.tile(np.arange(d_mlp), n_layers)], axis=1)
    places = places.astype(np.int32)
    hover = f"layer %{{customdata[0]}}, neuron %{{customdata[1]}}<br>{names[0]} %{{x:.4g}}, {names[1]} %{{y:.4g}}"
    figure = go.Figure()

    def points(which: Any, name: str, marker: dict[str, Any]) -> None:
        figure.add_scattergl(
            x=first[which],
            y=second[which],
            customdata=places[which],
            mode="markers",
            marker={"size": 5 if first.size < MANY_POINTS else 3, "opacity": 0.75, **marker},
            name=name,
            hovertemplate=hover + "<extra></extra>",
            # What lies outside a selection is greyed, not hidden.
            unselected={"marker": {"opacity": 0.2}},
        )

    if groups is None:
        bar = {"title": {"text": "layer"}, "thickness": 14}
        scaled = {"color": places[:, 0], "colorscale": LAYER_SCALE, "colorbar": bar, "cmin": 0, "cmax": n_layers - 1}
        points(slice(None), "neurons", scaled)
    else:
        rest = np.ones(first.size, dtype=bool)
        masks = {}
        for name, one in groups.items():
            masks[name] = one.mask().reshape(-1)
            rest &= ~masks[name]
        points(rest, f"neither ({rest.sum():,})", {"color": GREY, "opacity": 0.4})
        for (name, mask), colour in zip(masks.items(), colours(list(masks)), strict=True):
            points(mask, f"{name} ({mask.sum():,})", {"color": colour})
    figure.update_xaxes(title_text=f"{names[0]}: {statistic}", type=scale)
    figure.update_yaxes(title_text=f"{names[1]}: {statistic}", type=scale)
    return _styled(figure, 560, dragmode="lasso", hovermode="closest", clickmode="event")


def depth_by_layer(sets: Mapping[str, NeuronSet]) -> "Figure":
    """In which layers the neurons of sets lie, percent of each set; the dashed line is what chance would give."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for (name, one), colour in zip(sets.items(), colours(list(sets)), strict=True):
        counts = layer_counts(one)
        figure.add_bar(
            y=list(range(one.n_layers)),
            x=100 * counts / max(1, len(one)),
            orientation="h",
            name=f"{name} ({len(one):,})",
            marker_color=colour,
            customdata=[[int(count), bucket_of(layer, one.n_layers)] for layer, count in enumerate(counts)],
            hovertemplate="layer %{y} (%{customdata[1]}): %{customdata[0]} neurons, %{x:.1f} %<extra></extra>",
        )
    n_layers = next(iter(sets.values())).n_layers
    figure.add_vline(x=100 / n_layers, line={"color": GREY, "dash": "dash", "width": 1.5})
    for bucket in BUCKETS[1:]:
        first = next((layer for layer in range(n_layers) if bucket_of(layer, n_layers) == bucket), None)
        if first is not None:
            figure.add_hline(y=first - 0.5, line={"color": GREY, "dash": "dot", "width": 1})
    axis = {"title": {"text": "layer (dotted: thirds)"}, "dtick": max(1, n_layers // 12), "gridcolor": CLEAR}
    return _styled(figure, 560, xaxis_title="% of the set (dashed: chance)", yaxis=axis, barmode="group", bargap=0.2)


def activation_histogram(activations: Mapping[str, Float[np.ndarray, " token"]]) -> "Figure":
    """The activations of one neuron on either side, percent of that side's tokens in each of `BINS` bins (log axis)."""
    import plotly.graph_objects as go

    everything = np.concatenate(list(activations.values()))
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    figure = go.Figure()
    for (side, values), (colour, dash) in zip(activations.items(), SIDE_LOOKS, strict=True):
        share = 100 * np.histogram(values, edges)[0] / max(1, len(values))
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            # An empty bin has no place on a log axis.
            y=np.where(share > 0, share, np.nan),
            name=f"{side} ({len(values):,} tokens)",
            mode="lines+markers",
            connectgaps=False,
            marker={"size": 4},
            line={"color": colour, "dash": dash, "shape": "hvh"},
            hovertemplate=f"{side}: %{{y:.3g}} % of tokens near %{{x:.3g}}<extra></extra>",
        )
    return _styled(figure, 300, xaxis_title="activation", yaxis={"title": {"text": "% of tokens"}, "type": "log"})
