"""The overlap of the helpful and the harmless set minus that of each baseline."""

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.captions import caption, counted
from analysis.figures.frame import Trace, row_figure
from analysis.figures.marks import backbone_dots, dots
from analysis.figures.pooling import interval_words, pool_levels, whose
from analysis.figures.style import COLOURS

ROW_HEIGHT = 40
PLACES = {
    "random": "random sets",
    "backbone": "backbone before fine-tuning",
    "prompts": "prompts alone",
    "seeds helpful": "other seed, helpful",
    "seeds harmless": "other seed, harmless",
    "halves helpful": "two halves, helpful",
    "halves harmless": "two halves, harmless",
}
"""The row of each baseline."""
NEEDED = {
    "backbone": "the backbone (score with --base)",
    "prompts": "prompts alone (data with prompts)",
    "seeds": "other seeds (runs of the same backbone with another training seed)",
}
"""Baselines that results may lack, with what they need."""


def baselines_figure(table: pd.DataFrame) -> go.Figure:
    """Excess of the overlap over each baseline: the mean over models with its interval, single backbones as small dots.

    Args:
        table: the table `overlap_baselines` of `analysis.tables`, with the columns `backbone` and `seed`.
    """
    rows = table.assign(place=table["baseline"].map(PLACES))
    levels = pool_levels(rows, "excess", ["place"], ("jaccard", "baseline_jaccard"))
    style: Trace = {"name": "helpful and harmless − baseline", "lane": 0}

    def hover(row: pd.Series) -> str:
        both = f"<br>Jaccard {row['jaccard']:.3f}, baseline {row['baseline_jaccard']:.3f}" if row["models"] == 1 else ""
        return f"{row['place']}<br>{whose(row)}: {interval_words(row, 1, '')}{both}"

    mean = levels[~levels["alone"]]
    marker = {"color": COLOURS["shared"], "size": 10}
    traces = [
        *backbone_dots(levels[levels["alone"]], 1, "", COLOURS["shared"], **style),
        dots(mean, hover, 1, marker=marker, showlegend=False, **style),
    ]
    places = [place for place in PLACES.values() if place in set(rows["place"])]
    figure = row_figure({"": traces}, places, ROW_HEIGHT, entries=0)
    return figure.update_xaxes(
        title_text="Jaccard index − that of the baseline",
        zeroline=True, zerolinewidth=2, rangemode="tozero",
    )  # fmt: skip


def baselines_caption(table: pd.DataFrame) -> str:
    """Caption of `baselines_figure`."""
    there = {name.split()[0] for name in table["baseline"]}
    missing = "; ".join(words for name, words in NEEDED.items() if name not in there)
    n, models = counted(table["neurons"], "neurons"), table["runs"].nunique()
    return caption("overlap_baselines", n=n, models=models, missing=missing)
