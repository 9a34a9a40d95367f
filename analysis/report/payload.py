"""The data of a page: figures and tables as gzipped JSON in base64, which `assets/data.js` unpacks."""

import base64
import gzip
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from analysis.figures.frame import MENU_HEIGHT

MARKUP = re.compile(r"<(?!/?(?:br|b|i|sub|sup|extra)>)")
"""A < that does not open one of the tags that the figures use; plotly would read it as markup."""
DEFAULT_HEIGHT = 450
"""Plotly's height of a figure that sets none, in pixels."""


def packed(content: Any) -> str:
    """JSON, gzipped, in base64: nothing in it can close the HTML element that holds it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def figure_content(figure: Figure) -> dict[str, Any]:
    """A figure for the page, which shows the figure's menu itself: the menu's buttons are in `menu`."""
    content = plain(figure)
    layout = content["layout"]
    if menus := layout.pop("updatemenus", None):
        content["menu"] = menus[0]["buttons"]
        layout["height"] = height(figure)
        layout["margin"]["t"] -= MENU_HEIGHT
    return content


def table_content(table: pd.DataFrame, signed: Sequence[str] = ()) -> dict[str, Any]:
    """A table for the page, by column.

    Args:
        table: with any columns.
        signed: columns of differences, which the page colours by sign and size.
    """
    columns = [_column(str(name), table[name]) for name in table.columns]
    return {"columns": columns, "rows": len(table), "signed": list(signed)}


def plain(figure: Figure) -> dict[str, Any]:
    """A figure as plain JSON values with markup in its texts escaped, except in `meta`, which plotly never shows."""
    content: dict[str, Any] = json.loads(figure.to_json())
    return {"data": _escaped(content["data"]), "layout": _escaped(content["layout"])}


def height(figure: Figure) -> int:
    """Height of a figure on the page, without its menu, in pixels."""
    found = int(figure.layout.height or DEFAULT_HEIGHT)
    return found - MENU_HEIGHT if figure.layout.updatemenus else found


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return MARKUP.sub("&lt;", value)
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    if isinstance(value, dict):
        return {key: one if key == "meta" else _escaped(one) for key, one in value.items()}
    return value


def _column(name: str, column: pd.Series) -> dict[str, Any]:
    """Numbers as they are; text as its distinct values and a code for each row, −1 where it is missing."""
    column = column.infer_objects()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = [None if pd.isna(value) or not math.isfinite(value) else value for value in column.tolist()]
        return {"name": name, "numbers": numbers}
    codes, levels = pd.factorize(column)
    return {"name": name, "levels": [str(level) for level in levels], "codes": codes.tolist()}
