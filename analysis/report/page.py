"""One self-contained HTML page of sections with figures and tables; it opens offline and asks nothing of the network.

Data travels in the page as gzipped JSON in base64, is unpacked by the browser when it comes near the screen, and
reaches the document as text alone. The page's policy runs its own two scripts, known by hash, and nothing else.
"""

import base64
import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.frame import MENU_HEIGHT
from analysis.figures.style import PLOT_CONFIG

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FILTERS = ("backbone", "seed", "condition", "data")
"""What a reader chooses by: columns of tables and keys of the `meta` of figures' traces."""
MARKUP = re.compile(r"<(?!/?(?:br|b|i|sub|sup|extra)>)")
"""A < that opens none of the tags that the figures themselves use; plotly would take it for markup."""
DEFAULT_HEIGHT = 450
"""Of a figure that sets none, in pixels: plotly's own."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A figure, a table, or a figure with the table it is drawn from."""

    name: str
    """A slug, unlike that of any other exhibit: the name of its files."""
    heading: str
    caption: str
    """Definition, n, interval, control, caveat; plain text, paragraphs with an empty line between them."""
    figure: "Figure | None" = None
    table: pd.DataFrame | None = None
    signed: tuple[str, ...] = ()
    """Columns of differences: their cells are coloured by sign and size."""
    fold: str = ""
    """If given, the exhibit is folded and this, such as a content warning, is all that shows of it."""
    numbers: str = ""
    """The exhibit whose table holds the figure's numbers, if it is another one."""


@dataclass(frozen=True, eq=False)
class Section:
    """A heading, some paragraphs of plain text and the exhibits that belong to them."""

    slug: str
    heading: str
    paragraphs: list[str]
    exhibits: list[Exhibit]
    points: tuple[str, ...] = ()
    """Statements of one kind, as a list below the paragraphs."""


def render(
    title: str,
    lead: Sequence[str],
    sections: Sequence[Section],
    filters: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The page as HTML.

    Args:
        title: heading of the page.
        lead: paragraphs above everything.
        sections: in the order they are read.
        filters: the values that a reader can choose from; unless given, those that tables and traces hold.
    """
    from plotly.offline import get_plotlyjs

    assets = files("analysis") / "report" / "assets"
    scripts = [get_plotlyjs(), (assets / "report.js").read_text("utf-8")]
    exhibits = [exhibit for section in sections for exhibit in section.exhibits]
    chosen = filters_of(exhibits) if filters is None else filters
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{(assets / 'report.css').read_text('utf-8')}</style>\n</head>\n<body>",
        f"<header><h1>{escape(title)}</h1>",
        '<button type="button" id="theme">Dark</button></header>',
        *_filter_bar(chosen),
        *_contents(sections),
        "<main>",
        '<section id="summary" class="lead">',
        *(f"<p>{escape(paragraph)}</p>" for paragraph in lead),
        "</section>",
        *(line for section in sections for line in _section(section)),
        "</main>",
        "<noscript><p>A script in this file draws tables and figures; without one, read tables/*.csv.</p></noscript>",
        *_data(exhibits),
        *(f"<script>{script}</script>" for script in scripts),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def filters_of(exhibits: Sequence[Exhibit]) -> dict[str, list[str]]:
    """The values of each of `FILTERS` in the tables and traces; numbers by size, others in order of appearance."""
    found: dict[str, dict[str, None]] = {name: {} for name in FILTERS}
    for exhibit in exhibits:
        for name in FILTERS:
            if exhibit.table is not None and name in exhibit.table.columns:
                found[name].update(dict.fromkeys(map(str, exhibit.table[name].dropna().unique())))
            for trace in exhibit.figure.data if exhibit.figure is not None else ():
                if isinstance(trace.meta, dict) and name in trace.meta:
                    found[name][str(trace.meta[name])] = None
    values = {name: [one for one in values if one] for name, values in found.items()}
    return {name: sorted(each, key=int) if all(map(str.isdigit, each)) else each for name, each in values.items()}


def _policy(scripts: Sequence[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _filter_bar(filters: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield '<form id="filters" aria-label="Filters" autocomplete="off">'
    for name, values in filters.items():
        if len(values) > 1:
            boxes = "".join(
                f'<label><input type="checkbox" name="{escape(name)}" value="{escape(value)}" checked>'
                f"<bdi>{escape(value)}</bdi></label>"
                for value in values
            )
            both = "".join(f'<button type="button" data-set="{what}">{what}</button>' for what in ("all", "none"))
            yield (
                f'<details data-filter="{escape(name)}"><summary>{escape(name)}: <output>all</output></summary>'
                f"<fieldset>{both}{boxes}</fieldset></details>"
            )
    yield '<output id="shown"></output></form>'


def _contents(sections: Sequence[Section]) -> Iterator[str]:
    yield '<nav aria-label="Contents"><details open><summary>Contents</summary><ol>'
    for section in sections:
        yield f'<li><a href="#{escape(section.slug)}">{escape(section.heading)}</a>'
        if section.exhibits:
            entries = (f'<li><a href="#{escape(one.name)}">{escape(one.heading)}</a></li>' for one in section.exhibits)
            yield f"<ol>{''.join(entries)}</ol>"
        yield "</li>"
    yield "</ol></details></nav>"


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{escape(section.slug)}"><h2>{escape(section.heading)}</h2>'
    yield from (f"<p>{escape(paragraph)}</p>" for paragraph in section.paragraphs)
    if section.points:
        yield f"<ul>{''.join(f'<li>{escape(point)}</li>' for point in section.points)}</ul>"
    for exhibit in section.exhibits:
        yield from _exhibit(exhibit)
    yield "</section>"


def _exhibit(exhibit: Exhibit) -> Iterator[str]:
    name = escape(exhibit.name)
    yield f'<figure class="exhibit" id="{name}"><h3>{escape(exhibit.heading)}</h3>'
    if exhibit.fold:
        yield f'<details class="fold"><summary>{escape(exhibit.fold)}</summary>'
    if exhibit.figure is not None:
        yield '<label data-choice hidden>Show </label><p class="note" hidden></p>'
        yield f'<div class="plot" data-figure="{name}" style="min-height:{_height(exhibit.figure)}px"></div>'
        numbers = f'<a href="#{escape(exhibit.numbers)}">the numbers</a> ' if exhibit.numbers else ""
        yield f'<p class="tools"><output></output> {numbers}<button type="button" data-svg>Save SVG</button></p>'
    paragraphs = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in exhibit.caption.split("\n\n"))
    yield f"<figcaption>{paragraphs}</figcaption>"
    if exhibit.table is not None:
        folded = exhibit.figure is not None
        if folded:
            yield f"<details><summary>The numbers behind it ({len(exhibit.table):,} rows)</summary>"
        height = f"min(27rem, {1.7 * (len(exhibit.table) + 1):.1f}rem)"
        yield f'<div class="table" data-table="{name}"><div class="scroll" tabindex="0" style="min-height: {height}">'
        yield "<table></table></div>"
        yield '<p class="tools"><output></output> <button type="button" data-csv>Save CSV</button></p></div>'
        if folded:
            yield "</details>"
    yield f"{'</details>' if exhibit.fold else ''}</figure>"


def _data(exhibits: Sequence[Exhibit]) -> Iterator[str]:
    for exhibit in exhibits:
        if exhibit.figure is not None:
            yield _packed(f"figure-{exhibit.name}", json.dumps(_for_page(exhibit.figure), separators=(",", ":")))
        if exhibit.table is not None:
            columns = [_column(str(name), exhibit.table[name]) for name in exhibit.table.columns]
            content = {"columns": columns, "rows": len(exhibit.table), "signed": list(exhibit.signed)}
            yield _packed(f"table-{exhibit.name}", json.dumps(content, separators=(",", ":"), allow_nan=False))


def figure_page(exhibit: Exhibit, plotlyjs: str) -> str:
    """A page of an exhibit's figure alone, which opens offline.

    Args:
        exhibit: one with a figure.
        plotlyjs: where plotly.js lies, relative to the page.
    """
    from plotly.io import to_html

    body = to_html(
        _plain(exhibit.figure),
        include_plotlyjs=plotlyjs,
        full_html=False,
        validate=False,
        div_id=exhibit.name,
        config=PLOT_CONFIG,
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(exhibit.heading)}</title>\n"
        "<style>body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem } p { max-width: 46rem }</style>\n"
        f"</head>\n<body>\n<h1>{escape(exhibit.heading)}</h1>\n{body}\n"
        f"<p>{escape(exhibit.caption)}</p>\n</body>\n</html>\n"
    )


def _plain(figure: Any) -> dict[str, Any]:
    """A figure as plain JSON values, with markup in its texts escaped; `meta`, which plotly never shows, stays."""
    content: dict[str, Any] = json.loads(figure.to_json())

    def escaped(value: Any) -> Any:
        if isinstance(value, str):
            return MARKUP.sub("&lt;", value) if "<" in value else value
        if isinstance(value, list):
            return [escaped(one) for one in value]
        if isinstance(value, dict):
            return {key: one if key == "meta" else escaped(one) for key, one in value.items()}
        return value

    return {"data": escaped(content["data"]), "layout": escaped(content["layout"])}


def _for_page(figure: "Figure") -> dict[str, Any]:
    """A plain figure whose menu, if it has one, is left for the page to show, and with it the room it took."""
    content = _plain(figure)
    layout = content["layout"]
    if menus := layout.pop("updatemenus", None):
        content["menu"] = menus[0]["buttons"]
        layout["height"] = _height(figure)
        layout["margin"]["t"] -= MENU_HEIGHT
    return content


def _height(figure: "Figure") -> int:
    """Of a figure on the page, in pixels: without its menu."""
    height = int(figure.layout.height or DEFAULT_HEIGHT)
    return height - MENU_HEIGHT if figure.layout.updatemenus else height


def _packed(name: str, content: str) -> str:
    """Data as base64 of gzip: short, and nothing in it can end the element that holds it."""
    packed = base64.b64encode(gzip.compress(content.encode(), compresslevel=6, mtime=0)).decode()
    return f'<script type="application/gzip" id="{escape(name)}">{packed}</script>'


def _column(name: str, column: pd.Series) -> dict[str, Any]:
    """Numbers as they are; anything else as the distinct texts and, for each row, the number of its text or −1."""
    column = column.infer_objects()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return {"name": name, "numbers": [_number(value) for value in column.tolist()]}
    codes, levels = pd.factorize(column)
    return {"name": name, "levels": [str(level) for level in levels], "codes": codes.tolist()}


def _number(value: float | None) -> float | None:
    return None if value is None or value is pd.NA or not math.isfinite(value) else value
