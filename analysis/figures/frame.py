"""What all figures have in common: the frame, the rows of dots, the choice of what is shown, the words on axes."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.style import CLEAR, GREY
from tension_lens.constants import INTACT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Trace = dict[str, Any]
META = ("backbone", "seed", "condition", "data")
"""What a reader of the page can filter by."""
WHO = META[:2]
OVER = "over"
"""In the `meta` of a mean: of whose numbers it is, lists of the values of `WHO`."""
DIGITS = 4
GRID = "rgba(128,128,128,0.25)"
MENU_HEIGHT, AXIS_HEIGHT, ENTRY_HEIGHT = 50, 55, 20
ENTRIES_A_LINE = 2
"""Of a legend on a phone."""
LABEL_LENGTH = 19
"""Characters of a line of a row's label; more would take a phone's whole width."""
LANES_SHARE = 0.75
"""Of the height of a row that its lanes take."""
BENCHMARK_TAGS = {"hh-rlhf": "HH", "sample": "HH", "reward-bench": "RB", "reward-bench-2": "RB2", "rm-bench": "RM"}


def frame(height: int, entries: int = 4, menu: bool = False, **layout: Any) -> "Figure":
    """An empty figure as wide as what holds it, with a transparent background.

    Args:
        height: of the plot itself, in pixels; legend and axis titles are added to it.
        entries: of the legend, so that it has room over the plot on a phone too.
        menu: whether `finish` will need room over them.
        layout: more settings of the layout.
    """
    from plotly.graph_objects import Figure

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
    figure = Figure(layout={**settings, **layout})
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GREY, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GREY, automargin=True)
    return figure


def set_rows(figure: "Figure", places: Sequence[str], traces: Iterable[Trace], lanes: int = 1) -> None:
    """Let y hold a row for each place, the first on top and with lanes side by side, and put the traces there.

    Rows are numbers to plotly. Its own grouping of dots would always have x = 0 in view, however far from the dots.

    Args:
        figure: whose y axis it is.
        places: names of the rows; they are broken into lines short enough for a phone.
        traces: with places as `y` and the number of their lane in place of `lane`.
        lanes: how many there are in a row.
    """
    numbers = {place: number for number, place in enumerate(places)}
    for trace in traces:
        shift = LANES_SHARE * ((trace.pop("lane", 0) + 0.5) / lanes - 0.5)
        trace["y"] = [round(numbers[place] + shift, DIGITS) for place in trace["y"]]
    figure.update_yaxes(
        tickvals=list(numbers.values()),
        ticktext=["<br>".join(textwrap.wrap(place, LABEL_LENGTH)) for place in places],
        tickfont_size=11,
        range=[len(places) - 0.5, -0.5],
        zeroline=False,
    )


def finish(figure: "Figure", traces: Mapping[str, Sequence[Trace]]) -> "Figure":
    """The figure with its traces, of which one choice at a time is shown, picked from a menu over the plot.

    Args:
        figure: without traces.
        traces: by choice, the first of which is shown at once; those of the choice "" always are.
    """
    every = [(choice, trace) for choice, of_it in traces.items() for trace in of_it]
    names = [choice for choice in traces if choice]
    if len(names) < 2:
        figure.add_traces([trace for _, trace in every])
        return figure
    shown = {name: [choice in ("", name) for choice, _ in every] for name in names}
    figure.add_traces(
        [{**trace, "visible": visible} for (_, trace), visible in zip(every, shown[names[0]], strict=True)]
    )
    buttons = [{"label": name, "method": "restyle", "args": [{"visible": shown[name]}]} for name in names]
    pad = {"b": figure.layout.margin.t - MENU_HEIGHT + 5}
    place = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": pad}
    figure.update_layout(updatemenus=[{"buttons": buttons, "showactive": False, **place}])
    return figure


def rounded(values: Iterable[float], factor: float = 1) -> list[float | None]:
    """Numbers times a factor at 4 significant digits; None for what is not a number."""
    return [None if pd.isna(value) else float(f"{factor * value:.{DIGITS}g}") for value in values]


def meta_of(rows: pd.DataFrame, keys: Sequence[str] = META) -> dict[str, Any]:
    """The backbone, seed, condition and data that all rows have in common, of those asked for.

    Where rows are of several backbones or seeds, or pooled ones are means over them (`pooling.members`), these are
    listed under `OVER`: a mean is of none of them alone, and no longer of what is shown once one of them is hidden.
    """
    found = {key: _values(rows, key) for key in keys if key in rows or members_column(key) in rows}
    meta: dict[str, Any] = {key: values[0] for key, values in found.items() if len(values) == 1 and values[0]}
    over = {key: [one for one in values if one] for key, values in found.items() if key in WHO and len(values) > 1}
    return {**meta, OVER: over} if over else meta


def _values(rows: pd.DataFrame, key: str) -> list[str]:
    """The distinct values of a column, or of what stands behind it where its rows are pooled."""
    behind = rows.get(members_column(key))
    values = rows[key] if behind is None else (value for values in behind for value in values)
    return list(dict.fromkeys(map(str, values)))


def members_column(key: str) -> str:
    """The column of pooled rows that holds the backbones or the seeds behind each, as a tuple."""
    return f"{key}_of"


def condition_words(set_name: str, ablation: str) -> str:
    """The ablation of a set in words: `shared set ablated`, `own set at its mean`; `intact` without a set."""
    if not set_name:
        return INTACT
    return f"{set_name.replace('_', ' ')} {'at mean' if ablation == 'mean' else 'ablated'}"


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the words of their condition in the column `place`."""
    words = [condition_words(*one) for one in zip(rows["set"], rows["ablation"], strict=True)]
    return rows.assign(place=words)


def tag(data: str) -> str:
    """A short name of a data spec: RB for RewardBench."""
    name = data.partition(":")[0]
    return BENCHMARK_TAGS.get(name, name.rpartition("/")[2])


def counted(values: pd.Series, what: str) -> str:
    """`n = 28 to 1,770 items`, or one number where all are alike."""
    low, high = int(values.min()), int(values.max())
    return f"n = {low:,} {what}" if low == high else f"n = {low:,} to {high:,} {what}"
