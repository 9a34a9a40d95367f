"""Train a reward model with TRL's RewardTrainer and store a checkpoint that tension_lens loads."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tension_lens.artifacts.files import require_writable, write_json
from tension_lens.artifacts.layout import CARD_FILE, RUN_FILE
from tension_lens.artifacts.record import RunRecord, plain
from tension_lens.console import tell
from tension_lens.constants import OBJECTIVES, require_one_of
from tension_lens.data.comparisons import HH_TEMPLATE
from tension_lens.data.datasets import Dataset
from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import Accuracy, accuracy_of
from tension_lens.model.checkpoints import load_hugging_face, quiet_transformers, resolve_model
from tension_lens.model.reward_model import HookedRewardModel
from tension_lens.model.tokenization import POOLED_TOKEN_RULE, TextTokenizer, tokenize
from tension_lens.neurons.conditions import intact
from tension_lens.passes.rewards import evaluate_conditions
from train.data import require_pairs, shared_first_prompts, token_columns, train_and_held_out
from train.settings import backbone_folder_or_id

if TYPE_CHECKING:
    from trl import RewardConfig

CHECKPOINTS = "checkpoints"
"""Folder inside --out for the trainer's own checkpoints, from which a run resumes."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Which reward model to train; every flag of TRL's RewardConfig may follow."""

    backbone: str
    """gpt2-small, -medium, -large, smollm2-135m, -360m, -1.7b, gpt2-tiny, smollm2-tiny, or a folder of weights."""
    objective: str
    """helpful, harmless or mixed: the subset of the data, and what the model is recorded as."""
    out: Path
    """Folder of the finished checkpoint."""
    seed: int = 0
    """Seeds the value head, the order of the data and everything else; the paper's are 0, 247 and 932."""
    data: str = "sample"
    """Data spec: sample, hh-rlhf, or a local file of pairs. The train split where it has one."""
    held_out: str | None = None
    """Data spec to measure accuracy on; without it the test split, or a tenth of a file's first prompts."""
    data_root: Path | None = None
    """Folder that mirrors the hub's data files; without it TENSION_LENS_DATA, and without that the hub."""


def run(config: TrainConfig, trainer_config: "RewardConfig") -> dict[str, Any]:
    """Train, measure held-out accuracy through the hooked model, and only then put the checkpoint in place.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    from transformers import AutoTokenizer

    require_one_of("objective", config.objective, OBJECTIVES)
    folder = resolve_model(backbone_folder_or_id(config.backbone))
    dataset, held_out = train_and_held_out(config.data, config.objective, config.data_root, config.held_out)
    require_pairs(dataset.comparisons)
    require_writable(config.out)
    # The head is drawn here, so the seed must be set here: the trainer seeds only after it is given a model.
    model = load_hugging_face(folder, head_seed=config.seed).requires_grad_(True)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.eos_token_id is None:
        raise RequestError(f"the tokenizer of {config.backbone} has no EOS token, with which training texts end")
    if tokenizer.pad_token_id is None:
        # TRL's choice for GPT-2 and SmolLM2; the reward is then read at the last token of the text itself.
        tokenizer.pad_token = tokenizer.eos_token

    length = min(trainer_config.max_length or 1 << 30, model.config.max_position_embeddings)
    to_tokens = TextTokenizer(tokenizer, HH_TEMPLATE, tokenizer.pad_token_id, append_eos=True)
    train_data = tokenize(dataset, to_tokens, length, "drop")
    held_data = tokenize(held_out, to_tokens, length, "truncate")
    counts = train_data.counts
    tell(f"training on {dataset.spec}: {counts['kept']} pairs, {counts['dropped_too_long']} too long")
    if leaked := shared_first_prompts(dataset, held_out):
        tell(f"warning: {leaked} held-out pairs begin with a prompt that is also trained on")

    recorded = {**plain(config), "reward_config": json.loads(trainer_config.to_json_string())}
    trainer_config.max_length = None  # applied above, and counted
    started = time.perf_counter()
    loss, steps = _fit(model, tokenizer, trainer_config, token_columns(train_data), token_columns(held_data))
    seconds = time.perf_counter() - started
    card = {
        "objective": config.objective,
        "seed": config.seed,
        "backbone": config.backbone,
        "template": HH_TEMPLATE,
        "eos_appended": True,
        "pad_token_id": tokenizer.pad_token_id,
        "data": dataset.spec,
        "data_sha256": dataset.sha256,
        "held_out": held_out.spec,
        "held_out_sha256": held_out.sha256,
    }
    with _staged(config.out) as staging:
        with quiet_transformers():
            model.cpu().save_pretrained(staging)
            tokenizer.save_pretrained(staging)
        write_json(staging / CARD_FILE, card)
        accuracy, hooked = held_out_accuracy(staging, held_out, length)
    RunRecord(
        command="train",
        config=recorded,
        resolved={"data": dataset.spec, "held_out": held_out.spec, "max_length": length, "dtype": str(model.dtype)},
        weights_sha256=hooked.weights_sha256,
        data_sha256=dataset.sha256,
        template=HH_TEMPLATE,
        pooled_token=POOLED_TOKEN_RULE,
        counts=counts,
        parity=hooked.parity,
        seconds=seconds,
        tokens_per_second=train_data.n_tokens * trainer_config.num_train_epochs / seconds,
        results={"held_out": asdict(accuracy), "train_loss": loss, "steps": steps},
    ).save(config.out / RUN_FILE)
    tell(f"held-out accuracy on {held_out.spec}: {accuracy}")
    if not accuracy.beats_chance:
        tell("warning: the 95 % interval of held-out accuracy holds 50 %, so this model is not shown to beat chance")
    return {"model": str(config.out), "held_out": asdict(accuracy), "seconds": round(seconds, 1)}


def _fit(model: Any, tokenizer: Any, config: "RewardConfig", train: Any, held_out: Any) -> tuple[float, int]:
    """Mean training loss and number of steps; the model is changed in place."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from transformers.utils import logging
    from trl import RewardTrainer

    if config.disable_tqdm:
        logging.disable_progress_bar()
    trainer = RewardTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict(train),
        eval_dataset=Dataset.from_dict(held_out),
        processing_class=tokenizer,
    )
    if config.logging_strategy == "no":
        trainer.remove_callback(PrinterCallback)  # it would still print its closing statistics
    # The trainer prints its logs; stdout is for the result alone.
    with redirect_stdout(sys.stderr):
        result = trainer.train(resume_from_checkpoint=_resume(config))
    return result.training_loss, result.global_step


def _resume(config: "RewardConfig") -> str | bool | None:
    asked: str | None = config.resume_from_checkpoint
    if asked is None or asked.lower() in ("false", "no", "0"):
        return None
    if asked.lower() not in ("true", "yes", "1"):
        return asked
    if not list(Path(config.output_dir).glob("checkpoint-*")):
        raise RequestError(f"nothing to resume from: {config.output_dir} holds no checkpoint")
    return True


def held_out_accuracy(folder: Path, held_out: Dataset, length: int) -> tuple[Accuracy, HookedRewardModel]:
    """Accuracy of a checkpoint on held-out pairs, through the hooked model as every later command runs it."""
    model = HookedRewardModel.from_pretrained(folder)
    tables = evaluate_conditions(model, held_out, [intact()], max_length=length)
    return accuracy_of(tables[intact()].correct), model


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder inside `out` whose files move into `out` if the body ends well, `config.json` last.

    Without its config.json a folder is no model to any reader, so a checkpoint is either whole or not there.
    """
    out.mkdir(parents=True, exist_ok=True)
    for left_by_a_killed_run in out.glob(".staging-*"):
        shutil.rmtree(left_by_a_killed_run, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=out))
    try:
        yield staging
        for name in (RUN_FILE, "config.json"):
            (out / name).unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == "config.json"):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
