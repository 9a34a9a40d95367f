"""The explorer's figures, as functions of numbers; usable in notebooks too.

Frame and colours are those of `analysis.figures`. The two sides of a pair differ in colour and in dash.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from plotly.graph_objects import Figure

from analysis.figures.frame import frame
from analysis.figures.style import CLEAR, GREY, SIDE_COLOURS, colours
from tension_lens.constants import BUCKETS
from tension_lens.neurons.depth import bucket_of, layer_counts
from tension_lens.neurons.sets import NeuronSet

SIDE_LOOKS = tuple(zip(SIDE_COLOURS.values(), ("solid", "dash"), strict=True))
"""Colour and dash of the first and the second side."""
SYMBOLS = ("circle", "square", "diamond", "cross", "x")
LAYER_SCALE = "Cividis"
REFERENCE = {"color": GREY, "width": 1.5}
BINS = 60
MANY_POINTS = 30_000
"""From this many neurons on, the map's points are smaller, which is legible and faster."""


def _figure(height: int, x: str, y: str, entries: int = 2, **layout: Any) -> Figure:
    figure = frame(height, entries, font={"family": "system-ui, sans-serif", "size": 13}, **layout)
    # The tool bar has a column of its own, so that it never covers a point or the legend.
    tools = {"bgcolor": CLEAR, "color": GREY, "activecolor": SIDE_COLOURS["rejected"], "orientation": "v"}
    figure.update_layout(margin_r=44, modebar=tools)
    figure.update_xaxes(title_text=x, zerolinewidth=1)
    figure.update_yaxes(title_text=y, zerolinewidth=1)
    return figure


def running_reward(
    rewards: Sequence[Float[np.ndarray, " pos"]],
    names: Sequence[str],
    pooled: Sequence[int],
    response_starts: Sequence[int],
) -> Figure:
    """The reward at every token of both texts; a disc marks the pooled token.

    Args:
        rewards: of each text, the reward at every position.
        names: of the texts.
        pooled: position of the pooled token of each text.
        response_starts: position at which each response starts; the first of them is marked.
    """
    figure = _figure(240, "token", "reward at this token", hovermode="closest")
    for values, name, place, (colour, dash) in zip(rewards, names, pooled, SIDE_LOOKS, strict=True):
        hover = {"hovertemplate": f"{name}, token %{{x}}: %{{y:.4f}}<extra></extra>"}
        figure.add_scatter(
            x=np.arange(len(values)), y=values, name=name, mode="lines", line={"color": colour, "dash": dash}, **hover
        )
        disc = {"color": colour, "size": 11, "line": {"color": "#ffffff", "width": 1.5}}
        figure.add_scatter(x=[place], y=[values[place]], mode="markers", marker=disc, showlegend=False, **hover)
    start = min(response_starts) - 0.5
    figure.add_vline(x=start, line={"color": GREY, "dash": "dot"})
    left = {"x": start, "y": 1, "yref": "paper", "xanchor": "right", "xshift": -4}
    figure.add_annotation(text="responses start", showarrow=False, **left)
    return figure


def margin_change(margins: Mapping[str, Float[np.ndarray, " condition"]]) -> Figure:
    """The margin of every model, intact (ring) and ablated (disc), in this order."""
    figure = _figure(30 + 42 * len(margins), "margin (ring: intact, disc: ablated)", "", 0)
    for (name, values), colour in zip(margins.items(), colours(list(margins)), strict=True):
        figure.add_scatter(
            x=values,
            y=[name] * 2,
            mode="lines+markers",
            line={"color": colour, "width": 3},
            marker={"size": 14, "symbol": ["circle-open", "circle"], "color": colour, "line": {"width": 2.5}},
            hovertemplate="%{y}, %{customdata}: margin %{x:.4f}<extra></extra>",
            customdata=["intact", "ablated"],
            showlegend=False,
        )
    figure.add_vline(x=0, line=REFERENCE)
    figure.update_yaxes(autorange="reversed")
    return figure


def margin_sweep(shares: Sequence[float], margins: Mapping[str, Float[np.ndarray, " share"]], ranking: str) -> Figure:
    """Margin of each model against the share of ablated neurons in percent, by the ranking that orders the neurons."""
    figure = _figure(250, f"% of neurons ablated, by {ranking}", "margin", len(margins))
    for number, (name, colour) in enumerate(zip(margins, colours(list(margins)), strict=True)):
        figure.add_scatter(
            x=list(shares),
            y=list(margins[name]),
            name=name,
            mode="lines+markers",
            line={"color": colour},
            marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
            hovertemplate=f"{name}, top %{{x}} % ablated: margin %{{y:.4f}}<extra></extra>",
        )
    figure.add_hline(y=0, line=REFERENCE)
    return figure


def neuron_map(
    importances: Sequence[Float[np.ndarray, "layer neuron"]],
    names: tuple[str, str],
    statistic: str,
    groups: Mapping[str, NeuronSet] | None,
    scale: str = "linear",
) -> Figure:
    """Every neuron as a point, one importance against the other (WebGL).

    Args:
        importances: two arrays of one shape.
        names: of the models they belong to.
        statistic: their name.
        groups: sets to colour by, other neurons being grey; None: colour by layer.
        scale: `linear` or `log` axes; `log` shows only neurons that are positive on both.
    """
    x, y = (f"{name}: {statistic}" for name in names)
    figure = _figure(460, x, y, 4, dragmode="lasso", hovermode="closest", clickmode="event")
    first, second = (one.astype(np.float32).reshape(-1) for one in importances)
    places = np.argwhere(np.ones(importances[0].shape, dtype=bool)).astype(np.int32)
    hover = f"layer %{{customdata[0]}}, neuron %{{customdata[1]}}<br>{names[0]} %{{x:.4g}}, {names[1]} %{{y:.4g}}"

    def points(which: Any, name: str, **marker: Any) -> None:
        figure.add_scattergl(
            x=first[which],
            y=second[which],
            customdata=places[which],
            mode="markers",
            marker={"size": 5 if first.size < MANY_POINTS else 3, "opacity": 0.75, **marker},
            name=name,
            hovertemplate=hover + "<extra></extra>",
            unselected={"marker": {"opacity": 0.2}},
        )

    if groups is None:
        bar = {"orientation": "h", "y": 1, "yanchor": "bottom", "title": {"text": "layer", "side": "top"}}
        scaled = {"color": places[:, 0], "colorscale": LAYER_SCALE, "cmin": 0, "cmax": len(importances[0]) - 1}
        points(slice(None), "neurons", colorbar={**bar, "thickness": 12}, **scaled)
    else:
        masks = {name: one.mask().reshape(-1) for name, one in groups.items()}
        rest = ~np.logical_or.reduce(list(masks.values()))
        points(rest, f"neither ({rest.sum():,})", color=GREY, opacity=0.4)
        for (name, mask), colour in zip(masks.items(), colours(list(masks)), strict=True):
            points(mask, f"{name} ({mask.sum():,})", color=colour)
    figure.update_xaxes(type=scale)
    figure.update_yaxes(type=scale)
    return figure


def depth_by_layer(sets: Mapping[str, NeuronSet]) -> Figure:
    """Share of each set's neurons by layer, in percent; the dashed line is the uniform expectation."""
    x, y = "% of the set (dashed: uniform)", "layer (dotted: thirds)"
    figure = _figure(460, x, y, barmode="group", bargap=0.2)
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
    figure.add_vline(x=100 / n_layers, line={**REFERENCE, "dash": "dash"})
    buckets = [bucket_of(layer, n_layers) for layer in range(n_layers)]
    for bucket in BUCKETS[1:]:
        if bucket in buckets:
            figure.add_hline(y=buckets.index(bucket) - 0.5, line={"color": GREY, "dash": "dot", "width": 1})
    figure.update_yaxes(dtick=max(1, n_layers // 12), gridcolor=CLEAR, zeroline=False)
    return figure


def activation_histogram(activations: Mapping[str, Float[np.ndarray, " token"]]) -> Figure:
    """Histogram of one neuron's activations by side, in percent of the side's tokens (log axis)."""
    figure = _figure(240, "activation", "% of tokens")
    edges = np.histogram_bin_edges(np.concatenate(list(activations.values())), BINS)
    for (side, values), (colour, dash) in zip(activations.items(), SIDE_LOOKS, strict=True):
        share = 100 * np.histogram(values, edges)[0] / max(1, len(values))
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            # A log axis has no 0.
            y=np.where(share > 0, share, np.nan),
            name=f"{side} ({len(values):,} tokens)",
            mode="lines+markers",
            connectgaps=False,
            marker={"size": 4},
            line={"color": colour, "dash": dash, "shape": "hvh"},
            hovertemplate=f"{side}: %{{y:.3g}} % of tokens near %{{x:.3g}}<extra></extra>",
        )
    figure.update_yaxes(type="log")
    return figure
