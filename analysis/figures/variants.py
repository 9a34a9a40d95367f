"""What other ways to take neurons do to accuracy, beside random neurons."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures.frame import Trace, counted, finish, frame, set_rows
from analysis.figures.marks import control_spans, dots
from analysis.figures.style import COLOURS, CONTROL_SYMBOLS
from tension_lens.constants import ALPHA, OBJECTIVES, RANDOM
from tension_lens.neurons.paper_variants import CLAMPED, GATE, PAPER, PERCENTILE, SIGNED

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ROW_HEIGHT = 56
POINTS = " points"
WORDS = {
    SIGNED: "signed mean",
    GATE: "ranked at the gate",
    PERCENTILE: "at or above the percentile",
    CLAMPED: "clamped, at or above the percentile",
    PAPER: "all as in the paper's code",
    RANDOM: "random neurons",
}
"""The rows of the figure, from top to bottom."""


def variants_figure(variants: pd.DataFrame) -> "Figure":
    """Difference of accuracy with the neurons of each variant off from that with those it is compared with.

    A dot with its 95 % interval for each variant and objective; of random sets the mean and the span. A diamond marks a
    difference that is significant after Holm's correction. A menu chooses backbone and seed.

    Args:
        variants: `Results.variants`.
    """
    rows = variants.assign(kind=variants["variant"].str.replace(rf"^{RANDOM}-.*", RANDOM, regex=True))
    rows = rows[rows["kind"].isin(WORDS)]
    rows = rows.assign(place=rows["kind"].map(WORDS), value=rows["difference"])
    rows = rows.assign(low=rows["difference_low"], high=rows["difference_high"])
    places = [words for words in WORDS.values() if (rows["place"] == words).any()]
    models = rows.groupby(["backbone", "seed"], sort=False)
    traces = {f"{backbone}, seed {seed}": list(_dots(part)) for (backbone, seed), part in models}
    figure = frame(ROW_HEIGHT * len(places), 1 + len(OBJECTIVES), menu=len(traces) > 1)
    set_rows(figure, places, (one for each in traces.values() for one in each), len(OBJECTIVES))
    figure.update_xaxes(title_text="difference of accuracy, percentage points", zeroline=True, zerolinewidth=2)
    return finish(figure, traces)


def _dots(rows: pd.DataFrame) -> Iterator[Trace]:
    present = [objective for objective in OBJECTIVES if (rows["objective"] == objective).any()]
    for objective in present:
        part, lane = rows[rows["objective"] == objective], OBJECTIVES.index(objective)
        found, drawn = part[part["kind"] != RANDOM], part[part["kind"] == RANDOM]
        hover = [
            f"{objective} model, {row['place']}: {row['neurons']:,} neurons, Jaccard {row['jaccard']:.2f} with "
            f"{row['against']}<br>accuracy {100 * row['accuracy']:.4g} %, difference {100 * row['value']:+.3g} points, "
            f"Holm p = {row['p_holm']:.3g}, n = {row['n']:,}"
            for _, row in found.iterrows()
        ]
        symbols = ["diamond" if p_holm < ALPHA else "circle" for p_holm in found["p_holm"]]
        marker = {"color": COLOURS[objective], "size": 9, "symbol": symbols}
        yield dots(found, hover, marker=marker, name=f"{objective} model", lane=lane, legendgroup=objective)
        if len(drawn):
            spread = drawn.groupby(["backbone", "seed", "data", "place"], as_index=False)["value"].agg(
                value="mean", low="min", high="max", draws="size"
            )
            look = {"lane": lane, "legendgroup": RANDOM, "showlegend": objective == present[0]}
            yield control_spans(spread, CONTROL_SYMBOLS["uniform"], WORDS[RANDOM], POINTS, **look)


def variants_caption(variants: pd.DataFrame) -> str:
    """What the figure of variants shows."""
    return (
        "Accuracy on held-out items with the neurons of a variant at zero, minus accuracy with those at zero that "
        "it is compared with: the toolkit's set (mean magnitude, exactly so many), for the clamped one the signed "
        f"mean's. The same items, {counted(variants['n'], 'items')} a model; bars are Tango's 95 % intervals for "
        f"paired shares. Diamond: McNemar's exact p below {ALPHA} after Holm's correction over the variants "
        "of a model; circle: not. Grey: random sets of the toolkit's size, mean and lowest to highest draw. A "
        "variant whose difference lies among theirs takes neurons that matter no more and no less than the "
        "toolkit's as far as these items tell. A larger set removes more of the model, whichever neurons it holds."
    )
