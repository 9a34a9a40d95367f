"""Rows of preference data from files and from the hub; errors name the file, the row and the column."""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tension_lens.errors import RequestError

DATA_ROOT_VARIABLE = "TENSION_LENS_DATA"


@dataclass(frozen=True)
class Row:
    """One row. Every method raises RequestError if the column is missing or has another type."""

    place: str
    """File or hub id, and row number; for messages."""
    number: int
    """Row number in the file, from 0."""
    values: dict[str, Any]

    def value(self, column: str) -> Any:
        """The value of a column."""
        if column not in self.values:
            found = ", ".join(map(str, self.values)) or "none"
            raise RequestError(f"{self.place}: column {column!r} is missing; found {found}")
        return self.values[column]

    def text(self, column: str) -> str:
        """The string of a column."""
        value = self.value(column)
        if not isinstance(value, str):
            raise RequestError(f"{self.place}: column {column!r} must be a string, found {type(value).__name__}")
        return self._whole(value, column)

    def texts(self, column: str) -> tuple[str, ...]:
        """The strings of a column of non-empty lists."""
        return self._list_of_texts(column, "a non-empty list of strings")

    def text_or_texts(self, column: str) -> tuple[str, ...]:
        """The string of a column, or the strings of its non-empty list."""
        if isinstance(self.value(column), str):
            return (self.text(column),)
        return self._list_of_texts(column, "a string or a non-empty list of strings")

    def label(self, column: str) -> str:
        """The string or integer of a column, as a string."""
        value = self.value(column)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RequestError(
                f"{self.place}: column {column!r} must be a string or an integer, found {type(value).__name__}"
            )
        return self._whole(str(value), column)

    def inner(self, column: str) -> "Row":
        """The object of a column."""
        value = self.value(column)
        if not isinstance(value, dict):
            raise RequestError(f"{self.place}: column {column!r} must be an object, found {type(value).__name__}")
        return Row(f"{self.place}, {column}", 0, value)

    def inners(self, column: str) -> list["Row"]:
        """The objects of a column of non-empty lists."""
        value = self.value(column)
        if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
            raise RequestError(
                f"{self.place}: column {column!r} must be a non-empty list of objects, found {_kind(value)}"
            )
        return [Row(f"{self.place}, {column} {number}", number, one) for number, one in enumerate(value)]

    def _list_of_texts(self, column: str, must: str) -> tuple[str, ...]:
        value = self.value(column)
        if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
            raise RequestError(f"{self.place}: column {column!r} must be {must}, found {_kind(value)}")
        return tuple(self._whole(text, column) for text in value)

    def _whole(self, text: str, column: str) -> str:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            where = f"{self.place}: column {column!r}"
            raise RequestError(f"{where} has a lone surrogate at {error.start}") from error
        return text


def _kind(value: Any) -> str:
    if not isinstance(value, list):
        return type(value).__name__
    return "an empty list" if not value else f"a list of {', '.join(sorted({type(one).__name__ for one in value}))}"


def read_rows(path: Path) -> list[Row]:
    """The rows of a non-empty `.jsonl`, `.json` (both also `.gz`) or `.parquet` file.

    Raises:
        RequestError: if the file is missing, empty, truncated or malformed (naming the line).
    """
    try:
        rows = _parquet_rows(path) if path.name.endswith(".parquet") else _json_rows(path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise RequestError(f"data file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not rows:
        raise RequestError(f"data file {path} is empty")
    return _placed(rows, f"data file {path}")


def read_hub(hub_id: str, split: str, instead: str, **part: str) -> list[Row]:
    """The rows of a dataset on Hugging Face's hub; `part` goes to `datasets.load_dataset`.

    Errors name `instead`, the file under a data root that would hold the same rows.
    """
    import datasets

    name = " ".join((hub_id, *part.values()))
    try:
        rows = datasets.load_dataset(hub_id, split=split, **part).to_list()
    except Exception as error:  # the hub's client raises many types
        raise RequestError(
            f"{name} cannot be read from the hub ({type(error).__name__}); give --data-root DIR or set "
            f"{DATA_ROOT_VARIABLE} to a folder with {instead}"
        ) from error
    if not rows:
        raise RequestError(f"{name} on the hub has no rows in split {split}")
    return _placed(rows, name)


def _placed(rows: Sequence[Any], place: str) -> list[Row]:
    placed = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(f"{place}, row {number}: must be an object, found {type(row).__name__}")
        placed.append(Row(f"{place}, row {number}", number, row))
    return placed


def _json_rows(path: Path) -> list[Any]:
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as stream:
        text = stream.read()
    if path.name.removesuffix(".gz").endswith(".json"):
        if not text.strip():
            return []
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise RequestError(f"data file {path}, line {error.lineno}: malformed JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise RequestError(f"data file {path}: invalid JSON: {error}") from error
        if not isinstance(rows, list):
            raise RequestError(f"data file {path}: must contain a list of objects, found {type(rows).__name__}")
        return rows
    rows = []
    # Not splitlines(): it also splits at characters such as U+2028, which JSON strings may contain.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise RequestError(f"data file {path}, line {number}: malformed JSON: {reason}") from error
    return rows


def _parquet_rows(path: Path) -> list[Any]:
    try:
        rows: list[Any] = pq.read_table(path).to_pylist()
    except pa.ArrowException as error:
        raise RequestError(
            f"data file {path} is not a complete parquet file: {' '.join(str(error).split())}"
        ) from error
    return rows
