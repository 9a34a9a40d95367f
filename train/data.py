"""Training pairs and held-out pairs from a data spec."""

import hashlib
from dataclasses import replace
from pathlib import Path

from tension_lens.data.comparisons import Comparison, first_human_turn
from tension_lens.data.datasets import Dataset, Spec
from tension_lens.errors import RequestError
from tension_lens.inputs import open_dataset
from tension_lens.model.tokenization import TokenizedData

HELD_OUT_SHARE = 0.1


def train_and_held_out(
    data: str, objective: str, data_root: Path | None, held_out: str | None
) -> tuple[Dataset, Dataset]:
    """Training pairs and held-out pairs.

    The objective is the default subset. The held-out pairs are those of `held_out` if given, or else the test split of
    the same data. A local file, or a spec that names its split, has no test split: the pairs of a tenth of its first
    prompts, chosen by hash, are held out and not trained on.

    Raises:
        RequestError: if data cannot be read, or no pair is left for training or for the held-out set.
    """
    asked = Spec.parse(data)
    dataset = open_dataset(data, data_root, subset=objective, split="train")
    if held_out is not None:
        return dataset, open_dataset(held_out, data_root, subset=objective, split="test")
    if asked.path is None and asked.split is None:
        return dataset, open_dataset(str(replace(Spec.parse(dataset.spec), split="test")), data_root)
    kept, held = _split_by_first_prompt(dataset.comparisons)
    if not kept or not held:
        raise RequestError(f"{data} has too few first prompts to hold out a tenth of them; give --held-out SPEC")
    return replace(dataset, comparisons=kept), Dataset(held, spec=dataset.spec)


def _split_by_first_prompt(
    comparisons: tuple[Comparison, ...],
) -> tuple[tuple[Comparison, ...], tuple[Comparison, ...]]:
    def is_held_out(comparison: Comparison) -> bool:
        key = first_human_turn(comparison.prompt or comparison.chosen[0])
        return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 16**8 < HELD_OUT_SHARE

    held_out = tuple(one for one in comparisons if is_held_out(one))
    return tuple(one for one in comparisons if not is_held_out(one)), held_out


def require_pairs(comparisons: tuple[Comparison, ...]) -> None:
    """Check that every comparison is a pair, as the Bradley-Terry loss requires.

    Raises:
        RequestError: naming the first comparison that is not a pair.
    """
    for comparison in comparisons:
        if len(comparison.chosen) != 1 or len(comparison.rejected) != 1:
            raise RequestError(
                f"training needs one chosen and one rejected response per item; item {comparison.id!r} has "
                f"{len(comparison.chosen)} and {len(comparison.rejected)}"
            )


def shared_first_prompts(train: Dataset, held_out: Dataset) -> int:
    """Number of held-out comparisons whose first prompt is also trained on."""
    seen = {first_human_turn(one.prompt or one.chosen[0]) for one in train.comparisons}
    return sum(first_human_turn(one.prompt or one.chosen[0]) in seen for one in held_out.comparisons)


def token_columns(data: TokenizedData) -> dict[str, list[list[int]] | list[int]]:
    """The tokenised columns of RewardTrainer, and the length by which it may group batches."""
    chosen = [list(text.ids) for text in data.texts if text.side == "chosen"]
    rejected = [list(text.ids) for text in data.texts if text.side == "rejected"]
    longer = [max(len(a), len(b)) for a, b in zip(chosen, rejected, strict=True)]
    return {"chosen_ids": chosen, "rejected_ids": rejected, "length": longer}
