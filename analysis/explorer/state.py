"""The state of the page's controls, as written in its URL, validated."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tension_lens.constants import ABLATIONS, BUCKETS, require_one_of
from tension_lens.errors import RequestError

MAX_CHARACTERS = 20_000
"""Longest accepted prompt or response."""
MAX_NUMBER = 1 << 31
CHOICES = {
    "colour": ("reward", "neuron", "set"),
    "off": ("set", "bucket", "random", "neuron", "selection"),
    "bucket": BUCKETS,
    "ablation": ABLATIONS,
    "by": ("membership", "layer"),
    "scale": ("linear", "log"),
}
"""Allowed values of the fields that have a fixed list."""
SWEPT = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""Percent of all neurons ablated in the sweep."""


@dataclass(frozen=True)
class Question:
    """The state of the page. Values come from a browser or a link, and names are checked when they are used."""

    run: str = ""
    model: str = ""
    source: str = "pick"
    """`pick` from the data, or `type`."""
    data: str = ""
    item: str = ""
    """Indices COMPARISON.CHOSEN.REJECTED."""
    prompt: str = ""
    first: str = ""
    second: str = ""
    colour: str = "reward"
    layer: int = 0
    neuron: int = 0
    set: str = ""
    off: str = "set"
    """Which neurons are ablated."""
    bucket: str = "early"
    draw: int = 0
    ablation: str = "zero"
    statistic: str = "mean_abs"
    site: str = "post"
    top: float = 10.0
    by: str = "membership"
    scale: str = "linear"
    region: Mapping[str, Any] | None = None
    """Selection in the neuron map: corners {"x": [...], "y": [...]} and the axes they belong to."""

    @classmethod
    def of(cls, asked: Mapping[str, Any] | None) -> "Question":
        """The state sent by a browser; missing fields have their defaults.

        Raises:
            RequestError: if a value is invalid.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = (asked or {}).get(field.name)
            if value is None:
                continue
            if field.type is str:
                _require_text(field.name, value)
            elif field.type in (int, float):
                value = _number(field.name, value, whole=field.type is int)
            if field.name in CHOICES:
                require_one_of(field.name, str(value), CHOICES[field.name])
            values[field.name] = value
        return cls(**values)


def _number(name: str, value: Any, whole: bool) -> float:
    try:
        number = int(value) if whole else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"{name} must be a number: {error}") from error
    if not 0 <= number < MAX_NUMBER:
        raise RequestError(f"{name} must be at least 0 and below {MAX_NUMBER:,}, found {number}")
    return number


def _require_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise RequestError(f"{name} must be text")
    if len(value) > MAX_CHARACTERS:
        raise RequestError(f"{name} has {len(value):,} characters; at most {MAX_CHARACTERS:,} are allowed, shorten it")
    if any(0xD800 <= ord(character) < 0xE000 for character in value):
        raise RequestError(f"{name} contains an unpaired surrogate, which is not a character; remove it")
