"""RMSD between chosen and rejected scores by layer, and the depth of neuron sets over several models."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, finish, frame, meta_of, rounded
from analysis.figures.marks import CONTROL_RANK
from analysis.figures.pooling import interval_words, pool, whose
from analysis.figures.style import COLOURS, GREY, INK
from analysis.tables.depth import depth_table
from analysis.tables.neurons import LAYERS_FIRST, OVERALL
from tension_lens.constants import BUCKETS, OBJECTIVES
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

LOOKS = {"helpful": ("solid", "square"), "harmless": ("dash", "diamond"), "mixed": ("dot", "circle")}
"""Dash and symbol of each objective, so that lines differ without colour too."""
Sets = Mapping[str, Mapping[str, NeuronSet]]
"""Neuron sets by run folder and name, as in `Results.sets`."""
About = Mapping[str, Mapping[str, str]]
"""Backbone and seed of each run folder, for the filters of a page and for means over seeds."""


def rmsd_figure(rmsd: pd.DataFrame) -> go.Figure:
    """Root mean square difference between chosen and rejected scores by layer, a line for each objective.

    A menu selects the model.

    Args:
        rmsd: the table `rmsd` of `analysis.tables`; columns `backbone` and `seed`, if any, go to the traces' `meta`.
    """
    traces: dict[str, list[Trace]] = {}
    groups = dict(list(rmsd.groupby(["runs", "objective"], sort=False)))
    for run, objective in ((run, one) for run in rmsd["runs"].unique() for one in OBJECTIVES):
        rows = groups.get((run, objective), rmsd.iloc[:0])
        layers = rows[~rows["layer"].isin([OVERALL, LAYERS_FIRST])]
        if layers.empty:
            continue
        whole = "".join(f"<br>over all layers {value:.4g}" for value in rows[rows["layer"] == OVERALL]["rmsd"])
        dash, symbol = LOOKS[objective]
        trace = {
            "type": "scatter",
            "mode": "lines+markers",
            "x": layers["layer"].astype(int).tolist(),
            "y": rounded(layers["rmsd"]),
            "line": {"color": COLOURS[objective], "dash": dash, "width": 2},
            "marker": {"symbol": symbol, "size": 7},
            "name": objective,
            "hovertemplate": f"{objective}, {run}, layer %{{x}}: %{{y}}{whole}<extra></extra>",
            "meta": meta_of(rows),
        }
        traces.setdefault(str(run), []).append(trace)
    figure = frame(340, len(OBJECTIVES), len(traces) > 1)
    figure.update_xaxes(title_text="layer", tickformat="d")
    figure.update_yaxes(title_text=f"RMSD, units of {', '.join(rmsd['statistic'].unique())}", rangemode="tozero")
    return finish(figure, traces)


def rmsd_caption(rmsd: pd.DataFrame) -> str:
    """Caption of `rmsd_figure`."""
    statistics, sites = (", ".join(rmsd[name].unique()) for name in ("statistic", "site"))
    return caption("rmsd", statistics=statistics, sites=sites)


def depth_by_model_figure(sets: Sets, about: About | None = None) -> go.Figure:
    """Fraction of each set's neurons in the early, middle and late third of the layers, over several models.

    Bars are means over models with 95 % intervals, dots single models, grey bars the expectation for uniform sets.

    Args:
        sets: neuron sets by run folder and name.
        about: backbone and seed of the run folders; a folder without them counts as a backbone.

    Raises:
        RequestError: if no run folder has a helpful, harmless or mixed set.
    """
    rows = _depth_rows(sets, about or {})
    x = [bucket.capitalize() for bucket in BUCKETS]
    traces: list[Trace] = []
    for name, of_it in rows.groupby(pd.Categorical(rows["set"], OBJECTIVES), observed=True):
        style = {"x": x, "name": name, "legendgroup": name, "offsetgroup": name}
        traces.append(_depth_bar(of_it, style))
        traces += _depth_dots(of_it, style) if of_it["run"].nunique() > 1 else ()
    uniform = rows.drop_duplicates(["run", "bucket"]).groupby("bucket")["uniform"]
    traces.append(
        {
            "type": "bar",
            "x": x,
            "y": rounded(uniform.mean().reindex(BUCKETS), 100),
            "name": "uniform",
            "offsetgroup": "uniform",
            "marker": {"color": "rgba(128,128,128,0.25)", "line": {"color": GREY, "width": 1}},
            "legendrank": CONTROL_RANK,
            # An expectation that is equal for all models is no mean over them.
            "meta": meta_of(rows) if (uniform.nunique() > 1).any() else None,
            "hovertemplate": "uniform, %{x}: %{y} %<extra></extra>",
        }
    )
    figure = frame(340, 4, barmode="group", scattermode="group", bargap=0.2, scattergap=0.2)
    figure.update_yaxes(title_text="% of the set's neurons", rangemode="tozero")
    figure.update_xaxes(title_text="third of the layers")
    return finish(figure, {"": traces})


def _depth_rows(sets: Sets, about: About) -> pd.DataFrame:
    frames = []
    for run, of_run in sets.items():
        wanted = [of_run[name].renamed(name) for name in OBJECTIVES if name in of_run]
        if wanted:
            frames.append(depth_table(wanted).assign(run=run, **{"backbone": run, "seed": "", **about.get(run, {})}))
    if not frames:
        raise RequestError("no run folder has a helpful, harmless or mixed set; run tension_lens.select")
    return pd.concat(frames, ignore_index=True).assign(low=float("nan"), high=float("nan"))


def _depth_bar(rows: pd.DataFrame, style: Trace) -> Trace:
    found = pool(rows, "share", ["bucket"]).set_index("bucket").reindex(BUCKETS)
    half = rounded(found["high"] - found["value"], 100)
    there = found[found["value"].notna()]
    words = {bucket: f"{whose(row)}: {interval_words(row)}" for bucket, row in there.iterrows()}
    return {
        "type": "bar",
        "y": rounded(found["value"], 100),
        "error_y": {"array": half, "color": INK, "thickness": 1.5, "width": 5} if any(half) else {},
        "marker": {"color": COLOURS[style["name"]], "opacity": 0.5 if rows["run"].nunique() > 1 else 1},
        "hovertext": [f"{style['name']}, {bucket}<br>{words.get(bucket, 'an empty set')}" for bucket in BUCKETS],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "meta": meta_of(rows),
        **style,
    }


def _depth_dots(rows: pd.DataFrame, style: Trace) -> list[Trace]:
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "y": rounded(of_run.set_index("bucket").reindex(BUCKETS)["share"], 100),
            "marker": {"color": COLOURS[style["name"]], "size": 5},
            "hovertemplate": f"{run}, {style['name']}, %{{x}}: %{{y}} % of {size:,}<extra></extra>",
            "meta": meta_of(of_run),
            **style,
            "showlegend": False,
        }
        for (run, size), of_run in rows.groupby(["run", "neurons"], sort=False)
    ]


def depth_caption(sets: Sets) -> str:
    """Caption of the depth figures, of one model and of several."""
    sizes = pd.Series([len(one) for of_run in sets.values() for name, one in of_run.items() if name in OBJECTIVES])
    return caption("depth", n=counted(sizes, "neurons"), models=len(sets))
