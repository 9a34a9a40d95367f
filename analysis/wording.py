"""Numbers as text, and the Jinja2 environment that turns tables of verdicts into sentences."""

import numpy as np
from jinja2 import BaseLoader, Environment, StrictUndefined
from numpy.typing import ArrayLike


def percent(share: float) -> str:
    """A fraction as percent: `54.2 %`."""
    return f"{100 * share:.1f} %"


def points(shares: ArrayLike) -> str:
    """A difference of fractions in percentage points, or the range of several: `−6.4`, `−6.4 to +1.2`."""
    values = np.asarray(shares, dtype=np.float64)
    low, high = (f"{100 * value:+.1f}" for value in (values.min(), values.max()))
    return (low if low == high else f"{low} to {high}").replace("-", "−")


def signed(value: float) -> str:
    """A number with its sign and two decimals: `−0.31`."""
    return f"{value:+.2f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """An interval of a fraction in percent, empty where it is not known: `[50.1, 58.3]`."""
    return "" if np.isnan(low) or np.isnan(high) else f"[{100 * low:.1f}, {100 * high:.1f}]".replace("-", "−")


def p_text(p_value: float) -> str:
    """A p-value: `p = 0.031`, `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def span(values: ArrayLike, unit: str = "", scale: float = 1) -> str:
    """The range of `scale * values`, one number where both ends print alike: `0.21 to 0.43`, `61 to 74 %`."""
    scaled = scale * np.asarray(values)
    if np.isnan(scaled).all():
        return "undefined"
    least, most, size = np.nanmin(scaled), np.nanmax(scaled), np.nanmax(np.abs(scaled))
    digits = 0 if size >= 10 or scaled.dtype.kind in "iu" else 1 if size > 1 else 2
    low, high = f"{least:,.{digits}f}", f"{most:,.{digits}f}"
    return f"{low if low == high else f'{low} to {high}'}{unit}".replace("-", "−")


def many(count: int, one: str, several: str | None = None) -> str:
    """A count with its noun: `1 model`, `3 models`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def of_all(part: int, whole: int) -> str:
    """A count out of a total: `none of 6`, `all 6`, `4 of 6`, `1 of 1`."""
    if whole == 1 or 0 < part < whole:
        return f"{part:,} of {whole:,}"
    return f"all {whole:,}" if part else f"none of {whole:,}"


def environment(loader: BaseLoader | None = None) -> Environment:
    """A Jinja2 environment with the functions above as filters, in which an undefined name is an error."""
    made = Environment(loader=loader, undefined=StrictUndefined)
    made.filters.update({one.__name__: one for one in (percent, points, signed, interval, p_text, span, many, of_all)})
    return made
