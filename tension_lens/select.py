"""Choose a model's most important neurons, or split two such sets into helpful_only, harmless_only and shared.

python -m tension_lens.select --scores DIR --statistic mean_abs --top 10 --out FILE.json
python -m tension_lens.select --helpful FILE.json --harmless FILE.json --out DIR
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tension_lens.cli import parse, run_command
from tension_lens.errors import RequestError
from tension_lens.importance import NeuronScores
from tension_lens.neurons import NeuronSet, overlap, partition, require_percent, top_percent
from tension_lens.records import require_writable


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """Either --scores, or --helpful and --harmless."""

    out: Path
    """The neuron set's .json file; for the partition a folder for three."""
    scores: Path | None = None
    """Folder that tension_lens.score wrote."""
    statistic: str = "mean_abs"
    """Statistic whose mean over both sides is the importance: mean, mean_abs, rms, frequency, max, change_rms."""
    top: float = 10.0
    """Share of all neurons to take, in percent, over 0 and at most 100."""
    helpful: Path | None = None
    """Neuron set of the helpful model."""
    harmless: Path | None = None
    """Neuron set of the harmless model."""


def run(config: SelectConfig) -> dict[str, Any]:
    """Select or partition as the config says and write the sets.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    pair = config.helpful, config.harmless
    if config.scores is not None and pair == (None, None):
        return _select(config.scores, config)
    if config.scores is None and config.helpful is not None and config.harmless is not None:
        return _partition(config.helpful, config.harmless, config.out)
    raise RequestError("give either --scores, to select, or both --helpful and --harmless, to partition")


def _select(folder: Path, config: SelectConfig) -> dict[str, Any]:
    require_percent(config.top)
    if config.out.suffix != ".json":
        raise RequestError(f"--out must be a .json file when selecting, found {config.out}")
    scores = NeuronScores.load(folder)
    importance = scores.importance(config.statistic)
    origin = {"statistic": config.statistic, "scope": scores.scope, **scores.metadata}
    selected = top_percent(importance, config.top, config.out.stem, scores.site, **origin)
    require_writable(config.out.parent, config.out.name)
    selected.save(config.out)
    return {"set": str(config.out), "neurons": len(selected), "of": importance.size}


def _partition(helpful_path: Path, harmless_path: Path, out: Path) -> dict[str, Any]:
    helpful, harmless = NeuronSet.load(helpful_path), NeuronSet.load(harmless_path)
    parts, shared = partition(helpful, harmless), overlap(helpful, harmless)
    require_writable(out, *(f"{name}.json" for name in parts))
    for name, part in parts.items():
        part.save(out / f"{name}.json")
    sizes = {name: len(part) for name, part in parts.items()}
    measures = {key: None if math.isnan(value) else value for key, value in asdict(shared).items()}
    return {"sets": {name: str(out / f"{name}.json") for name in parts}, "neurons": sizes, "overlap": measures}


if __name__ == "__main__":
    run_command("tension_lens.select", lambda: run(parse(SelectConfig, "tension_lens.select", __doc__)))
