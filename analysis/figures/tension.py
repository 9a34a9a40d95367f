"""Retention and margins of the mixed model against single-objective models, by condition."""

from collections.abc import Callable, Iterator

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, placed_by_condition, row_figure
from analysis.figures.marks import backbone_dots, dots
from analysis.figures.pooling import interval_words, pool_levels, whose
from analysis.figures.style import COLOURS
from analysis.tables.retention import EVERY

MEASURES = {"combined": "mixed", "helpful": "helpful", "harmless": "harmless"}
"""Measures of retention, with the objective whose colour each has."""
SYMBOLS = {"combined": "circle", "helpful": "square", "harmless": "diamond"}
UNITS = {"standardised": "sd", "raw": "reward"}
REFERENCES = ("helpful", "harmless")
ROW_HEIGHT = 56


def _over_all(table: pd.DataFrame) -> pd.DataFrame:
    """The rows over all items, with their condition as `place`."""
    return placed_by_condition(table[(table["subtask"] == EVERY) & (table["task_type"] == EVERY)])


def _condition_dots(
    levels: pd.DataFrame, factor: float, unit: str, details: Callable[[pd.Series], str], style: Trace
) -> Iterator[Trace]:
    """A trace for each condition and for each backbone under it; `details` is more hover text for a single model."""

    def hover(row: pd.Series) -> str:
        text = f"{style['name']}, {row['place']}<br>{whose(row)}: {interval_words(row, factor, unit)}"
        return text + (f"<br>{details(row)}" if row["models"] == 1 else "")

    for number, (_, of_it) in enumerate(levels.groupby("condition", sort=False)):
        few = {name: value for name, value in style.items() if name != "marker"}
        yield from backbone_dots(of_it[of_it["alone"]], factor, unit, style["marker"]["color"], **few)
        yield dots(of_it[~of_it["alone"]], hover, factor, showlegend=number == 0, **style)


def _style(name: str, group: str, lane: int, objective: str) -> Trace:
    marker = {"color": COLOURS[objective], "size": 10, "symbol": SYMBOLS[group]}
    return {"name": name, "legendgroup": group, "lane": lane, "marker": marker}


def retention_figure(retention: pd.DataFrame) -> go.Figure:
    """Fraction of the pairs that single-objective models judge correctly that the mixed model retains, by condition.

    Three measures (combined, helpful, harmless) over all items with 95 % intervals; single backbones as small dots. A
    menu selects the dataset.

    Args:
        retention: the table `retention` of `analysis.tables`.
    """
    rows = _over_all(retention[retention["measure"].isin(MEASURES)])
    levels = pool_levels(rows, "share", ["data", "measure", "condition", "place"], ("numerator", "denominator"))
    traces: dict[str, list[Trace]] = {}
    for data, of_data in levels.groupby("data", sort=False):
        found = traces.setdefault(data, [])
        for lane, (measure, objective) in enumerate(MEASURES.items()):
            part = of_data[of_data["measure"] == measure]
            found += _condition_dots(part, 100, " %", _counts, _style(measure, measure, lane, objective))
    figure = row_figure(traces, rows["place"], ROW_HEIGHT, len(MEASURES))
    return figure.update_xaxes(title_text="retained by the mixed model, % of pairs")


def _counts(row: pd.Series) -> str:
    return f"{row['numerator']:,} of {row['denominator']:,} pairs"


def retention_caption(retention: pd.DataFrame) -> str:
    """Caption of `retention_figure`."""
    rows = _over_all(retention[retention["measure"].isin(MEASURES)])
    return caption("retention", n=counted(rows["items"]))


def margins_figure(margins: pd.DataFrame, units: str = "standardised") -> go.Figure:
    """Margins of the mixed model minus those of a single-objective model on retained items, by condition.

    Args:
        margins: the table `margins` of `analysis.tables`.
        units: `standardised` (sd of each model's margins) or `raw` (each model's own units of reward).
    """
    rows = _over_all(margins[margins["units"] == units])
    keys = ["data", "reference", "condition", "place"]
    levels = pool_levels(rows, "difference", keys, ("reference_mean", "mixed_mean", "n"))
    traces: dict[str, list[Trace]] = {}
    for (data, reference), part in levels.groupby(["data", "reference"], sort=False):
        style = _style(f"against {reference}", reference, REFERENCES.index(reference), reference)
        traces.setdefault(data, []).extend(_condition_dots(part, 1, f" {UNITS[units]}", _means, style))
    figure = row_figure(traces, rows["place"], ROW_HEIGHT, len(REFERENCES), entries=1 + len(REFERENCES))
    title = f"mixed − single-objective margin, {UNITS[units]}"
    return figure.update_xaxes(title_text=title, zeroline=True, zerolinewidth=2, rangemode="tozero")


def _means(row: pd.Series) -> str:
    return f"mean margin {row['reference_mean']:.4g} → {row['mixed_mean']:.4g}, n = {row['n']:,}"


def margins_caption(margins: pd.DataFrame, units: str = "standardised") -> str:
    """Caption of `margins_figure`."""
    return caption("margins", units=units, n=counted(_over_all(margins[margins["units"] == units])["n"]))
