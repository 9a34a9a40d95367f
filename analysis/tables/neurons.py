"""Tables about neuron scores and sets: RMSD and overlap."""

from collections.abc import Mapping
from dataclasses import asdict
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
    """Chosen against rejected RMSD of each objective's scores, a row for each layer and two over all of them.

    Columns: `runs` (the name under which the folder is given), `objective`, `statistic`, `site`, `layer` (a number,
    `all layers`, or the paper's variant `layers averaged first`), `rmsd` in units of the statistic.
    """
    rows: list[dict[str, Any]] = []
    for name, folder in runs.items():
        for objective in OBJECTIVES:
            if objective not in folder.finished_scores():
                continue
            scores = NeuronScores.load(folder.scores(objective))
            found = rmsd(scores, statistic)
            about = {"runs": name, "objective": objective, "statistic": statistic, "site": scores.site}
            rows += [{**about, "layer": str(layer), "rmsd": float(one)} for layer, one in enumerate(found.by_layer)]
            rows.append({**about, "layer": OVERALL, "rmsd": found.overall})
            rows.append({**about, "layer": LAYERS_FIRST, "rmsd": found.layers_averaged_first})
    return pd.DataFrame(rows)


def overlap_table(runs: Mapping[str, RunFolder]) -> pd.DataFrame:
    """How much each two objectives' sets share, beside what random sets of their sizes would (`Overlap`)."""
    rows: list[dict[str, Any]] = []
    for name, folder in runs.items():
        found = folder.neuron_sets()
        sets = {one: NeuronSet.load(found[one]) for one in OBJECTIVES if one in found}
        for number, left in enumerate(OBJECTIVES):
            for right in OBJECTIVES[number + 1 :]:
                if left in sets and right in sets:
                    about = {"runs": name, "left": left, "right": right}
                    sizes = {"left_neurons": len(sets[left]), "right_neurons": len(sets[right])}
                    rows.append({**about, **sizes, **asdict(overlap(sets[left], sets[right]))})
    return pd.DataFrame(rows)
