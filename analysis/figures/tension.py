"""What a mixed model keeps of the single-objective ones: retention and margins, by condition."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures.frame import Trace, counted, finish, frame, placed, set_rows
from analysis.figures.marks import backbone_dots, control_spans, dots
from analysis.figures.pooling import MEANS, interval_words, members, pool_levels, whose
from analysis.figures.style import COLOURS
from analysis.tables.retention import EVERY
from tension_lens.neurons.conditions import Condition

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MEASURES = {"combined": "mixed", "helpful": "helpful", "harmless": "harmless"}
"""Measures of retention and the objective in whose colour each is drawn."""
SYMBOLS = {"combined": "circle", "helpful": "square", "harmless": "diamond"}
UNITS = {"standardised": "sd", "raw": "reward"}
REFERENCES = ("helpful", "harmless")
ROW_HEIGHT = 56


def _over_all(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[(table["subtask"] == EVERY) & (table["task_type"] == EVERY)]
    return placed(rows)


def _by_condition(rows: pd.DataFrame, traces: Mapping[str, list[Trace]], lanes: int, x_title: str) -> "Figure":
    places = list(dict.fromkeys(rows["place"]))
    figure = frame(ROW_HEIGHT * len(places), lanes + 1, len(traces) > 1)
    set_rows(figure, places, (trace for of_data in traces.values() for trace in of_data), lanes)
    figure.update_xaxes(title_text=x_title)
    return finish(figure, traces)


def _condition_dots(
    levels: pd.DataFrame, measure: tuple[float, str], marker: Trace, words: Callable[[pd.Series], str], style: Trace
) -> Iterator[Trace]:
    """A trace for every condition, and for each backbone under it; `measure` is the factor and the unit to show."""
    factor, unit = measure
    for number, (_, of_it) in enumerate(levels.groupby("condition", sort=False)):
        yield from backbone_dots(of_it[of_it["alone"]], factor, unit, marker["color"], **style)
        mean = of_it[~of_it["alone"]]
        hover = [
            f"{style['name']}, {row['place']}<br>{whose(row)}: {interval_words(row, factor, unit)}"
            + (f"<br>{words(row)}" if row["models"] == 1 else "")
            for _, row in mean.iterrows()
        ]
        yield dots(mean, hover, factor, marker=marker, showlegend=number == 0, **style)


def retention_figure(retention: pd.DataFrame) -> "Figure":
    """Share of what single-objective models judge correctly that the mixed model keeps, by condition.

    Three measures (combined, helpful, harmless) over all items, each with its 95 % interval; small dots are single
    backbones, grey crosses and bars the random controls of the set. A menu chooses the data where there are several.

    Args:
        retention: the table `retention` of `analysis.tables`.
    """
    rows = _over_all(retention[retention["measure"].isin(MEASURES)])
    sets, controls = rows[rows["control"] == ""], _controls(rows)
    by = ["data", "measure", "condition", "place"]
    levels = pool_levels(sets, "share", by, ("numerator", "denominator"))
    traces: dict[str, list[Trace]] = {}
    for data in dict.fromkeys(levels["data"]):
        of_data = traces.setdefault(data, [])
        for lane, (measure, objective) in enumerate(MEASURES.items()):
            style = {"name": measure, "legendgroup": measure, "lane": lane}
            drawn = controls[(controls["data"] == data) & (controls["measure"] == measure)]
            look = {"legendgroup": "random", "lane": lane}
            for number, (_, of_it) in enumerate(drawn.groupby("condition", sort=False)):
                shown = number == 0 and measure == "combined"
                of_data.append(control_spans(of_it, "x-thin-open", "random controls", " %", showlegend=shown, **look))
            marker = {"color": COLOURS[objective], "size": 10, "symbol": SYMBOLS[measure]}
            part = levels[(levels["data"] == data) & (levels["measure"] == measure)]
            of_data += _condition_dots(part, (100, " %"), marker, _counts, style)
    return _by_condition(sets, traces, len(MEASURES), "kept by the mixed model, % of items")


def _controls(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest share over all draws and models of the controls of each set."""
    drawn = rows[(rows["control"] != "") & rows["share"].notna()]
    by = ["data", "measure", "set", "ablation"]
    found = drawn.groupby(by, sort=False)["share"].agg(value="mean", low="min", high="max", draws="count").reset_index()
    found = found.merge(members(drawn, by), on=by)
    labels = [Condition(*one).label for one in zip(found["set"], found["ablation"], strict=True)]
    return placed(found.assign(condition=labels))


def _counts(row: pd.Series) -> str:
    return f"{row['numerator']:,} of {row['denominator']:,} items"


def retention_caption(retention: pd.DataFrame) -> str:
    """What the retention figure shows."""
    rows = _over_all(retention[retention["measure"].isin(MEASURES)])
    control = (
        "Grey: random sets of the same size, mean and lowest to highest over all draws and models. "
        if (rows["control"] != "").any()
        else "No random controls are in these runs, so a drop cannot be told from that of losing any neurons. "
    )
    return (
        "Of the items that single-objective models judge correctly, the share that the mixed model judges correctly "
        "too, intact and with a set of neurons off. Combined: items right under the helpful or the harmless model; "
        f"helpful, harmless: items right under that one. {counted(rows['denominator'], 'items')}. Bars: 95 % interval, "
        f"Wilson's over items for one model, {MEANS}. {control}Two models that are right by chance share items too: "
        "read retention beside the mixed model's accuracy. The paper's Tables 11 and 12 are Jaccard scores of one "
        "model, its Table 19 holds running means over conditions, and its averages are over seven models and not six."
    )


def _of_units(margins: pd.DataFrame, units: str) -> pd.DataFrame:
    return _over_all(margins[margins["units"] == units])


def margins_figure(margins: pd.DataFrame, units: str = "standardised") -> "Figure":
    """How the mixed model's margins on retained items differ from those of a single-objective model, by condition.

    Args:
        margins: the table `margins` of `analysis.tables`.
        units: `standardised` (sd of each model's margins) or `raw` (each model's own units of reward).
    """
    rows = _of_units(margins, units)
    levels = pool_levels(
        rows, "difference", ["data", "reference", "condition", "place"], ("reference_mean", "mixed_mean", "n")
    )
    traces: dict[str, list[Trace]] = {}
    for (data, reference), part in levels.groupby(["data", "reference"], sort=False):
        lane = REFERENCES.index(reference)
        style = {"name": f"against {reference}", "legendgroup": reference, "lane": lane}
        marker = {"color": COLOURS[reference], "size": 10, "symbol": SYMBOLS[reference]}
        traces.setdefault(data, []).extend(_condition_dots(part, (1, f" {UNITS[units]}"), marker, _means, style))
    figure = _by_condition(rows, traces, len(REFERENCES), f"mixed − single-objective margin, {UNITS[units]}")
    figure.update_xaxes(zeroline=True, zerolinewidth=2, rangemode="tozero")
    return figure


def _means(row: pd.Series) -> str:
    return f"mean margin {row['reference_mean']:.4g} → {row['mixed_mean']:.4g}, n = {row['n']:,}"


def margins_caption(margins: pd.DataFrame, units: str = "standardised") -> str:
    """What the figure of margins shows."""
    unit = (
        "in standard deviations of each model's margins over all items"
        if units == "standardised"
        else "in each model's own units of reward, which do not compare between models"
    )
    return (
        "Margin (lowest chosen − highest rejected reward) of the mixed model minus that of a single-objective model, "
        f"on the items that both judge correctly, {unit}. {counted(_of_units(margins, units)['n'], 'items')}. Left of "
        "0 the mixed model is less decided than the model it is compared with. Bars: 95 % interval, Student's over "
        f"items for one model, {MEANS}. There is no random control here. Items that only one of the two gets right are "
        "left out, so this says nothing of what is lost."
    )
