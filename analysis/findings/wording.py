"""Numbers in words, alike in every finding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from tension_lens.constants import ALPHA

FEW = 6
"""Up to so many results are told one by one; more are counted."""


@dataclass(frozen=True)
class Finding:
    """What is known about one question."""

    lead: str
    """One sentence for the paragraph at the top; empty where the question is not worth one."""
    detail: list[str] = field(default_factory=list)
    """What stands behind it, a line each."""


def percent(share: float) -> str:
    """A fraction as percent: `54.2 %`."""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of fractions in percentage points, with its sign: `−6.4`."""
    return f"{100 * share:+.1f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """The 95 % interval of a fraction: `[50.1, 58.3]`."""
    return f"[{100 * low:.1f}, {100 * high:.1f}]".replace("-", "−")


def change(difference: float, low: float, high: float) -> str:
    """A change with its interval: `−6.4 points [−8.1, −4.7]`."""
    text = f"{points(difference)} points"
    return text if math.isnan(low) or math.isnan(high) else f"{text} {interval(low, high)}"


def p_text(p_value: float) -> str:
    """A p-value: `p = 0.031`, `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def span(values: Float[np.ndarray, " value"], unit: str = "") -> str:
    """From the least to the greatest value, one number where they print alike: `0.21 to 0.43`, `61 to 74 %`."""
    most = np.abs(values).max()
    digits = 2 if most <= 1 else 1 if most < 10 else 0
    low, high = (f"{value:.{digits}f}" for value in (values.min(), values.max()))
    return f"{low if low == high else f'{low} to {high}'}{unit}".replace("-", "−")


def many(count: int, one: str, several: str | None = None) -> str:
    """A count with its noun: `1 model`, `3 models`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def of_all(part: int, whole: int) -> str:
    """A count among all: `none of 6`, `all 6`, `both`, `4 of 6`, `1 of 1`."""
    if whole == 1 or 0 < part < whole:
        return f"{part:,} of {whole:,}"
    return {2: "both"}.get(whole, f"all {whole:,}") if part else f"none of {whole:,}"


def luck(tests: int, share: float = ALPHA / 2) -> str:
    """How many of so many tests fail by luck alone: `about 2`; by default 95 % intervals, on one side."""
    expected = share * tests
    return "less than one" if expected < 1 else f"about {expected:.0f}"


def named(names: Sequence[str]) -> str:
    """`a, b, c`, or how many there are."""
    return ", ".join(names) if len(names) <= FEW else f"{len(names)} of them"


def model_name(backbone: str, seed: object, objective: str) -> str:
    """`the helpful model of gpt2-tiny, seed 0,`."""
    return f"the {objective} model of {backbone} (seed {seed})"


def sentence(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]
