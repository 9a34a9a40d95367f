"""Captions of the figures: what a figure shows, n, the interval, the control and what to keep in mind."""

import tomllib
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

TEMPLATES: dict[str, str] = tomllib.loads((files("analysis") / "figures" / "captions.toml").read_text("utf-8"))
SHARED = {name: TEMPLATES[name].strip() for name in ("student", "means")}
ENVIRONMENT = Environment(undefined=StrictUndefined, autoescape=False)


def caption(name: str, **values: Any) -> str:
    """A template of `captions.toml` with its values, on one line."""
    return " ".join(ENVIRONMENT.from_string(TEMPLATES[name]).render(**SHARED, **values).split())


def counted(values: pd.Series, what: str = "items") -> str:
    """The range of counts, such as `n = 28 to 1,770 items`, or one number if all are equal."""
    low, high = int(values.min()), int(values.max())
    return f"n = {low:,} {what}" if low == high else f"n = {low:,} to {high:,} {what}"
