"""The report of a small study: its tables, what it needs, and its command."""

import subprocess
import sys

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from parts_report import BACKBONES, write_runs

from analysis.report.__main__ import ReportConfig, run, write_tables
from analysis.report.sections import report_of
from analysis.results.folder import read_results
from tension_lens.cli import parse
from tension_lens.errors import RequestError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def report(runs):
    return report_of(read_results(runs))


def test_saved_tables_are_exact_and_run_no_formula(tmp_path):
    texts = ["=1+1", "+1", "-2.5e3", "-x", "@a", "a=b", 'say "x",\r\ny', "\tx"]
    numbers = [1 / (3 + place) for place in range(len(texts))]
    write_tables({"odd": pd.DataFrame({"text": texts, "number": numbers})}, tmp_path)
    found = pd.read_csv(tmp_path / "odd.csv")
    assert found["text"].tolist() == ["'=1+1", "+1", "-2.5e3", "'-x", "'@a", "a=b", 'say "x",\r\ny', "'\tx"]
    assert found["number"].tolist() == pytest.approx(numbers, rel=1e-15)


@pytest.mark.slow
def test_a_report_of_two_studies_has_the_numbers_of_each(runs, report):
    alone = [report_of(read_results(runs / backbone)).tables for backbone in BACKBONES]
    # Every row is of one model: another study changes none of them.
    for name in ("scores", "effects", "conditions", "retention", "margins", "distributions", "flips", "gaps"):
        both = pd.concat([one[name] for one in alone], ignore_index=True)
        assert set(both["backbone"]) <= set(BACKBONES)
        assert_frame_equal(report.tables[name], both, check_dtype=False, check_exact=True)
    assert not any(backbone in report.title for backbone in BACKBONES)


@pytest.mark.slow
def test_a_missing_cell_is_named_and_has_no_number(report):
    gaps, scores = report.tables["gaps"], report.tables["scores"]
    assert gaps["condition"].tolist() == ["shared.mean"]
    assert len(report.notes) == 1
    keys = ["backbone", "seed", "objective", "data", "condition"]
    assert scores.merge(gaps[keys], on=keys).empty


@pytest.mark.slow
def test_every_link_leads_to_an_exhibit_and_names_are_unique(report):
    exhibits = [one for section in report.sections for one in section.exhibits]
    names = [one.name for one in exhibits] + [section.slug for section in report.sections]
    assert len(set(names)) == len(names)
    assert {one.numbers for one in exhibits} - {""} <= set(names)


@pytest.mark.slow
def test_the_report_is_written_without_torch_or_transformers(runs, report, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom analysis.report.__main__ import ReportConfig, run\n"
        f"print(run(ReportConfig(runs=Path({str(runs)!r}), out=Path({str(tmp_path)!r}), latex=True))['report'])\n"
        "print({'torch', 'transformers', 'transformer_lens', 'trl'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "report.html"), "set()"]
    drawn = [one.name for section in report.sections for one in section.exhibits if one.figure is not None]
    assert sorted(path.stem for path in (tmp_path / "figures").glob("*.html")) == sorted(drawn)


def test_the_command_takes_the_folder_of_runs_as_its_argument(tmp_path):
    config = parse(ReportConfig, "analysis.report", None, [str(tmp_path), "--out", str(tmp_path / "out"), "--latex"])
    assert (config.runs, config.out, config.latex) == (tmp_path, tmp_path / "out", True)
    with pytest.raises(RequestError, match=str(tmp_path)):
        run(config)
