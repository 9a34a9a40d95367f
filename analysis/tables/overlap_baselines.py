"""The overlap of the helpful and the harmless set beside baselines, each with the excess over it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tension_lens.artifacts.layout import BASELINES_FILE, RunFolder
from tension_lens.console import tell
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.overlap_baselines import EVEN, Jaccards, Masks, excess, jaccards, top_sets
from tension_lens.neurons.overlap_blocks import BLOCKS, OverlapBlocks
from tension_lens.neurons.sets import NeuronSet

PAIR = ("helpful", "harmless")
STATISTIC = "mean_abs"
"""The statistic that the sets must be selected by."""
COLUMNS = ("runs", "baseline", "jaccard", "baseline_jaccard", "excess", "low", "high", "pairs", "neurons")


@dataclass(frozen=True, eq=False)
class Model:
    """The top sets of one model in every sample of the jackknife, without the magnitudes behind them."""

    metadata: dict[str, str]
    """Those of its `OverlapBlocks`."""
    sets: dict[str, Masks]
    """By source, where there is one."""
    halves: Jaccards
    """The Jaccard index of the sets of two halves of its data."""

    @classmethod
    def load(cls, folder: Path, top: float) -> "Model":
        """The top `top` % of the model whose scores are in a folder.

        Raises:
            RequestError: if the file is damaged.
        """
        blocks = OverlapBlocks.load(folder)
        sets = {source: top_sets(blocks, source, top) for source in blocks.sources}
        halves = [top_sets(blocks, "all", top, part) for part in (EVEN, ~EVEN)] if "all" in sets else []
        return cls(blocks.metadata, sets, jaccards(*halves) if halves else np.array([]))

    def says(self, *names: str) -> list[str | None]:
        """Entries of its metadata."""
        return [self.metadata.get(name) for name in names]

    def is_other_seed_of(self, other: "Model") -> bool:
        """Whether it differs from another model by its training seed alone and was scored on the same data."""
        same = "backbone", "objective", "data_sha256", "site", "scope"
        known = all([*self.says("backbone", "seed"), *other.says("seed")])
        return known and self.says(*same) == other.says(*same) and self.says("seed") != other.says("seed")


def overlap_baseline_table(runs: Mapping[str, RunFolder]) -> pd.DataFrame:
    """The Jaccard index of the helpful and the harmless set minus that of each baseline, a row for each.

    Columns: `runs` (name of the run folder), `baseline`, `jaccard` (observed), `baseline_jaccard`, `excess` with its
    95 % interval `low` to `high` (`jackknife`), `pairs` (pairs of sets that the baseline is a mean over) and `neurons`
    (size of each set). Baselines:

    - `random`: random sets of these sizes (`Overlap.expected_jaccard`).
    - `backbone`: the sets of the backbone before fine-tuning, one on each data.
    - `prompts`: the two models' sets by prompts alone.
    - `halves helpful`, `halves harmless`: a model's sets by two halves of its data.
    - `seeds helpful`, `seeds harmless`: the sets of this model and of each model of the same backbone, objective and
      data with another training seed, mean over these.

    Runs without `baselines.safetensors` of both models have no rows. If the file is there but no comparison is
    possible, stderr has the reason.

    Raises:
        RequestError: if a file is damaged.
    """
    scored = {
        name: [one for one in PAIR if (folder.scores(one) / BASELINES_FILE).is_file()] for name, folder in runs.items()
    }

    @cache
    def model(name: str, objective: str, top: float) -> Model:
        return Model.load(runs[name].scores(objective), top)

    rows: list[dict[str, Any]] = []
    for name in (name for name, found in scored.items() if len(found) == len(PAIR)):
        stored = runs[name].neuron_sets()
        sets = {one: NeuronSet.load(stored[one]) for one in PAIR if one in stored}
        reason = _unfit(sets)
        if not reason:
            top = sets[PAIR[0]].origin["top_percent"]
            models = {one: model(name, one, top) for one in PAIR}
            reason = _mismatch(models, sets)
        if reason:
            tell(f"note: no overlap baselines of {name}: {reason}")
            continue
        others = {one: [model(run, one, top) for run, found in scored.items() if one in found] for one in PAIR}
        observed = _between(models, "all")
        chance = overlap(*(sets[one] for one in PAIR)).expected_jaccard
        about = {"runs": name, "neurons": len(sets[PAIR[0]])}
        for baseline, values in [("random", [np.full_like(observed, chance)]), *_baselines(models, others)]:
            pairs = {"baseline": baseline, "pairs": len(values)}
            rows.append({**about, **pairs, **asdict(excess(observed, np.mean(values, axis=0)))})
    return pd.DataFrame(rows, columns=COLUMNS)


def _unfit(sets: dict[str, NeuronSet]) -> str:
    """Why sets cannot be compared with baselines; empty if they can."""
    if len(sets) < len(PAIR):
        return "it needs the helpful and the harmless set; run tension_lens.select"
    statistics = [str(one.origin.get("statistic")) for one in sets.values()]
    if set(statistics) != {STATISTIC}:
        return f"its sets must be selected by {STATISTIC}, found {', '.join(statistics)}"
    first, second = (one.origin.get("top_percent") for one in sets.values())
    return "" if first == second else f"its sets must be of the same share, found {first} and {second} %"


def _mismatch(models: dict[str, Model], sets: dict[str, NeuronSet]) -> str:
    """Why these models are not those of the sets; empty if they are."""
    for name, one in sets.items():
        said = {**one.origin, "site": one.site}
        for key in ("weights_sha256", "data_sha256", "site", "scope"):
            if said.get(key) != models[name].metadata[key]:
                return f"its {name} set is of scores with another {key}; select it again"
        if "all" not in models[name].sets:
            return f"its {name} scores are of too few comparisons; each of the {BLOCKS} blocks needs one"
    sites = [one.says("site", "scope") for one in models.values()]
    return "" if sites[0] == sites[1] else f"its scores are of different sites or scopes, {sites[0]} and {sites[1]}"


def _between(models: dict[str, Model], source: str) -> Jaccards:
    helpful, harmless = (models[one].sets[source] for one in PAIR)
    return jaccards(helpful, harmless)


def _baselines(models: dict[str, Model], others: dict[str, list[Model]]) -> Iterator[tuple[str, list[Jaccards]]]:
    """The name of each measured baseline that there is, and the Jaccard indices that it is the mean of."""
    backbones = [models[one].says("base_weights_sha256") for one in PAIR]
    if all("base" in one.sets for one in models.values()) and backbones[0] == backbones[1]:
        yield "backbone", [_between(models, "base")]
    if all("prompt" in one.sets for one in models.values()):
        yield "prompts", [_between(models, "prompt")]
    for name, model in models.items():
        yield f"halves {name}", [model.halves]
    for name, model in models.items():
        found = [one for one in others[name] if one.is_other_seed_of(model) and "all" in one.sets]
        if found:
            yield f"seeds {name}", [jaccards(model.sets["all"], one.sets["all"]) for one in found]
