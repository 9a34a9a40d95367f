"""Train a reward model with TRL's RewardTrainer (full fine-tuning, Bradley-Terry loss).

    python -m train --backbone gpt2-tiny --objective helpful --seed 0 --data sample --out DIR

Every flag of TRL's RewardConfig passes through: --num_train_epochs 2, --learning_rate 5e-5, --save_steps 100,
--resume_from_checkpoint true, ... Results: the checkpoint, reward_model.json and run.json in --out.
"""

import sys
from typing import Any

from tension_lens.cli import OneLineParser, make_parser, run_command
from tension_lens.errors import RequestError
from train.settings import training_defaults
from train.trainer import CHECKPOINTS, TrainConfig

OURS = {"output_dir": "--out", "do_train": "the command itself"}
"""RewardConfig fields that flags of this command decide."""


def trainer_config(config: TrainConfig, flags: list[str]) -> Any:
    """TRL's RewardConfig from its own flags, over this project's defaults for backbone and objective.

    Raises:
        RequestError: if a flag is set that belongs to this command, or values contradict one another.
    """
    import torch

    parser = reward_flags()
    given = {flag.partition("=")[0].lstrip("-").replace("-", "_") for flag in flags if flag.startswith("--")}
    for name in sorted(given & set(OURS)):
        raise RequestError(f"--{name} of RewardConfig is decided by {OURS[name]}; leave it out")
    on_cuda = torch.cuda.is_available() and "use_cpu" not in given
    defaults = training_defaults(config.backbone, config.objective, on_cuda)
    if "gradient_checkpointing" in given:
        del defaults["activation_checkpointing"]  # two names of one setting; the one that is given counts
    fixed = {"output_dir": str(config.out / CHECKPOINTS), "seed": config.seed, "disable_tqdm": not sys.stderr.isatty()}
    parser.set_defaults(**defaults, **fixed)
    try:
        (parsed,) = parser.parse_args_into_dataclasses(flags)
    except (ValueError, TypeError, ImportError) as error:
        raise RequestError(f"RewardConfig refuses its flags: {error}") from error
    return parsed


def reward_flags() -> Any:
    """The parser of RewardConfig's flags, which complains in one line."""
    from transformers import HfArgumentParser
    from trl import RewardConfig

    class RewardFlags(HfArgumentParser):  # type: ignore[misc]
        error = OneLineParser.error

    return RewardFlags(RewardConfig, prog="python -m train", add_help=False, allow_abbrev=False)


def main() -> dict[str, Any]:
    """Parse the command line and train."""
    parser = make_parser(TrainConfig, "train", __doc__)
    if {"-h", "--help"} & set(sys.argv[1:]):
        parser.print_help()
        print("\nRewardConfig (defaults are TRL's; train/settings.py says which this command changes):")
        print(reward_flags().format_help().partition("options:")[2])
        sys.exit(0)
    namespace, flags = parser.parse_known_args()
    from train.trainer import run

    return run(namespace.config, trainer_config(namespace.config, flags))


if __name__ == "__main__":
    run_command("train", main)
