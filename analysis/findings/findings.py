"""What a folder of runs shows, in plain words made from its numbers, claiming nothing that an interval does not carry.

A sentence says that an interval or a corrected test tells something apart, or that it cannot be told from chance or
from a random set, or that something is missing and nothing can be said.
"""

import pandas as pd

from analysis.findings.ablation import ablation_finding, sweep_finding
from analysis.findings.accuracy import accuracy_finding, held_out_finding, retention_finding
from analysis.findings.neurons import depth_finding, overlap_finding
from analysis.findings.wording import Finding, many, named, sentence
from analysis.results.folder import Results


def lead_paragraph(results: Results, tables: dict[str, pd.DataFrame]) -> str:
    """What these runs show and how sure that is, in one paragraph.

    Args:
        results: what the folder of runs holds.
        tables: what `analysis.tables.study.tables_of` made of it; empty without a study.
    """
    return " ".join(one.lead for one in _all_findings(results, tables) if one.lead)


def findings(results: Results, tables: dict[str, pd.DataFrame]) -> list[str]:
    """The findings, a line each, in the order of the paragraph at the top.

    Args:
        results: what the folder of runs holds.
        tables: what `analysis.tables.study.tables_of` made of it; empty without a study.
    """
    return [line for one in _all_findings(results, tables) for line in one.detail]


def _all_findings(results: Results, tables: dict[str, pd.DataFrame]) -> list[Finding]:
    def table(name: str) -> pd.DataFrame:
        return tables.get(name, pd.DataFrame())

    return [
        scope_finding(results),
        held_out_finding(results.training),
        accuracy_finding(table("scores")),
        overlap_finding(table("overlap")),
        depth_finding(results.sets),
        ablation_finding(table("conditions"), table("effects")),
        sweep_finding(results.sweeps),
        retention_finding(table("retention"), table("scores")),
        gaps_finding(table("gaps")),
    ]


def scope_finding(results: Results) -> Finding:
    """What there is, and what a single seed leaves open."""
    study = results.study
    models = {cell.model for cell in study.cells.values()} if study else set()
    if len(results.training):
        trained = results.training[["backbone", "seed", "objective"]].astype(str)
        models |= set(trained.itertuples(index=False, name=None))
    if not models:
        runs = many(len(results.run_folders), "run")
        return Finding(f"These results are neuron scores, sets and sweeps of {runs}, without any judged item.")
    backbones, seeds = (sorted({model[place] for model in models}) for place in (0, 1))
    of_each = {backbone: {seed for one, seed, _ in models if one == backbone} for backbone in backbones}
    most = max(map(len, of_each.values()))
    what = f"These results are of {many(len(models), 'reward model')} ({named(backbones)})"
    if study:
        items = sum(len(one.item) for one in study.items.values())
        conditions = len({cell.condition for cell in study.cells.values()})
        what += f", judged on {items:,} items under {many(conditions, 'condition')}"
    if most > 1:
        some = "" if all(len(each) == most for each in of_each.values()) else "up to "
        detail = (
            f"There are {some}{most} training seeds a backbone ({named(seeds)}). Intervals of one model are over "
            "items; how seeds differ is given as mean and standard deviation (n − 1)."
        )
        return Finding(f"{what}, trained with {some}{most} seeds a backbone.", [detail])
    one = "one training seed" if len(seeds) == 1 else "one training seed a backbone"
    detail = (
        f"There is {one} ({named(seeds)}): every interval is over items alone, what is found may hold for this seed "
        "only, and no standard deviation over seeds is given."
    )
    return Finding(f"{what}, all of {one}: how much another seed would change is not known.", [detail])


def gaps_finding(gaps: pd.DataFrame) -> Finding:
    """What of the grid of the study is missing."""
    if gaps.empty:
        return Finding("")
    text = many(len(gaps), "cell of the study is missing", "cells of the study are missing")
    return Finding(f"{sentence(text)}.", [f"{sentence(text)}, each named in the table of gaps."])
