"""How much sets share, drawn to scale: two circles whose areas and common area are proportional to counts."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.frame import Trace, counted, finish, frame, meta_of, rounded, set_rows
from analysis.figures.marks import CONTROL_RANK
from analysis.figures.neurons import About, Sets
from analysis.figures.style import COLOURS, INK, translucent
from tension_lens.constants import PARTS
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.sets import NeuronSet

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PAIR_HEIGHT, BAR_HEIGHT = 160, 44
CORNERS = 90
"""Of the polygon that is drawn for a circle."""
WIDTH = 2.05
"""Of a pair with its text, in heights of a pair: what a phone shows."""
TEXT_FROM = 1.12
ROOM = 0.44, 1.0
"""The largest radius, and the widest pair, in the same units."""


@dataclass(frozen=True)
class Circles:
    """Two circles with areas in the units of the counts that they were made from."""

    left: float
    """Radius."""
    right: float
    distance: float
    """Between the centres."""

    @property
    def common(self) -> float:
        """Area that both cover."""
        return lens_area(self.left, self.right, self.distance)

    @property
    def width(self) -> float:
        """From the leftmost to the rightmost point of the two, centres side by side."""
        return max(self.left, self.distance + self.right) - min(-self.left, self.distance - self.right)


def lens_area(r: float, s: float, d: float) -> float:
    """Area common to two circles with radii r and s whose centres are d apart.

    r² acos((d² + r² − s²)/2dr) + s² acos((d² + s² − r²)/2ds) − ½ √((r+s−d)(d+r−s)(d−r+s)(d+r+s)) where they cross.
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
    """Circles with areas `left` and `right` whose common area is `intersection`; the distance by root finding.

    Sets with no common neuron touch from outside, a set within another from inside.
    """
    from scipy.optimize import brentq

    r, s = math.sqrt(left / math.pi), math.sqrt(right / math.pi)
    if intersection == 0:
        return Circles(r, s, r + s)
    if intersection >= min(left, right):
        return Circles(r, s, abs(r - s))
    distance = brentq(lambda d: lens_area(r, s, d) - intersection, abs(r - s), r + s, xtol=1e-12 * (r + s))
    return Circles(r, s, float(distance))


def overlap_figure(overlaps: pd.DataFrame) -> "Figure":
    """Each two objectives' sets as circles to scale, with the Jaccard index and what random sets would have.

    Areas are proportional to numbers of neurons, in one scale for all pairs of a model. A menu chooses the model.

    Args:
        overlaps: the table `overlap` of `analysis.tables`; with columns `backbone` and `seed`, traces say whose.
    """
    traces: dict[str, list[Trace]] = {}
    for run, rows in overlaps.groupby("runs", sort=False):
        pairs = [circles_of(row.left_neurons, row.right_neurons, row.intersection) for row in rows.itertuples()]
        largest = max(max(one.left, one.right) for one in pairs)
        widest = max(one.width for one in pairs)
        scale = min(ROOM[0] / largest, ROOM[1] / widest) if largest else 0.0
        of_run = traces.setdefault(str(run), [])
        for number, (row, circles) in enumerate(zip(rows.to_dict("records"), pairs, strict=True)):
            for trace in _pair(row, circles, scale, -number, meta_of(rows)):
                seen = {one["name"] for one in of_run}
                of_run.append({**trace, "showlegend": trace["name"] not in seen and "fill" in trace})
    pairs_drawn = overlaps.groupby("runs").size().max()
    figure = frame(PAIR_HEIGHT * pairs_drawn, 3, len(traces) > 1)
    bare = {"showgrid": False, "zeroline": False, "showticklabels": False, "constrain": "range", "fixedrange": True}
    figure.update_xaxes(range=[0, WIDTH], constraintoward="center", **bare)
    figure.update_yaxes(range=[0.5 - pairs_drawn, 0.5], scaleanchor="x", **bare)
    figure.update_layout(margin={"l": 5, "r": 5, "b": 10}, height=figure.layout.height - 45)
    return finish(figure, traces)


def _pair(row: Mapping[str, Any], circles: Circles, scale: float, y: float, meta: dict[str, str]) -> Iterator[Trace]:
    first = (ROOM[1] - scale * circles.width) / 2 + 0.04 + scale * max(circles.left, circles.right - circles.distance)
    angle = np.linspace(0, 2 * math.pi, CORNERS)
    for side, x, radius in (("left", first, circles.left), ("right", first + scale * circles.distance, circles.right)):
        name = row[side]
        yield {
            "type": "scatter",
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
            "meta": meta,
        }
    words = [
        f"<b>{row['left']} and {row['right']}</b>",
        f"{row['intersection']:,} shared of {row['union']:,}",
        f"Jaccard {row['jaccard']:.3f}",
        f"by chance {row['expected_jaccard']:.3f}",
        f"p {'< 0.001' if row['p_value'] < 0.001 else '= ' + format(row['p_value'], '.3f')}",
    ]
    yield {
        "type": "scatter",
        "mode": "text",
        "x": [TEXT_FROM],
        "y": [y],
        "text": ["<br>".join(words)],
        "textposition": "middle right",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "name": "numbers",
        "meta": meta,
    }


def overlap_caption(overlaps: pd.DataFrame) -> str:
    """What the figure of overlaps shows."""
    sizes = pd.concat([overlaps["left_neurons"], overlaps["right_neurons"]])
    return (
        "Neurons in two objectives' sets; areas of circles and of their overlap are proportional to counts. Jaccard = "
        f"shared / union. {counted(sizes, 'neurons')} a set. By chance: the expected Jaccard index of two random sets "
        "of these sizes among all neurons; p is the hypergeometric probability of so much overlap. The sets are "
        "counted, not sampled, so there is no interval. Neurons that fire much do so on any text: sets ranked by "
        "activity overlap far above chance whatever was trained. In the paper's table the two rows of GPT-2 large with "
        "harmless are an artefact (all 184,320 neurons were selected); without that model its mean Jaccard of helpful "
        "and harmless is 0.552 and not 0.477."
    )


def partition_figure(sets: Sets, about: About | None = None) -> "Figure":
    """The helpful and harmless sets parted into helpful only, shared and harmless only, to scale, a bar a model.

    Lengths are percent of all neurons of a network, so that models of any size compare; the mark is where the shared
    part would end if sets of these sizes were random.

    Args:
        sets: neuron sets by run folder and name.
        about: whose each run folder is.
    """
    about = about or {}
    parted = {run: of_run for run, of_run in sets.items() if all(part in of_run for part in PARTS)}
    traces: list[Trace] = []
    for number, (run, of_run) in enumerate(parted.items()):
        meta = dict(about.get(run, {}))
        total = math.prod(of_run["shared"].shape)
        for part in ("helpful_only", "shared", "harmless_only"):
            size, name = len(of_run[part]), part.replace("_", " ")
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "x": rounded([size / total], 100),
                    "y": [run],
                    "name": name,
                    "legendgroup": part,
                    "showlegend": number == 0,
                    "marker": {"color": COLOURS[part]},
                    "text": [f"{size:,}"],
                    "textposition": "inside",
                    "insidetextanchor": "middle",
                    "textangle": 0,
                    "hovertemplate": f"{run}, {name}: {size:,} of {total:,} neurons, %{{x}} %<extra></extra>",
                    "meta": meta,
                }
            )
        traces.append(_chance(run, of_run, total, number == 0, meta))
    figure = frame(BAR_HEIGHT * len(parted) + 10, 4, barmode="stack", bargap=0.35)
    set_rows(figure, list(parted), traces)
    figure.update_xaxes(title_text="% of all neurons of the network")
    return finish(figure, {"": traces})


def _chance(run: str, parts: Mapping[str, NeuronSet], total: int, legend: bool, meta: dict[str, str]) -> Trace:
    helpful, harmless = (parts[part] | parts["shared"] for part in ("helpful_only", "harmless_only"))
    expected = overlap(helpful, harmless).expected_intersection
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded([(len(parts["helpful_only"]) + expected) / total], 100),
        "y": [run],
        "marker": {"symbol": "line-ns-open", "size": 24, "color": INK, "line": {"width": 2.5, "color": INK}},
        "name": "end of shared by chance",
        "legendgroup": "chance",
        "legendrank": CONTROL_RANK,
        "showlegend": legend,
        "hovertemplate": f"{run}: {expected:.4g} shared by chance<extra></extra>",
        "meta": meta,
    }


def partition_caption(sets: Sets) -> str:
    """What the figure of the partition shows."""
    sizes = pd.Series([len(of_run[part]) for of_run in sets.values() for part in PARTS if part in of_run])
    return (
        "The helpful and the harmless set of a model, parted into neurons of one alone and of both; lengths are "
        f"percent of all neurons. {counted(sizes, 'neurons')} a part. The mark shows where the shared part would end "
        "for random sets of these sizes (|A|·|B|/N neurons in both). The sets are counted, not sampled, so there is no "
        "interval. The paper's code keeps as shared also every neuron of a layer that only one of the sets has neurons "
        "in."
    )
