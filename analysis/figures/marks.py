"""Traces: dots with intervals, single backbones next to their mean, random controls, bands."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.frame import Trace, meta_of, rounded
from analysis.figures.pooling import FEWEST, interval_words
from analysis.figures.style import GREY

HOVER_TEXT = "%{text}<extra></extra>"
"""Hover template of traces with a text for each point."""
CONTROL_RANK = 2000
"""Rank of controls in legends: last."""
LANE_OFFSET = 0.7
"""Distance between two backbones within a lane, as a fraction of the lane."""


def dots(rows: pd.DataFrame, hover: Callable[[pd.Series], str], factor: float = 100, **style: Any) -> Trace:
    """Column `value` along x, by `place` along y, with a bar from `low` to `high` where there is an interval.

    Args:
        rows: with the columns `place`, `value`, `low`, `high` and those of `meta_of`.
        hover: the hover text of a row.
        factor: multiplies the numbers, such as 100 for percent.
        style: more properties of the trace, such as `marker`, `name`, `lane`.
    """
    value, low, high = (factor * rows[name].to_numpy(float) for name in ("value", "low", "high"))
    bars = {}
    if not np.isnan(low).all():
        # fmax ignores NaN: a dot without an interval has a bar of length 0.
        above, below = rounded(np.fmax(0, high - value)), rounded(np.fmax(0, value - low))
        bars = {"array": above, "arrayminus": below, "width": 4, "thickness": 1.5}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(value),
        "y": rows["place"].tolist(),
        "error_x": bars,
        "text": [hover(row) for _, row in rows.iterrows()],
        "hovertemplate": HOVER_TEXT,
        "meta": meta_of(rows),
        **style,
    }


def backbone_dots(rows: pd.DataFrame, factor: float, unit: str, colour: str, **style: Any) -> Iterator[Trace]:
    """Small dots, a trace for each backbone. Two backbones lie next to each other and have their own intervals."""
    backbones = list(rows.groupby("backbone", sort=False))
    for number, (backbone, of_it) in enumerate(backbones):
        about = f"{backbone}, {style['name']}"
        trace = dots(
            of_it,
            lambda row, about=about: f"{about}, {row['place']}: {interval_words(row, factor, unit)}",  # type: ignore[misc]
            factor,
            marker={"color": colour, "size": 5, "opacity": 0.5},
            **{**style, "showlegend": False},
        )
        if len(backbones) < FEWEST:
            trace["lane"] += LANE_OFFSET * (number - (len(backbones) - 1) / 2)
            trace["error_x"].update(color=colour, width=0, thickness=1)
        else:
            trace["error_x"] = {}
        yield trace


def control_spans(rows: pd.DataFrame, symbol: str, name: str, unit: str, **style: Any) -> Trace:
    """Random controls in grey, from rows of `pool_controls`: a mark at the mean, a bar from minimum to maximum."""

    def hover(row: pd.Series) -> str:
        mean, low, high = (f"{100 * row[column]:.4g}" for column in ("value", "low", "high"))
        return f"{name}, {row['place']}: mean {mean}{unit}, {low} to {high} over {row['draws']:.0f} draws"

    marker = {"color": GREY, "size": 7, "symbol": symbol, "line": {"color": GREY, "width": 1.5}}
    trace = dots(rows, hover, marker=marker, name=name, legendrank=CONTROL_RANK, **style)
    trace["error_x"].update(color="rgba(138,138,138,0.55)", width=0, thickness=3)
    return trace


def band_style(name: str, fill: str) -> Trace:
    """Properties of a trace that shades the 95 % interval of the trace `name`."""
    return {
        "mode": "lines",
        "fill": "toself",
        "fillcolor": fill,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
        "name": f"{name} interval",
    }
