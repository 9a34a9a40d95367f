"""Time and memory of the tables of a large study: 54 models, 12 conditions, about 10,000 items.

    python -m benchmarks.tables --out runs/benchmark-tables

Writes the synthetic study (not timed), then runs analysis.tables on it in a separate process.
"""

import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import synthetic_study
from benchmarks.timing import timed
from tension_lens.cli import command
from tension_lens.console import tell
from tension_lens.errors import FailedError


@dataclass(frozen=True, kw_only=True)
class TablesBenchmarkConfig:
    """Output of the benchmark."""

    out: Path = Path("runs/benchmark-tables")
    """Folder for the study and its tables."""


def run(config: TablesBenchmarkConfig) -> dict[str, Any]:
    """Write the study and time its tables.

    Raises:
        FailedError: if analysis.tables fails.
    """
    study = config.out / "study"
    tell("writing the synthetic study")
    made = synthetic_study.run(synthetic_study.SyntheticConfig(out=study))
    tell("computing its tables")
    tables = [sys.executable, "-m", "analysis.tables", "--study", str(study), "--out", str(config.out / "tables")]
    with timed() as spent:
        done = subprocess.run(tables, check=False, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise FailedError(f"analysis.tables ended with {done.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # On Linux, in KiB.
    return {
        **made,
        "seconds": round(spent.seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gib": round(used.ru_maxrss / 2**20, 2),
    }


if __name__ == "__main__":
    command("benchmarks.tables", TablesBenchmarkConfig, run, __doc__)()
