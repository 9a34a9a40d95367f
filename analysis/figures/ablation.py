"""Effects of ablations on accuracy, by sub-task, next to their random controls."""

from collections.abc import Iterator, Mapping

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, condition_words, placed_by_subtask, row_figure
from analysis.figures.marks import backbone_dots, control_spans, dots
from analysis.figures.pooling import interval_words, pool_controls, pool_levels, whose
from analysis.figures.style import COLOURS, CONTROL_SYMBOLS, OTHERS
from tension_lens.constants import CONTROLS

SUBTASK_HEIGHT = 44
CELL = ["objective", "condition", "set", "ablation", "data"]
ORDER = ("mixed", "helpful", "harmless")
POINTS = " points"


def effects_figure(conditions: pd.DataFrame) -> go.Figure:
    """Change in accuracy by sub-task when a set is ablated, next to the random controls of that set.

    The mean over models with its 95 % interval, single backbones as small dots, and the mean and range of each kind of
    control. A menu selects model and set, the mixed model first.

    Args:
        conditions: the table `conditions` of `analysis.tables`.
    """
    rows, keys = placed_by_subtask(conditions), [*CELL, "place"]
    levels = pool_levels(rows, "difference", keys, ("before", "after", "n", "lost", "gained", "p_value"))
    kinds, cells = _kinds(rows), dict(list(rows.groupby(CELL, sort=False)))
    traces: dict[str, list[Trace]] = {}
    for cell, part in sorted(levels.groupby(CELL, sort=False), key=lambda one: ORDER.index(one[0][0])):
        objective, _, name, ablation, _ = cell
        of_choice = traces.setdefault(f"{objective} model, {condition_words(name, ablation)}", [])
        drawn = {kind: _controls(cells[cell], kind) for kind in kinds}
        of_choice += _effects(part, drawn, legend=not of_choice)
    figure = row_figure(traces, rows["place"], SUBTASK_HEIGHT, 1 + len(kinds))
    return figure.update_xaxes(title_text="change in accuracy, percentage points", zeroline=True, zerolinewidth=2)


def _kinds(conditions: pd.DataFrame) -> list[str]:
    """The kinds of control in the table."""
    return [kind for kind in CONTROLS if f"{kind}_mean" in conditions]


def _effects(levels: pd.DataFrame, controls: Mapping[str, pd.DataFrame], legend: bool) -> Iterator[Trace]:
    """Traces of one set in one model on one dataset: single backbones, their mean, controls."""
    name = str(levels["set"].iloc[0])
    colour = COLOURS.get(levels["objective"].iloc[0] if name == "own" else name, OTHERS[1])
    style: Trace = {"name": f"{name.replace('_', ' ')} set", "legendgroup": "set", "lane": 0}
    yield from backbone_dots(levels[levels["alone"]], 100, POINTS, colour, **style)

    def hover(row: pd.Series) -> str:
        text = f"{style['name']}, {row['place']}<br>{whose(row)}: {interval_words(row, 100, POINTS)}"
        return text + (f"<br>{_counts(row)}" if row["models"] == 1 else "")

    marker = {"color": colour, "size": 10}
    yield dots(levels[~levels["alone"]], hover, marker=marker, showlegend=legend, **style)
    for lane, (kind, drawn) in enumerate(controls.items(), start=1):
        if len(drawn):
            look = {"legendgroup": kind, "lane": lane, "showlegend": legend}
            yield control_spans(drawn, CONTROL_SYMBOLS[kind], f"random, {kind}", POINTS, **look)


def _controls(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Effects of one kind of control by row of the figure, over all draws and models."""
    names = {"value": "mean", "low": "min", "high": "max", "draws": "draws"}
    return pool_controls(rows.assign(**{new: rows[f"{kind}_{old}"] for new, old in names.items()}), [*CELL, "place"])


def _counts(row: pd.Series) -> str:
    return (
        f"{100 * row['before']:.4g} → {100 * row['after']:.4g} %, n = {row['n']:,}, lost {row['lost']:.4g}, gained "
        f"{row['gained']:.4g}, p = {row['p_value']:.3g}"
    )


def effects_caption(conditions: pd.DataFrame) -> str:
    """Caption of `effects_figure`."""
    return caption("effects", n=counted(conditions["n"]), controls=", ".join(_kinds(conditions)))
