"""The item table: the reward of every response of every item under one condition, in memory and as a parquet file."""

from collections.abc import Iterable, Iterator
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

NAMES = ("item", "subtask", "task_type")
LISTS = ("chosen_rewards", "rejected_rewards", "chosen_tokens", "rejected_tokens")
COLUMNS = (*NAMES, *LISTS, "correct")
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
    rejected_rewards: Ragged
    chosen_tokens: Ragged
    """Number of tokens of each response with its prompt, as run."""
    rejected_tokens: Ragged
    correct: Float[np.ndarray, " item"]
    """Credit of each item, 0 to 1, by the rule of the program that wrote the table."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Metadata of the file: condition, hashes, ..."""

    def __post_init__(self) -> None:
        lengths = {column: len(getattr(self, column)) for column in COLUMNS}
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
    ) -> "ItemTable":
        """A table with `correct` = 1 where min(chosen rewards) > max(rejected rewards), else 0; a tie is wrong.

        This is the rule of the paper's benchmarking code. `names` are (item, subtask, task type) of each item.

        Raises:
            RequestError: if the columns differ in length, or a response lacks a reward or a number of tokens.
        """
        rows = np.array(list(names), dtype=object).reshape(-1, len(NAMES))
        item, subtask, task_type = (rows[:, column].copy() for column in range(len(NAMES)))
        lists = (chosen_rewards, rejected_rewards, chosen_tokens, rejected_tokens)
        right = strictly_above(chosen_rewards, rejected_rewards)
        return cls(item, subtask, task_type, *lists, correct=right.astype(np.float64))

    @classmethod
    def load(cls, path: Path) -> "ItemTable":
        """Read an item table, a parquet file; it may hold more columns.

        Raises:
            RequestError: if the file is missing, truncated or damaged, lacks a column, or a column has a wrong type,
                empty cells, rewards that are not finite or items without a response.
        """
        with _opened(path) as file:
            names = file.schema_arrow.names
            if missing := [column for column in COLUMNS if column not in names]:
                raise RequestError(f"it lacks the columns {', '.join(missing)}")
            # Tables are small and there are thousands of them: threads cost more than they save.
            table = file.read(list(COLUMNS), use_threads=False)
            columns = {column: _array(column, table.column(column).combine_chunks()) for column in COLUMNS}
            return cls(**columns, metadata=_metadata(file))

    def save(self, path: Path, provenance: dict[str, str]) -> None:
        """Write the table as parquet, the same bytes for the same content; `provenance` is added to the metadata.

        Columns: `item`, `subtask`, `task_type` strings; `chosen_rewards`, `rejected_rewards` lists of float64;
        `chosen_tokens`, `rejected_tokens` lists of int64; `correct` float64.
        """
        arrays: dict[str, Any] = {column: pa.array(getattr(self, column), pa.large_string()) for column in NAMES}
        for column in LISTS:
            lists, kind = getattr(self, column), pa.float64() if column.endswith("rewards") else pa.int64()
            whole = pa.list_(pa.field("element", kind))
            offsets = pa.array(lists.offsets, pa.int32())
            arrays[column] = pa.ListArray.from_arrays(offsets, pa.array(lists.values, kind), type=whole)
        arrays["correct"] = pa.array(self.correct, pa.float64())
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

    def where(self, rows: Int[np.ndarray, " some"] | Bool[np.ndarray, " item"]) -> "ItemTable":
        """The items at these indices, or where a mask is true."""
        parts = {column: getattr(self, column) for column in COLUMNS}
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
    if column in NAMES:
        if not (kinds.is_string(values.type) or kinds.is_large_string(values.type)):
            raise RequestError(f"column {column} must hold strings, found {values.type}")
        if column == "item":
            return values.to_numpy(zero_copy_only=False)
        # Few names repeat over many rows: one Python string per name, not per row.
        coded = values.dictionary_encode()
        return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()]
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
