"""Run records, provenance and atomic writes: what makes a file on disk trustworthy."""

import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tension_lens.artifacts.files import write_json

RUN_FILE = "run.json"


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
    """What a command was asked, what it ran with, and what it read and dropped. Stored as `run.json`, last of all."""

    command: str
    config: dict[str, Any]
    """The config as given."""
    resolved: dict[str, Any]
    """What the defaults and `auto` became."""
    weights_sha256: str | None
    data_sha256: str | None
    template: str
    pooled_token: str
    """The rule that says at which token the reward is read."""
    counts: dict[str, int]
    """Items kept, dropped (by reason), truncated; tokens."""
    parity: float | None
    """Largest absolute difference between hooked and Hugging Face rewards when the model was loaded."""
    seconds: float
    tokens_per_second: float
    results: dict[str, Any] = field(default_factory=dict)
    """Headline numbers, such as held-out accuracy."""
    versions: dict[str, str] = field(default_factory=package_versions)
    git: dict[str, Any] = field(default_factory=git_state)

    def save(self, path: Path) -> None:
        """Write the record, once the files it speaks of are complete."""
        write_json(path, asdict(self))


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON-ready values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
