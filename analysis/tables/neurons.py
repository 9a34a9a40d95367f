"""Tables of neuron scores and sets: RMSD and overlap."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import pandas as pd

from tension_lens.artifacts.layout import RunFolder
from tension_lens.constants import OBJECTIVES
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.rmsd import rmsd
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet

OVERALL = "all layers"
LAYERS_FIRST = "layers averaged first"
"""The paper's variant of RMSD, see `tension_lens.neurons.rmsd.Rmsd`."""


def rmsd_table(runs: Mapping[str, RunFolder], statistic: str) -> pd.DataFrame:
    """RMSD between chosen and rejected scores of each objective, a row for each layer and two over all layers.

    Columns: `runs` (name of the run folder), `objective`, `statistic`, `site`, `layer` (a number, `all layers`, or the
    paper's variant `layers averaged first`), `rmsd` in units of the statistic.
    """
    rows: list[dict[str, Any]] = []
    for name, folder in runs.items():
        finished = folder.finished_scores()
        for objective in (one for one in OBJECTIVES if one in finished):
            scores = NeuronScores.load(folder.scores(objective))
            found = rmsd(scores, statistic)
            about = {"runs": name, "objective": objective, "statistic": statistic, "site": scores.site}
            layers = {str(layer): float(value) for layer, value in enumerate(found.by_layer)}
            values = {**layers, OVERALL: found.overall, LAYERS_FIRST: found.layers_averaged_first}
            rows += [{**about, "layer": layer, "rmsd": value} for layer, value in values.items()]
    return pd.DataFrame(rows)


def overlap_table(runs: Mapping[str, RunFolder]) -> pd.DataFrame:
    """Overlap of the sets of each two objectives, next to the overlap of random sets of their sizes (`Overlap`)."""
    rows: list[dict[str, Any]] = []
    for name, folder in runs.items():
        found = folder.neuron_sets()
        sets = {one: NeuronSet.load(found[one]) for one in OBJECTIVES if one in found}
        for left, right in combinations(sets, 2):
            about = {"runs": name, "left": left, "right": right}
            sizes = {"left_neurons": len(sets[left]), "right_neurons": len(sets[right])}
            rows.append({**about, **sizes, **asdict(overlap(sets[left], sets[right]))})
    return pd.DataFrame(rows)
