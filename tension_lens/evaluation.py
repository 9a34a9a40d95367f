"""Rewards of every response, intact or with neurons switched off, and which items they get right."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tension_lens.comparisons import Comparison
from tension_lens.errors import RequestError
from tension_lens.neurons import NeuronSet
from tension_lens.records import atomic_write
from tension_lens.vocabulary import SIDES

if TYPE_CHECKING:
    import pandas as pd

    from tension_lens.packing import TokenizedData
    from tension_lens.reward_model import HookedRewardModel

COLUMNS = (
    "item", "subtask", "task_type", "chosen_rewards", "rejected_rewards", "chosen_tokens", "rejected_tokens", "correct",
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """The intact model (`neurons` None) or the model with a set switched off, by zero or by mean."""

    name: str
    neurons: NeuronSet | None = None
    means: Float[np.ndarray, "layer neuron"] | None = None
    """Values the neurons hold; None means zero."""


def is_correct(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """1 if every chosen response gets a higher reward than every rejected one, else 0; a tie is wrong.

    min(chosen) > max(rejected), the rule of the paper's benchmarking code.
    """
    return float(min(chosen) > max(rejected))


@dataclass(frozen=True)
class ItemRewards:
    """The rewards of every response of every item under one condition, in source order."""

    comparisons: tuple[Comparison, ...]
    """The items that were run; an item dropped as too long is not among them."""
    rewards: dict[str, tuple[tuple[float, ...], ...]]
    """By side: for each item the reward of each response."""
    tokens: dict[str, tuple[tuple[int, ...], ...]]
    """By side: for each item the tokens of each response with its prompt, as run."""

    @property
    def correct(self) -> list[float]:
        """For each item 1 or 0, `is_correct`."""
        return [is_correct(*rewards) for rewards in zip(*(self.rewards[side] for side in SIDES), strict=True)]

    def table(self) -> "pd.DataFrame":
        """The item table, one row an item."""
        import pandas as pd

        columns: dict[str, Any] = {
            "item": [comparison.id for comparison in self.comparisons],
            "subtask": [comparison.subtask for comparison in self.comparisons],
            "task_type": [comparison.task_type for comparison in self.comparisons],
        }
        for side in SIDES:
            columns[f"{side}_rewards"] = [list(rewards) for rewards in self.rewards[side]]
            columns[f"{side}_tokens"] = [list(tokens) for tokens in self.tokens[side]]
        columns["correct"] = self.correct
        return pd.DataFrame(columns)[list(COLUMNS)]

    def save(self, path: Path, provenance: dict[str, str]) -> None:
        """Write the item table as parquet, the provenance in the file's own metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.table(), preserve_index=False)
        extra = {f"tension_lens.{key}": value for key, value in provenance.items()}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **extra})
        with atomic_write(path) as temporary:
            pq.write_table(table, temporary)


def load_item_table(path: Path) -> "pd.DataFrame":
    """Read an item table.

    Raises:
        RequestError: if the file is missing, damaged or lacks a column.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        table = pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise RequestError(f"item table {path} cannot be read: {' '.join(str(error).split())}") from error
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise RequestError(f"item table {path} lacks the columns {', '.join(missing)}")
    return table


def stream_rewards(
    model: "HookedRewardModel", data: "TokenizedData", conditions: Sequence[Condition], token_budget: int
) -> Iterator[tuple[int, dict[str, Float[np.ndarray, " text"]]]]:
    """Run every text under every condition, one batch at a time, the model loaded once.

    Yields after every batch (tokens × conditions done in it, rewards by condition in the order of `data.texts`); the
    last yield is complete.
    """
    from tension_lens.ablation import ablated
    from tension_lens.packing import batches

    if len({condition.name for condition in conditions}) != len(conditions):
        raise RequestError(f"conditions must have different names, found {[c.name for c in conditions]}")
    rewards = {condition.name: np.full(len(data.texts), np.nan) for condition in conditions}
    place = {id(text): number for number, text in enumerate(data.texts)}
    for batch in batches(data.texts, token_budget, model.pad_id, model.device):
        places = [place[id(text)] for text in batch.texts]
        pooled = [text.pooled for text in batch.texts]
        for condition in conditions:
            off = condition.neurons
            with nullcontext() if off is None else ablated(model, off, condition.means):
                values = model.rewards_at_every_token(batch.tokens)
            rewards[condition.name][places] = values[range(len(pooled)), pooled].cpu().numpy()
        yield sum(len(text.ids) for text in batch.texts) * len(conditions), rewards


def item_rewards(
    comparisons: Sequence[Comparison], data: "TokenizedData", rewards: Float[np.ndarray, " text"]
) -> ItemRewards:
    """Rewards by text gathered into items."""
    if np.isnan(rewards).any():
        raise RequestError("the model gives rewards that are not numbers")
    kept = sorted({text.item for text in data.texts})
    by_item: dict[str, dict[int, list[tuple[float, int]]]] = {side: {item: [] for item in kept} for side in SIDES}
    for text, reward in zip(data.texts, rewards, strict=True):
        by_item[text.side][text.item].append((float(reward), len(text.ids)))
    values = {side: tuple(tuple(reward for reward, _ in by_item[side][item]) for item in kept) for side in SIDES}
    tokens = {side: tuple(tuple(length for _, length in by_item[side][item]) for item in kept) for side in SIDES}
    return ItemRewards(tuple(comparisons[item] for item in kept), values, tokens)


@dataclass(frozen=True)
class Accuracy:
    """The share of items judged correctly, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    n: int

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval lies above one half, the chance rate of pairs."""
        return self.low > 0.5

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}], n = {self.n}"


def accuracy_of(correct: Sequence[float]) -> Accuracy:
    """Accuracy over items judged 1 or 0, with Wilson's 95 % interval.

    Raises:
        RequestError: if there is no item.
    """
    from scipy.stats import binomtest

    if not len(correct):
        raise RequestError("no item to take an accuracy of")
    test = binomtest(int(sum(correct)), len(correct)).proportion_ci(0.95, method="wilson")
    return Accuracy(float(sum(correct)) / len(correct), float(test.low), float(test.high), len(correct))
