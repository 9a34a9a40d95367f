"""Depth of the neuron sets of one model: thirds of the layers, and single layers."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from analysis.figures.frame import AXIS_HEIGHT, GRID, frame
from analysis.figures.style import INK, colours
from analysis.tables.depth import depth_table
from tension_lens.constants import BUCKETS
from tension_lens.neurons.depth import layer_counts
from tension_lens.neurons.sets import NeuronSet

BUCKET_ROW_HEIGHT, LAYER_ROW_HEIGHT, TITLE_HEIGHT = 330, 150, 50


def depth_figure(sets: Sequence[NeuronSet], title: str = "", meta: Mapping[str, str] | None = None) -> go.Figure:
    """Fraction of every set in each depth bucket next to the uniform expectation, and a histogram over layers per set.

    Percentages are of the set's own neurons. The outlined bars and dashed lines are the expectation for a uniformly
    drawn set.

    Args:
        sets: of one network, with different names.
        title: a heading of the figure.
        meta: of every trace, such as the backbone and seed that a page filters by.

    Raises:
        RequestError: if there is no set, two have the same name, or their networks differ in shape.
    """
    table = depth_table(sets)
    n_layers = sets[0].n_layers
    heights = [BUCKET_ROW_HEIGHT] + [LAYER_ROW_HEIGHT] * len(sets)
    figure = frame(sum(heights), 1 + len(sets), barmode="group", bargap=0.25)
    titles = ["", *(f"{one.name}: {len(one):,} neurons, by layer" for one in sets)]
    spacing = 1.2 * AXIS_HEIGHT / sum(heights)
    figure.set_subplots(len(heights), 1, row_heights=heights, vertical_spacing=spacing, subplot_titles=titles)

    def buckets(name: str, column: str, marker: dict[str, object]) -> None:
        percent = table[table["set"] == name][column] * 100
        shown = "uniform" if column == "uniform" else name
        figure.add_bar(
            x=[bucket.capitalize() for bucket in BUCKETS],
            y=percent,
            name=shown,
            marker=marker,
            text=[f"{share:.0f}" for share in percent],
            textposition="outside",
            hovertemplate=f"{shown}, %{{x}}: %{{y:.1f}} %<extra></extra>",
            row=1,
            col=1,
        )

    for row, (one, colour) in enumerate(zip(sets, colours([one.name for one in sets]), strict=True), start=2):
        buckets(one.name, "share", {"color": colour})
        counts = layer_counts(one)
        figure.add_bar(
            x=list(range(n_layers)),
            y=100 * counts / max(1, len(one)),
            customdata=counts,
            marker_color=colour,
            showlegend=False,
            hovertemplate="layer %{x}: %{customdata} neurons, %{y:.1f} %<extra></extra>",
            row=row,
            col=1,
        )
        figure.add_hline(y=100 / n_layers, line={"color": INK, "dash": "dash", "width": 1.5}, row=row, col=1)
        figure.update_xaxes(dtick=max(1, n_layers // 12), range=[-0.6, n_layers - 0.4], row=row, col=1)
    buckets(sets[0].name, "uniform", {"color": "#E5E5E5", "line": {"color": INK, "width": 1}})
    # Titles of rows start at the left end of their axis, so that they stay clear of the legend on a narrow page.
    figure.update_annotations(x=0, xanchor="left", font_size=14)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(title_text="% of set", rangemode="tozero", gridcolor=GRID)
    figure.update_yaxes(range=[0, 115 * table[["share", "uniform"]].max(axis=None)], row=1)
    figure.update_xaxes(title_text="layer", row=1 + len(sets), col=1)
    figure.update_traces(meta=dict(meta or {}))
    if title:
        size = {"height": figure.layout.height + TITLE_HEIGHT, "margin_t": figure.layout.margin.t + TITLE_HEIGHT}
        figure.update_layout(title={"text": title, "x": 0.02, "xanchor": "left"}, **size)
    return figure
