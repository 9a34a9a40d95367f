"""Exact changes of the mean margin against those that attribution forecasts, over the sets of a sweep."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, finish, frame, meta_of, rounded
from analysis.figures.marks import CONTROL_RANK, HOVER_TEXT
from analysis.figures.style import GREY, INK, OTHERS, SELECTOR_LOOKS
from analysis.figures.sweeps import names_of_models
from analysis.tables.forecast import forecast_table
from tension_lens.constants import RANDOM

EQUAL = "exact = forecast"


def forecast_figure(sets: pd.DataFrame) -> go.Figure:
    """Exact change of the mean margin against its forecast: a dot for each swept set, by selector.

    Solid line: equality. Dashed line: the fit, with Pearson's r and the slope in the legend. A menu selects the model.

    Args:
        sets: `forecast_sets` of the sweeps.
    """
    traces = {str(name): list(_sweep(rows)) for name, rows in sets.groupby(names_of_models(sets), sort=False)}
    # The lines of equality and of the fit; the fit's entry has two lines.
    figure = frame(380, sets["selector"].nunique() + 3, len(traces) > 1)
    figure.update_xaxes(title_text="forecast change of the mean margin, reward", zeroline=True)
    figure.update_yaxes(title_text="exact change, reward", zeroline=True)
    return finish(figure, traces)


def _sweep(rows: pd.DataFrame) -> Iterator[Trace]:
    both: Trace = {"type": "scatter", "meta": meta_of(rows)}
    ends = [float(rows["forecast"].min()), float(rows["forecast"].max())]
    look: Trace = {"line": {"color": INK, "width": 1}, "hoverinfo": "skip"}
    yield {**both, "mode": "lines", "x": rounded(ends), "y": rounded(ends), "name": EQUAL, **look}
    fit = forecast_table(rows)
    if len(fit):
        r, slope = fit.to_dict("records")
        words = f"r = {_interval(r)}<br>slope {_interval(slope)}"
        middle = rows["margin_change"].mean() - slope["estimate"] * rows["forecast"].mean()
        y = [middle + slope["estimate"] * end for end in ends]
        look = {"line": {"color": INK, "width": 1.5, "dash": "dash"}, "hoverinfo": "skip", "legendrank": CONTROL_RANK}
        yield {**both, "mode": "lines", "x": rounded(ends), "y": rounded(y), "name": words, **look}
    for selector, of_it in rows.groupby("selector", sort=False):
        name = str(selector)
        colour, _, symbol = SELECTOR_LOOKS.get(name, (OTHERS[1], "", "circle"))
        marker: Trace = {"color": colour, "symbol": symbol, "size": 9}
        if name == RANDOM:
            marker = {"color": GREY, "symbol": "circle-open", "size": 7}
        text = [
            f"{name}, {row['top']:g} % ablated<br>forecast {row['forecast']:.4g}, exact {row['margin_change']:.4g}"
            for _, row in of_it.iterrows()
        ]
        points = {"x": rounded(of_it["forecast"]), "y": rounded(of_it["margin_change"])}
        look = {"text": text, "hovertemplate": HOVER_TEXT, "marker": marker}
        yield {**both, "mode": "markers", "name": name, **points, **look}


def _interval(row: dict[str, float]) -> str:
    return f"{row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def forecast_caption(sets: pd.DataFrame) -> str:
    """Caption of `forecast_figure`."""
    models = sets.groupby(names_of_models(sets), sort=False).size()
    return caption("forecast", n=counted(models, "sets"), items=counted(sets["n"]))
