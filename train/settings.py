"""Backbones and training settings: the published ones with their source, and what is used where they are not known.

Sources: [P] arXiv 2606.13209; [C] its released code, commit 96efa92 (train_new.py, rm_model/model.py); [T] the TRL
version that code pins (0.27.1).
"""

from pathlib import Path
from typing import Any

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

PUBLISHED_SEEDS = (0, 247, 932)
"""[P] section 2.4, [C] notebook cell 3."""

PUBLISHED = {
    "per_device_train_batch_size": 16,  # [C] --batch_size default; the paper's table has lost its value
    "learning_rate": 1e-4,  # [T] default, since [C] never passes its --lr on
    "lr_scheduler_type": "linear",  # [P] Table 5
    "save_total_limit": 1,  # [C]
}
"""Settings that hold for every objective."""
PUBLISHED_EPOCHS = 2.0
"""[C] --epochs default. [P] says that single objectives train longer than mixed; both values are lost in its text."""
MIXED_EPOCHS = 1.0
"""Ours: keeps the published order, single longer than mixed."""

TINY = {
    "num_train_epochs": 1.0,  # later epochs overfit 1,100 pairs
    "learning_rate": 3e-4,
    "warmup_steps": 10,
    "train_sampling_strategy": "group_by_length",  # less padding; matters on two cores
    "logging_strategy": "no",
}
"""What differs for the tiny backbones on the embedded sample."""


def backbone_folder_or_id(backbone: str) -> str:
    """Where a backbone's weights are: a shipped folder, a local folder, or a hub id.

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
    """RewardConfig values where the command line gives none: float32 on the CPU, TRL's bfloat16 on CUDA."""
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
