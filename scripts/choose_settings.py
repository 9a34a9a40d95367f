"""Choose the learning rate of the tiny backbones on the sample's validation split; print a Markdown table.

    python scripts/choose_settings.py --out runs/settings

Trains reward models with seed 0 from both backbones for all three objectives, one epoch each, which keeps the demo
short. The test split is never read.

The rule: the learning rate with the highest mean validation accuracy of the six models; ties go to the lower one. One
rate for all six, because the 100 or 200 pairs of a single model cannot tell rates apart. `train/settings.py` holds it.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from tension_lens.artifacts.layout import RUN_FILE
from tension_lens.artifacts.record import is_finished
from tension_lens.cli import command
from tension_lens.console import tell
from tension_lens.constants import OBJECTIVES
from tension_lens.data.datasets import load_comparisons
from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.metrics.item_table import ItemTable
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.neurons.conditions import intact
from tension_lens.passes.rewards import evaluate_conditions
from train.settings import TINY_BACKBONES, reward_config
from train.trainer import train_reward_model

LEARNING_RATES = ("1e-4", "3e-4", "1e-3")
SEED = 0
MODELS = tuple(product(TINY_BACKBONES, OBJECTIVES))


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """Where the models go."""

    out: Path = Path("runs/settings")
    """Folder of the checkpoints; finished checkpoints are reused."""


def validation_table(out: Path, backbone: str, objective: str, rate: str) -> ItemTable:
    """The validation pairs judged by a model, which is trained unless it is in its folder already."""
    folder = out / backbone / f"rate-{rate}" / objective
    held_out = f"sample:{objective}:validation"
    asked = {"backbone": backbone, "objective": objective, "seed": SEED, "held_out": held_out}
    if not is_finished(folder / RUN_FILE, config=asked):
        tell(f"{backbone} {objective}: learning rate {rate}")
        trainer = reward_config(backbone, objective, folder, SEED, ["--learning_rate", rate])
        train_reward_model(backbone, objective, folder, trainer, seed=SEED, held_out=held_out)
    model = HookedRewardModel.from_pretrained(folder)
    return evaluate_conditions(model, load_comparisons(held_out), [intact()])[intact()]


def loss_of(table: ItemTable) -> float:
    """Bradley-Terry loss: the mean of -log sigmoid(chosen reward - rejected reward)."""
    margins = table.chosen_rewards.minimum() - table.rejected_rewards.maximum()
    return float(np.logaddexp(0, -margins).mean())


def accuracies_of(tables: list[ItemTable]) -> list[float]:
    """The accuracy of each table."""
    return [float(table.correct.mean()) for table in tables]


def choose(accuracies: dict[str, list[float]]) -> str:
    """The learning rate with the highest mean accuracy; ties go to the lower one."""
    # Rounded: equal means must not differ by the order of their addition.
    means = {rate: round(float(np.mean(found)), 9) for rate, found in accuracies.items()}
    return min(means, key=lambda rate: (-means[rate], float(rate)))


def table_of(judged: dict[str, list[ItemTable]]) -> str:
    """A Markdown table: a row for each model, a column for each learning rate, and the means over the models."""
    lines = [f"| model | pairs | {' | '.join(judged)} |", "|---" * (2 + len(judged)) + "|"]
    for model, tables in zip(MODELS, zip(*judged.values(), strict=True), strict=True):
        cells = []
        for table in tables:
            found = accuracy_of(table.correct)
            interval = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
            cells.append(f"{100 * found.accuracy:.1f} {interval}; {loss_of(table):.3f}")
        lines.append(f"| {' '.join(model)} | {len(tables[0].correct)} | {' | '.join(cells)} |")
    means = [(accuracies_of(tables), [loss_of(table) for table in tables]) for tables in judged.values()]
    cells = [f"{100 * np.mean(accuracies):.2f}; {np.mean(losses):.3f}" for accuracies, losses in means]
    return "\n".join([*lines, f"| mean | - | {' | '.join(cells)} |"])


def run(config: ChoiceConfig) -> str:
    """Train the missing models; return the table and the choice."""
    judged = {rate: [validation_table(config.out, *model, rate) for model in MODELS] for rate in LEARNING_RATES}
    rate = choose({rate: accuracies_of(tables) for rate, tables in judged.items()})
    return f"{table_of(judged)}\n\nAccuracy in %, 95 % interval; loss. Chosen: learning rate {rate}."


if __name__ == "__main__":
    command("choose_settings", ChoiceConfig, run, __doc__)()
