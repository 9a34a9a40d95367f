"""Train a reward model with TRL's RewardTrainer (full fine-tuning, Bradley-Terry loss).

    python -m train --backbone gpt2-tiny --objective helpful --seed 0 --data sample --out DIR

Every flag of TRL's RewardConfig is accepted too: --num_train_epochs 2, --learning_rate 5e-5, --save_steps 100,
--resume_from_checkpoint true, ... (--help-all lists them). Writes the checkpoint, reward_model.json and run.json.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tension_lens.cli import make_parser, run_command
from train.settings import backbone_folder_or_id, reward_config, reward_flags

HELP_ALL = "--help-all"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The reward model to train."""

    backbone: str
    """gpt2-small, -medium, -large, smollm2-135m, -360m, -1.7b, gpt2-tiny, smollm2-tiny, or a folder of weights."""
    objective: str
    """helpful, harmless or mixed: the subset of the data, and the label of the model."""
    out: Path
    """Folder of the checkpoint."""
    seed: int = 0
    """Seed of the value head, the order of the data and everything else; the paper's are 0, 247 and 932."""
    data: str = "sample"
    """Data spec: sample, hh-rlhf, or a local file of pairs. The train split where there is one."""
    held_out: str | None = None
    """Data spec to measure accuracy on; by default the test split, or a tenth of a file's first prompts."""
    data_root: Path | None = None
    """Folder that mirrors the hub's data files; by default TENSION_LENS_DATA, or else the hub."""


def train_from_command_line() -> dict[str, Any]:
    """Parse the command line and train."""
    parser = make_parser(TrainConfig, "train", __doc__)
    parser.add_argument(HELP_ALL, action="store_true", help="show this help and every flag of TRL's RewardConfig")
    if HELP_ALL in sys.argv[1:]:
        parser.print_help()
        print("\nRewardConfig (defaults are TRL's; train/settings.py lists the ones that this command changes):")
        print(reward_flags().format_help().partition("options:")[2])
        sys.exit(0)
    namespace, flags = parser.parse_known_args()
    asked: TrainConfig = namespace.config
    backbone_folder_or_id(asked.backbone)  # an unknown name fails at once, before TRL is imported
    # Help must not wait for torch and TRL.
    from train.trainer import train_reward_model

    trainer = reward_config(asked.backbone, asked.objective, asked.out, asked.seed, flags)
    return train_reward_model(
        asked.backbone,
        asked.objective,
        asked.out,
        trainer,
        seed=asked.seed,
        data=asked.data,
        held_out=asked.held_out,
        data_root=asked.data_root,
    )


def main() -> NoReturn:
    """Run the command."""
    run_command("train", train_from_command_line)


if __name__ == "__main__":
    main()
