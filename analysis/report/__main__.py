"""Write the report of a folder of runs: one HTML file that opens offline, with every table and figure beside it.

    python -m analysis.report runs/demo/gpt2-tiny --out runs/demo/gpt2-tiny/report

Reads result files only: studies, sweeps, neuron scores, sets, training records. Writes to --out report.html,
tables/*.csv and figures/*.html, and with --latex the paper's tables in latex/*.tex.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.latex import latex_tables
from analysis.report.page import Exhibit, figure_page, render
from analysis.report.sections import Report, report_of
from analysis.results.folder import read_results
from tension_lens.artifacts.files import atomic_write, require_writable
from tension_lens.cli import parse, run_command
from tension_lens.console import tell

PAGE_FILE = "report.html"
PLOTLY_FILE = "plotly.min.js"
FORMULA = re.compile(r"[=@\t\r]|[+-](?!(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$)")
"""A text that a spreadsheet would run: it starts like a formula and is no signed number."""


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What to report on and where to write."""

    runs: Path = field(metadata={"positional": True})
    """Folder of runs, as `make demo` and the commands leave it, or of a study alone; studies below it count as one."""
    out: Path
    """Folder for the report."""
    latex: bool = False
    """Also write the paper's tables as LaTeX."""


def write_tables(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Every table as NAME.csv; texts that a spreadsheet would run as a formula get an apostrophe in front."""
    for name, table in tables.items():
        safe = table.copy()
        for column in safe.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in safe.dtypes]]:
            texts = {text: f"'{text}" for text in safe[column].dropna().unique() if FORMULA.match(str(text))}
            if texts:
                safe[column] = safe[column].replace(texts)
        with atomic_write(folder / f"{name}.csv") as temporary:
            safe.to_csv(temporary, index=False, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)


def write_figures(exhibits: Iterable[Exhibit], folder: Path) -> list[str]:
    """Every figure as NAME.html beside one plotly.js that all of them open; the names."""
    from plotly.offline import get_plotlyjs

    drawn = [exhibit for exhibit in exhibits if exhibit.figure is not None]
    if drawn:
        with atomic_write(folder / PLOTLY_FILE) as temporary:
            temporary.write_text(get_plotlyjs(), "utf-8")
    for exhibit in drawn:
        with atomic_write(folder / f"{exhibit.name}.html") as temporary:
            temporary.write_text(figure_page(exhibit, PLOTLY_FILE), "utf-8")
    return [exhibit.name for exhibit in drawn]


def write_latex(tables: dict[str, str], folder: Path) -> list[str]:
    """Every LaTeX table as NAME.tex; the names."""
    for name, content in tables.items():
        with atomic_write(folder / f"{name}.tex") as temporary:
            temporary.write_text(content, "utf-8")
    return sorted(tables)


def write_report(report: Report, out: Path) -> dict[str, Any]:
    """The page with the tables and figures beside it: where the page is, and the names of the others."""
    write_tables(report.tables, out / "tables")
    figures = write_figures((one for section in report.sections for one in section.exhibits), out / "figures")
    page = out / PAGE_FILE
    with atomic_write(page) as temporary:
        temporary.write_text(render(report.title, report.lead, report.sections, report.filters), "utf-8")
    return {"report": str(page), "tables": sorted(report.tables), "figures": figures}


def run(config: ReportConfig) -> dict[str, Any]:
    """Read the runs, make every table and figure, write the page.

    Raises:
        RequestError: if nothing in the folder is a result, a result is damaged, or the output cannot be written.
    """
    require_writable(config.out, PAGE_FILE)
    results = read_results(config.runs)
    report = report_of(results)
    written = write_report(report, config.out)
    if config.latex:
        written["latex"] = write_latex(latex_tables(results, report.tables), config.out / "latex")
    for note in report.notes:
        tell(f"note: {note}")
    return written


if __name__ == "__main__":
    run_command("analysis.report", lambda: run(parse(ReportConfig, "analysis.report", __doc__)))
