"""Distributions of the rewards of chosen and rejected responses, before and after an ablation."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from analysis.figures.captions import caption, counted
from analysis.figures.frame import GRID, META, Trace, condition_words, finish, frame, meta_of, rounded
from analysis.figures.style import SIDE_COLOURS, translucent

PANEL_HEIGHT, PANEL_GAP = 85, 48
OWN = "own"
MOST_BINS = 30
TIMES = {"before": "intact", "after": "set ablated"}
PANEL = ["objective", "set", "ablation"]


def density_rows(distributions: pd.DataFrame) -> pd.DataFrame:
    """The rows that the figure draws: the first seed of each backbone, the mixed model first.

    Of a single-objective model, the ablation of its own set; all its conditions if there is no such ablation.
    """
    first = distributions.groupby("backbone")["seed"].transform("first")
    rows = distributions[distributions["seed"] == first]
    parts = []
    for objective in ("mixed", "helpful", "harmless"):
        part = rows[rows["objective"] == objective]
        own = part["set"] == OWN
        parts.append(part[own] if own.any() and objective != "mixed" else part)
    return pd.concat(parts)


def density_figure(distributions: pd.DataFrame) -> go.Figure:
    """Reward densities of chosen and rejected responses, intact (outline) and ablated (filled), a panel for each set.

    A menu selects the backbone and the dataset.

    Args:
        distributions: `Study.distributions` as a DataFrame, with the arrays `edges` and `density`.
    """
    rows = density_rows(distributions)
    rows = rows.assign(panel=rows.groupby(PANEL, sort=False).ngroup())
    panels = rows.drop_duplicates("panel")
    traces = {
        f"{backbone}, {data}": [_density(row) for row in part.to_dict("records")]
        for (backbone, data), part in rows.groupby(["backbone", "data"], sort=False)
    }
    height = (PANEL_HEIGHT + PANEL_GAP) * len(panels) - PANEL_GAP
    figure = frame(height, 4, len(traces) > 1)
    titles = [f"{row.objective} model, {condition_words(row.set, row.ablation)}" for row in panels.itertuples()]
    figure.set_subplots(len(panels), 1, vertical_spacing=PANEL_GAP / height, subplot_titles=titles)
    figure.update_annotations(x=0, xanchor="left", font_size=12)
    # The standoff keeps the first label of an x axis clear of the 0 of its y axis on narrow screens.
    figure.update_xaxes(zeroline=False, gridcolor=GRID, tickfont_size=11, nticks=8, ticklabelstandoff=5)
    figure.update_yaxes(zeroline=False, gridcolor=GRID, tickfont_size=11, nticks=3, rangemode="tozero", automargin=True)
    figure.update_yaxes(title_text="density per unit of reward", row=len(panels) // 2 + 1)
    figure.update_xaxes(title_text="reward, the model's own units", row=len(panels))
    # The title of the first panel lies between the panel and the legend.
    figure.update_layout(
        height=figure.layout.height + 20,
        margin={"t": figure.layout.margin.t + 20, "l": 55},
        legend_y=1 + 22 / height,
    )
    return finish(figure, traces)


def merged(density: Float[np.ndarray, " bin"], n: int) -> Float[np.ndarray, " merged"]:
    """The histogram of n numbers with wider bins, at most 30 and at most 2·√n.

    Bins have equal widths, so the density of a merged bin is the mean of the densities in it.
    """
    most = min(MOST_BINS, max(1, math.floor(2 * math.sqrt(n))))
    width = next(
        size for size in range(1, len(density) + 1) if len(density) % size == 0 and len(density) // size <= most
    )
    found: Float[np.ndarray, " merged"] = density.reshape(-1, width).mean(axis=1)
    return found


def _density(row: Trace) -> Trace:
    edges, density = np.asarray(row["edges"]), merged(np.asarray(row["density"]), row["n"])
    start, width = rounded([edges[0], (edges[-1] - edges[0]) / len(density)])
    colour, axis = SIDE_COLOURS[row["side"]], row["panel"] + 1
    name = f"{row['side']}, {TIMES[row['when']]}"
    look: Trace = {"line": {"width": 1.8, "dash": "dot" if row["side"] == "rejected" else "solid"}}
    if row["when"] == "after":
        look = {"fill": "tozeroy", "fillcolor": translucent(colour, 0.35), "line": {"width": 0.8}}
    look["line"].update(color=colour, shape="hv")
    return {
        "type": "scatter",
        "mode": "lines",
        "x0": start,
        "dx": width,
        # A step holds until the next point: one more, at zero, ends the last bin.
        "y": [*rounded(density), 0],
        "name": name,
        "legendgroup": name,
        "showlegend": row["panel"] == 0,
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
        "hovertemplate": (
            f"{name}, from %{{x:.3g}}: density %{{y:.3g}}<br>mean {row['mean']:.4g}, sd {row['sd']:.4g}, "
            f"n = {row['n']:,}, AUC {row['auc']:.4g}<extra></extra>"
        ),
        "meta": meta_of(pd.DataFrame([{key: row[key] for key in META}])),
        **look,
    }


def density_caption(distributions: pd.DataFrame) -> str:
    """Caption of `density_figure`."""
    several = distributions.groupby("backbone")["seed"].nunique().max() > 1
    return caption("density", n=counted(density_rows(distributions)["n"], "responses"), first_seed=several)
