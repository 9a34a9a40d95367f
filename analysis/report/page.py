"""One self-contained HTML page of sections with figures and tables, which opens offline and makes no request.

The page's Content-Security-Policy allows its own two scripts, by hash, and no other. Data is in the page as gzipped
JSON in base64; the script unpacks it near the screen and inserts it as text.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.graph_objects import Figure
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from analysis.figures.style import PLOT_CONFIG
from analysis.report.payload import figure_content, height, packed, plain, table_content
from analysis.tables.primary import ALL_SEEDS

FILTERS = ("backbone", "seed", "condition", "data")
"""What a reader can filter by: columns of tables and keys of the `meta` of figures' traces."""
SCRIPTS = ("data.js", "tables.js", "figures.js", "report.js")
"""The parts of the page's own script, in order."""
SCRIPT = '"use strict";\n(() => {{\n{}}})();\n'


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A figure, a table, or a figure with its table."""

    name: str
    """A slug, unique in the report; also the name of its files."""
    heading: str
    caption: str
    """Definition, n, interval, control, caveat; plain text, paragraphs separated by an empty line."""
    figure: Figure | None = None
    table: pd.DataFrame | None = None
    signed: tuple[str, ...] = ()
    """Columns of differences, coloured by sign and size."""
    fold: str = ""
    """If given, the exhibit is collapsed under this line, such as a content warning."""
    numbers: str = ""
    """The exhibit with the table of the figure's numbers, if it is another one."""


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, paragraphs of plain text and exhibits."""

    slug: str
    heading: str
    paragraphs: list[str]
    exhibits: list[Exhibit]
    points: tuple[str, ...] = ()
    """A list below the paragraphs."""


def render(
    title: str, lead: Sequence[str], sections: Sequence[Section], filters: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The page as HTML.

    Args:
        title: heading of the page.
        lead: paragraphs at the top.
        sections: in order.
        filters: the values that a reader can choose from; by default, those in the tables and traces.
    """
    assets = files("analysis") / "report" / "assets"
    exhibits = [exhibit for section in sections for exhibit in section.exhibits]
    return TEMPLATES.get_template("page.html.j2").render(
        title=title,
        lead=lead,
        sections=sections,
        filters=filters_of(exhibits) if filters is None else filters,
        style=(assets / "report.css").read_text("utf-8"),
        scripts=[get_plotlyjs(), SCRIPT.format("".join((assets / name).read_text("utf-8") for name in SCRIPTS))],
        data=_data(exhibits),
    )


def figure_page(exhibit: Exhibit, plotlyjs: str) -> str:
    """A page with one figure, which opens offline.

    Args:
        exhibit: one with a figure.
        plotlyjs: path of plotly.js, relative to the page.
    """
    figure = plain(exhibit.figure)
    options = {"include_plotlyjs": plotlyjs, "full_html": False, "validate": False}
    plot = to_html(figure, div_id=exhibit.name, config=PLOT_CONFIG, **options)
    return TEMPLATES.get_template("figure.html.j2").render(one=exhibit, plot=plot)


def filters_of(exhibits: Sequence[Exhibit]) -> dict[str, list[str]]:
    """The values of each of `FILTERS` in the tables and traces; numbers by size, others in order of appearance.

    Rows of a mean over seeds are of no one seed.
    """
    found: dict[str, dict[str, None]] = {name: {} for name in FILTERS}
    for exhibit in exhibits:
        for name in FILTERS:
            if exhibit.table is not None and name in exhibit.table.columns:
                found[name].update(dict.fromkeys(map(str, exhibit.table[name].dropna().unique())))
            for trace in exhibit.figure.data if exhibit.figure is not None else ():
                if isinstance(trace.meta, dict) and name in trace.meta:
                    found[name][str(trace.meta[name])] = None
    found["seed"].pop(ALL_SEEDS, None)
    values = {name: [one for one in values if one] for name, values in found.items()}
    return {name: sorted(each, key=int) if all(map(str.isdigit, each)) else each for name, each in values.items()}


def _sha256(text: str) -> str:
    """SHA-256 in base64, as a Content-Security-Policy names scripts."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


TEMPLATES = Environment(
    loader=PackageLoader("analysis.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    undefined=StrictUndefined,
)  # fmt: skip
TEMPLATES.filters |= {"height": height, "sha256": _sha256}


def _data(exhibits: Sequence[Exhibit]) -> dict[str, str]:
    """The packed figures and tables by the id of their element."""
    data = {}
    for one in exhibits:
        if one.figure is not None:
            data[f"figure-{one.name}"] = packed(figure_content(one.figure))
        if one.table is not None:
            data[f"table-{one.name}"] = packed(table_content(one.table, one.signed))
    return data
