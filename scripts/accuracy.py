"""Print a Markdown table of the held-out accuracy of every tiny reward model, by family, objective and seed.

python scripts/accuracy.py --out runs/accuracy --seeds 0 247 932
"""

from dataclasses import dataclass
from pathlib import Path

from demo import DemoConfig, Steps, percent, train_models

from tension_lens.artifacts.layout import RUN_FILE, RunFolder
from tension_lens.artifacts.record import RunRecord
from tension_lens.cli import parse, run_command
from tension_lens.constants import OBJECTIVES
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
    lines = [
        "| backbone | objective | seed | held-out pairs | accuracy %, 95 % interval | training s |",
        "|---|---|---|---|---|---|",
    ]
    steps = Steps(len(TINY_BACKBONES) * len(config.seeds) * len(OBJECTIVES))
    for family in TINY_BACKBONES:
        for seed in config.seeds:
            folder = RunFolder(config.out / family / f"seed-{seed}")
            train_models(DemoConfig(family=family, seed=seed), folder, steps)
            for objective in OBJECTIVES:
                record = RunRecord.load(folder.model(objective) / RUN_FILE)
                held_out, seconds = record.results["held_out"], round(record.seconds)
                lines.append(f"| {family} | {objective} | {seed} | {held_out['n']} | {percent(held_out)} | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command("accuracy", lambda: run(parse(AccuracyConfig, "accuracy", __doc__)))
