"""The report of a small study, opened in a real browser: what it shows, asks for, filters and saves."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import pandas as pd
import plotly.graph_objects as go
import pytest
from pandas.testing import assert_frame_equal
from parts_browser import WIDTHS, complaints, open_browser, overlaps, requests, unfold, visit, wait_for
from parts_report import write_runs
from test_page import HOSTILE

from analysis.report.__main__ import ReportConfig, run, write_report, write_tables
from analysis.report.page import Exhibit, Section, render
from analysis.report.sections import report_of
from analysis.results.folder import read_results
from tension_lens.cli import parse
from tension_lens.errors import RequestError

BACKBONES = ("gpt2-small", "smollm2-135m")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"), BACKBONES)


@pytest.fixture(scope="module")
def report(runs):
    """What the report is made of."""
    return report_of(read_results(runs))


@pytest.fixture(scope="module")
def written(report, tmp_path_factory):
    """The folder of the report."""
    out = tmp_path_factory.mktemp("report")
    write_report(report, out)
    return out


@pytest.fixture(scope="module", params=WIDTHS)
def browser(request, tmp_path_factory):
    """A browser of each width in turn, with `downloads`, the folder it saves to."""
    downloads = tmp_path_factory.mktemp("downloads")
    with open_browser(WIDTHS[request.param], downloads) as found:
        found.downloads, found.width = downloads, WIDTHS[request.param]
        yield found


@pytest.fixture(scope="module")
def folded(browser, written):
    """The browser with the report as it opens."""
    visit(browser, written / "report.html")
    return browser


@pytest.fixture(scope="module")
def opened(folded):
    """The browser with the report open and everything unfolded."""
    unfold(folded)
    return folded


def exhibits_of(report):
    return [one for section in report.sections for one in section.exhibits]


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def words(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def saved(browser, name):
    """The content of a file once the browser has saved it, which is then deleted."""
    path = browser.downloads / name
    wait_for(f"{name} to be saved", lambda: path.is_file() and not list(browser.downloads.glob("*.crdownload")))
    content = path.read_text("utf-8")
    path.unlink()
    return content


def choose(browser, filter_name, values):
    browser.execute_script(
        "for (const box of document.querySelectorAll(`#filters input[name='${arguments[0]}']`))"
        " box.checked = arguments[1] === null || arguments[1].includes(box.value);"
        "document.getElementById('filters').dispatchEvent(new Event('change'))",
        filter_name,
        values,
    )


# The first two look at the page as it opens; those below change its filters and put them back.
def test_item_ids_are_folded_behind_a_warning(folded):
    assert folded.execute_script("return document.querySelector('#flip-items details').open") is False
    assert "warning" in words(folded, "#flip-items summary")
    assert folded.execute_script("return document.querySelector('#flip-items td')") is None


def test_the_page_opens_without_complaint_or_request_and_with_nothing_empty_or_overlapping(opened, report):
    assert complaints(opened) == []
    asked = [address for address in requests(opened) if not address.startswith(("data:", "blob:"))]
    assert len(asked) == 1 and asked[0].startswith("file://")
    empty = opened.execute_script("""
        const panels = [...document.querySelectorAll(".plot, .table")];
        const marks = ".trace path, .trace text, .points path, .trace rect, .heatmaplayer image, .shapelayer path";
        return panels.filter((one) => !one.querySelector(one.dataset.figure ? marks : "tbody td"))
            .map((one) => one.dataset.figure ?? one.dataset.table);
    """)
    assert empty == []
    blank = opened.execute_script(
        "return [...document.querySelectorAll('.plot')].map((one) => [one.dataset.figure,"
        " one.clientHeight - one.querySelector('.main-svg').clientHeight]).filter(([, room]) => Math.abs(room) > 2)"
    )
    assert blank == []
    assert overlaps(opened) == []
    assert opened.execute_script("return document.documentElement.scrollWidth") <= opened.width
    drawn = opened.execute_script("return [...document.querySelectorAll('.plot')].map((one) => one.dataset.figure)")
    assert drawn == [one.name for one in exhibits_of(report) if one.figure is not None]


def test_numbers_in_the_page_are_those_of_the_tables(opened, report):
    for exhibit in exhibits_of(report):
        if exhibit.table is None:
            continue
        rows = opened.execute_script(
            "return [...document.querySelectorAll(`[data-table='${arguments[0]}'] tr`)].slice(0, 60)"
            ".map((row) => [...row.cells].map((cell) => cell.title || cell.textContent))",
            exhibit.name,
        )
        assert rows[0] == list(exhibit.table.columns)
        for shown, (_, row) in zip(rows[1:], exhibit.table.iterrows(), strict=False):
            for text, value in zip(shown, row, strict=True):
                if pd.isna(value):
                    assert text == ""
                elif isinstance(value, float):
                    assert float(text) == value
                else:
                    assert text == str(value)


def test_a_saved_table_is_the_whole_table(opened, report):
    table = next(one for one in exhibits_of(report) if one.name == "table-effects").table
    assert len(table) > 200, "more rows than the page draws at once"
    click(opened, "[data-table='table-effects'] [data-csv]")
    path = opened.downloads / "table-effects.csv"
    wait_for("the table to be saved", path.is_file)
    found = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"seed": str})
    assert_frame_equal(found, table, check_dtype=False, check_exact=True)
    path.unlink()


def test_filters_hide_rows_and_traces_and_say_how_many_are_left(opened, report):
    table = next(one for one in exhibits_of(report) if one.name == "table-scores").table
    choose(opened, "backbone", ["gpt2-small"])
    choose(opened, "seed", ["247"])
    kept = table[(table["backbone"] == "gpt2-small") & (table["seed"] == "247")]
    assert words(opened, "[data-table='table-scores'] output") == f"{len(kept):,} of {len(table):,} rows"
    click(opened, "[data-table='table-scores'] [data-csv]")
    lines = saved(opened, "table-scores.csv").splitlines()
    assert len(lines) == 1 + len(kept)
    assert all(",247," in line and line.startswith("gpt2-small,") for line in lines[1:])
    shown = opened.execute_script(
        "return [...document.querySelectorAll('.plot')].filter((plot) => !plot.hidden)"
        ".flatMap((plot) => plot.data).filter((trace) => trace.visible !== false).map((trace) => trace.meta ?? {})"
    )
    assert {meta.get("backbone", "gpt2-small") for meta in shown} == {"gpt2-small"}
    assert {meta.get("seed", "247") for meta in shown} == {"247"}
    assert not any("over" in meta for meta in shown)
    assert any("backbone" in meta and "seed" in meta for meta in shown)
    choose(opened, "backbone", [])
    assert "none fits the filters" in words(opened, "[data-table='table-scores'] output")
    choose(opened, "backbone", None)
    choose(opened, "seed", None)
    assert words(opened, "[data-table='table-scores'] output") == f"{len(table):,} rows"
    assert complaints(opened) == []


def test_a_mean_over_models_is_hidden_once_one_of_them_is_and_the_page_says_so(opened):
    menu = "document.querySelector('#subtasks-helpful select')"
    note = "return document.querySelector(`#${arguments[0]} .note`).checkVisibility()"
    shown = (
        "return document.querySelector(`[data-figure='${arguments[0]}']`).data"
        ".filter((trace) => trace.visible !== false && trace.meta).map((trace) => trace.meta)"
    )
    label = f"return {menu}.selectedOptions[0].label"
    pick = f"{menu}.selectedIndex = arguments[0]; {menu}.dispatchEvent(new Event('change'))"
    # Of two backbones those by themselves come first, their mean last.
    assert opened.execute_script(label) == BACKBONES[0]
    opened.execute_script(pick, 2)
    means = {name: len(opened.execute_script(shown, name)) for name in ("effects", "depth", "subtasks-helpful")}
    assert opened.execute_script(label) == "all 2 backbones"
    assert not opened.execute_script(note, "effects")
    choose(opened, "backbone", [BACKBONES[1]])
    for name, count in means.items():
        left = opened.execute_script(shown, name)
        # The menu of sub-tasks goes on to another choice, which has as many.
        assert 0 < len(left) < count or name == "subtasks-helpful"
        assert {meta["backbone"] for meta in left} == {BACKBONES[1]}
        assert opened.execute_script(note, name)
        assert "Hidden: means" in words(opened, f"#{name} .note")
    assert opened.execute_script(label) == BACKBONES[1]
    closed = f"return [...{menu}.options].filter((one) => one.disabled).map((one) => one.label)"
    assert opened.execute_script(closed) == [BACKBONES[0], "all 2 backbones"]
    # A backbone's own number is a mean over its seeds.
    choose(opened, "seed", ["0"])
    assert opened.execute_script("return document.querySelector(`[data-figure='subtasks-helpful']`).hidden")
    assert opened.execute_script(note, "subtasks-helpful")
    choose(opened, "backbone", None)
    choose(opened, "seed", None)
    assert opened.execute_script(label) == "all 2 backbones"
    assert not opened.execute_script(note, "effects")
    assert {name: len(opened.execute_script(shown, name)) for name in means} == means
    opened.execute_script(pick, 0)
    assert complaints(opened) == []


def test_a_column_sorts_both_ways_with_empty_cells_last(opened, report):
    table = next(one for one in exhibits_of(report) if one.name == "table-conditions").table
    column = list(table.columns).index("uniform_mean")
    assert table["uniform_mean"].isna().any()
    for ascending in (True, False):
        click(opened, f"[data-table='table-conditions'] th:nth-child({column + 1}) button")
        first = opened.execute_script(
            "return [...document.querySelectorAll(`[data-table='table-conditions'] tbody tr`)].slice(0, 40)"
            ".map((row) => row.cells[arguments[0]].title || row.cells[arguments[0]].textContent)",
            column,
        )
        wanted = table["uniform_mean"].sort_values(ascending=ascending).head(40)
        assert [float(text) for text in first if text] == wanted.dropna().tolist()[: len(first)]


def test_the_page_turns_dark_and_its_figures_with_it(opened):
    ink = "return getComputedStyle(document.querySelector('.plot text')).fill"
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = opened.execute_script(ink), opened.execute_script(paper)
    click(opened, "#theme")
    wait_for("a dark page", lambda: opened.execute_script(paper) != light[1])
    wait_for("light letters", lambda: opened.execute_script(ink) != light[0])
    click(opened, "#theme")
    wait_for("a light page", lambda: (opened.execute_script(ink), opened.execute_script(paper)) == light)
    assert complaints(opened) == []


def test_a_print_is_light_and_no_figure_is_wider_than_the_paper(opened):
    paper = "return getComputedStyle(document.body).backgroundColor"
    widest = "return Math.max(...[...document.querySelectorAll('.plot .main-svg')].map((one) => one.clientWidth))"
    light = opened.execute_script(paper)
    click(opened, "#theme")
    dark = wait_for("a dark page", lambda: (found := opened.execute_script(paper)) != light and found)
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.execute_script(paper) == light
    wait_for("figures of paper's width", lambda: opened.execute_script(widest) <= 660)
    opened.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert opened.execute_script(paper) == dark
    click(opened, "#theme")
    assert complaints(opened) == []


def test_a_saved_figure_is_an_svg_that_holds_its_texts(opened):
    name = opened.execute_script("return document.querySelector('.plot').dataset.figure")
    label = words(opened, ".plot .xtitle, .plot .angularaxistick text")
    click(opened, ".plot + .tools [data-svg]")
    drawing = ET.fromstring(saved(opened, f"{name}.svg"))
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert label in "".join(drawing.itertext())
    assert complaints(opened) == []


def test_hostile_text_stays_text(browser, tmp_path):
    table = pd.DataFrame({"backbone": HOSTILE, "item": HOSTILE, HOSTILE[0]: range(len(HOSTILE))})
    figure = go.Figure([go.Scatter(x=[text], y=[text], name=text, meta={"backbone": text}) for text in HOSTILE])
    one = Exhibit("one", HOSTILE[0], HOSTILE[2], figure=figure, table=table)
    page = tmp_path / "page.html"
    page.write_text(render(HOSTILE[1], HOSTILE, [Section("part", HOSTILE[2], HOSTILE, [one])]), "utf-8")
    visit(browser, page)
    unfold(browser)
    assert complaints(browser) == []
    asked = [address for address in requests(browser) if not address.startswith(("data:", "blob:"))]
    assert len(asked) == 1
    cells = browser.execute_script(
        "return [...document.querySelectorAll('td:nth-child(2)')].map((one) => one.textContent)"
    )
    assert cells == HOSTILE
    legend = browser.execute_script(
        "return [...document.querySelectorAll('.legendtext')].map((one) => one.dataset.unformatted)"
    )
    assert len(legend) == len(HOSTILE)
    shown = browser.execute_script("return [...document.querySelectorAll('.legendtext')].map((one) => one.textContent)")
    assert shown[:3] == HOSTILE[:3]
    assert (
        browser.execute_script("return document.querySelectorAll('img, main script, main a[href], .plot a').length")
        == 0
    )
    choose(browser, "backbone", HOSTILE[:1])
    assert words(browser, ".table output") == f"1 of {len(HOSTILE)} rows"
    choose(browser, "backbone", None)
    click(browser, "[data-csv]")
    path = browser.downloads / "one.csv"
    wait_for("the table to be saved", path.is_file)
    found = pd.read_csv(path)["item"].tolist()
    assert found == [f"'{text}" if text.startswith("=") else text for text in HOSTILE]
    path.unlink()


def test_every_figure_opens_by_itself(browser, written, report):
    names = [one.name for one in exhibits_of(report) if one.figure is not None]
    assert sorted(path.stem for path in (written / "figures").glob("*.html")) == sorted(names)
    visit_of = (written / "figures" / f"{names[0]}.html").as_uri()
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(visit_of)
    wait_for("the figure", lambda: browser.execute_script("return document.querySelector('.main-svg') !== null"))
    assert complaints(browser) == []
    assert {address.rpartition("/")[2] for address in requests(browser)} == {f"{names[0]}.html", "plotly.min.js"}


def test_tables_beside_the_page_are_whole_and_run_no_formula(written, report, tmp_path):
    found = pd.read_csv(written / "tables" / "retention.csv", keep_default_na=False, na_values=[""], dtype=str)
    table = report.tables["retention"]
    assert len(found) == len(table)
    assert found["share"].astype(float).tolist() == pytest.approx(table["share"].tolist(), abs=0, nan_ok=True)
    texts = ["=1+1", "+1", "-2.5e3", "-x", "@a", "a=b", 'say "x",\r\ny', "\tx", None]
    write_tables({"odd": pd.DataFrame({"text": texts, "number": range(len(texts))})}, tmp_path)
    back = pd.read_csv(tmp_path / "odd.csv")["text"]
    safe = ["'=1+1", "+1", "-2.5e3", "'-x", "'@a", "a=b", 'say "x",\r\ny', "'\tx"]
    assert back.tolist()[:-1] == safe and pd.isna(back.iloc[-1])


def test_studies_of_two_families_stand_in_one_report_as_each_alone(runs, report):
    alone = [report_of(read_results(runs / backbone)).tables for backbone in BACKBONES]
    # Holm's families are of one model each, and so are scores: none of them changes by what stands beside it.
    for name in ("scores", "effects", "conditions", "retention", "margins", "distributions", "flips", "gaps"):
        both = pd.concat([one[name] for one in alone], ignore_index=True)
        assert set(both["backbone"]) <= set(BACKBONES)
        assert_frame_equal(report.tables[name], both, check_dtype=False, check_exact=True)
    assert f"({', '.join(BACKBONES)})" in report.lead[0]
    assert not any(backbone in report.title for backbone in BACKBONES)


def test_a_missing_cell_is_named_and_has_no_number(report):
    gaps = report.tables["gaps"]
    assert gaps["condition"].tolist() == ["shared.mean"]
    assert any("missing" in note for note in report.notes)
    lost = gaps.iloc[0]
    scores = report.tables["scores"]
    same = [(scores[name] == lost[name]) for name in ("backbone", "seed", "objective", "data", "condition")]
    assert not pd.concat(same, axis=1).all(axis=1).any()


def test_the_report_is_written_without_torch_or_transformers(runs, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom analysis.report import ReportConfig, run\n"
        f"print(run(ReportConfig(runs=Path({str(runs)!r}), out=Path({str(tmp_path)!r}), latex=True))['report'])\n"
        "print({'torch', 'transformers', 'transformer_lens', 'trl'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "report.html"), "set()"]


def test_the_command_takes_the_folder_of_runs_as_its_argument(tmp_path):
    config = parse(ReportConfig, "analysis.report", None, [str(tmp_path), "--out", str(tmp_path / "out"), "--latex"])
    assert (config.runs, config.out, config.latex) == (tmp_path, tmp_path / "out", True)
    with pytest.raises(RequestError, match="holds no study"):
        run(config)
