"""Rewards of every response, intact or with neurons switched off, and which items they get right."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from tension_lens.constants import SIDES
from tension_lens.data.comparisons import Comparison
from tension_lens.errors import RequestError
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.ragged import Ragged

if TYPE_CHECKING:
    from torch import Tensor

    from tension_lens.model.packing import Pack
    from tension_lens.model.padding import Batch
    from tension_lens.model.reward_model import HookedRewardModel
    from tension_lens.model.tokenization import TokenizedData
from tension_lens.neurons.conditions import Condition


def stream_rewards(
    model: "HookedRewardModel", data: "TokenizedData", conditions: Sequence[Condition], token_budget: int
) -> Iterator[tuple[int, dict[str, Float[np.ndarray, " text"]]]]:
    """Run every text under every condition, one batch at a time, the model loaded once.

    What is the same under all conditions (tokens, batches, and on the packed forward the layers before a condition's
    first switched-off neuron) is done once a batch; memory is that of one batch, whatever the number of items.

    Yields after every batch (tokens × conditions done in it, rewards by condition in the order of `data.texts`); the
    last yield is complete.
    """
    from tension_lens.model.batching import plan
    from tension_lens.model.packing import Pack

    if len({condition.name for condition in conditions}) != len(conditions):
        raise RequestError(f"conditions must have different names, found {[c.name for c in conditions]}")
    rewards = {condition.name: np.full(len(data.texts), np.nan) for condition in conditions}
    place = {id(text): number for number, text in enumerate(data.texts)}
    for batch in plan([model], data.texts, token_budget):
        places = [place[id(text)] for text in batch.texts]
        # Hooks of others may keep what they see: they are called as often as each condition would call them alone.
        if isinstance(batch, Pack) and not batch.by_text:
            found = _rewards_from_first_change(model, batch, conditions)
        else:
            found = _rewards_one_by_one(model, batch, conditions)
        for name, values in found.items():
            rewards[name][places] = values.cpu().numpy()
        yield sum(len(text.ids) for text in batch.texts) * len(conditions), rewards


def _switched_off(model: "HookedRewardModel", condition: Condition) -> AbstractContextManager[None]:
    from tension_lens.passes.ablation import ablated

    return nullcontext() if condition.neurons is None else ablated(model, condition.neurons, condition.means)


def _rewards_one_by_one(
    model: "HookedRewardModel", batch: "Batch | Pack", conditions: Sequence[Condition]
) -> "dict[str, Tensor]":
    found = {}
    for condition in conditions:
        with _switched_off(model, condition):
            found[condition.name] = model.rewards_of(batch)
    return found


def _rewards_from_first_change(
    model: "HookedRewardModel", pack: "Pack", conditions: Sequence[Condition]
) -> "dict[str, Tensor]":
    """Every condition from its first switched-off layer on; what comes before is the intact model's, run once."""
    from tension_lens.model.packed_forward import PackedRun

    first = {condition.name: min(condition.neurons.by_layer()) for condition in conditions if condition.neurons}
    deepest = max(first.values(), default=0)
    run = PackedRun(model.packed, pack)
    intact = run.middles({deepest, *first.values()})
    found = {}
    for condition in conditions:
        start = first.get(condition.name, deepest)
        with _switched_off(model, condition):
            found[condition.name] = run.rewards(start, intact[start])
    return found


def item_rewards(
    comparisons: Sequence[Comparison], data: "TokenizedData", rewards: Float[np.ndarray, " text"]
) -> ItemTable:
    """Rewards by text gathered into the item table; an item dropped as too long has no row.

    Raises:
        RequestError: if a reward is not a finite number.
    """
    if not np.isfinite(rewards).all():
        raise RequestError("the model gives rewards that are not numbers, or infinite ones")
    kept = sorted({text.item for text in data.texts})
    by_item: dict[str, dict[int, list[tuple[float, int]]]] = {side: {item: [] for item in kept} for side in SIDES}
    for text, reward in zip(data.texts, rewards, strict=True):
        by_item[text.side][text.item].append((float(reward), len(text.ids)))
    chosen, rejected = ([by_item[side][item] for item in kept] for side in SIDES)
    return ItemTable.judge(
        ((comparisons[item].id, comparisons[item].subtask, comparisons[item].task_type) for item in kept),
        chosen_rewards=Ragged.of([reward for reward, _ in item] for item in chosen),
        rejected_rewards=Ragged.of([reward for reward, _ in item] for item in rejected),
        chosen_tokens=Ragged.of([length for _, length in item] for item in chosen),
        rejected_tokens=Ragged.of([length for _, length in item] for item in rejected),
    )
