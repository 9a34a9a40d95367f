"""Accuracy against the number of ablated neurons, by selector."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, finish, frame, meta_of, rounded
from analysis.figures.marks import CONTROL_RANK, HOVER_TEXT, band_style
from analysis.figures.style import GREY, INK, OTHERS, SELECTOR_LOOKS, translucent
from analysis.results.folder import MODEL
from tension_lens.constants import INTACT, RANDOM


def sweep_figure(sweeps: pd.DataFrame) -> go.Figure:
    """Accuracy against the fraction of neurons ablated, for each selector and for random neurons.

    Bands are 95 % intervals. The grey band is the range of the random draws, its line their mean; the horizontal line
    is the intact model. A menu selects the model.

    Args:
        sweeps: `Results.sweeps`: the rows of sweep.csv with run, backbone, seed, objective and data.
    """
    traces = {str(name): list(_sweep(rows)) for name, rows in sweeps.groupby(names_of_models(sweeps), sort=False)}
    figure = frame(380, sweeps["selector"].nunique(), len(traces) > 1)
    figure.update_xaxes(title_text="neurons ablated, %", rangemode="tozero")
    figure.update_yaxes(title_text="items judged correctly, %")
    return finish(figure, traces)


def names_of_models(sweeps: pd.DataFrame) -> pd.Series:
    """Names of models: the backbone, what else differs, and the folder of the run where a name is not unique."""
    parts = {"seed": "seed " + sweeps["seed"].astype(str), "objective": sweeps["objective"], "data": sweeps["data"]}
    names = sweeps["backbone"].astype(str)
    for key, words in parts.items():
        if sweeps[key].nunique() > 1:
            names = names + ", " + words.astype(str)
    runs = sweeps.groupby(names)["run"].transform("nunique")
    return names.where(runs == 1, names + " (" + sweeps["run"].astype(str) + ")")


def _sweep(rows: pd.DataFrame) -> Iterator[Trace]:
    both = {"type": "scatter", "meta": meta_of(rows)}

    def line(x: Iterable[float], y: Iterable[float], hover: list[str], name: str, **look: Any) -> Trace:
        text = {"text": hover, "hovertemplate": HOVER_TEXT, "name": name, "legendgroup": name}
        return {**both, "mode": "lines", "x": rounded(x), "y": rounded(y, 100), **text, **look}

    def band(x: Iterable[float], low: pd.Series, high: pd.Series, name: str, fill: str) -> Trace:
        around = [*rounded(x), *reversed(rounded(x))]
        limits = [*rounded(high, 100), *reversed(rounded(low, 100))]
        return {**both, "x": around, "y": limits, **band_style(name, fill)}

    for _, intact in rows[rows["selector"] == INTACT].iterrows():
        ends, hover = [0.0, float(rows["top"].max())], [f"intact: {_words(intact)}"] * 2
        for column, dash, width in (("accuracy", "solid", 1.5), ("low", "dot", 1), ("high", "dot", 1)):
            look = {"line": {"color": INK, "width": width, "dash": dash}, "showlegend": dash == "solid"}
            yield line(ends, [intact[column]] * 2, hover, INTACT, legendrank=CONTROL_RANK, **look)
    random = rows[rows["selector"] == RANDOM].groupby("top")["accuracy"].agg(["mean", "min", "max", "size"])
    if len(random):
        hover = [
            f"random, {top:g} % ablated: mean {100 * one['mean']:.4g} %, {100 * one['min']:.4g} to "
            f"{100 * one['max']:.4g} over {one['size']:.0f} draws"
            for top, one in random.iterrows()
        ]
        yield band(random.index, random["min"], random["max"], RANDOM, translucent(GREY, 0.35))
        look = {"line": {"color": GREY, "width": 2.5}, "legendrank": CONTROL_RANK}
        yield line(random.index, random["mean"], hover, RANDOM, **look)
    for selector, unsorted in rows[~rows["selector"].isin([INTACT, RANDOM])].groupby("selector", sort=False):
        name, of_it = str(selector), unsorted.sort_values("top")
        colour, dash, symbol = SELECTOR_LOOKS.get(name, (OTHERS[1], "solid", "circle"))
        yield band(of_it["top"], of_it["low"], of_it["high"], name, translucent(colour, 0.1))
        hover = [f"{name}, {row['top']:g} % ablated: {_words(row)}" for _, row in of_it.iterrows()]
        look = {"marker": {"symbol": symbol, "size": 8, "color": colour}, "mode": "lines+markers"}
        look["line"] = {"color": colour, "width": 2, "dash": dash}
        yield line(of_it["top"], of_it["accuracy"], hover, name, **look)


def _words(row: pd.Series) -> str:
    words = f"{100 * row['accuracy']:.4g} % [{100 * row['low']:.4g}, {100 * row['high']:.4g}], n = {row['n']:,}"
    if pd.isna(row.get("difference")):
        return words
    change = f"{100 * row['difference']:+.4g} [{100 * row['difference_low']:.4g}, {100 * row['difference_high']:.4g}]"
    return f"{words}<br>change {change} points, p = {row['p_value']:.3g}"


def sweep_caption(sweeps: pd.DataFrame) -> str:
    """Caption of `sweep_figure`."""
    selectors = sweeps[~sweeps["selector"].isin([INTACT, RANDOM])]["selector"].unique()
    draws = sweeps[sweeps["selector"] == RANDOM].groupby([*MODEL, "top"]).size()
    most = int(draws.max()) if len(draws) else 0
    return caption("sweep", selectors=", ".join(selectors), n=counted(sweeps["n"]), draws=most)
