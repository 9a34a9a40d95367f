"""Where neuron sets lie in depth, by thirds and by layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.figures.style import CLEAR, INK, colours
from tension_lens.constants import BUCKETS
from tension_lens.neurons.depth import layer_counts, uniform_depth
from tension_lens.neurons.sets import NeuronSet

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
from analysis.tables.depth import depth_table

BUCKET_ROW_HEIGHT, LAYER_ROW_HEIGHT = 330, 150


def depth_figure(sets: Sequence[NeuronSet], title: str = "", meta: Mapping[str, str] | None = None) -> "Figure":
    """A plotly figure: bucket shares of every set beside the uniform expectation, and each set's layer histogram.

    Shares are percent of the set's own neurons; grey bars and dashed lines are what a uniformly drawn set would have.

    Args:
        sets: of one network, with names of their own.
        title: stands over the figure, if given.
        meta: of every trace, such as the backbone and the seed that a page filters by.

    Raises:
        RequestError: if there is no set, two have one name, or their networks differ in shape.
    """
    from plotly.subplots import make_subplots

    table = depth_table(sets)
    n_layers = sets[0].n_layers
    heights = [BUCKET_ROW_HEIGHT] + [LAYER_ROW_HEIGHT] * len(sets)
    figure = make_subplots(
        rows=1 + len(sets),
        cols=1,
        row_heights=heights,
        vertical_spacing=70 / (sum(heights) + 140),
        subplot_titles=["", *(f"{one.name}: {len(one):,} neurons, by layer" for one in sets)],
    )
    for row, (one, colour) in enumerate(zip(sets, colours([one.name for one in sets]), strict=True), start=2):
        shares = table[table["set"] == one.name]["share"] * 100
        figure.add_bar(
            x=[bucket.capitalize() for bucket in BUCKETS],
            y=shares,
            name=one.name,
            marker_color=colour,
            text=[f"{share:.0f}" for share in shares],
            textposition="outside",
            hovertemplate=f"{one.name}, %{{x}}: %{{y:.1f}} %<extra></extra>",
            row=1,
            col=1,
        )
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
        figure.update_yaxes(title_text="% of set", rangemode="tozero", row=row, col=1)
        figure.update_xaxes(dtick=max(1, n_layers // 12), range=[-0.6, n_layers - 0.4], row=row, col=1)
    uniform = [100 * share for share in uniform_depth(n_layers).values()]
    figure.add_bar(
        x=[bucket.capitalize() for bucket in BUCKETS],
        y=uniform,
        name="uniform",
        marker={"color": "#E5E5E5", "line": {"color": INK, "width": 1}},
        text=[f"{share:.0f}" for share in uniform],
        textposition="outside",
        hovertemplate="uniform, %{x}: %{y:.1f} %<extra></extra>",
        row=1,
        col=1,
    )
    # Titles of the rows start where their axes start, so that a narrow page does not push them into the legend.
    figure.update_annotations(x=0, xanchor="left", font_size=14)
    top = 100 * table[["share", "uniform"]].max(axis=None)
    figure.update_yaxes(title_text="% of set", range=[0, 1.15 * top], row=1, col=1)
    figure.update_xaxes(title_text="layer", row=1 + len(sets), col=1)
    figure.update_traces(meta=dict(meta or {}))
    above = 100 if title else 50
    figure.update_layout(
        title={"text": title, "x": 0.02, "xanchor": "left"} if title else None,
        template="plotly_white",
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        height=sum(heights) + 40 + above,
        barmode="group",
        bargap=0.25,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        margin={"l": 60, "r": 20, "t": above, "b": 50},
    )
    return figure
