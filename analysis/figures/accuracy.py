"""Accuracy of models by sub-task, and on the held-out data of their training."""

import textwrap
from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import GRID, WHO, Trace, finish, frame, meta_of, placed_by_subtask, rounded, row_figure
from analysis.figures.marks import CONTROL_RANK, HOVER_TEXT, band_style, dots
from analysis.figures.pooling import FEWEST, interval_words, pool, whose
from analysis.figures.style import CLEAR, COLOURS, GREY, translucent
from analysis.results.scores import PAPER, STRICT
from tension_lens.constants import OBJECTIVES
from tension_lens.errors import RequestError

FEWEST_AXES = 3
"""Fewest axes of a radar; with fewer sub-tasks the figure has dots."""
CHANCE, CHANCE_OF_PAIRS = "random rewards", 50.0
SYMBOLS = {"helpful": "square", "harmless": "diamond", "mixed": "circle"}
SUBTASK_HEIGHT, MODEL_HEIGHT, RADAR_HEIGHT = 90, 62, 340
LABEL_ROOM, LABEL_LENGTH = 45, 10
"""Pixels above a radar for its labels, and characters in a line of a label; fits on a phone."""


def subtask_rows(scores: pd.DataFrame, task_type: str) -> pd.DataFrame:
    """The rows that the figure shows: intact models on the paper's sub-tasks of a task type.

    Without such rows, the sub-tasks of the data at hand under the strict rule. Column `place` names the sub-task, after
    its dataset if there are several.

    Raises:
        RequestError: if no intact model is scored on that task type.
    """
    rows = scores[(scores["set"] == "") & (scores["task_type"] == task_type)]
    chosen = rows[rows["rule"] == PAPER]
    chosen = chosen if len(chosen) else rows[rows["rule"] == STRICT]
    if chosen.empty:
        raise RequestError(f"no intact model is scored on {task_type} sub-tasks; evaluate one without an ablation")
    return placed_by_subtask(chosen)


def subtask_figure(scores: pd.DataFrame, task_type: str) -> go.Figure:
    """Accuracy of the intact helpful, harmless and mixed models on every sub-task of a task type, as a radar.

    A menu selects whose: the mean over all models, over a family, or over the seeds of a backbone. Shaded: 95 %
    interval. With fewer than three sub-tasks, dots with intervals instead of a radar.

    Args:
        scores: the table `scores` of `analysis.tables`.
        task_type: `helpful` or `harmless`.

    Raises:
        RequestError: if no intact model is scored on that task type.
    """
    rows = subtask_rows(scores, task_type)
    return _radar(rows) if rows["place"].nunique() >= FEWEST_AXES else _rows_of_dots(rows)


def subtask_caption(scores: pd.DataFrame, task_type: str) -> str:
    """Caption of `subtask_figure`."""
    rows = subtask_rows(scores, task_type)
    places = rows["place"].nunique()
    return caption(
        "subtasks",
        places=places,
        radar=places >= FEWEST_AXES,
        task_type=task_type,
        rule="the paper's rule (RM-Bench by its diagonal)" if (rows["rule"] == PAPER).all() else "the strict rule",
        n=counted(rows["n"]),
        models=len(rows[["backbone", "seed"]].drop_duplicates()),
    )


def _levels(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Choices of the menu: all backbones, each family with several of them, and each backbone.

    Two single backbones come before their mean, since they have intervals and their mean has none.
    """
    each = {str(backbone): part for backbone, part in rows.groupby("backbone", sort=False)}
    if len(each) == 1:
        return each
    everyone = {f"all {len(each)} backbones": rows}
    if len(each) < FEWEST:
        return {**each, **everyone}
    families = rows.groupby(rows["backbone"].str.partition("-")[0], sort=False)
    several = {f"family {name}": part for name, part in families if 1 < part["backbone"].nunique() < len(each)}
    return {**everyone, **several, **each}


def _pooled(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(choice of the menu, objective, accuracy by place)."""
    for level, part in _levels(rows).items():
        for objective in OBJECTIVES:
            found = pool(part[part["objective"] == objective], "accuracy", ["place"], ["n"])
            if len(found):
                yield level, objective, found.assign(objective=objective)


def _hover(row: pd.Series) -> str:
    return f"{row['objective']}, {row['place']}<br>{whose(row)}: {interval_words(row)}, n = {row['n']:,}"


def _radar(rows: pd.DataFrame) -> go.Figure:
    labels = {place: "<br>".join(textwrap.wrap(place, LABEL_LENGTH)) for place in rows["place"]}
    around = [*labels, next(iter(labels))]
    theta = [labels[place] for place in around]
    traces: dict[str, list[Trace]] = {}
    for level, objective, found in _pooled(rows):
        texts = {row["place"]: _hover(row) for _, row in found.iterrows()}
        closed = found.set_index("place").reindex(around)
        limits = [*rounded(closed["high"], 100), *reversed(rounded(closed["low"], 100))]
        style = band_style(objective, translucent(COLOURS[objective], 0.13))
        both: Trace = {"type": "scatterpolar", "meta": meta_of(found, WHO)}
        line = {
            "mode": "lines+markers",
            "r": rounded(closed["value"], 100),
            "theta": theta,
            "line": {"color": COLOURS[objective], "width": 2},
            "marker": {"size": 6, "symbol": SYMBOLS[objective]},
            "name": objective,
            "legendgroup": objective,
            "text": [texts.get(place, "") for place in around],
            "hovertemplate": HOVER_TEXT,
        }
        interval = {"r": limits, "theta": [*theta, *reversed(theta)], **style}
        traces.setdefault(level, []).extend([{**both, **interval}, {**both, **line}])
    chance = rows.groupby("place")["chance"].mean().reindex(around)
    look = {"mode": "lines", "line": {"color": GREY, "dash": "dash", "width": 1.5}}
    traces[""] = [{"type": "scatterpolar", "r": rounded(chance, 100), "theta": theta, **look, **_chance("%{r}")}]
    figure = frame(RADAR_HEIGHT, 4, menu=len(traces) > 2)
    angle = 90 - 180 / len(labels)
    figure.update_layout(
        margin={"l": 56, "r": 56, "t": figure.layout.margin.t + LABEL_ROOM},
        height=figure.layout.height + LABEL_ROOM,
        legend_y=1 + LABEL_ROOM / RADAR_HEIGHT,
        polar={
            "bgcolor": CLEAR,
            "radialaxis": {"range": [0, 100], "tickvals": [25, 50, 75], "ticksuffix": " %", "showline": False,
                           "angle": angle, "tickangle": angle, "tickfont_size": 10, "gridcolor": GRID},
            "angularaxis": {"tickfont_size": 9, "rotation": 90, "direction": "clockwise", "gridcolor": GRID,
                            "linecolor": GRID, "categoryarray": list(labels.values())},
        },
    )  # fmt: skip
    return finish(figure, traces)


def _chance(value: str) -> Trace:
    return {"name": CHANCE, "legendrank": CONTROL_RANK, "hovertemplate": f"{CHANCE}: {value} %<extra></extra>"}


def _rows_of_dots(rows: pd.DataFrame) -> go.Figure:
    traces: dict[str, list[Trace]] = {}
    for level, objective, found in _pooled(rows):
        marker = {"color": COLOURS[objective], "size": 10, "symbol": SYMBOLS[objective]}
        style: Trace = {"name": objective, "lane": OBJECTIVES.index(objective), "meta": meta_of(found, WHO)}
        traces.setdefault(level, []).append(dots(found, _hover, marker=marker, **style))
    chance = rows.groupby("place", sort=False)["chance"].mean()
    marker = {"symbol": "x-thin-open", "size": 9, "color": GREY, "line": {"width": 2, "color": GREY}}
    grey = {"type": "scatter", "x": rounded(chance, 100), "y": list(chance.index), "mode": "markers", "marker": marker}
    traces[""] = [{**grey, "lane": len(OBJECTIVES), **_chance("%{x}")}]
    figure = row_figure(traces, rows["place"], SUBTASK_HEIGHT, len(OBJECTIVES) + 1)
    return figure.update_xaxes(title_text="items judged correctly, %", range=[0, 100])


def training_figure(training: pd.DataFrame) -> go.Figure:
    """Accuracy of every trained model on the held-out data of its training, with the 50 % of random rewards.

    Args:
        training: `Results.training`: run, backbone, seed, objective, data, accuracy, low, high, n.
    """
    rows = training.assign(place=_model_names(training), value=training["accuracy"], over="items")
    traces = []
    for lane, objective in enumerate(OBJECTIVES):
        marker = {"color": COLOURS[objective], "size": 9, "symbol": SYMBOLS[objective]}
        style: Trace = {"name": objective, "legendgroup": objective, "lane": lane, "marker": marker}
        for number, (_, model) in enumerate(rows[rows["objective"] == objective].groupby("place", sort=False)):
            traces.append(dots(model, _held_out, showlegend=number == 0, **{**style, "meta": meta_of(model, WHO)}))
    figure = row_figure({"": traces}, rows["place"], MODEL_HEIGHT, len(OBJECTIVES))
    figure.add_vline(x=CHANCE_OF_PAIRS, line={"color": GREY, "dash": "dash", "width": 1.5})
    title = "held-out pairs judged correctly, %"
    return figure.update_xaxes(title_text=title, autorangeoptions_include=[CHANCE_OF_PAIRS])


def _held_out(row: pd.Series) -> str:
    return f"{row['objective']}, {row['place']}<br>{interval_words(row)}, n = {row['n']:,}"


def training_caption(training: pd.DataFrame) -> str:
    """Caption of `training_figure`."""
    unsure = int((training["low"] <= CHANCE_OF_PAIRS / 100).sum())
    return caption("training", n=counted(training["n"], "pairs"), unsure=unsure, models=len(training))


def _model_names(rows: pd.DataFrame) -> pd.Series:
    """The backbone, its seed if there are several, and the folder of the run if names would repeat."""
    names = rows["backbone"].astype(str)
    if rows.groupby("backbone")["seed"].nunique().max() > 1:
        names = names + ", seed\N{NO-BREAK SPACE}" + rows["seed"].astype(str)
    if rows.assign(name=names).duplicated(["name", "objective"]).any():
        names = names + " (" + rows["run"] + ")"
    return names
