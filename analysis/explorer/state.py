"""What the page asks, checked: the state of its controls as it stands in the URL."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tension_lens.constants import ABLATIONS, BUCKETS, require_one_of
from tension_lens.errors import RequestError

MAX_CHARACTERS = 20_000
"""Longest prompt or response that is read."""
COLOURINGS = ("reward", "neuron", "set")
OFF = ("neuron", "set", "bucket", "selection", "random")
COLOUR_BY = ("membership", "layer")
SCALES = ("linear", "log")
SWEPT = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""The p of a sweep, percent of all neurons."""


@dataclass(frozen=True)
class Question:
    """One state of the page. Every field comes from a browser or a link and is checked when it is used."""

    run: str = ""
    model: str = ""
    tab: str = "pair"
    source: str = "pick"
    """`pick` from data or `type`."""
    data: str = ""
    item: str = ""
    """comparison.chosen.rejected, indices."""
    prompt: str = ""
    first: str = ""
    second: str = ""
    colour: str = "reward"
    layer: int = 0
    neuron: int = 0
    set: str = ""
    off: str = "set"
    bucket: str = "early"
    draw: int = 0
    ablation: str = "zero"
    statistic: str = "mean_abs"
    site: str = "post"
    top: float = 10.0
    by: str = "membership"
    scale: str = "linear"
    region: Mapping[str, Any] | None = None
    """What was selected in the neuron map: {"x": [...], "y": [...]} corners, with the axes they are of."""

    @classmethod
    def of(cls, asked: Mapping[str, Any] | None) -> "Question":
        """The question in what a browser sent; a field it leaves out has its default.

        Raises:
            RequestError: if a field holds what cannot be.
        """
        known = {field.name: field for field in fields(cls)}
        values = {name: value for name, value in (asked or {}).items() if name in known and value is not None}
        try:
            for name in ("layer", "neuron", "draw"):
                values[name] = int(values.get(name, known[name].default))
            values["top"] = float(values.get("top", known["top"].default))
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(f"{name if name != 'draw' else 'top or draw'} must be a number: {error}") from error
        for name, field in known.items():
            if field.type is str and not isinstance(values.get(name, ""), str):
                raise RequestError(f"{name} must be text")
        question = cls(**values)
        require_one_of("colour", question.colour, COLOURINGS)
        require_one_of("what to switch off", question.off, OFF)
        require_one_of("depth bucket", question.bucket, BUCKETS)
        require_one_of("ablation", question.ablation, ABLATIONS)
        require_one_of("colouring of the map", question.by, COLOUR_BY)
        require_one_of("scale", question.scale, SCALES)
        if question.draw < 0:
            raise RequestError(f"the draw of a random set must be at least 0, found {question.draw}")
        typed = {"prompt": question.prompt, "response A": question.first, "response B": question.second}
        for name, text in typed.items():
            if len(text) > MAX_CHARACTERS:
                raise RequestError(
                    f"the {name} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read, shorten it"
                )
        return question
