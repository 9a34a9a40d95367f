"""Choose a model's most important neurons, or split two such sets into helpful_only, harmless_only and shared.

python -m tension_lens.select --scores DIR --statistic mean_abs --top 10 --out FILE.json
python -m tension_lens.select --scores DIR --statistic lape --against DIR --out FILE.json
python -m tension_lens.select --helpful FILE.json --harmless FILE.json --out DIR
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simple_parsing import field

from tension_lens.artifacts.files import require_writable
from tension_lens.cli import command
from tension_lens.errors import RequestError
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.selectors import SELECTORS, described, select_neurons
from tension_lens.neurons.sets import NeuronSet, partition, require_percent

DEFAULT_STATISTIC, DEFAULT_TOP = "mean_abs", 10.0


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """Either --scores, or --helpful and --harmless."""

    out: Path
    """The neuron set's .json file; for the partition a folder for three."""
    scores: Path | None = None
    """Folder that tension_lens.score wrote."""
    statistic: str | None = field(
        default=None, help=f"How to rank neurons: {', '.join(SELECTORS)}; default {DEFAULT_STATISTIC}."
    )
    top: float | None = field(
        default=None,
        help=f"Share of all neurons to take, in percent, over 0 and at most 100; default {DEFAULT_TOP:g}.",
    )
    against: Path | None = None
    """Folder of the same model's scores on other data, for --statistic lape."""
    helpful: Path | None = None
    """Neuron set of the helpful model."""
    harmless: Path | None = None
    """Neuron set of the harmless model."""


def run(config: SelectConfig) -> dict[str, Any]:
    """Select or partition as the config says and write the sets."""
    pair = config.helpful, config.harmless
    if config.scores is not None and pair == (None, None):
        return _select(config.scores, config)
    if config.scores is None and config.helpful is not None and config.harmless is not None:
        if unused := [f"--{name}" for name in ("statistic", "top", "against") if getattr(config, name) is not None]:
            raise RequestError(f"the partition of two sets uses no {', '.join(unused)}; leave out what chooses neurons")
        return _partition(config.helpful, config.harmless, config.out)
    raise RequestError("give either --scores, to select, or both --helpful and --harmless, to partition")


def _select(folder: Path, config: SelectConfig) -> dict[str, Any]:
    top = require_percent(DEFAULT_TOP if config.top is None else config.top)
    statistic = DEFAULT_STATISTIC if config.statistic is None else config.statistic
    if config.out.suffix != ".json":
        raise RequestError(f"--out must be a .json file when selecting, found {config.out}")
    scores = NeuronScores.load(folder)
    against = None if config.against is None else NeuronScores.load(config.against)
    selected = select_neurons(scores, statistic, top, config.out.stem, against)
    require_writable(config.out.parent, config.out.name)
    selected.save(config.out)
    return {"set": str(config.out), "neurons": len(selected), "of": selected.n_layers * selected.d_mlp}


def _partition(helpful_path: Path, harmless_path: Path, out: Path) -> dict[str, Any]:
    helpful, harmless = NeuronSet.load(helpful_path), NeuronSet.load(harmless_path)
    parts, shared = partition(helpful, harmless), overlap(helpful, harmless)
    require_writable(out, *(f"{name}.json" for name in parts))
    for name, part in parts.items():
        part.save(out / f"{name}.json")
    sizes = {name: len(part) for name, part in parts.items()}
    measures = {key: None if math.isnan(value) else value for key, value in asdict(shared).items()}
    return {"sets": {name: str(out / f"{name}.json") for name in parts}, "neurons": sizes, "overlap": measures}


listing = f"{__doc__}\nHow neurons can be ranked (--statistic):\n{described()}\n"
main = command("tension_lens.select", SelectConfig, run, listing)

if __name__ == "__main__":
    main()
