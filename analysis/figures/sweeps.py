"""Accuracy against how many neurons are switched off, by what chooses them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.frame import Trace, counted, finish, frame, meta_of, rounded
from analysis.figures.marks import CONTROL_RANK
from analysis.figures.style import GREY, INK, OTHERS, SELECTOR_LOOKS, translucent
from tension_lens.constants import INTACT, RANDOM

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MODEL = ["run", "backbone", "seed", "objective", "data"]


def sweep_figure(sweeps: pd.DataFrame) -> "Figure":
    """Accuracy against the share of neurons switched off, for each way to choose them and for random ones.

    Bands are 95 % intervals; the grey band spans the random draws and its line is their mean; the horizontal line is
    the intact model. A menu chooses the model where there are several.

    Args:
        sweeps: `Results.sweeps`: the rows of sweep.csv with run, backbone, seed, objective and data.
    """
    names = _names(sweeps)
    traces = {str(name): list(_sweep(rows)) for name, rows in sweeps.groupby(names, sort=False)}
    figure = frame(380, sweeps["selector"].nunique(), len(traces) > 1)
    figure.update_xaxes(title_text="neurons switched off, %", rangemode="tozero")
    figure.update_yaxes(title_text="items judged correctly, %")
    return finish(figure, traces)


def _names(sweeps: pd.DataFrame) -> pd.Series:
    """Backbone and what else tells the models apart; the run's folder only where nothing else does."""
    parts = {"seed": "seed " + sweeps["seed"].astype(str), "objective": sweeps["objective"], "data": sweeps["data"]}
    names = sweeps["backbone"].astype(str)
    for key, words in parts.items():
        if sweeps[key].nunique() > 1:
            names = names + ", " + words.astype(str)
    runs = sweeps.groupby(names)["run"].transform("nunique")
    return names.where(runs == 1, names + " (" + sweeps["run"].astype(str) + ")")


def _sweep(rows: pd.DataFrame) -> Iterator[Trace]:
    meta = meta_of(rows)
    for _, intact in rows[rows["selector"] == INTACT].iterrows():
        ends = [0.0, float(rows["top"].max())]
        text = f"intact: {_words(intact)}"
        for name, dash in (("accuracy", "solid"), ("low", "dot"), ("high", "dot")):
            line = {"color": INK, "width": 1.5 if dash == "solid" else 1, "dash": dash}
            look = {"line": line, "mode": "lines", "legendrank": CONTROL_RANK, "showlegend": dash == "solid"}
            yield _line(ends, [intact[name]] * 2, [text, text], INTACT, meta, **look)
    random = rows[rows["selector"] == RANDOM].groupby("top")["accuracy"].agg(["mean", "min", "max", "size"])
    if len(random):
        hover = [
            f"random, {top:g} % off: mean {100 * one['mean']:.4g} %, {100 * one['min']:.4g} to {100 * one['max']:.4g} "
            f"over {one['size']:.0f} draws"
            for top, one in random.iterrows()
        ]
        yield _band(random.index, random["min"], random["max"], fill=translucent(GREY, 0.35), name=RANDOM, meta=meta)
        line = {"color": GREY, "width": 2.5}
        yield _line(random.index, random["mean"], hover, RANDOM, meta, line=line, mode="lines",
                    legendrank=CONTROL_RANK)  # fmt: skip
    for selector, of_it in rows[~rows["selector"].isin([INTACT, RANDOM])].groupby("selector", sort=False):
        of_it = of_it.sort_values("top")
        name = str(selector)
        colour, dash, symbol = SELECTOR_LOOKS.get(name, (OTHERS[1], "solid", "circle"))
        yield _band(of_it["top"], of_it["low"], of_it["high"], fill=translucent(colour, 0.1), name=name, meta=meta)
        hover = [f"{name}, {row['top']:g} % off: {_words(row)}" for _, row in of_it.iterrows()]
        look = {"marker": {"symbol": symbol, "size": 8, "color": colour}, "mode": "lines+markers"}
        line = {"color": colour, "width": 2, "dash": dash}
        yield _line(of_it["top"], of_it["accuracy"], hover, name, meta, line=line, **look)


def _words(row: pd.Series) -> str:
    words = f"{100 * row['accuracy']:.4g} % [{100 * row['low']:.4g}, {100 * row['high']:.4g}], n = {row['n']:,}"
    if pd.isna(row.get("difference")):
        return words
    change = f"{100 * row['difference']:+.4g} [{100 * row['difference_low']:.4g}, {100 * row['difference_high']:.4g}]"
    return f"{words}<br>change {change} points, Holm p = {row['p_holm']:.3g}"


def _band(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], *, fill: str, name: str, meta: dict[str, str]
) -> Trace:
    around = [*rounded(high, 100), *reversed(rounded(low, 100))]
    return {
        "type": "scatter",
        "x": [*rounded(x), *reversed(rounded(x))],
        "y": around,
        "fill": "toself",
        "fillcolor": fill,
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
        "name": f"{name} interval",
        "meta": meta,
    }


def _line(
    x: Sequence[float], y: Sequence[float], hover: list[str], name: str, meta: dict[str, str], **look: Any
) -> Trace:
    return {
        "type": "scatter",
        "x": rounded(x),
        "y": rounded(y, 100),
        "text": hover,
        "hovertemplate": "%{text}<extra></extra>",
        "name": name,
        "legendgroup": name,
        "meta": meta,
        **look,
    }


def sweep_caption(sweeps: pd.DataFrame) -> str:
    """What the sweep figure shows."""
    selectors = dict.fromkeys(sweeps[~sweeps["selector"].isin([INTACT, RANDOM])]["selector"])
    draws = sweeps[sweeps["selector"] == RANDOM].groupby([*MODEL, "top"]).size()
    random = (
        f"Grey: random neurons, mean and lowest to highest of {draws.max()} draws of each size. "
        if len(draws)
        else "No random neurons were drawn, so a fall cannot be told from that of losing any neurons. "
    )
    return (
        f"Accuracy of a model with its top p % of neurons switched off, by what ranks them ({', '.join(selectors)}). "
        f"{counted(sweeps['n'], 'items')}. Bands: Wilson's 95 % interval over items. {random}Horizontal: the intact "
        "model, its interval dotted. Where bands overlap, models may still differ on the same items: the paired change "
        "with its interval and Holm's p is in the table. The paper's curves average the drop over several ways to "
        "choose neurons, random ones among them."
    )
