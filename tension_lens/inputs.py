"""What scoring and evaluation share: the flags for model and data, and opening both as they say."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tension_lens.artifacts.record import RunRecord, plain
from tension_lens.console import tell
from tension_lens.data.datasets import Source, Spec, load
from tension_lens.errors import RequestError

if TYPE_CHECKING:
    from tension_lens.model.reward_model import HookedRewardModel
    from tension_lens.model.tokenization import LongPolicy, TokenizedData


@dataclass(frozen=True, kw_only=True)
class OpenConfig:
    """Model and data."""

    model: str
    """Folder or hub id of a sequence-classification checkpoint with one label."""
    data: str
    """Data spec NAME[:SUBSET[:SPLIT]] (sample, hh-rlhf, reward-bench, reward-bench-2, rm-bench, rmb; SUBSET of a
    benchmark: a sub-task, helpful, harmless or all) or a .jsonl, .jsonl.gz, .json or .parquet file."""
    data_root: Path | None = None
    """Folder that mirrors the hub's data files; without it TENSION_LENS_DATA, and without that the hub."""
    max_length: int = 1024
    """Most tokens of a text; never more than the model's context."""
    limit: int | None = None
    """Take only the first so many comparisons."""
    token_budget: int = 4096
    """Most tokens of a batch: distinct ones on the fast engine, padding counted on the native one."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the forward pass; rewards are checked against Hugging Face in float32 whatever it is."""
    engine: Literal["fast", "native"] = "fast"
    """The forward pass: fast computes what responses share once and pads nothing, native is TransformerLens' own."""


@dataclass(frozen=True)
class Opened:
    """A model and the data it is to run on."""

    model: "HookedRewardModel"
    source: Source
    data: "TokenizedData"
    resolved: dict[str, Any]
    """What defaults and `auto` became."""

    @property
    def counts(self) -> dict[str, int]:
        """Items kept, truncated, and dropped by reason; tokens."""
        return {**self.data.counts, **{f"dropped_{reason}": n for reason, n in sorted(self.source.dropped.items())}}

    def record(self, command: str, config: OpenConfig, seconds: float, tokens: int, **results: Any) -> RunRecord:
        """The run record of a command that ran the model over `tokens` tokens."""
        from tension_lens.model.tokenization import POOLED_TOKEN_RULE

        return RunRecord(
            command=command,
            config=plain(config),
            resolved=self.resolved,
            weights_sha256=self.model.weights_sha256,
            data_sha256=self.source.sha256,
            template=self.model.card.template,
            pooled_token=POOLED_TOKEN_RULE,
            counts=self.counts,
            parity=self.model.parity,
            seconds=seconds,
            tokens_per_second=tokens / max(seconds, 1e-9),
            results=results,
        )


def open_source(data: str, data_root: Path | None, limit: int | None = None, **defaults: str) -> tuple[Spec, Source]:
    """The comparisons of a data spec, with a line on stderr for what is missing or was dropped."""
    spec = Spec.parse(data).with_defaults(**defaults)
    source = load(spec, data_root, limit)
    if source.missing:
        tell(f"note: {spec} is not whole: {', '.join(source.missing)} not found, going on without")
    if source.dropped:
        tell(f"note: {spec}: dropped {', '.join(f'{n} {reason}' for reason, n in sorted(source.dropped.items()))}")
    return spec, source


def open_run(config: OpenConfig, long: "LongPolicy", loaded: "HookedRewardModel | None" = None) -> Opened:
    """Load the data and the model of a config and tokenise, applying the length policy.

    Args:
        config: what to open.
        long: what becomes of a comparison with a text over the maximal length.
        loaded: the config's model, where it was loaded before.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    from tension_lens.model.reward_model import HookedRewardModel
    from tension_lens.model.tokenization import tokenize

    for name in ("max_length", "token_budget"):
        if getattr(config, name) < 1:
            raise RequestError(f"--{name.replace('_', '-')} must be at least 1, found {getattr(config, name)}")
    spec, source = open_source(config.data, config.data_root, config.limit)
    model = loaded or HookedRewardModel.from_pretrained(config.model, config.device, config.dtype, engine=config.engine)
    max_length = min(config.max_length, model.max_context)
    data = tokenize(source.comparisons, model.tokenizer, max_length, long)
    counts = data.counts
    if too_long := counts["dropped_too_long"] + counts["truncated"]:
        action = "dropped" if long == "drop" else "truncated"
        tell(f"note: {action} {too_long} of {len(source.comparisons)} comparisons longer than {max_length} tokens")
    resolved = {"data": str(spec), "max_length": max_length, "long": long, "device": str(model.device)}
    return Opened(model, source, data, resolved)
