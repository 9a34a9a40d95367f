"""Print a Markdown table of the held-out accuracy of every tiny reward model, by family, objective and seed.

python scripts/accuracy.py --out runs/accuracy --seeds 0 247 932
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from demo import accuracy_table, run_steps, train_steps

from tension_lens.artifacts.layout import RunFolder
from tension_lens.cli import command
from train.settings import PUBLISHED_SEEDS, TINY_BACKBONES


@dataclass(frozen=True, kw_only=True)
class AccuracyConfig:
    """Models to train and to list."""

    seeds: tuple[int, ...] = PUBLISHED_SEEDS
    """Seeds of the trainings."""
    out: Path = Path("runs/accuracy")
    """Folder of the checkpoints; finished checkpoints are reused."""


def run(config: AccuracyConfig) -> str:
    """Train the missing models and list every held-out accuracy, one row per model."""
    folders = {
        (family, seed): RunFolder(config.out / family / f"seed-{seed}")
        for family, seed in product(TINY_BACKBONES, config.seeds)
    }
    run_steps([step for (family, seed), folder in folders.items() for step in train_steps(family, seed, folder)])
    lines = [
        "| backbone | objective | seed | held-out pairs | accuracy %, 95 % interval | training s |",
        "|---|---|---|---|---|---|",
    ]
    for (family, seed), folder in folders.items():
        for objective, pairs, accuracy, _, seconds in accuracy_table(folder).itertuples(index=False):
            lines.append(f"| {family} | {objective} | {seed} | {pairs} | {accuracy} | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    command("accuracy", AccuracyConfig, run, __doc__)()
