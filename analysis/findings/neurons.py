"""Verdicts on neuron sets: overlap against its baselines, and depth against random sets of the same size."""

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from analysis.tables.depth import depth_table
from analysis.tables.overlap_baselines import COLUMNS
from tension_lens.constants import ALPHA, OBJECTIVES
from tension_lens.metrics.paired import holm
from tension_lens.neurons.sets import NeuronSet

MORE, FEWER, UNCLEAR = "more", "fewer", "unclear"


def overlap_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table `overlap` with `p_holm` and `verdict`: `more` than random sets share, or `unclear`."""
    if table.empty:
        return table
    p_holm = holm(table["p_value"].to_numpy(dtype=np.float64))
    return table.assign(p_holm=p_holm, verdict=np.where(p_holm < ALPHA, MORE, UNCLEAR))


def baseline_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table `overlap_baselines` with `kind` and `verdict`.

    `kind` is the baseline without its objective, such as `halves`. `verdict`: two sets share `more` or `fewer` neurons
    than the baseline's, if the whole 95 % interval of the excess lies above or below 0, else `unclear`.
    """
    if table.empty:
        return pd.DataFrame(columns=[*COLUMNS, "kind", "verdict"])
    cases = [table["low"] > 0, table["high"] < 0]
    kind = [str(name).split()[0] for name in table["baseline"]]
    return table.assign(kind=kind, verdict=np.select(cases, [MORE, FEWER], UNCLEAR))


def depth_verdicts(sets: dict[str, dict[str, NeuronSet]]) -> pd.DataFrame:
    """Share of each objective's set in each third of the layers, against a uniform draw of as many neurons.

    Columns: `run`, `set`, `bucket`, `share` and `uniform` (fractions), `p_holm` of the two-sided hypergeometric test,
    and `verdict`: `more` or `fewer` neurons than drawn uniformly, or `unclear`.
    """
    tables = [
        depth_table([one.renamed(name)]).assign(run=run, total=one.n_layers * one.d_mlp)
        for run, by_name in sets.items()
        for name, one in by_name.items()
        if name in OBJECTIVES and len(one)
    ]
    if not tables:
        return pd.DataFrame()
    rows = pd.concat(tables, ignore_index=True)
    count, inside = ((rows[share] * rows[of]).round() for share, of in (("share", "neurons"), ("uniform", "total")))
    chance = hypergeom(rows["total"], inside, rows["neurons"])
    p_holm = holm(np.minimum(1, 2 * np.minimum(chance.cdf(count), chance.sf(count - 1))))
    direction = np.where(rows["share"] > rows["uniform"], MORE, FEWER)
    return rows.assign(p_holm=p_holm, verdict=np.where(p_holm < ALPHA, direction, UNCLEAR))
