"""Traces of dots along x: numbers with intervals, single backbones beside their mean, random controls."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from analysis.figures.frame import Trace, meta_of, rounded
from analysis.figures.pooling import FEWEST, interval_words
from analysis.figures.style import GREY

CONTROL_RANK = 2000
"""Controls stand last in legends."""
BESIDE = 0.7
"""Of a lane, between two backbones in it."""


def dots(rows: pd.DataFrame, hover: Sequence[str], factor: float = 100, **style: Any) -> Trace:
    """Column `value` along x in the rows `place` of y, with a bar from `low` to `high` where there is an interval.

    Args:
        rows: with the columns `place`, `value`, `low`, `high` and those that `meta_of` reads.
        hover: what a row says when it is pointed at.
        factor: what numbers are multiplied with; fractions become percent.
        style: more of the trace, such as `marker`, `name`, `lane`.
    """
    value, low, high = ([factor * number for number in rows[name]] for name in ("value", "low", "high"))
    bars = {}
    if pd.notna(low).any():
        above = [max(0.0, end - mid) for mid, end in zip(value, high, strict=True)]
        below = [max(0.0, mid - end) for mid, end in zip(value, low, strict=True)]
        bars = {"array": rounded(above), "arrayminus": rounded(below), "width": 4, "thickness": 1.5}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(value),
        "y": rows["place"].tolist(),
        "error_x": bars,
        "text": list(hover),
        "hovertemplate": "%{text}<extra></extra>",
        "meta": meta_of(rows),
        **style,
    }


def backbone_dots(rows: pd.DataFrame, factor: float, unit: str, colour: str, **style: Any) -> Iterator[Trace]:
    """Small dots, a trace for each backbone. Those of two have their own intervals and lie beside each other."""
    backbones = list(rows.groupby("backbone", sort=False))
    few = len(backbones) < FEWEST
    for number, (backbone, of_it) in enumerate(backbones):
        hover = [
            f"{backbone}, {style['name']}, {row['place']}: {interval_words(row, factor, unit)}"
            for _, row in of_it.iterrows()
        ]
        marker = {"color": colour, "size": 5, "opacity": 0.5}
        trace = dots(of_it, hover, factor, marker=marker, **{**style, "showlegend": False})
        if few:
            trace["lane"] += BESIDE * (number - (len(backbones) - 1) / 2)
            trace["error_x"].update(color=colour, width=0, thickness=1)
        else:
            trace["error_x"] = {}
        yield trace


def control_spans(rows: pd.DataFrame, symbol: str, name: str, unit: str, **style: Any) -> Trace:
    """Random controls in grey: a mark at the mean `value`, a bar from the `low`est to the `high`est of the `draws`."""
    hover = [
        f"{name}, {row['place']}: mean {100 * row['value']:.4g}{unit}, {100 * row['low']:.4g} to "
        f"{100 * row['high']:.4g} over {row['draws']:.0f} draws"
        for _, row in rows.iterrows()
    ]
    line = {"color": GREY, "width": 1.5}
    marker = {"color": GREY, "size": 7, "symbol": symbol, "line": line}
    trace = dots(rows, hover, marker=marker, name=name, legendrank=CONTROL_RANK, **style)
    trace["error_x"].update(color="rgba(138,138,138,0.55)", width=0, thickness=3)
    return trace
