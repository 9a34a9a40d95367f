"""Files that are whole or not there: atomic writes, JSON, content hashes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tension_lens.errors import RequestError


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, renamed onto it if the body ends well and deleted if it does not.

    A reader sees the old file or the whole new one. The temporary name starts with a dot and ends in `.tmp`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; results get the mode any new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(target: Path, content: Any) -> None:
    """Write JSON atomically, keys in the order given."""
    with atomic_write(target) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file.

    Raises:
        RequestError: if the file is missing or is not JSON, naming the line.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RequestError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise RequestError(f"{what} {path}{where} is not JSON: {error}") from error


def require_writable(folder: Path, *names: str) -> None:
    """Check before the work that files of these names can be stored in a folder; nothing is created.

    Raises:
        RequestError: if they cannot.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RequestError(f"output folder {folder} is not writable: {error.strerror}") from error
    for name in names:
        if (folder / name).is_dir():
            raise RequestError(f"output file {folder / name} cannot be written: a folder has that name")


def sha256_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the content of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        with open(path, "rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
