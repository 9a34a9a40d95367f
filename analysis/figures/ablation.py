"""What switching a set off does to accuracy, by sub-task, beside its random controls."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures.frame import Trace, condition_words, counted, finish, frame, set_rows, tag
from analysis.figures.marks import backbone_dots, control_spans, dots
from analysis.figures.pooling import MEANS, interval_words, members, pool_levels, whose
from analysis.figures.style import COLOURS, CONTROL_SYMBOLS, OTHERS
from tension_lens.constants import ALPHA, CONTROLS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SUBTASK_HEIGHT = 44
CELL = ["objective", "condition", "set", "ablation", "data"]
ORDER = ("mixed", "helpful", "harmless")
POINTS = " points"


def effects_figure(conditions: pd.DataFrame) -> "Figure":
    """Change of accuracy by sub-task when a set is switched off, beside the random controls of that set.

    The mean over models with its 95 % interval, every backbone small, and for each kind of control the mean and the
    lowest to highest over its draws. A diamond marks a change that is significant after Holm's correction, for a mean
    over models one that is so in most of them. A menu chooses model and set, those of the mixed model first.

    Args:
        conditions: the table `conditions` of `analysis.tables`.
    """
    rows = _placed(conditions)
    places = list(dict.fromkeys(rows["place"]))
    keys = [*CELL, "place"]
    levels = pool_levels(rows, "difference", keys, ("before", "after", "n", "lost", "gained", "p_holm"))
    hits = rows.assign(hit=rows["p_holm"] < ALPHA).groupby(keys, sort=False)["hit"].agg(hits="sum", tests="size")
    levels = levels.merge(hits.reset_index(), on=keys, how="left")
    controls = {kind: _controls(rows, kind) for kind in CONTROLS if f"{kind}_mean" in rows}
    traces: dict[str, list[Trace]] = {}
    for cell, part in sorted(levels.groupby(CELL, sort=False), key=lambda one: ORDER.index(one[0][0])):
        objective, _, name, ablation, _ = cell
        of_choice = traces.setdefault(f"{objective} model, {condition_words(name, ablation)}", [])
        drawn = {kind: found.get(cell) for kind, found in controls.items()}
        of_choice += _effects(part, drawn, legend=not of_choice)
    lanes = 1 + len(controls)
    figure = frame(SUBTASK_HEIGHT * len(places), lanes, menu=len(traces) > 1)
    set_rows(figure, places, (trace for of_choice in traces.values() for trace in of_choice), lanes)
    figure.update_xaxes(title_text="change of accuracy, percentage points", zeroline=True, zerolinewidth=2)
    return finish(figure, traces)


def _placed(conditions: pd.DataFrame) -> pd.DataFrame:
    """With the row of the figure each belongs to: the sub-task, after its data set where there are several."""
    several = conditions["data"].nunique() > 1
    tags = conditions["data"].map(tag) + " " if several else ""
    return conditions.assign(place=tags + conditions["subtask"])


def _effects(levels: pd.DataFrame, controls: dict[str, pd.DataFrame | None], legend: bool) -> Iterator[Trace]:
    """Traces of one model's set on one data: backbones, their mean, controls."""
    name = str(levels["set"].iloc[0])
    colour = COLOURS.get(levels["objective"].iloc[0] if name == "own" else name, OTHERS[1])
    style: Trace = {"name": f"{name.replace('_', ' ')} set", "legendgroup": "set", "lane": 0}
    yield from backbone_dots(levels[levels["alone"]], 100, POINTS, colour, **style)
    mean = levels[~levels["alone"]]
    symbols = ["diamond" if 2 * row["hits"] > row["tests"] else "circle" for _, row in mean.iterrows()]
    hover = [
        f"{style['name']}, {row['place']}<br>{whose(row)}: {interval_words(row, 100, POINTS)}<br>{_test(row)}"
        for _, row in mean.iterrows()
    ]
    yield dots(mean, hover, marker={"color": colour, "size": 10, "symbol": symbols}, showlegend=legend, **style)
    for lane, (kind, drawn) in enumerate(controls.items(), start=1):
        if drawn is not None:
            look = {"legendgroup": kind, "lane": lane, "showlegend": legend}
            yield control_spans(drawn, CONTROL_SYMBOLS[kind], f"random, {kind}", POINTS, **look)


def _controls(rows: pd.DataFrame, kind: str) -> dict[tuple[str, ...], pd.DataFrame]:
    """Mean, lowest and highest effect of one kind of control by row, over all draws and models; for each cell."""
    drawn = rows[rows[f"{kind}_mean"].notna()]
    found = drawn.groupby([*CELL, "place"], sort=False, as_index=False).agg(
        value=(f"{kind}_mean", "mean"),
        low=(f"{kind}_min", "min"),
        high=(f"{kind}_max", "max"),
        draws=(f"{kind}_draws", "sum"),
    )
    found = found.merge(members(drawn, [*CELL, "place"]), on=[*CELL, "place"])
    return dict(list(found.groupby(CELL, sort=False)))


def _test(row: pd.Series) -> str:
    if row["models"] > 1:
        return f"Holm p < {ALPHA} in {row['hits']} of {row['tests']} models"
    return (
        f"{100 * row['before']:.4g} → {100 * row['after']:.4g} %, n = {row['n']:,}, lost {row['lost']:,}, gained "
        f"{row['gained']:,}, Holm p = {row['p_holm']:.3g}"
    )


def effects_caption(conditions: pd.DataFrame) -> str:
    """What the figure of effects shows."""
    kinds = [kind for kind in CONTROLS if f"{kind}_mean" in conditions]
    control = (
        f"Grey: random sets of the same size ({', '.join(kinds)}), mean and lowest to highest over draws and models; "
        "sets without any have none in these runs. "
        if kinds
        else "No random controls are in these runs. "
    )
    return (
        "Accuracy with a set of neurons off minus accuracy intact, on the same items, in percentage points, by "
        f"sub-task. {counted(conditions['n'], 'items')} a sub-task. Bars: 95 % interval, Tango's for paired shares "
        f"over items for one model, {MEANS}. {control}Diamond: McNemar's exact p below {ALPHA} after Holm's "
        "correction over all sets and sub-tasks of a model (for a mean: in most of the models); circle: not. An effect "
        "within the spread of the controls is what losing that many neurons does, whichever they are."
    )
