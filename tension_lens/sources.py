"""From a data spec to comparisons: the embedded sample, HH-RLHF, local files.

A spec is `NAME[:SUBSET[:SPLIT]]` or the path of a `.jsonl`, `.jsonl.gz`, `.json` or `.parquet` file.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from tension_lens.comparisons import Comparison, split_transcript, transcript_flaw
from tension_lens.errors import RequestError
from tension_lens.vocabulary import OBJECTIVES, require_one_of

DATA_ROOT_VARIABLE = "TENSION_LENS_DATA"
FILE_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
NAMES = ("sample", "hh-rlhf")
SPLITS = ("train", "test")
DEFAULT_SPLIT = "test"
HH_HUB_ID = "Anthropic/hh-rlhf"
HH_TASK_TYPES = {
    "helpful-base": "helpful",
    "helpful-online": "helpful",
    "helpful-rejection-sampled": "helpful",
    "harmless-base": "harmless",
}
SAMPLE_FOLDER = Path(__file__).parent / "sample"


@dataclass(frozen=True)
class Spec:
    """A parsed data spec; `path` for a local file, else `name` with what was said of subset and split."""

    name: str
    subset: str | None = None
    split: str | None = None
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Read a data spec.

        Raises:
            RequestError: if it names no known data set, subset or split.
        """
        if text.endswith(FILE_SUFFIXES):
            return cls("file", path=Path(text))
        name, *rest = text.split(":")
        if name not in NAMES or len(rest) > 2:
            raise RequestError(
                f"unknown data spec {text!r}; known are NAME[:SUBSET[:SPLIT]] with NAME one of {', '.join(NAMES)}, "
                f"or the path of a file that ends in {', '.join(FILE_SUFFIXES)}"
            )
        subset, split = [*rest, None, None][:2]
        subsets = OBJECTIVES if name == "sample" else (*HH_TASK_TYPES, *OBJECTIVES)
        if subset is not None:
            require_one_of(f"subset of {name}", subset, subsets)
        if split is not None:
            require_one_of(f"split of {name}", split, SPLITS)
        return cls(name, subset, split)

    def with_defaults(self, subset: str = "mixed", split: str = DEFAULT_SPLIT) -> "Spec":
        """The spec with subset and split filled in where they were not said."""
        if self.path is not None:
            return self
        return Spec(self.name, self.subset or subset, self.split or split)

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else ":".join(filter(None, (self.name, self.subset, self.split)))


@dataclass(frozen=True)
class Source:
    """Comparisons as read, and the rows that could not be compared."""

    comparisons: tuple[Comparison, ...]
    dropped: dict[str, int]
    """Rows left out, by reason."""
    missing: tuple[str, ...] = ()
    """Parts of the data set that were asked for as part of a whole and are not there."""

    @property
    def sha256(self) -> str:
        """SHA-256 over every field of every comparison, in order."""
        digest = hashlib.sha256()
        for comparison in self.comparisons:
            digest.update(json.dumps(astuple(comparison)).encode())
        return digest.hexdigest()


def load(spec: Spec, data_root: Path | None = None, limit: int | None = None) -> Source:
    """The comparisons that a data spec names.

    Args:
        spec: what to read; subset `mixed` and split `test` where it names none.
        data_root: folder that mirrors the hub's files; None takes `TENSION_LENS_DATA`, and without that the hub.
        limit: keep only the first so many.

    Raises:
        RequestError: if the data cannot be read or lacks what it must hold, naming file and row.
    """
    if limit is not None and limit < 1:
        raise RequestError(f"--limit must be at least 1, found {limit}")
    spec = spec.with_defaults()
    if spec.path is not None:
        source = Source(tuple(_local(spec.path)), {})
    elif spec.name == "sample":
        source = Source(tuple(_sample(str(spec.subset), str(spec.split))), {})
    else:
        source = _hh_rlhf(str(spec.subset), str(spec.split), _root(data_root))
    if not source.comparisons:
        raise RequestError(f"data {spec} holds no comparison")
    return Source(source.comparisons[:limit], source.dropped, source.missing)


def _root(data_root: Path | None) -> Path | None:
    if data_root is None and os.environ.get(DATA_ROOT_VARIABLE):
        data_root = Path(os.environ[DATA_ROOT_VARIABLE])
    if data_root is not None and not data_root.is_dir():
        raise RequestError(f"data root {data_root} is not a folder")
    return data_root


def _sample(objective: str, split: str) -> list[Comparison]:
    if objective == "mixed":
        helpful, harmless = _sample("helpful", split), _sample("harmless", split)
        if split == "train":
            # Half of each: as many pairs as a single objective has, so that the three models train equally long.
            helpful, harmless = helpful[: len(helpful) // 2], harmless[: len(harmless) // 2]
        return [comparison for pair in zip(helpful, harmless, strict=True) for comparison in pair]
    return list(_hh_comparisons(read_rows(SAMPLE_FOLDER / f"{objective}.{split}.jsonl.gz"), None, Counter()))


def _hh_comparisons(rows: Iterable[dict[str, Any]], subset: str | None, dropped: Counter[str]) -> Iterable[Comparison]:
    for number, row in enumerate(rows):
        chosen, rejected = row["chosen"], row["rejected"]
        if not isinstance(chosen, str) or not isinstance(rejected, str):
            raise RequestError(f"row {number} of {subset or 'the sample'}: a transcript must be a string")
        if flaw := transcript_flaw(chosen, rejected):
            dropped[flaw] += 1
            continue
        prompt, reply = split_transcript(chosen)
        part = subset or row["subset"]
        name = row.get("id") or f"{part}/{number}"
        yield Comparison(prompt, (reply,), (split_transcript(rejected)[1],), part, HH_TASK_TYPES[part], name)


def _hh_rlhf(subset: str, split: str, root: Path | None) -> Source:
    if subset in HH_TASK_TYPES:
        wanted = [subset]
    else:
        wanted = [part for part, task_type in HH_TASK_TYPES.items() if subset in (task_type, "mixed")]
    dropped: Counter[str] = Counter()
    comparisons: list[Comparison] = []
    missing = []
    for part in wanted:
        rows = _hh_from_hub(part, split) if root is None else _hh_from_folder(root, part, split)
        if rows is None:
            missing.append(f"{part}/{split}")
        else:
            comparisons += _hh_comparisons(rows, part, dropped)
    if len(missing) == len(wanted):
        raise RequestError(
            f"hh-rlhf:{subset}:{split} is not under {root}: {root}/hh-rlhf/{missing[0]}.jsonl.gz is missing"
        )
    return Source(tuple(comparisons), dict(dropped), tuple(missing))


def _hh_from_folder(root: Path, part: str, split: str) -> list[dict[str, Any]] | None:
    for suffix in (".jsonl.gz", ".jsonl"):
        path = root / "hh-rlhf" / part / f"{split}{suffix}"
        if path.is_file():
            return read_rows(path)
    return None


def _hh_from_hub(part: str, split: str) -> list[dict[str, Any]]:
    import datasets

    try:
        return datasets.load_dataset(HH_HUB_ID, data_dir=part, split=split).to_list()  # type: ignore[no-any-return]
    except Exception as error:  # The hub's client raises many kinds; all mean that the data cannot be had.
        raise RequestError(
            f"{HH_HUB_ID} {part} cannot be read from the hub ({type(error).__name__}); give --data-root DIR or set "
            f"{DATA_ROOT_VARIABLE} to a folder that holds hh-rlhf/{part}/{split}.jsonl.gz"
        ) from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a local file, each with a `chosen` and a `rejected`.

    Raises:
        RequestError: if the file is missing, empty, malformed (naming the line) or lacks a column.
    """
    try:
        rows = _parquet_rows(path) if path.name.endswith(".parquet") else _json_rows(path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise RequestError(f"data file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not rows:
        raise RequestError(f"data file {path} is empty")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(f"data file {path}, row {number}: must be an object, found {type(row).__name__}")
        for column in ("chosen", "rejected"):
            if column not in row:
                raise RequestError(
                    f"data file {path}, row {number}: column {column!r} is missing; found {', '.join(map(str, row))}"
                )
            _responses(row[column], f"data file {path}, row {number}: column {column!r}")
    return rows


def _json_rows(path: Path) -> list[Any]:
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as stream:
        text = stream.read()
    if path.name.endswith(".json"):
        if not text.strip():
            return []
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise RequestError(f"data file {path}, line {error.lineno}: malformed JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise RequestError(f"data file {path}: JSON that cannot be read: {error}") from error
        if not isinstance(rows, list):
            raise RequestError(f"data file {path}: must hold a list of objects, found {type(rows).__name__}")
        return rows
    rows = []
    # Not splitlines(): JSON strings may hold characters such as U+2028 that it takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise RequestError(f"data file {path}, line {number}: malformed JSON: {reason}") from error
    return rows


def _parquet_rows(path: Path) -> list[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Any] = pq.read_table(path).to_pylist()
    except pa.ArrowException as error:
        raise RequestError(f"data file {path} is not a whole parquet file: {' '.join(str(error).split())}") from error
    return rows


def _local(path: Path) -> Iterable[Comparison]:
    stem = path.name.partition(".")[0]
    for number, row in enumerate(read_rows(path)):
        where = f"data file {path}, row {number}"
        chosen, rejected = (_responses(row[side], f"{where}: column {side!r}") for side in ("chosen", "rejected"))
        prompt = row.get("prompt")
        if prompt is None:
            prompt, chosen, rejected = _common_prompt(chosen, rejected)
        elif not isinstance(prompt, str):
            raise RequestError(f"{where}: column 'prompt' must be a string, found {type(prompt).__name__}")
        else:
            _require_whole_characters(prompt, f"{where}: column 'prompt'")
        subset = stem if row.get("subset") is None else str(row["subset"])
        name = str(number) if row.get("id") is None else str(row["id"])
        task_type = HH_TASK_TYPES.get(subset, subset if subset in OBJECTIVES[:2] else "unknown")
        yield Comparison(prompt, chosen, rejected, subset, task_type, name)


def _responses(value: Any, where: str) -> tuple[str, ...]:
    responses = [value] if isinstance(value, str) else value
    if not isinstance(responses, list) or not responses or not all(isinstance(text, str) for text in responses):
        raise RequestError(f"{where} must be a string or a list of strings with at least one")
    for text in responses:
        _require_whole_characters(text, where)
    return tuple(responses)


def _require_whole_characters(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestError(f"{where} holds half a character (a lone surrogate) at {error.start}") from error


def _common_prompt(chosen: tuple[str, ...], rejected: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    r"""Transcripts that share their text up to the last `\n\nAssistant:`, cut there; other texts stay whole."""
    cut = [split_transcript(text) for text in (*chosen, *rejected)]
    if len({prompt for prompt, _ in cut}) != 1:
        return "", chosen, rejected
    replies = tuple(reply for _, reply in cut)
    return cut[0][0], replies[: len(chosen)], replies[len(chosen) :]
