"""HookedRewardModel: a HookedTransformer with the value head attached, proven equal to Hugging Face when loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tension_lens.artifacts.files import sha256_of_files
from tension_lens.constants import ENGINES, require_one_of
from tension_lens.errors import RequestError
from tension_lens.model.batching import plan
from tension_lens.model.checkpoints import RewardModelCard, load_hugging_face, load_tokenizer, resolve_model
from tension_lens.model.packed_forward import PackedForward, PackedRun
from tension_lens.model.packing import Pack
from tension_lens.model.padding import DEFAULT_TOKEN_BUDGET, Batch
from tension_lens.model.tokenization import TextTokenizer, TokenizedText, pooled_position

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

PARITY_TOLERANCE = 1e-4
"""Largest absolute difference from Hugging Face's rewards, in float32, at which a model is accepted."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PROBE_TEXTS = (
    "\n\nHuman: What is the capital of France?\n\nAssistant: Paris.",
    "\n\nHuman: How do I boil an egg?\n\nAssistant: Put it into boiling water for seven minutes, then into cold water.",
    "\n\nHuman: Hi!\n\nAssistant: Hello. What would you like to talk about today?\n\nHuman: The sea, and 1,234 ships…"
    "\n\nAssistant: Gladly: is it the ships or the water that you want to hear of first?",
    "Short.",
)
"""What every model is tried on when it is loaded: different lengths, so that padding is tried too."""


@torch.no_grad()
def hugging_face_rewards(
    hf_model: Any, ids: Sequence[Sequence[int]], pad_token_id: int | None, batch_size: int
) -> Float[Tensor, " item"]:
    """Rewards of token sequences by Hugging Face's own forward, padded on the right in batches.

    Without a pad token Hugging Face takes one sequence at a time, whatever the batch size.
    """
    size = 1 if pad_token_id is None else batch_size
    rewards = []
    for start in range(0, len(ids), size):
        group = [torch.tensor(row) for row in ids[start : start + size]]
        tokens = torch.nn.utils.rnn.pad_sequence(group, batch_first=True, padding_value=pad_token_id or 0)
        lengths = torch.tensor([len(row) for row in group])
        mask = (torch.arange(tokens.shape[1])[None] < lengths[:, None]).long()
        device = next(hf_model.parameters()).device
        rewards.append(hf_model(input_ids=tokens.to(device), attention_mask=mask.to(device)).logits[:, 0].float().cpu())
    return torch.cat(rewards)


def pick_device(device: str) -> torch.device:
    """`auto` as CUDA where there is one, else the CPU; any other name as PyTorch knows it.

    Raises:
        RequestError: if PyTorch does not know it or has no such device.
    """
    try:
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        torch.empty(0, device=chosen)
        return chosen
    except (RuntimeError, AssertionError) as error:
        raise RequestError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True, eq=False)
class HookedRewardModel:
    """A reward model whose every activation can be read and written through TransformerLens hooks."""

    hooked: "HookedTransformer"
    """The network; the value head stands at `unembed`, so `hooked(tokens)[..., 0]` is the reward at every token."""
    tokenizer: TextTokenizer
    card: RewardModelCard
    name: str
    """The path or hub id it was loaded from."""
    weights_sha256: str
    """SHA-256 over the checkpoint's safetensors files."""
    parity: float
    """Largest absolute difference from Hugging Face's rewards on the probe texts, in float32, by either engine."""
    engine: str = "fast"
    """Which forward pass runs texts: `fast`, the packed one, where no hook needs the other; or `native`."""

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        device: str = "auto",
        dtype: str = "float32",
        headless: bool = False,
        engine: str = "fast",
    ) -> "HookedRewardModel":
        """Load a reward model and check, in float32, that it computes Hugging Face's rewards.

        Args:
            model: folder or hub id of a GPT-2 or Llama (SmolLM2) sequence-classification checkpoint with one label.
            device: `auto`, `cpu`, `cuda`, …
            dtype: `float32`, `bfloat16` or `float16`, for everything after the check.
            headless: take a backbone without value head (to compare activations); its rewards mean nothing.
            engine: `fast` or `native`; both are checked.

        Raises:
            RequestError: if it is no such checkpoint, or its rewards differ by more than `PARITY_TOLERANCE`.
        """
        from tension_lens.model.conversion import to_hooked

        require_one_of("engine", engine, ENGINES)
        if dtype not in DTYPES:
            raise RequestError(f"dtype must be one of {', '.join(DTYPES)}, found {dtype!r}")
        target = pick_device(device)
        folder = resolve_model(str(model))
        card = RewardModelCard.load(folder)
        hf_model = load_hugging_face(folder, head_seed=0 if headless else None)
        loaded = cls(
            hooked=to_hooked(hf_model),
            tokenizer=load_tokenizer(folder, card, hf_model.config),
            card=card,
            name=str(model),
            weights_sha256=sha256_of_files(folder.glob("*.safetensors")),
            parity=float("nan"),
        )
        probe = [ids[: loaded.max_context] for ids in loaded.encode(PROBE_TEXTS)]
        parity = max(replace(loaded, engine=one).parity_with(hf_model, probe, batch_size=len(probe)) for one in ENGINES)
        if not parity <= PARITY_TOLERANCE:
            raise RequestError(
                f"model {model} gives rewards that differ from Hugging Face's by {parity:.2g}, over {PARITY_TOLERANCE}"
            )
        if DTYPES[dtype] != torch.float32:
            loaded.hooked.to(DTYPES[dtype], print_details=False)
        loaded.hooked.to(target, print_details=False)
        return replace(loaded, parity=parity, engine=engine)

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return int(self.hooked.cfg.n_layers)

    @property
    def d_mlp(self) -> int:
        """Neurons in each layer's MLP."""
        return int(self.hooked.cfg.d_mlp)

    @property
    def max_context(self) -> int:
        """Most tokens the model can read."""
        return int(self.hooked.cfg.n_ctx)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.hooked.W_E.device)

    @property
    def pad_id(self) -> int:
        """The id that fills batches; no real token sees it."""
        return self.tokenizer.pad_token_id or 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of whole texts, with the EOS where the model's pooled token is one; nothing else is added."""
        rows: list[list[int]] = self.tokenizer.tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids
        end = [self.tokenizer.tokenizer.eos_token_id] if self.tokenizer.append_eos else []
        return [[*ids, *end] for ids in rows]

    @cached_property
    def packed(self) -> PackedForward:
        """The packed forward of this network."""
        return PackedForward(self.hooked)

    @torch.no_grad()
    def rewards_of(self, batch: Batch | Pack) -> Float[Tensor, " text"]:
        """The reward of each text of a batch at its pooled token, float32, by the forward pass it was made for."""
        if isinstance(batch, Pack):
            return PackedRun(self.packed, batch).rewards()
        pooled = [text.pooled for text in batch.texts]
        return self.rewards_at_every_token(batch.tokens)[range(len(pooled)), pooled]

    @torch.no_grad()
    def activate(self, batch: Batch | Pack) -> None:
        """Run a batch for the hooks that read activations, by the forward pass it was made for."""
        if isinstance(batch, Pack):
            PackedRun(self.packed, batch).activate()
        else:
            self.hooked(batch.tokens)

    @torch.no_grad()
    def rewards_at_every_token(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos"]:
        """The value head read at every position, in one forward: head · norm(residual stream), float32."""
        rewards: Tensor = self.hooked(tokens.to(self.device))[..., 0].float()
        return rewards

    def rewards(
        self, texts: Sequence[str] | Sequence[Sequence[int]], token_budget: int = DEFAULT_TOKEN_BUDGET
    ) -> Float[Tensor, " item"]:
        """The reward of each text (strings, or token ids taken as they are), read at the pooled token, on the CPU.

        Independent of batch size, order and padding up to float32 rounding.

        Raises:
            RequestError: if a text is empty or longer than the model's context.
        """
        strings = [text for text in texts if isinstance(text, str)]
        if 0 < len(strings) < len(texts):
            raise RequestError("texts must all be strings or all be token ids")
        ids = self.encode(strings) if strings else [[int(token) for token in text] for text in texts]
        for row in ids:
            if not 0 < len(row) <= self.max_context:
                raise RequestError(f"a text must have 1 to {self.max_context} tokens, found {len(row)}")
        pooled = [pooled_position(row, self.tokenizer.pad_token_id) for row in ids]
        items = [TokenizedText(i, "chosen", tuple(row), 0, pooled[i]) for i, row in enumerate(ids)]
        rewards = torch.empty(len(items))
        for batch in plan([self], items, token_budget):
            rewards[[text.item for text in batch.texts]] = self.rewards_of(batch).cpu()
        return rewards

    def parity_with(self, hf_model: Any, ids: Sequence[Sequence[int]], batch_size: int) -> float:
        """Largest absolute difference between hooked and Hugging Face rewards over token sequences.

        Both sides run in batches of `batch_size`, the shortest text padded to the longest.
        """
        expected = hugging_face_rewards(hf_model, ids, self.tokenizer.pad_token_id, batch_size)
        found = torch.cat(
            [self.rewards(ids[i : i + batch_size], token_budget=1 << 30) for i in range(0, len(ids), batch_size)]
        )
        return float((expected - found).abs().max())
