"""Run records: what a command was given, what it ran with, and what it read."""

import platform
import subprocess
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tension_lens.artifacts.files import read_json, write_json
from tension_lens.errors import RequestError

RECORDED_PACKAGES = (
    "tension-lens", "torch", "transformer-lens", "transformers", "trl", "datasets", "tokenizers", "safetensors",
    "numpy", "pandas", "pyarrow", "plotly",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers; what is not installed is left out."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git_state() -> dict[str, Any]:
    """Commit of the checkout this package runs from and whether it has uncommitted changes; None outside git."""
    here = Path(__file__).parent
    try:
        ask = ["git", "-C", str(here)]
        tracked = subprocess.run([*ask, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False)
        if tracked.returncode != 0:
            return {"commit": None, "dirty": None}
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*ask, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
        return {"commit": commit, "dirty": bool(changes.strip())}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


@dataclass(frozen=True)
class RunRecord:
    """What a command was given, what it ran with, and what it read and dropped. Written last, as `run.json`."""

    command: str
    config: dict[str, Any]
    """The config as given."""
    resolved: dict[str, Any]
    """What the defaults and `auto` became."""
    weights_sha256: str | None = None
    data_sha256: str | None = None
    template: str = ""
    pooled_token: str = ""
    """The rule that says at which token the reward is read."""
    counts: dict[str, int] = field(default_factory=dict)
    """Items kept, dropped (by reason), truncated; tokens."""
    parity: float | None = None
    """Largest absolute difference between hooked and Hugging Face rewards when the model was loaded."""
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    """Headline numbers, such as held-out accuracy."""
    versions: dict[str, str] = field(default_factory=package_versions)
    git: dict[str, Any] = field(default_factory=git_state)

    def save(self, path: Path) -> None:
        """Write the record; call it once the files that it describes are complete."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "RunRecord":
        """Read a record; fields that the file lacks are empty.

        Raises:
            RequestError: if the file is missing, or is not a JSON object.
        """
        content = read_json(path, "run record")
        if not isinstance(content, dict):
            raise RequestError(f"run record {path} must hold a JSON object, found {type(content).__name__}")
        known: dict[str, Any] = {name: content[name] for name in (one.name for one in fields(cls)) if name in content}
        return cls(**{"command": "", "config": {}, "resolved": {}, "versions": {}, "git": {}, **known})

    def matches(self, **expected: Any) -> bool:
        """Whether every given field has the expected value; of a dict only the expected keys are compared."""
        for name, wanted in expected.items():
            found = getattr(self, name)
            if isinstance(wanted, dict):
                found = {key: found.get(key) for key in wanted}
            if found != wanted:
                return False
        return True


def is_finished(path: Path, **expected: Any) -> bool:
    """Whether a run record exists and matches: the results beside it can be reused."""
    return path.is_file() and RunRecord.load(path).matches(**expected)


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON-ready values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
