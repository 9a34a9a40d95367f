"""Write all tables of a study: the primary analysis, scores by rule, effects of each set, retention of the mixed model.

Reads the output of tension_lens.study and no model. Writes to --out primary.csv (every set against its random sets; see
docs/analysis-plan.md), conditions.csv (every set × sub-task with interval and controls), scores.csv, effects.csv,
retention.csv, margins.csv, distributions.csv, seeds.csv, gaps.csv, flips.parquet; and with --runs rmsd.csv,
overlap.csv, overlap_baselines.csv, and in primary.csv how well attribution forecasts the sets of their sweeps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.results.folder import tables_of_models
from analysis.results.study import read_study
from analysis.tables.forecast import with_forecast
from analysis.tables.neurons import overlap_table, rmsd_table
from analysis.tables.overlap_baselines import overlap_baseline_table
from analysis.tables.study import tables_of
from tension_lens.artifacts.files import atomic_write, require_writable
from tension_lens.artifacts.layout import SWEEP_FILE, RunFolder
from tension_lens.cli import command
from tension_lens.console import tell
from tension_lens.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Input and output of analysis.tables."""

    study: Path
    """Folder that tension_lens.study wrote."""
    out: Path
    """Folder for the tables."""
    runs: list[Path] = field(default_factory=list)
    """Folders with scores/ and sets/, for the tables about neurons."""
    statistic: str = "mean_abs"
    """Statistic of the scores for rmsd.csv."""


def run(config: TablesConfig) -> dict[str, Any]:
    """Read the study and write its tables.

    Raises:
        RequestError: if the study cannot be read, or the output cannot be written.
    """
    for folder in config.runs:
        if not RunFolder(folder).neuron_sets():
            raise RequestError(f"--runs {folder} has no neuron sets; give run folders as `make demo` writes them")
    require_writable(config.out)
    study = read_study(config.study)
    tables = tables_of(study)
    if config.runs:
        runs = {str(folder): RunFolder(folder) for folder in config.runs}
        tables |= {"rmsd": rmsd_table(runs, config.statistic), "overlap": overlap_table(runs)}
        tables["overlap_baselines"] = overlap_baseline_table(runs)
        sweeps = pd.concat([tables_of_models(folder, SWEEP_FILE) for folder in config.runs])
        tables["primary"] = with_forecast(tables["primary"], sweeps)
    written = {}
    for name, table in tables.items():
        path = config.out / (f"{name}.parquet" if name == "flips" else f"{name}.csv")
        save: Callable[..., Any] = table.to_parquet if name == "flips" else table.to_csv
        with atomic_write(path) as temporary:
            save(temporary, index=False)
        written[name] = str(path)
    if study.gaps:
        tell(f"note: {len(study.gaps)} cells of the study are missing; {written['gaps']} names them")
    return {"tables": written, "cells": len(study.cells)}


main = command("analysis.tables", TablesConfig, run, __doc__)

if __name__ == "__main__":
    main()
