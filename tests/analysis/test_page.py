"""The page as text: data stays text, whatever it contains, and comes out of the page as it went in."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest

from analysis.figures.frame import MENU_HEIGHT, finish, frame
from analysis.report.page import Exhibit, Section, figure_page, filters_of, render

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "[click](javascript:alert(1)) **bold** {{ title }}",
    "\u202egnp.exe \u2067mixed\u2069",
    "=HYPERLINK(\"http://example.com\";'x')",
    "' onmouseover='alert(1)",
    "&lt;b&gt; &amp; & <b>",
]


def exhibit(name="one", **changes):
    table = pd.DataFrame({"backbone": ["a", "b", None], "seed": [0, 247, 247], "share": [0.1, float("nan"), 1 / 3]})
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="a", meta={"backbone": "c", "data": "hh"}))
    return Exhibit(**{"name": name, "heading": "One", "caption": "n = 3", "figure": figure, "table": table, **changes})


def page_of(*exhibits, text="Words."):
    return render(text, [text], [Section("part", text, [text], list(exhibits), (text,))])


def contents_of(page):
    """The data in a page, by id."""
    found = re.findall(r'<script type="application/gzip" id="([^"]*)">([^<]*)</script>', page)
    return {name: json.loads(gzip.decompress(base64.b64decode(packed))) for name, packed in found}


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.found, self.words = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not self.found or self.found[-1][0] not in ("script", "style"):
            self.words += data


def test_a_table_comes_out_of_the_page_as_it_went_in():
    content = contents_of(page_of(exhibit()))["table-one"]
    columns = {column["name"]: column for column in content["columns"]}
    assert columns["share"]["numbers"] == [0.1, None, 1 / 3]
    assert columns["seed"]["numbers"] == [0, 247, 247]
    backbone = columns["backbone"]
    assert [backbone["levels"][code] if code >= 0 else None for code in backbone["codes"]] == ["a", "b", None]


def test_the_filters_hold_the_values_of_tables_and_traces():
    wanted = {"backbone": ["a", "b", "c"], "seed": ["0", "247"], "condition": [], "data": ["hh"]}
    assert filters_of([exhibit()]) == wanted
    # A filter with a single value is left out.
    boxes = [attributes["name"] for tag, attributes in Elements(page_of(exhibit())).found if tag == "input"]
    assert boxes == ["backbone"] * 3 + ["seed"] * 2


def test_the_policy_lets_the_two_scripts_run_and_nothing_else():
    page = page_of(exhibit())
    policy = next(a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts]
    assert len(scripts) == 2
    assert rules["script-src"].split() == hashes
    assert rules["default-src"] == "'none'"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element_and_stays_readable(text):
    table = pd.DataFrame({"item": [text], "condition": [text], text: [1.0]})
    figure = go.Figure(go.Scatter(x=[text], y=[1], name=text, text=[text], meta={"condition": text}))
    page = page_of(exhibit(heading=text, caption=text, table=table, figure=figure, fold=text), text=text)
    before, after = Elements(page_of(exhibit(fold="w"))), Elements(page)
    of_filters = ("input", "label", "bdi", "fieldset", "button", "output", "details", "summary")
    tags = [[tag for tag, _ in one.found if tag not in of_filters] for one in (before, after)]
    assert tags[0] == tags[1]
    assert not any(name.startswith("on") for _, attributes in after.found for name in attributes)
    # Title, heading, lead, section, paragraph, list; heading, caption and fold of the exhibit; contents.
    assert after.words.count(text) >= 10
    assert contents_of(page)["table-one"]["columns"][0]["levels"] == [text]


def test_markup_in_the_texts_of_figures_is_escaped_except_for_the_tags_that_figures_use():
    trace = go.Scatter(
        x=["<a href='javascript:alert(1)'>x</a>", "two<br>lines"],
        y=[1, 2],
        name="<span onclick=alert(1)>a</span>",
        meta={"backbone": "<b>"},
        hovertemplate="%{x}<extra></extra>",
    )
    one = exhibit(figure=go.Figure(trace))
    drawn = contents_of(page_of(one))["figure-one"]["data"][0]
    assert drawn["x"] == ["&lt;a href='javascript:alert(1)'>x&lt;/a>", "two<br>lines"]
    assert drawn["name"] == "&lt;span onclick=alert(1)>a&lt;/span>"
    assert drawn["hovertemplate"] == "%{x}<extra></extra>"
    assert drawn["meta"] == {"backbone": "<b>"}
    alone = re.search(r'"name":"(.*?)"', figure_page(one, "plotly.min.js")).group(1)
    assert json.loads(f'"{alone}"') == drawn["name"]


def test_a_figure_has_the_height_that_it_is_drawn_with_and_its_menu_none():
    traces = {choice: [{"type": "scatter", "x": [1], "y": [2], "meta": {"data": choice}}] for choice in ("a", "b")}
    figure = finish(frame(200, menu=True), traces)
    page = page_of(exhibit(figure=figure), exhibit("two"))
    layout = contents_of(page)["figure-one"]["layout"]
    assert layout["height"] == figure.layout.height - MENU_HEIGHT
    assert "updatemenus" not in layout
    reserved = re.findall(r'data-figure="(\w+)" style="min-height:(\d+)px"', page)
    # The second figure sets no height: plotly draws it 450 pixels high.
    assert reserved == [("one", str(layout["height"])), ("two", "450")]


def test_the_page_of_a_figure_names_its_script_and_escapes_its_text():
    page = figure_page(exhibit(heading="<b>x</b>", caption=HOSTILE[2]), "plotly.min.js")
    sources = [attributes["src"] for tag, attributes in Elements(page).found if tag == "script" and "src" in attributes]
    assert sources == ["plotly.min.js"]
    assert "&lt;b&gt;x&lt;/b&gt;" in page and HOSTILE[2] not in page
