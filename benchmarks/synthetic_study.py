"""Write the item tables of a synthetic study without running a model: 54 models, 12 conditions, about 10,000 items.

    python -m benchmarks.synthetic_study --out runs/synthetic

Rewards are drawn at random with an effect of each model and condition. The files have the layout and the metadata of
tension_lens.study, over four datasets with their published sizes.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tension_lens.artifacts.files import write_json
from tension_lens.artifacts.layout import RUN_FILE
from tension_lens.cli import command
from tension_lens.console import progress
from tension_lens.constants import OBJECTIVES, PARTS
from tension_lens.data.benchmarks import find_subtask, subtasks_of
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.ragged import Ragged
from tension_lens.neurons.conditions import Condition

BACKBONES = ("gpt2-small", "gpt2-medium", "gpt2-large", "smollm2-135m", "smollm2-360m", "smollm2-1.7b")
SEEDS = (0, 247, 932)
SETS = ("own", "helpful", "harmless", *PARTS)
DRAWN = [("own", "uniform"), ("own", "layer"), ("own", "activation"), ("shared", "uniform"), ("shared", "layer")]
CONDITIONS = [
    Condition(),
    *(Condition(name, "zero") for name in SETS),
    *(Condition(name, "zero", kind, 0) for name, kind in DRAWN),
]
SIZES: dict[str, dict[str, int]] = {
    "hh-rlhf:mixed:test": {"helpful-base": 1400, "helpful-rejection-sampled": 1500, "harmless-base": 1100},
    # A sub-task's weight is its number of prompts, except for math-prm.
    "reward-bench:all:filtered": {one.name: one.weight or 0 for one in subtasks_of("reward-bench")} | {"math-prm": 447},
    "reward-bench-2:all:test": {"Factuality": 475, "Precise IF": 160, "Math": 183, "Safety": 450, "Focus": 495,
                                "Ties": 102},
    "rm-bench:all:test": {"chat": 129, "code": 228, "math": 529, "safety-refuse": 284, "safety-response": 157},
}  # fmt: skip
RESPONSES = {"hh-rlhf": (1, 1), "reward-bench": (1, 1), "reward-bench-2": (1, 3), "rm-bench": (3, 3)}


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """Output of the synthetic study."""

    out: Path
    """Folder for the study."""
    seed: int = 0
    """Seed of the random rewards."""


def items_of(data: str) -> list[tuple[str, str, str]]:
    """(item, subtask, task type) of every item of a data spec; items of Ties are pairs of ref and tied."""
    benchmark = data.partition(":")[0]
    found = []
    for subtask, size in SIZES[data].items():
        task_type = find_subtask(benchmark, subtask).task_type
        for number in range(size):
            name = f"{('ref', 'tied')[number % 2]}:{number // 2}" if subtask == "Ties" else f"{subtask}/{number}"
            found.append((name, subtask, task_type))
    return found


def ragged(values: Float[np.ndarray, "item width"]) -> Ragged:
    """A matrix as ragged lists."""
    items, width = values.shape
    return Ragged(values.reshape(-1), np.arange(items + 1) * width)


def write_cell(
    folder: Path, about: dict[str, str], conditions: list[Condition], random: np.random.Generator, every: int = 1
) -> None:
    """Write a model's item table for every condition, with their record, on every n-th item of a data spec."""
    names = items_of(about["data"])[::every]
    shapes = [(len(names), width) for width in RESPONSES[about["data"].partition(":")[0]]]
    tokens = [ragged(random.integers(20, 400, shape)) for shape in shapes]
    intact = [random.normal(shift, 1, shape) for shape, shift in zip(shapes, (0.7, 0), strict=True)]
    model = f"{about['backbone']}-{about['seed']}"
    target = folder / model / about["objective"] / about["data"].replace(":", "-")
    for condition in conditions:
        noise = 0.0 if condition.is_intact else random.uniform(0, 0.8)
        rewards = [ragged(one + random.normal(0, 1, one.shape) * noise) for one in intact]
        provenance = {
            **about, **condition.columns(), "neurons": "0" if condition.is_intact else "100",
            "weights_sha256": f"{model}-{about['objective']}", "data_sha256": about["data"],
        }  # fmt: skip
        ItemTable.judge(names, *rewards, *tokens).save(target / f"{condition.label}.parquet", provenance)
    labels = {condition.label: "" for condition in conditions}
    write_json(target / RUN_FILE, {"resolved": {"conditions": labels}, "results": {"missing": []}})


def run(config: SyntheticConfig) -> dict[str, Any]:
    """Write every item table and run record."""
    random = np.random.default_rng(config.seed)
    models = list(itertools.product(BACKBONES, SEEDS, OBJECTIVES))
    with progress(len(models) * len(SIZES), "models × data", unit="folder") as bar:
        for (backbone, seed, objective), data in itertools.product(models, SIZES):
            about = {"backbone": backbone, "seed": str(seed), "objective": objective, "data": data}
            write_cell(config.out, about, CONDITIONS, random)
            bar.update(1)
    items = sum(sum(sizes.values()) for sizes in SIZES.values())
    return {"models": len(models), "conditions": len(CONDITIONS), "items": items, "study": str(config.out)}


if __name__ == "__main__":
    command("benchmarks.synthetic_study", SyntheticConfig, run, __doc__)()
