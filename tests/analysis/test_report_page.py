"""The report of a small study, opened in a real browser: what it shows, requests, filters and saves."""

import io
import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from pandas.testing import assert_frame_equal
from parts_browser import WIDTHS, complaints, open_browser, overlaps, requests, unfold, visit, wait_for
from parts_report import BACKBONES, write_runs
from test_page import HOSTILE

from analysis.report.__main__ import write_report
from analysis.report.page import Exhibit, Section, render
from analysis.report.sections import report_of
from analysis.results.folder import read_results

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_of(read_results(write_runs(tmp_path_factory.mktemp("runs"))))


@pytest.fixture(scope="module")
def exhibits(report):
    return {one.name: one for section in report.sections for one in section.exhibits}


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    return Path(write_report(report, tmp_path_factory.mktemp("report"))["report"])


@pytest.fixture(scope="module", params=WIDTHS)
def browser(request, tmp_path_factory):
    """A browser of each width in turn, with `downloads`, the folder it saves to."""
    downloads = tmp_path_factory.mktemp("downloads")
    with open_browser(WIDTHS[request.param], downloads) as found:
        found.downloads, found.width = downloads, WIDTHS[request.param]
        yield found


@pytest.fixture(scope="module")
def opened(browser, page):
    """The browser with the report and everything unfolded."""
    visit(browser, page)
    assert js(browser, "$('#flip-items details').open") is False, "item ids are folded"
    assert "warning" in text(browser, "#flip-items summary")
    unfold(browser)
    return browser


def js(browser, expression, *arguments):
    """The value of an expression; `$` finds an element and `$$` a list of them."""
    find = "const $ = (s) => document.querySelector(s), $$ = (s) => [...document.querySelectorAll(s)];"
    return browser.execute_script(f"{find} return {expression}", *arguments)


def click(browser, selector):
    js(browser, "$(arguments[0]).click()", selector)


def text(browser, selector):
    return js(browser, "$(arguments[0]).textContent", selector)


def rows(browser, table):
    """The cells of the rows that a table shows, exact numbers where they are rounded."""
    cells = "[...row.cells].map((cell) => cell.title || cell.textContent)"
    return js(browser, f"$$(arguments[0] + ' tr').map((row) => {cells})", f"[data-table='{table}']")


def saved(browser, button, name):
    """The content of the file that a button saves."""
    path = browser.downloads / name
    path.unlink(missing_ok=True)
    click(browser, button)
    wait_for(f"{name} to be saved", lambda: path.is_file() and not list(browser.downloads.glob("*.crdownload")))
    return path.read_bytes()


def saved_table(browser, name, **types):
    content = saved(browser, f"[data-table='{name}'] [data-csv]", f"{name}.csv")
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""], dtype=types)


def choose(browser, filter_name, values=None):
    """Choose some values of a filter, or all of them."""
    check = "(box) => { box.checked = arguments[1] === null || arguments[1].includes(box.value); }"
    js(browser, f"$$(`#filters [name='${{arguments[0]}}']`).forEach({check})", filter_name, values)
    js(browser, "$('#filters').dispatchEvent(new Event('change'))")


def shown_traces(browser, plots=".plot:not([hidden])"):
    """The `meta` of the traces that figures show."""
    traces = "$$(arguments[0]).flatMap((plot) => plot.data).filter((one) => one.visible !== false && one.meta)"
    return js(browser, f"{traces}.map((one) => one.meta)", plots)


def requested(browser):
    return [address for address in requests(browser) if not address.startswith(("data:", "blob:"))]


# The first test sees the page as it opens; those that change its filters put them back.
def test_the_page_opens_without_complaint_or_request_and_with_nothing_empty_or_overlapping(opened, exhibits):
    assert complaints(opened) == []
    assert [address.partition(":")[0] for address in requested(opened)] == ["file"]
    marks = ".trace path, .trace text, .points path, .trace rect, .heatmaplayer image, .shapelayer path"
    assert js(opened, f"$$('.plot').filter((one) => !one.querySelector('{marks}')).length") == 0
    assert js(opened, "$$('.table').filter((one) => !one.querySelector('tbody td')).length") == 0
    blank = js(opened, "$$('.plot').map((one) => one.clientHeight - one.querySelector('.main-svg').clientHeight)")
    assert max(map(abs, blank)) <= 2
    assert overlaps(opened) == []
    assert js(opened, "document.documentElement.scrollWidth") <= opened.width
    drawn = js(opened, "$$('.plot').map((one) => one.dataset.figure)")
    assert drawn == [name for name, one in exhibits.items() if one.figure is not None]


def test_numbers_in_the_page_are_those_of_the_tables(opened, exhibits):
    for name, exhibit in exhibits.items():
        if exhibit.table is None:
            continue
        head, *shown = rows(opened, name)
        assert head == list(exhibit.table.columns)
        assert len(shown) >= min(60, len(exhibit.table))
        for texts, row in zip(shown[:60], exhibit.table.itertuples(index=False), strict=False):
            for found, value in zip(texts, row, strict=True):
                exact = isinstance(value, float) and found and float(found) == value
                assert exact or found == ("" if pd.isna(value) else str(value))


def test_a_saved_table_is_the_whole_table(opened, exhibits):
    table = exhibits["table-effects"].table
    assert len(table) > 200, "more rows than the page draws at once"
    found = saved_table(opened, "table-effects", seed=str)
    assert_frame_equal(found, table.replace("", pd.NA), check_dtype=False, check_exact=True)


def test_filters_hide_rows_and_traces_and_count_those_that_are_left(opened, exhibits):
    table = exhibits["table-scores"].table
    count = "[data-table='table-scores'] output"
    choose(opened, "backbone", ["gpt2-small"])
    choose(opened, "seed", ["247"])
    kept = table[(table["backbone"] == "gpt2-small") & (table["seed"] == "247")]
    assert f"{len(kept):,} of {len(table):,}" in text(opened, count)
    assert saved_table(opened, "table-scores")["accuracy"].tolist() == kept["accuracy"].tolist()
    about = [(meta.get("backbone"), meta.get("seed"), "over" in meta) for meta in shown_traces(opened)]
    assert ("gpt2-small", "247", False) in about
    assert set(about) <= set(itertools.product(("gpt2-small", None), ("247", None), (False,)))
    choose(opened, "backbone", [])
    assert len(rows(opened, "table-scores")) == 1
    choose(opened, "backbone")
    choose(opened, "seed")
    assert text(opened, count).startswith(f"{len(table):,} ")
    assert complaints(opened) == []


def test_a_mean_over_models_is_hidden_once_one_of_them_is_and_a_note_appears(opened):
    menu, everyone = "$('#subtasks-helpful select')", "all 2 backbones"

    def traces():
        return {one: shown_traces(opened, f"[data-figure='{one}']") for one in ("effects", "depth", "subtasks-helpful")}

    def noted():
        return [name for name in traces() if js(opened, "$(arguments[0]).checkVisibility()", f"#{name} .note")]

    def options(which):
        return js(opened, f"[...{menu}.options].filter((one) => one.{which}).map((one) => one.label)")

    def pick(index):
        js(opened, f"({menu}.selectedIndex = {index}, {menu}.dispatchEvent(new Event('change')))")

    # Of two backbones those by themselves come first, their mean last.
    assert options("selected") == [BACKBONES[0]]
    pick(2)
    means = traces()
    assert options("selected") == [everyone] and noted() == []
    choose(opened, "backbone", [BACKBONES[1]])
    assert noted() == list(means)
    for name, left in traces().items():
        # The menu of sub-tasks goes on to another choice, which has as many.
        assert 0 < len(left) < len(means[name]) or name == "subtasks-helpful"
        assert {meta["backbone"] for meta in left} == {BACKBONES[1]}
    assert options("selected") == [BACKBONES[1]]
    assert options("disabled") == [BACKBONES[0], everyone]
    # A backbone's own number is a mean over its seeds.
    choose(opened, "seed", ["0"])
    assert js(opened, "$('[data-figure=subtasks-helpful]').hidden")
    assert "subtasks-helpful" in noted()
    choose(opened, "backbone")
    choose(opened, "seed")
    assert options("selected") == [everyone] and noted() == []
    assert traces() == means
    pick(0)
    assert complaints(opened) == []


def test_a_column_sorts_both_ways_with_empty_cells_last(opened, exhibits):
    column = exhibits["table-conditions"].table["uniform_mean"]
    place = list(exhibits["table-conditions"].table.columns).index("uniform_mean")
    assert column.isna().any()
    for ascending in (True, False):
        click(opened, f"[data-table='table-conditions'] th:nth-child({place + 1}) button")
        cells = [row[place] for row in rows(opened, "table-conditions")[1:]]
        known = column.sort_values(ascending=ascending).dropna().tolist()[: len(cells)]
        assert known and [float(cell) for cell in cells[: len(known)]] == known
        assert not any(cells[len(known) :])


def test_the_page_turns_dark_and_its_figures_with_it_and_a_print_is_light_and_narrow(opened):
    def colours():
        return js(opened, "[getComputedStyle($('.plot text')).fill, getComputedStyle(document.body).backgroundColor]")

    light = colours()
    click(opened, "#theme")
    wait_for("a dark page", lambda: all(a != b for a, b in zip(colours(), light, strict=True)))
    dark = colours()
    js(opened, "window.dispatchEvent(new Event('beforeprint'))")
    wait_for("light figures", lambda: colours() == light)
    widest = "Math.max(...$$('.plot .main-svg').map((one) => one.clientWidth))"
    wait_for("figures of paper's width", lambda: js(opened, widest) <= 660)
    js(opened, "window.dispatchEvent(new Event('afterprint'))")
    wait_for("a dark page", lambda: colours() == dark)
    click(opened, "#theme")
    wait_for("a light page", lambda: colours() == light)
    assert complaints(opened) == []


def test_a_saved_figure_is_an_svg_that_holds_its_texts(opened):
    name = js(opened, "$('.plot').dataset.figure")
    label = text(opened, ".plot .xtitle, .plot .angularaxistick text")
    drawing = ET.fromstring(saved(opened, ".plot + .tools [data-svg]", f"{name}.svg"))
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert label in "".join(drawing.itertext())
    assert complaints(opened) == []


def test_hostile_text_stays_text(browser, tmp_path):
    table = pd.DataFrame({"backbone": HOSTILE, "item": HOSTILE, HOSTILE[0]: range(len(HOSTILE))})
    figure = go.Figure([go.Scatter(x=[one], y=[one], name=one, meta={"backbone": one}) for one in HOSTILE])
    hostile = Exhibit("one", HOSTILE[0], HOSTILE[2], figure=figure, table=table)
    alone = tmp_path / "page.html"
    alone.write_text(render(HOSTILE[1], HOSTILE, [Section("part", HOSTILE[2], HOSTILE, [hostile])]), "utf-8")
    visit(browser, alone)
    unfold(browser)
    assert complaints(browser) == []
    assert len(requested(browser)) == 1
    assert [row[1] for row in rows(browser, "one")[1:]] == HOSTILE
    legend = js(browser, "$$('.legendtext').map((one) => one.textContent)")
    assert len(legend) == len(HOSTILE)
    assert legend[:3] == HOSTILE[:3]
    assert js(browser, "$$('img, main script, main a[href], .plot a').length") == 0
    choose(browser, "backbone", HOSTILE[:1])
    assert len(rows(browser, "one")) == 2
    choose(browser, "backbone")
    assert saved_table(browser, "one")["item"].tolist() == [f"'{one}" if one[0] == "=" else one for one in HOSTILE]


def test_a_figure_opens_by_itself(browser, page):
    figure = min(page.parent.glob("figures/*.html"))
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(figure.as_uri())
    wait_for("the figure", lambda: js(browser, "$('.main-svg') !== null"))
    assert complaints(browser) == []
    assert {address.rpartition("/")[2] for address in requests(browser)} == {figure.name, "plotly.min.js"}
