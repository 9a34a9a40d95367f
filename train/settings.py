"""Backbones and training settings: the published ones with their source, and our choice where they are unknown.

Sources: [P] arXiv 2606.13209; [C] its released code, commit 96efa92 (train_new.py, rm_model/model.py); [T] the TRL
version that code pins (0.27.1).
"""

import sys
from pathlib import Path
from typing import Any

from tension_lens.cli import OneLineParser
from tension_lens.errors import RequestError

HUB_BACKBONES = {
    "gpt2-small": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M",
    "smollm2-360m": "HuggingFaceTB/SmolLM2-360M",
    "smollm2-1.7b": "HuggingFaceTB/SmolLM2-1.7B",
}
"""The six backbones of the paper; hub ids from [C] rm_model/model.py."""
TINY_BACKBONES = ("gpt2-tiny", "smollm2-tiny")
"""The same architectures, small, pretrained on HH-RLHF text; shipped with this package."""
TINY_FOLDER = Path(__file__).parent / "backbones"

CHECKPOINTS = "checkpoints"
"""Folder inside a model's folder for the trainer's own checkpoints, from which a run resumes."""
DECIDED_BY_US = {"output_dir": "--out", "do_train": "the command itself"}
"""RewardConfig fields that a flag of `python -m train` decides."""

PUBLISHED_SEEDS = (0, 247, 932)
"""[P] section 2.4, [C] notebook cell 3."""

PUBLISHED = {
    "per_device_train_batch_size": 16,  # [C] --batch_size default; the paper's table lacks the value
    "learning_rate": 1e-4,  # [T] default, because [C] ignores its --lr
    "lr_scheduler_type": "linear",  # [P] Table 5
    "save_total_limit": 1,  # [C]
}
"""Settings of every objective."""
PUBLISHED_EPOCHS = 2.0
"""[C] --epochs default. [P] states that single objectives train longer than mixed, but its text lacks both values."""
MIXED_EPOCHS = 1.0
"""Our choice, which keeps the published order: single objectives train longer than mixed."""

TINY = {
    "num_train_epochs": 1.0,  # keeps the demo short
    "learning_rate": 1e-3,
    "warmup_steps": 10,
    "train_sampling_strategy": "group_by_length",  # less padding
    "logging_strategy": "no",
}
"""Settings of the tiny backbones on the embedded sample.

The learning rate was chosen on its validation split by `scripts/choose_settings.py` (docs/measured.md).
"""


def backbone_folder_or_id(backbone: str) -> str:
    """Location of a backbone's weights: a shipped folder, a local folder, or a hub id.

    Raises:
        RequestError: if the name is neither a known backbone nor a folder.
    """
    if backbone in TINY_BACKBONES:
        return str(TINY_FOLDER / backbone)
    if backbone in HUB_BACKBONES:
        return HUB_BACKBONES[backbone]
    if Path(backbone).is_dir():
        return backbone
    known = ", ".join((*HUB_BACKBONES, *TINY_BACKBONES))
    raise RequestError(f"unknown backbone {backbone!r}; known are {known}, or the folder of local weights")


def training_defaults(backbone: str, objective: str, on_cuda: bool) -> dict[str, Any]:
    """Default RewardConfig values of a backbone and an objective: float32 on the CPU, TRL's bfloat16 on CUDA."""
    defaults: dict[str, Any] = {
        **PUBLISHED,
        "num_train_epochs": MIXED_EPOCHS if objective == "mixed" else PUBLISHED_EPOCHS,
        "report_to": "none",
        "activation_checkpointing": on_cuda,
        "dataloader_pin_memory": on_cuda,
        "remove_unused_columns": False,  # the sampler that groups by length needs the length column
    }
    if not on_cuda:
        defaults["bf16"] = False  # TRL's default, several times slower on a CPU
    return {**defaults, **TINY} if backbone in TINY_BACKBONES else defaults


def reward_flags() -> Any:
    """Parser of every flag of TRL's RewardConfig; its errors are one line on stderr."""
    from transformers import HfArgumentParser
    from trl import RewardConfig

    class RewardFlags(HfArgumentParser):  # type: ignore[misc]
        error = OneLineParser.error

    return RewardFlags(RewardConfig, prog="python -m train", add_help=False, allow_abbrev=False)


def reward_config(backbone: str, objective: str, out: Path, seed: int, flags: list[str] | None = None) -> Any:
    """TRL's RewardConfig from its own flags, such as `["--learning_rate", "5e-5"]`, over the defaults of the backbone.

    Raises:
        RequestError: if a flag belongs to `python -m train` itself, or if values contradict one another.
    """
    import torch

    flags = flags or []
    given = {flag.partition("=")[0].lstrip("-").replace("-", "_") for flag in flags if flag.startswith("--")}
    for name in sorted(given & set(DECIDED_BY_US)):
        raise RequestError(f"--{name} of RewardConfig is decided by {DECIDED_BY_US[name]}; leave it out")
    defaults = training_defaults(backbone, objective, torch.cuda.is_available() and "use_cpu" not in given)
    if "gradient_checkpointing" in given:
        del defaults["activation_checkpointing"]  # two names of one setting; the given one counts
    fixed = {"output_dir": str(out / CHECKPOINTS), "seed": seed, "disable_tqdm": not sys.stderr.isatty()}
    parser = reward_flags()
    parser.set_defaults(**defaults, **fixed)
    try:
        (parsed,) = parser.parse_args_into_dataclasses(flags)
    except (ValueError, TypeError, ImportError) as error:
        raise RequestError(f"RewardConfig refuses its flags: {error}") from error
    return parsed
