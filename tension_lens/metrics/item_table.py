"""The item table: the reward of every response of every item under one condition, in memory and as a parquet file."""

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int, Shaped

from tension_lens.artifacts.files import atomic_write
from tension_lens.errors import RequestError
from tension_lens.metrics.ragged import Ragged, strictly_above
from tension_lens.metrics.ties import settled

NAMES = ("item", "subtask", "task_type")
LISTS = ("chosen_rewards", "rejected_rewards", "chosen_tokens", "rejected_tokens")
COLUMNS = (*NAMES, *LISTS, "correct")
FLAGS = ("truncated", "identical")
OPTIONAL = ("prompt", *FLAGS)
"""Columns that a file may lack."""
PREFIX = "tension_lens."
"""Prefix of the metadata keys that this package writes into a parquet file."""


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The rewards of every response of every item under one condition, in the order of the source."""

    item: Shaped[np.ndarray, " item"]
    """Names of the items. An item that was dropped as too long has no row."""
    subtask: Shaped[np.ndarray, " item"]
    task_type: Shaped[np.ndarray, " item"]
    """`helpful`, `harmless`, or `unknown` if the data does not say."""
    chosen_rewards: Ragged
    """Rewards of one item that tie are equal, see `ties.settled`."""
    rejected_rewards: Ragged
    chosen_tokens: Ragged
    """Number of tokens of each response with its prompt, as run."""
    rejected_tokens: Ragged
    correct: Float[np.ndarray, " item"]
    """Credit of each item, 0 to 1, by the rule of the program that wrote the table."""
    prompt: Shaped[np.ndarray, " item"]
    """Key of each item's prompt: items with the same key share it. An item without a key is its own prompt."""
    truncated: Bool[np.ndarray, " item"]
    """Whether a text of the item was cut."""
    identical: Bool[np.ndarray, " item"]
    """Whether a chosen and a rejected text of the item have the same token ids as run: a forced tie."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Metadata of the file: condition, hashes, ..."""

    def __post_init__(self) -> None:
        lengths = {column: len(getattr(self, column)) for column in (*COLUMNS, *OPTIONAL)}
        if len(set(lengths.values())) > 1:
            raise RequestError(f"the columns of an item table must be equally long, found {lengths}")
        for side in ("chosen", "rejected"):
            rewards, tokens = getattr(self, f"{side}_rewards").counts, getattr(self, f"{side}_tokens").counts
            if len(odd := np.flatnonzero(rewards != tokens)):
                raise RequestError(
                    f"every {side} response must have a reward and a length, "
                    f"row {odd[0]} has {rewards[odd[0]]} and {tokens[odd[0]]}"
                )
        # Negated so that NaN fails too.
        if len(odd := np.flatnonzero(~((self.correct >= 0) & (self.correct <= 1)))):
            raise RequestError(f"`correct` must lie between 0 and 1, row {odd[0]} holds {self.correct[odd[0]]}")

    @classmethod
    def judge(
        cls,
        names: Iterable[tuple[str, str, str]],
        chosen_rewards: Ragged,
        rejected_rewards: Ragged,
        chosen_tokens: Ragged,
        rejected_tokens: Ragged,
        *,
        prompt: Shaped[np.ndarray, " item"] | None = None,
        truncated: Bool[np.ndarray, " item"] | None = None,
        identical: Bool[np.ndarray, " item"] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> "ItemTable":
        """A table with `correct` = 1 where min(chosen rewards) > max(rejected rewards), else 0; a tie is wrong.

        This is the rule of the paper's benchmarking code. `names` are (item, subtask, task type) of each item. Rewards
        of an item that tie in the metadata's `dtype` (float32 if it has none) are made equal. Without `truncated` and
        `identical` no item is; without `prompt` every item is its own.

        Raises:
            RequestError: if the columns differ in length, a response lacks a reward or a number of tokens, or the
                dtype is unknown.
        """
        about = metadata or {}
        chosen_rewards, rejected_rewards = settled(chosen_rewards, rejected_rewards, about.get("dtype", "float32"))
        rows = np.array(list(names), dtype=object).reshape(-1, len(NAMES))
        item, subtask, task_type = (rows[:, column].copy() for column in range(len(NAMES)))
        lists = (chosen_rewards, rejected_rewards, chosen_tokens, rejected_tokens)
        right = strictly_above(chosen_rewards, rejected_rewards)
        none = np.zeros(len(item), dtype=bool)
        return cls(
            item,
            subtask,
            task_type,
            *lists,
            correct=right.astype(np.float64),
            prompt=item if prompt is None else prompt,
            truncated=none if truncated is None else truncated,
            identical=none if identical is None else identical,
            metadata=about,
        )

    @classmethod
    def load(cls, path: Path) -> "ItemTable":
        """Read an item table, a parquet file; it may hold more columns.

        Rewards of an item that tie in the metadata's `dtype` are made equal. `correct` is left as it is.

        Raises:
            RequestError: if the file is missing, truncated or damaged, lacks a column, a column has a wrong type,
                empty cells, rewards that are not finite or items without a response, or the dtype is unknown.
        """
        with _opened(path) as file:
            names = file.schema_arrow.names
            if missing := [column for column in COLUMNS if column not in names]:
                raise RequestError(f"it lacks the columns {', '.join(missing)}")
            # Tables are small and there are thousands of them: threads cost more than they save.
            wanted = [*COLUMNS, *(column for column in OPTIONAL if column in names)]
            table, metadata = file.read(wanted, use_threads=False), _metadata(file)
            columns = {column: _array(column, table.column(column).combine_chunks()) for column in wanted}
            lacking = {"prompt": columns["item"], **{flag: np.zeros(table.num_rows, dtype=bool) for flag in FLAGS}}
            columns = lacking | columns
            columns["chosen_rewards"], columns["rejected_rewards"] = settled(
                columns["chosen_rewards"], columns["rejected_rewards"], metadata.get("dtype", "float32")
            )
            return cls(**columns, metadata=metadata)

    def save(self, path: Path, provenance: dict[str, str]) -> None:
        """Write the table as parquet, the same bytes for the same content; `provenance` is added to the metadata.

        Columns: `item`, `subtask`, `task_type` strings; `chosen_rewards`, `rejected_rewards` lists of float64;
        `chosen_tokens`, `rejected_tokens` lists of int64; `correct` float64; `prompt` strings;
        `truncated`, `identical` booleans.
        """
        arrays: dict[str, Any] = {column: pa.array(getattr(self, column), pa.large_string()) for column in NAMES}
        for column in LISTS:
            lists, kind = getattr(self, column), pa.float64() if column.endswith("rewards") else pa.int64()
            whole = pa.list_(pa.field("element", kind))
            offsets = pa.array(lists.offsets, pa.int32())
            arrays[column] = pa.ListArray.from_arrays(offsets, pa.array(lists.values, kind), type=whole)
        arrays["correct"] = pa.array(self.correct, pa.float64())
        arrays["prompt"] = pa.array(self.prompt, pa.large_string())
        arrays.update({flag: pa.array(getattr(self, flag), pa.bool_()) for flag in FLAGS})
        metadata = {PREFIX + key: value for key, value in {**self.metadata, **provenance}.items()}
        table = pa.table(arrays).replace_schema_metadata(metadata)
        with atomic_write(path) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)

    def __len__(self) -> int:
        return len(self.item)

    @property
    def right(self) -> Bool[np.ndarray, " item"]:
        """Whether min(chosen rewards) > max(rejected rewards), from the rewards and not from `correct`."""
        return strictly_above(self.chosen_rewards, self.rejected_rewards)

    @property
    def margin(self) -> Float[np.ndarray, " item"]:
        """min(chosen rewards) − max(rejected rewards), in units of reward."""
        margin: Float[np.ndarray, " item"] = self.chosen_rewards.minimum() - self.rejected_rewards.maximum()
        return margin

    @property
    def longest_wins(self) -> Bool[np.ndarray, " item"]:
        """Whether a scorer whose reward is the number of tokens is right: min(chosen tokens) > max(rejected tokens)."""
        return strictly_above(self.chosen_tokens, self.rejected_tokens)

    @property
    def random_rate(self) -> Float[np.ndarray, " item"]:
        """n_chosen / (n_chosen + n_rejected), the paper's random rate of an item."""
        chosen = self.chosen_rewards.counts
        rate: Float[np.ndarray, " item"] = chosen / (chosen + self.rejected_rewards.counts)
        return rate

    def subtasks(self) -> list[str]:
        """Names of the subtasks in order of appearance."""
        return list(dict.fromkeys(self.subtask.tolist()))

    def lengths(self, subtasks: Collection[str] | None = None) -> dict[str, int]:
        """How many items of some subtasks, by default of all, were truncated, are identical, and were dropped.

        Columns: `n_truncated`, `n_identical`, `n_dropped`. Dropped items have no row; the metadata count them.
        """
        rows = np.ones(len(self), dtype=bool) if subtasks is None else np.isin(self.subtask.astype(str), [*subtasks])
        dropped = json.loads(self.metadata.get("dropped", "{}"))
        return {
            "n_truncated": int(self.truncated[rows].sum()),
            "n_identical": int(self.identical[rows].sum()),
            "n_dropped": sum(n for name, n in dropped.items() if subtasks is None or name in subtasks),
        }

    def where(self, rows: Int[np.ndarray, " some"] | Bool[np.ndarray, " item"]) -> "ItemTable":
        """The items at these indices, or where a mask is true."""
        parts = {column: getattr(self, column) for column in (*COLUMNS, *OPTIONAL)}
        taken: dict[str, Any] = {
            name: part.take(rows) if isinstance(part, Ragged) else part[rows] for name, part in parts.items()
        }
        return ItemTable(**taken, metadata=self.metadata)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of an item table's file, without reading its rows.

    Raises:
        RequestError: if the file is missing, truncated or damaged.
    """
    with _opened(path) as file:
        return _metadata(file)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The open file of an item table; errors name its path."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except RequestError as error:
        raise RequestError(f"item table {path}: {error}") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise RequestError(f"item table {path} cannot be read: {' '.join(str(error).split())}") from error


def _metadata(file: pq.ParquetFile) -> dict[str, str]:
    entries = [(key.decode(), value.decode()) for key, value in (file.schema_arrow.metadata or {}).items()]
    return {key.removeprefix(PREFIX): value for key, value in entries if key.startswith(PREFIX)}


def _array(column: str, cells: pa.Array) -> Any:
    """A parquet column as the array of an item table, after checking its type and that no cell is empty."""
    kinds = pa.types
    listed = column in LISTS
    if listed and not (kinds.is_list(cells.type) or kinds.is_large_list(cells.type)):
        raise RequestError(f"column {column} must hold lists, found {cells.type}")
    if cells.null_count:
        raise RequestError(f"column {column} has {cells.null_count} empty cells")
    values = cells.flatten() if listed else cells
    if column in (*NAMES, "prompt"):
        if not (kinds.is_string(values.type) or kinds.is_large_string(values.type)):
            raise RequestError(f"column {column} must hold strings, found {values.type}")
        if column in ("item", "prompt"):
            return values.to_numpy(zero_copy_only=False)
        # Few names repeat over many rows: one Python string per name, not per row.
        coded = values.dictionary_encode()
        return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()]
    if column in FLAGS:
        if not kinds.is_boolean(values.type):
            raise RequestError(f"column {column} must hold booleans, found {values.type}")
        return values.to_numpy(zero_copy_only=False)
    whole = column.endswith("tokens")
    if not (kinds.is_integer(values.type) if whole else kinds.is_floating(values.type)):
        raise RequestError(
            f"column {column} must hold {'whole' if whole else 'floating-point'} numbers, found {cells.type}"
        )
    if values.null_count:
        raise RequestError(f"column {column} has {values.null_count} empty numbers")
    numbers = values.to_numpy().astype(np.int64 if whole else np.float64)
    if not listed:
        return numbers
    try:
        return Ragged(numbers, cells.offsets.to_numpy().astype(np.int64))
    except RequestError as error:
        raise RequestError(f"column {column}: {error}") from error
