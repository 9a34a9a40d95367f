"""Layout and names shared by all figures: size, rows, menus, rounding and the metadata that a page filters by."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.style import CLEAR, GREY
from tension_lens.constants import INTACT

Trace = dict[str, Any]
META = ("backbone", "seed", "condition", "data")
"""Columns that a reader of the page can filter by."""
WHO = META[:2]
OVER = "over"
"""Key in the `meta` of a mean: the backbones or seeds that the mean is over."""
DIGITS = 4
"""Significant digits of numbers in a figure."""
GRID = "rgba(128,128,128,0.25)"
MENU_HEIGHT, AXIS_HEIGHT, ENTRY_HEIGHT = 50, 55, 20
"""Pixels for the menu, the x axis with its title, and a line of the legend."""
ENTRIES_A_LINE = 2
"""Entries in a line of the legend on a phone."""
LABEL_LENGTH = 19
"""Characters in a line of a row's label, so that labels leave room for the plot on a phone."""
LANES_SHARE = 0.75
"""Fraction of a row's height that its lanes take."""
BENCHMARK_TAGS = {"hh-rlhf": "HH", "sample": "HH", "reward-bench": "RB", "reward-bench-2": "RB2", "rm-bench": "RM"}


def frame(height: int, entries: int = 4, menu: bool = False, **layout: Any) -> go.Figure:
    """An empty figure with a transparent background that takes the width of its container.

    Args:
        height: of the plot area in pixels; legend, menu and axis title are added to it.
        entries: number of legend entries, for the room above the plot.
        menu: whether `finish` will add a menu.
        layout: more layout settings.
    """
    top = 15 + ENTRY_HEIGHT * -(-entries // ENTRIES_A_LINE) + (MENU_HEIGHT if menu else 0)
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "tracegroupgap": 0}
    settings = {
        "template": "plotly_white",
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "height": height + top + AXIS_HEIGHT,
        "margin": {"l": 60, "r": 15, "t": top, "b": AXIS_HEIGHT},
        "legend": legend,
        "hoverlabel": {"align": "left"},
    }
    figure = go.Figure(layout={**settings, **layout})
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GREY, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GREY, automargin=True)
    return figure


def row_figure(
    traces: Mapping[str, Sequence[Trace]], places: Iterable[str], row_height: int, lanes: int = 1, **layout: Any
) -> go.Figure:
    """A figure with a row for each place, the first one on top, and lanes side by side within a row.

    Rows are numbers on the y axis: with plotly's own categories and groups, x = 0 would always be in view.

    Args:
        traces: by choice of the menu, as for `finish`; `y` holds places, `lane` the number of the trace's lane.
        places: names of the rows; repeated names are one row.
        row_height: in pixels.
        lanes: number of lanes in a row.
        layout: settings of the layout, with `entries` as for `frame`.
    """
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
    entries = layout.pop("entries", lanes)
    figure = frame(row_height * len(numbers), entries, menu=_has_menu(traces), **layout)
    for trace in (trace for of_choice in traces.values() for trace in of_choice):
        shift = LANES_SHARE * ((trace.pop("lane", 0) + 0.5) / lanes - 0.5)
        trace["y"] = [round(numbers[place] + shift, DIGITS) for place in trace["y"]]
    figure.update_yaxes(
        tickvals=list(numbers.values()),
        ticktext=["<br>".join(textwrap.wrap(place, LABEL_LENGTH)) for place in numbers],
        tickfont_size=11,
        range=[len(numbers) - 0.5, -0.5],
        zeroline=False,
    )
    return finish(figure, traces)


def _has_menu(traces: Mapping[str, Sequence[Trace]]) -> bool:
    return len([choice for choice in traces if choice]) > 1


def finish(figure: go.Figure, traces: Mapping[str, Sequence[Trace]]) -> go.Figure:
    """Add the traces, and with several choices a menu above the plot that shows one of them at a time.

    Args:
        figure: a figure without traces.
        traces: by choice; the first choice is shown at first, and traces of the choice "" always.
    """
    every = [(choice, trace) for choice, of_choice in traces.items() for trace in of_choice]
    if not _has_menu(traces):
        figure.add_traces([trace for _, trace in every])
        return figure
    shown = {name: [choice in ("", name) for choice, _ in every] for name in traces if name}
    first = next(iter(shown.values()))
    figure.add_traces([{**trace, "visible": visible} for (_, trace), visible in zip(every, first, strict=True)])
    buttons = [{"label": name, "method": "restyle", "args": [{"visible": one}]} for name, one in shown.items()]
    pad = {"b": figure.layout.margin.t - MENU_HEIGHT + 5}
    place = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": pad}
    figure.update_layout(updatemenus=[{"buttons": buttons, "showactive": False, **place}])
    return figure


def rounded(values: Iterable[float], factor: float = 1) -> list[float | None]:
    """Numbers times a factor, with 4 significant digits; None for NaN."""
    return [None if pd.isna(value) else float(f"{factor * value:.{DIGITS}g}") for value in values]


def meta_of(rows: pd.DataFrame, keys: Sequence[str] = META) -> dict[str, Any]:
    """The backbone, seed, condition and data that all rows share.

    If rows belong to several backbones or seeds, or are means over them (columns of `pooling.members`), these are
    listed under `OVER`. A page hides a mean as soon as one of the models in it is hidden.
    """
    found = {}
    for key in keys:
        pooled = rows.get(f"{key}_of")
        values = rows.get(key) if pooled is None else pooled.explode()
        if values is not None:
            found[key] = [value for value in dict.fromkeys(values.astype(str)) if value]
    meta: dict[str, Any] = {key: values[0] for key, values in found.items() if len(values) == 1}
    over = {key: values for key, values in found.items() if key in WHO and len(values) > 1}
    return {**meta, OVER: over} if over else meta


def condition_words(set_name: str, ablation: str) -> str:
    """A condition for readers: `shared ablated`, `own at mean`, or `intact` without a set."""
    if not set_name:
        return INTACT
    return f"{set_name.replace('_', ' ')} {'at mean' if ablation == 'mean' else 'ablated'}"


def placed_by_condition(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the words of their condition in the column `place`."""
    return rows.assign(place=[condition_words(*one) for one in zip(rows["set"], rows["ablation"], strict=True)])


def placed_by_subtask(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their sub-task in the column `place`, after a tag of its dataset if there are several."""
    tags = rows["data"].map(_tag) + " " if rows["data"].nunique() > 1 else ""
    return rows.assign(place=tags + rows["subtask"])


def _tag(data: str) -> str:
    """A short name of a data spec, such as RB for RewardBench."""
    name = data.partition(":")[0]
    return BENCHMARK_TAGS.get(name, name.rpartition("/")[2])
