"""What the neuron sets themselves show, in words: overlap and depth, each against random sets of the same sizes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.findings.wording import FEW, Finding, many, of_all, span
from tension_lens.constants import ALPHA, BUCKETS, OBJECTIVES
from tension_lens.metrics.paired import holm
from tension_lens.neurons.depth import depth_shares, uniform_depth
from tension_lens.neurons.sets import NeuronSet

ONE_BACKBONE = (
    "Models trained from one backbone share what that backbone makes large, so an overlap above chance is not by "
    "itself a sign of something that the objectives have in common."
)
ANY_NETWORK = (
    "Depth says where the statistic that ranks neurons is large, which differs between the layers of any network; it "
    "says nothing of where an objective has its effect."
)


def overlap_finding(table: pd.DataFrame) -> Finding:
    """Whether two objectives' sets share more neurons than random sets of their sizes."""
    if table.empty:
        return Finding("", ["No run has neuron sets of two objectives, so overlap is not known."])
    above = holm(table["p_value"].to_numpy(dtype=np.float64)) < ALPHA
    total = len(table)
    pairs = "pair" if total == 1 else "pairs"
    lead = (
        f"In {of_all(int(above.sum()), total)} {pairs} of objectives the sets of neurons share more than random sets "
        f"of their sizes would (Jaccard index {span(table['jaccard'].to_numpy())}, by chance "
        f"{span(table['expected_jaccard'].to_numpy())})"
    )
    if total <= FEW:
        lines = [_overlap_line(row, told) for row, told in zip(table.to_dict("records"), above, strict=True)]
    else:
        lines = [f"{lead}; hypergeometric test, Holm-corrected."]
        for (left, right), rows in table.groupby(["left", "right"], sort=False):
            lines.append(
                f"{left} and {right}: Jaccard index {span(rows['jaccard'].to_numpy())} in {many(len(rows), 'run')}, by "
                f"chance {span(rows['expected_jaccard'].to_numpy())}."
            )
    return Finding(f"{lead}.", [*lines, ONE_BACKBONE] if above.any() else lines)


def _overlap_line(row: dict[str, Any], told: bool) -> str:
    return (
        f"{row['runs']}: the {row['left']} and the {row['right']} set share {row['intersection']:,} neurons, random "
        f"sets of their sizes {row['expected_intersection']:,.0f} (Jaccard index {row['jaccard']:.2f} against "
        f"{row['expected_jaccard']:.2f}): {'more than by chance' if told else 'not told from chance'}."
    )


def depth_finding(sets: dict[str, dict[str, NeuronSet]]) -> Finding:
    """Whether the objectives' sets lie in depth otherwise than uniformly drawn ones."""
    table = pd.DataFrame(_depth_rows(sets))
    if table.empty:
        return Finding("", ["No neuron sets are among the results, so their depth is not known."])
    table = table.assign(told=holm(table["p_value"].to_numpy(dtype=np.float64)) < ALPHA)
    differs = table.groupby(["run", "set"], sort=False)["told"].any()
    total = len(differs)
    lead = (
        f"In depth, {of_all(int(differs.sum()), total)} {'set lies' if total == 1 else 'sets lie'} otherwise than "
        "uniformly drawn neurons would"
    )
    if not differs.any():
        return Finding(f"{lead}.", [f"{lead} (thirds of the layers, hypergeometric test, Holm-corrected)."])
    lines = [_depth_line(str(name), part) for name, part in table.groupby("set", sort=False)]
    return Finding(
        f"{lead}.", [f"{lead} (thirds of the layers, hypergeometric test, Holm-corrected).", *lines, ANY_NETWORK]
    )


def _depth_line(name: str, rows: pd.DataFrame) -> str:
    thirds = []
    for bucket, part in rows.groupby("bucket", sort=False):
        above, below = (int((part["told"] & (sign * (part["share"] - part["uniform"]) > 0)).sum()) for sign in (1, -1))
        shares, uniform = (span(100 * part[column].to_numpy(), " %") for column in ("share", "uniform"))
        told = [f"{word} in {count}" for word, count in (("more", above), ("fewer", below)) if count]
        thirds.append(f"{bucket} {shares} (uniform {uniform}; {', '.join(told) or 'not told apart'})")
    return f"Share of the {name} set in {many(rows['run'].nunique(), 'run')}: {'; '.join(thirds)}."


def _depth_rows(sets: dict[str, dict[str, NeuronSet]]) -> Iterator[dict[str, Any]]:
    """Each objective's set and third of the layers, with the two-sided hypergeometric p-value of its count."""
    from scipy.stats import hypergeom

    for run, by_name in sets.items():
        for name in OBJECTIVES:
            one = by_name.get(name)
            if one is None or not len(one):
                continue
            shares, uniform, total = depth_shares(one), uniform_depth(one.n_layers), one.n_layers * one.d_mlp
            for bucket in BUCKETS:
                count = round(shares[bucket] * len(one))
                chance = hypergeom(total, round(uniform[bucket] * total), len(one))
                p_value = min(1.0, 2 * min(chance.cdf(count), chance.sf(count - 1)))
                about = {"run": run, "set": name, "bucket": bucket, "p_value": p_value}
                yield {**about, "share": shares[bucket], "uniform": uniform[bucket]}
