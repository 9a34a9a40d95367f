"""Where neurons lie and how far they tell chosen from rejected: RMSD by layer, depth over several models."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures.frame import Trace, counted, finish, frame, meta_of, rounded
from analysis.figures.marks import CONTROL_RANK
from analysis.figures.pooling import STUDENT, interval_words, pool, whose
from analysis.figures.style import COLOURS, GREY, INK
from analysis.tables.depth import depth_table
from analysis.tables.neurons import LAYERS_FIRST, OVERALL
from tension_lens.constants import BUCKETS, OBJECTIVES
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LOOKS = {"helpful": ("solid", "square"), "harmless": ("dash", "diamond"), "mixed": ("dot", "circle")}
"""Dash and symbol of each objective, so that lines are told apart without colour too."""
Sets = Mapping[str, Mapping[str, NeuronSet]]
"""Neuron sets by run folder and name, as `Results.sets`."""
About = Mapping[str, Mapping[str, str]]
"""Backbone and seed of each run folder, for the filters of the page and for averaging seeds first."""


def rmsd_figure(rmsd: pd.DataFrame) -> "Figure":
    """Root mean square difference between chosen and rejected scores by layer, a line for each objective.

    A menu chooses the model where there are several.

    Args:
        rmsd: the table `rmsd` of `analysis.tables`; with columns `backbone` and `seed`, traces say whose they are.
    """
    traces: dict[str, list[Trace]] = {}
    for run, of_run in rmsd.groupby("runs", sort=False):
        for objective in OBJECTIVES:
            rows = of_run[of_run["objective"] == objective]
            layers = rows[~rows["layer"].isin([OVERALL, LAYERS_FIRST])]
            if len(layers):
                overall = rows[rows["layer"] == OVERALL]["rmsd"]
                whole = f"<br>over all layers {overall.iloc[0]:.4g}" if len(overall) else ""
                dash, symbol = LOOKS[objective]
                traces.setdefault(str(run), []).append(
                    {
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
                )
    figure = frame(340, len(OBJECTIVES), len(traces) > 1)
    figure.update_xaxes(title_text="layer", tickformat="d")
    figure.update_yaxes(title_text=f"RMSD, units of {', '.join(dict.fromkeys(rmsd['statistic']))}", rangemode="tozero")
    return finish(figure, traces)


def rmsd_caption(rmsd: pd.DataFrame) -> str:
    """What the figure of RMSD shows."""
    statistics, sites = (", ".join(dict.fromkeys(rmsd[name])) for name in ("statistic", "site"))
    return (
        "Square root of the mean, over the neurons of a layer, of (score on chosen − score on rejected responses)²; "
        f"the score is {statistics} of the activation at {sites}. n = all neurons of the layer. There is no interval, "
        "since scores keep means over tokens and not their spread, and no control: scores from finitely many tokens "
        "differ between sides by chance too, so chance does not give 0. The paper averages layers by neuron index "
        "before it takes the root (“layers averaged first” in the table) and cuts off digits in 3 cells."
    )


def depth_by_model_figure(sets: Sets, about: About | None = None) -> "Figure":
    """Share of each set's neurons in the early, middle and late third of the layers, over several models.

    Bars are means over models with their 95 % interval, dots the single models, grey what uniformly drawn sets have.

    Args:
        sets: neuron sets by run folder and name.
        about: whose each run folder is; one that is not named counts as a backbone of its own.

    Raises:
        RequestError: if no run folder has a helpful, harmless or mixed set.
    """
    rows = _depth_rows(sets, about or {})
    x = [bucket.capitalize() for bucket in BUCKETS]
    traces: list[Trace] = []
    for name in (one for one in OBJECTIVES if (rows["set"] == one).any()):
        of_it = rows[rows["set"] == name]
        style = {"x": x, "name": name, "legendgroup": name, "offsetgroup": name}
        traces.append(_depth_bar(of_it, style))
        traces += _depth_dots(of_it, style) if of_it["run"].nunique() > 1 else ()
    shares = rows.drop_duplicates(["run", "bucket"]).groupby("bucket")["uniform"]
    marker = {"color": "rgba(128,128,128,0.25)", "line": {"color": GREY, "width": 1}}
    traces.append(
        {"type": "bar", "x": x, "y": rounded(shares.mean().reindex(BUCKETS), 100), "name": "uniform",
         "offsetgroup": "uniform", "marker": marker, "legendrank": CONTROL_RANK,
         # Where it is the same for every model, it is no mean and holds for each of them.
         "meta": meta_of(rows) if (shares.nunique() > 1).any() else None,
         "hovertemplate": "uniform, %{x}: %{y} %<extra></extra>"}
    )  # fmt: skip
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
    bars = {"array": half, "color": INK, "thickness": 1.5, "width": 5} if any(half) else {}
    return {
        "type": "bar",
        "y": rounded(found["value"], 100),
        "error_y": bars,
        "marker": {"color": COLOURS[style["name"]], "opacity": 0.5 if rows["run"].nunique() > 1 else 1},
        "hovertext": [f"{style['name']}, {bucket}<br>{words.get(bucket, 'an empty set')}" for bucket in BUCKETS],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "meta": meta_of(rows),
        **style,
    }


def _depth_dots(rows: pd.DataFrame, style: Trace) -> list[Trace]:
    marker = {"color": COLOURS[style["name"]], "size": 5}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "y": rounded(of_run.set_index("bucket").reindex(BUCKETS)["share"], 100),
            "marker": marker,
            "hovertemplate": f"{run}, {style['name']}, %{{x}}: %{{y}} % of {size:,}<extra></extra>",
            "meta": meta_of(of_run),
            **style,
            "showlegend": False,
        }
        for (run, size), of_run in rows.groupby(["run", "neurons"], sort=False)
    ]


def depth_caption(sets: Sets) -> str:
    """What the depth figures show, that of one model and that of several."""
    sizes = pd.Series([len(one) for of_run in sets.values() for name, one in of_run.items() if name in OBJECTIVES])
    several = (
        f"{len(sets)} models: dots are models, bars their mean, its 95 % interval {STUDENT}. "
        if len(sets) > 1
        else "There is no interval: the set is counted, not sampled. "
    )
    return (
        "Share of a set's neurons in the early, middle and late third of the model's own layers. "
        f"{counted(sizes, 'neurons')} a set. {several}Grey: what a set drawn uniformly among all neurons has. The "
        "paper cuts depth at the highest selected layer and, for GPT-2 large's harmless set, counts all neurons: its "
        "pooled harmless shares are 0.29/0.32/0.39 with and about 0.10/0.29/0.61 without that model."
    )
