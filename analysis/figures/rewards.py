"""How rewards of chosen and rejected responses are distributed, before and after an ablation."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.figures.frame import AXIS_HEIGHT, GRID, Trace, condition_words, counted, finish, frame, meta_of, rounded
from analysis.figures.style import SIDE_COLOURS, translucent

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PANEL_HEIGHT, PANEL_GAP = 85, 48
OWN = "own"
MOST_BINS = 30
TIMES = {"before": "intact", "after": "set off"}


def density_rows(distributions: pd.DataFrame) -> pd.DataFrame:
    """The rows that the figure draws: of each backbone its first seed; of single-objective models their own set.

    Where a single-objective model has no condition of its own set, all its conditions. The mixed model comes first.
    """
    first = distributions.groupby("backbone")["seed"].transform("first")
    rows = distributions[distributions["seed"] == first]
    parts = []
    for objective in ("mixed", "helpful", "harmless"):
        part = rows[rows["objective"] == objective]
        own = part["set"] == OWN
        parts.append(part[own] if own.any() and objective != "mixed" else part)
    return pd.concat(parts)


def density_figure(distributions: pd.DataFrame) -> "Figure":
    """Reward densities of chosen and rejected responses, intact (outline) and with a set off (filled), a panel a set.

    A menu chooses the backbone and the data.

    Args:
        distributions: `Study.distributions` as a DataFrame, with the arrays `edges` and `density`.
    """
    rows = density_rows(distributions)
    panels = list(dict.fromkeys(zip(rows["objective"], rows["set"], rows["ablation"], strict=True)))
    traces: dict[str, list[Trace]] = {}
    for (backbone, data), part in rows.groupby(["backbone", "data"], sort=False):
        of_choice = traces.setdefault(f"{backbone}, {data}", [])
        for row in part.to_dict("records"):
            of_choice.append(_density(row, panels.index((row["objective"], row["set"], row["ablation"]))))
    height = (PANEL_HEIGHT + PANEL_GAP) * len(panels) - PANEL_GAP
    figure = frame(height, 4, len(traces) > 1)
    top_margin = figure.layout.margin.t + 20
    for number, (objective, name, ablation) in enumerate(panels):
        top = 1 - number * (PANEL_HEIGHT + PANEL_GAP) / height
        suffix = "" if number == 0 else str(number + 1)
        axis = {"zeroline": False, "gridcolor": GRID, "tickfont": {"size": 11}}
        domain = [max(0.0, top - PANEL_HEIGHT / height), top]
        figure.layout[f"xaxis{suffix}"] = {"anchor": f"y{suffix}", "nticks": 8, **axis}
        figure.layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}", "domain": domain, "rangemode": "tozero", "nticks": 3, "automargin": True, **axis,
        }  # fmt: skip
        figure.add_annotation(
            x=0, y=top, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
            text=f"{objective} model, {condition_words(name, ablation)}",
        )  # fmt: skip
    figure.layout[f"yaxis{_suffix(len(panels) // 2)}"].title = {"text": "density per unit of reward"}
    figure.layout[f"xaxis{_suffix(len(panels) - 1)}"].title = {"text": "reward, the model's own units"}
    figure.update_layout(
        height=height + top_margin + AXIS_HEIGHT, margin_t=top_margin, legend_y=1 + 22 / height, margin_l=55
    )
    return finish(figure, traces)


def _suffix(panel: int) -> str:
    return "" if panel == 0 else str(panel + 1)


def merged(density: Float[np.ndarray, " bin"], n: int) -> Float[np.ndarray, " merged"]:
    """The histogram over wider bins, where n numbers are too few for as many: at most 30 and at most 2·√n.

    The density over merged bins, which are equally wide, is the mean of theirs.
    """
    most = min(MOST_BINS, max(1, math.floor(2 * math.sqrt(n))))
    width = next(
        size for size in range(1, len(density) + 1) if len(density) % size == 0 and len(density) // size <= most
    )
    found: Float[np.ndarray, " merged"] = density.reshape(-1, width).mean(axis=1)
    return found


def _density(row: Trace, panel: int) -> Trace:
    edges, density = np.asarray(row["edges"]), merged(np.asarray(row["density"]), row["n"])
    side, when = row["side"], row["when"]
    start, width = rounded([edges[0], (edges[-1] - edges[0]) / len(density)])
    colour = SIDE_COLOURS[side]
    look: Trace = {"line": {"color": colour, "width": 1.8, "dash": "dot" if side == "rejected" else "solid"}}
    if when == "after":
        look = {"fill": "tozeroy", "fillcolor": translucent(colour, 0.35), "line": {"color": colour, "width": 0.8}}
    look["line"]["shape"] = "hv"
    name = f"{side}, {TIMES[when]}"
    return {
        "type": "scatter",
        "mode": "lines",
        "x0": start,
        "dx": width,
        # A step holds until the next point: one more, at zero, ends the last bin.
        "y": [*rounded(density), 0],
        "name": name,
        "legendgroup": name,
        "showlegend": panel == 0,
        "xaxis": f"x{_suffix(panel)}",
        "yaxis": f"y{_suffix(panel)}",
        "hovertemplate": (
            f"{name}, from %{{x:.3g}}: density %{{y:.3g}}<br>mean {row['mean']:.4g}, sd {row['sd']:.4g}, "
            f"n = {row['n']:,}, AUC {row['auc']:.4g}<extra></extra>"
        ),
        "meta": meta_of(pd.DataFrame([{key: row[key] for key in ("backbone", "seed", "condition", "data")}])),
        **look,
    }


def density_caption(distributions: pd.DataFrame) -> str:
    """What the figure of reward densities shows."""
    rows = density_rows(distributions)
    first = (
        " Of each backbone the first seed is drawn."
        if distributions.groupby("backbone")["seed"].nunique().max() > 1
        else ""
    )
    return (
        "Histograms of the rewards of all chosen and all rejected responses (area 1), intact as outlines and with the "
        f"set of neurons off as filled areas, on one grid a panel. {counted(rows['n'], 'responses')}.{first} There is "
        "no interval, and random controls are not drawn: the figure of effects has both. A reward has no zero and no "
        "unit of its own: compare the gap between chosen and rejected within a panel, not positions between models. "
        "Accuracy compares within an item, these curves across items."
    )
