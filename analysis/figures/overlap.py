"""Overlap of neuron sets to scale: two circles, and the partition of the helpful and harmless sets as bars."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.optimize import brentq

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, finish, frame, meta_of, rounded, row_figure
from analysis.figures.marks import CONTROL_RANK
from analysis.figures.neurons import About, Sets
from analysis.figures.style import COLOURS, INK, translucent
from tension_lens.constants import PARTS
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.sets import NeuronSet

PAIR_HEIGHT, BAR_HEIGHT = 160, 50
CORNERS = 90
"""Corners of the polygon that approximates a circle."""
WIDTH = 2.05
"""Width of a pair with its text, in heights of a pair; fits on a phone."""
TEXT_FROM = 1.12
"""Where the text starts, in the same units."""
ROOM = 0.44, 1.0
"""Maximum radius and maximum width of a pair, in the same units."""


class Circles(NamedTuple):
    """Two circles whose areas are counts of neurons: their radii and the distance of their centres."""

    left: float
    right: float
    distance: float

    @property
    def width(self) -> float:
        """From the leftmost to the rightmost point, with the centres side by side."""
        return max(self.left, self.distance + self.right) - min(-self.left, self.distance - self.right)


def lens_area(r: float, s: float, d: float) -> float:
    """Area common to two circles with radii r and s whose centres are d apart.

    r² acos((d² + r² − s²)/2dr) + s² acos((d² + s² − r²)/2ds) − ½ √((r+s−d)(d+r−s)(d−r+s)(d+r+s)) if they intersect.
    """
    if d >= r + s:
        return 0.0
    if d <= abs(r - s):
        return math.pi * min(r, s) ** 2

    def sector(own: float, other: float) -> float:
        return own**2 * math.acos(min(1.0, max(-1.0, (d**2 + own**2 - other**2) / (2 * d * own))))

    product = (r + s - d) * (d + r - s) * (d - r + s) * (d + r + s)
    return sector(r, s) + sector(s, r) - math.sqrt(max(0.0, product)) / 2


def circles_of(left: int, right: int, intersection: int) -> Circles:
    """Circles with areas `left` and `right` and common area `intersection`; the distance by root finding.

    Disjoint sets touch from outside; a set within the other touches from inside.
    """
    r, s = math.sqrt(left / math.pi), math.sqrt(right / math.pi)
    if intersection in (0, min(left, right)):
        return Circles(r, s, abs(r - s) if intersection else r + s)
    distance = brentq(lambda d: lens_area(r, s, d) - intersection, abs(r - s), r + s, xtol=1e-12 * (r + s))
    return Circles(r, s, float(distance))


def overlap_figure(overlaps: pd.DataFrame) -> go.Figure:
    """The sets of each two objectives as circles to scale, with their Jaccard index and its expectation by chance.

    Areas are proportional to numbers of neurons, on one scale for all pairs of a model. A menu selects the model.

    Args:
        overlaps: the table `overlap` of `analysis.tables`; columns `backbone` and `seed`, if any, go to the `meta`.
    """
    traces: dict[str, list[Trace]] = {}
    for run, rows in overlaps.groupby("runs", sort=False):
        pairs = [circles_of(row.left_neurons, row.right_neurons, row.intersection) for row in rows.itertuples()]
        largest = max(max(one.left, one.right) for one in pairs)
        scale = min(ROOM[0] / largest, ROOM[1] / max(one.width for one in pairs)) if largest else 0.0
        of_run = traces.setdefault(str(run), [])
        both = {"type": "scatter", "meta": meta_of(rows)}
        for number, (row, circles) in enumerate(zip(rows.to_dict("records"), pairs, strict=True)):
            for trace in _pair(row, circles, scale, -number):
                new = trace["name"] not in {one["name"] for one in of_run}
                of_run.append({**both, **trace, "showlegend": new and "fill" in trace})
    pairs_drawn = overlaps.groupby("runs").size().max()
    figure = frame(PAIR_HEIGHT * pairs_drawn, 3, len(traces) > 1)
    bare = {"showgrid": False, "zeroline": False, "showticklabels": False, "constrain": "range", "fixedrange": True}
    figure.update_xaxes(range=[0, WIDTH], constraintoward="center", **bare)
    figure.update_yaxes(range=[0.5 - pairs_drawn, 0.5], scaleanchor="x", **bare)
    figure.update_layout(margin={"l": 5, "r": 5, "b": 10}, height=figure.layout.height - 45)
    return finish(figure, traces)


def _pair(row: Mapping[str, Any], circles: Circles, scale: float, y: float) -> Iterator[Trace]:
    """Both circles of a pair and its numbers, centred at height y."""
    first = (ROOM[1] - scale * circles.width) / 2 + 0.04 + scale * max(circles.left, circles.right - circles.distance)
    angle = np.linspace(0, 2 * math.pi, CORNERS)
    for side, x, radius in (("left", first, circles.left), ("right", first + scale * circles.distance, circles.right)):
        name = row[side]
        yield {
            "mode": "lines",
            "x": rounded(x + scale * radius * np.cos(angle)),
            "y": rounded(y + scale * radius * np.sin(angle)),
            "fill": "toself",
            "fillcolor": translucent(COLOURS[name], 0.45),
            "line": {"color": COLOURS[name], "width": 2},
            "name": name,
            "legendgroup": name,
            "hoveron": "fills",
            "text": f"{name}: {row[f'{side}_neurons']:,} neurons",
            "hoverinfo": "text",
        }
    words = [
        f"<b>{row['left']} and {row['right']}</b>",
        f"{row['intersection']:,} shared of {row['union']:,}",
        f"Jaccard {row['jaccard']:.3f}",
        f"by chance {row['expected_jaccard']:.3f}",
        f"p {'< 0.001' if row['p_value'] < 0.001 else '= ' + format(row['p_value'], '.3f')}",
    ]
    yield {
        "mode": "text",
        "x": [TEXT_FROM],
        "y": [y],
        "text": ["<br>".join(words)],
        "textposition": "middle right",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "name": "numbers",
    }


def overlap_caption(overlaps: pd.DataFrame) -> str:
    """Caption of `overlap_figure`."""
    return caption("overlap", n=counted(pd.concat([overlaps["left_neurons"], overlaps["right_neurons"]]), "neurons"))


def partition_figure(sets: Sets, about: About | None = None) -> go.Figure:
    """The helpful and harmless sets partitioned into helpful only, shared and harmless only, a bar for each model.

    Lengths are percent of all neurons of a network, so that models of different sizes compare. The mark shows where
    the shared part would end for random sets of these sizes.

    Args:
        sets: neuron sets by run folder and name.
        about: backbone and seed of the run folders.
    """
    traces: list[Trace] = []
    for run, of_run in sets.items():
        if all(part in of_run for part in PARTS):
            meta = dict((about or {}).get(run, {}))
            shared = {"y": [run], "meta": meta, "showlegend": not traces}
            traces += [{**one, **shared} for one in _partition(run, of_run)]
    places = [trace["y"][0] for trace in traces]
    # On a phone the longest entry of the legend takes a line of its own, the third.
    figure = row_figure({"": traces}, places, BAR_HEIGHT, entries=6, barmode="stack", bargap=0.35)
    return figure.update_xaxes(title_text="% of all neurons of the network")


def _partition(run: str, parts: Mapping[str, NeuronSet]) -> Iterator[Trace]:
    total = math.prod(parts["shared"].shape)
    for part in ("helpful_only", "shared", "harmless_only"):
        size, name = len(parts[part]), part.replace("_", " ")
        yield {
            "type": "bar",
            "orientation": "h",
            "x": rounded([size / total], 100),
            "name": name,
            "legendgroup": part,
            "marker": {"color": COLOURS[part]},
            "text": [f"{size:,}"],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "hovertemplate": f"{run}, {name}: {size:,} of {total:,} neurons, %{{x}} %<extra></extra>",
        }
    helpful, harmless = (parts[part] | parts["shared"] for part in ("helpful_only", "harmless_only"))
    expected = overlap(helpful, harmless).expected_intersection
    yield {
        "type": "scatter",
        "mode": "markers",
        "x": rounded([(len(parts["helpful_only"]) + expected) / total], 100),
        "marker": {"symbol": "line-ns-open", "size": 24, "color": INK, "line": {"width": 2.5, "color": INK}},
        "name": "end of shared by chance",
        "legendgroup": "chance",
        "legendrank": CONTROL_RANK,
        "hovertemplate": f"{run}: {expected:.4g} shared by chance<extra></extra>",
    }


def partition_caption(sets: Sets) -> str:
    """Caption of `partition_figure`."""
    sizes = pd.Series([len(of_run[part]) for of_run in sets.values() for part in PARTS if part in of_run])
    return caption("partition", n=counted(sizes, "neurons"))
