"""How accurate models are: by sub-task as radars, and on the held-out data of their training."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures.frame import GRID, WHO, Trace, counted, finish, frame, meta_of, rounded, set_rows, tag
from analysis.figures.marks import CONTROL_RANK, dots
from analysis.figures.pooling import FEWEST, STUDENT, interval_words, pool, whose
from analysis.figures.style import CLEAR, COLOURS, GREY, translucent
from analysis.results.scores import PAPER, STRICT
from tension_lens.constants import BASELINE, OBJECTIVES
from tension_lens.errors import RequestError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FEWEST_AXES = 3
"""A radar with fewer axes is a line; dots are drawn then."""
CHANCE, CHANCE_OF_PAIRS = "random rewards", 50.0
SYMBOLS = {"helpful": "square", "harmless": "diamond", "mixed": "circle"}
SUBTASK_HEIGHT, MODEL_HEIGHT, RADAR_HEIGHT = 90, 54, 340
LABEL_ROOM, LABEL_LENGTH = 45, 10
"""Height over a radar that its labels take, and characters of a line of them: what fits around one on a phone."""


def subtask_rows(scores: pd.DataFrame, task_type: str) -> pd.DataFrame:
    """The rows that the figure is about: intact models on the paper's sub-tasks of a task type.

    Where the paper's rule has none, the sub-tasks of the data at hand, judged by the strict rule. Column `place` names
    the sub-task, after its data set where there are several.

    Raises:
        RequestError: if there is no such row.
    """
    rows = scores[(scores["condition"] == BASELINE) & (scores["task_type"] == task_type)]
    chosen = rows[rows["rule"] == PAPER]
    if len(chosen):
        return chosen.assign(place=chosen["subtask"])
    chosen = rows[rows["rule"] == STRICT]
    if chosen.empty:
        raise RequestError(f"no intact model is scored on {task_type} sub-tasks; evaluate one without an ablation")
    several = chosen["data"].nunique() > 1
    return chosen.assign(place=(chosen["data"].map(tag) + " " if several else "") + chosen["subtask"])


def subtask_figure(scores: pd.DataFrame, task_type: str) -> "Figure":
    """Accuracy of the intact helpful, harmless and mixed models on every sub-task of a task type, as a radar.

    A menu chooses whose: the mean over all models, over a family, or a backbone (means over its seeds). Shaded is the
    95 % interval. With fewer than three sub-tasks, dots with intervals in place of a radar.

    Args:
        scores: the table `scores` of `analysis.tables`.
        task_type: `helpful` or `harmless`.

    Raises:
        RequestError: if no intact model is scored on that task type.
    """
    rows = subtask_rows(scores, task_type)
    places = list(dict.fromkeys(rows["place"]))
    draw = _radar if len(places) >= FEWEST_AXES else _rows_of_dots
    return draw(rows, places)


def subtask_caption(scores: pd.DataFrame, task_type: str) -> str:
    """What the figure of sub-tasks shows."""
    rows = subtask_rows(scores, task_type)
    places = rows["place"].nunique()
    rule = "the paper's rule (RM-Bench by its diagonal)" if (rows["rule"] == PAPER).all() else "the strict rule"
    models = len(rows[["backbone", "seed"]].drop_duplicates())
    sub_tasks, radar = "sub-tasks" if places > 1 else "sub-task", places >= FEWEST_AXES
    reading = " The area of a radar means nothing, read it along its axes." if radar else ""
    return (
        f"Share of items judged correctly, in percent, by intact models on {places} {task_type} {sub_tasks}, by "
        f"{rule}. {counted(rows['n'], 'items')} a sub-task; {models} {'models' if models > 1 else 'model'} of each "
        f"objective. {'Shaded' if radar else 'Bars'}: 95 % interval, Wilson's over items for one model, {STUDENT}, "
        "which says how models vary and not how items do. Grey: what "
        f"random rewards score. Where items are few, one of them moves the share by points.{reading}"
    )


def _levels(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Whose accuracy there is to show: everyone's, that of each family of several backbones, and each backbone's.

    Of two backbones those by themselves come first, since they have intervals and their mean has none.
    """
    each = [(str(backbone), part) for backbone, part in rows.groupby("backbone", sort=False)]
    if len(each) == 1:
        return each
    everyone = [(f"all {len(each)} backbones", rows)]
    if len(each) < FEWEST:
        return [*each, *everyone]
    families = rows.groupby(rows["backbone"].str.partition("-")[0], sort=False)
    several = [(f"family {name}", part) for name, part in families if 1 < part["backbone"].nunique() < len(each)]
    return [*everyone, *several, *each]


def _pooled(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, list[str]]]:
    """Each objective, its accuracy by place, and what to say of it."""
    for objective in OBJECTIVES:
        found = pool(rows[rows["objective"] == objective], "accuracy", ["place"], ["n"])
        if len(found):
            hover = [
                f"{objective}, {row['place']}<br>{whose(row)}: {interval_words(row)}, n = {row['n']:,}"
                for _, row in found.iterrows()
            ]
            yield objective, found, hover


def _radar(rows: pd.DataFrame, places: list[str]) -> "Figure":
    around = [*places, places[0]]
    labels = {place: "<br>".join(textwrap.wrap(place, LABEL_LENGTH)) for place in places}
    theta = [labels[place] for place in around]
    traces: dict[str, list[Trace]] = {}
    for level, members in _levels(rows):
        of_level = traces.setdefault(level, [])
        for objective, found, hover in _pooled(members):
            texts = dict(zip(found["place"], hover, strict=True))
            closed = found.set_index("place").reindex(around)
            both = {
                "type": "scatterpolar",
                "legendgroup": objective,
                "meta": meta_of(found, WHO),
                "line": {"color": COLOURS[objective], "width": 2},
            }
            of_level.append(_interval(closed, theta, objective, both))
            of_level.append(
                {
                    **both,
                    "mode": "lines+markers",
                    "r": rounded(closed["value"], 100),
                    "theta": theta,
                    "marker": {"size": 6, "symbol": SYMBOLS[objective]},
                    "name": objective,
                    "text": [texts.get(place, "") for place in around],
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    chance = rows.groupby("place")["chance"].mean().reindex(around)
    look = {"mode": "lines", "line": {"color": GREY, "dash": "dash", "width": 1.5}}
    traces[""] = [{"type": "scatterpolar", "r": rounded(chance, 100), "theta": theta, **look, **_chance("%{r}")}]
    figure = frame(RADAR_HEIGHT, 4, menu=len(traces) > 2)
    angle = 90 - 180 / len(places)
    figure.update_layout(
        margin={"l": 56, "r": 56, "t": figure.layout.margin.t + LABEL_ROOM},
        height=figure.layout.height + LABEL_ROOM,
        legend_y=1 + LABEL_ROOM / RADAR_HEIGHT,
        polar={
            "bgcolor": CLEAR,
            "radialaxis": {"range": [0, 100], "tickvals": [25, 50, 75], "ticksuffix": " %", "showline": False,
                           "angle": angle, "tickangle": angle, "tickfont_size": 10, "gridcolor": GRID},
            "angularaxis": {"tickfont_size": 9, "rotation": 90, "direction": "clockwise", "gridcolor": GRID,
                            "linecolor": GRID, "categoryarray": [labels[place] for place in places]},
        },
    )  # fmt: skip
    return finish(figure, traces)


def _interval(closed: pd.DataFrame, theta: list[str], objective: str, both: Trace) -> Trace:
    return {
        **both,
        "mode": "lines",
        "r": [*rounded(closed["high"], 100), *reversed(rounded(closed["low"], 100))],
        "theta": [*theta, *reversed(theta)],
        "fill": "toself",
        "fillcolor": translucent(COLOURS[objective], 0.13),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "name": f"{objective} interval",
    }


def _chance(value: str) -> Trace:
    return {"name": CHANCE, "legendrank": CONTROL_RANK, "hovertemplate": f"{CHANCE}: {value} %<extra></extra>"}


def _rows_of_dots(rows: pd.DataFrame, places: list[str]) -> "Figure":
    traces: dict[str, list[Trace]] = {}
    for level, members in _levels(rows):
        for objective, found, hover in _pooled(members):
            marker = {"color": COLOURS[objective], "size": 10, "symbol": SYMBOLS[objective]}
            style: Trace = {"name": objective, "lane": OBJECTIVES.index(objective), "meta": meta_of(found, WHO)}
            traces.setdefault(level, []).append(dots(found, hover, marker=marker, **style))
    chance = rows.groupby("place")["chance"].mean().reindex(places)
    marker = {"symbol": "x-thin-open", "size": 9, "color": GREY, "line": {"width": 2, "color": GREY}}
    grey = {"type": "scatter", "x": rounded(chance, 100), "y": places, "mode": "markers", "marker": marker}
    traces[""] = [{**grey, "lane": len(OBJECTIVES), **_chance("%{x}")}]
    lanes = len(OBJECTIVES) + 1
    figure = frame(SUBTASK_HEIGHT * len(places), lanes, len(traces) > 2)
    set_rows(figure, places, (trace for of_level in traces.values() for trace in of_level), lanes)
    figure.update_xaxes(title_text="items judged correctly, %", range=[0, 100])
    return finish(figure, traces)


def training_figure(training: pd.DataFrame) -> "Figure":
    """Accuracy of every trained model on the held-out data of its training, with the 50 % of random rewards.

    Args:
        training: `Results.training`: run, backbone, seed, objective, data, accuracy, low, high, n.
    """
    rows = training.assign(place=_model_names(training), value=training["accuracy"])
    places = list(dict.fromkeys(rows["place"]))
    traces = []
    for lane, objective in enumerate(OBJECTIVES):
        style: Trace = {"name": objective, "legendgroup": objective, "lane": lane}
        marker = {"color": COLOURS[objective], "size": 9, "symbol": SYMBOLS[objective]}
        for number, (place, model) in enumerate(rows[rows["objective"] == objective].groupby("place", sort=False)):
            hover = [
                f"{objective}, {place}<br>{100 * row['accuracy']:.4g} % [{100 * row['low']:.4g}, "
                f"{100 * row['high']:.4g}], n = {row['n']:,}"
                for _, row in model.iterrows()
            ]
            look: Trace = {"marker": marker, "showlegend": number == 0, "meta": meta_of(model, WHO)}
            traces.append(dots(model, hover, **look, **style))
    figure = frame(MODEL_HEIGHT * len(places) + 20, len(OBJECTIVES))
    set_rows(figure, places, traces, len(OBJECTIVES))
    figure.add_vline(x=CHANCE_OF_PAIRS, line={"color": GREY, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title_text="held-out pairs judged correctly, %", autorangeoptions_include=[CHANCE_OF_PAIRS])
    return finish(figure, {"": traces})


def training_caption(training: pd.DataFrame) -> str:
    """What the figure of held-out accuracies shows."""
    unsure = int((training["low"] <= 0.5).sum())
    return (
        "Share of held-out pairs on which a trained model gives the chosen response more reward, in percent. "
        f"{counted(training['n'], 'pairs')}, those of the model's own objective: objectives are not judged on the same "
        "pairs. Bars: Wilson's 95 % interval over pairs. Dashed: 50 %, what random rewards score; "
        f"{unsure} of {len(training)} intervals reach down to it. Where training chose its best checkpoint on these "
        "same pairs, as the paper's does, the numbers are too high."
    )


def _model_names(rows: pd.DataFrame) -> pd.Series:
    """Backbone, with the seed where a backbone has several, and the run's folder where that still leaves doubt."""
    names = rows["backbone"].astype(str)
    if rows.groupby("backbone")["seed"].nunique().max() > 1:
        names = names + ", seed\N{NO-BREAK SPACE}" + rows["seed"].astype(str)
    if rows.assign(name=names).duplicated(["name", "objective"]).any():
        names = names + " (" + rows["run"] + ")"
    return names
