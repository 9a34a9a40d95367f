"""Effects of the paper's selection variants on accuracy, next to random neurons."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, row_figure
from analysis.figures.marks import control_spans, dots
from analysis.figures.pooling import pool_controls
from analysis.figures.style import COLOURS, CONTROL_SYMBOLS
from tension_lens.constants import OBJECTIVES, RANDOM
from tension_lens.neurons.paper_variants import CLAMPED, GATE, PAPER, PERCENTILE, SIGNED

ROW_HEIGHT = 56
WORDS = {
    SIGNED: "signed mean",
    GATE: "ranked at the gate",
    PERCENTILE: "at or above the percentile",
    CLAMPED: "clamped, at or above the percentile",
    PAPER: "all as in the paper's code",
    RANDOM: "random neurons",
}
"""Rows of the figure, from top to bottom."""


def variants_figure(variants: pd.DataFrame) -> go.Figure:
    """Accuracy with the neurons of a variant ablated minus accuracy with those of its reference set ablated.

    A dot with its 95 % interval for each variant and objective; mean and range of random sets. A menu selects backbone
    and seed.

    Args:
        variants: `Results.variants`.
    """
    kinds = variants["variant"].mask(variants["control"].notna(), RANDOM)
    rows = variants.assign(
        kind=kinds,
        place=kinds.map(WORDS),
        value=variants["difference"],
        low=variants["difference_low"],
        high=variants["difference_high"],
    )
    rows = rows[rows["place"].notna()]
    places = [words for words in WORDS.values() if (rows["place"] == words).any()]
    models = rows.groupby(["backbone", "seed"], sort=False)
    traces = {f"{backbone}, seed {seed}": list(_dots(part)) for (backbone, seed), part in models}
    figure = row_figure(traces, places, ROW_HEIGHT, len(OBJECTIVES), entries=1 + len(OBJECTIVES))
    return figure.update_xaxes(title_text="difference in accuracy, percentage points", zeroline=True, zerolinewidth=2)


def _dots(rows: pd.DataFrame) -> Iterator[Trace]:
    present = [objective for objective in OBJECTIVES if (rows["objective"] == objective).any()]
    for objective in present:
        part, lane = rows[rows["objective"] == objective], OBJECTIVES.index(objective)
        found, drawn = part[part["kind"] != RANDOM], part[part["kind"] == RANDOM]
        marker = {"color": COLOURS[objective], "size": 9}
        yield dots(found, _hover, marker=marker, name=f"{objective} model", lane=lane, legendgroup=objective)
        if len(drawn):
            draws = drawn.assign(low=drawn["value"], high=drawn["value"], draws=1)
            span = pool_controls(draws, ["backbone", "seed", "data", "place"])
            look = {"lane": lane, "legendgroup": RANDOM, "showlegend": objective == present[0]}
            yield control_spans(span, CONTROL_SYMBOLS["uniform"], WORDS[RANDOM], " points", **look)


def _hover(row: pd.Series) -> str:
    return (
        f"{row['objective']} model, {row['place']}: {row['neurons']:,} neurons, Jaccard {row['jaccard']:.2f} with "
        f"{row['against']}<br>accuracy {100 * row['accuracy']:.4g} %, difference {100 * row['value']:+.3g} points, "
        f"p = {row['p_value']:.3g}, n = {row['n']:,}"
    )


def variants_caption(variants: pd.DataFrame) -> str:
    """Caption of `variants_figure`."""
    return caption("variants", n=counted(variants["n"]))
