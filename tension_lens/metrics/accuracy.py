"""Accuracy of judged items with its 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tension_lens.constants import ALPHA
from tension_lens.errors import RequestError


@dataclass(frozen=True)
class Accuracy:
    """The share of items judged correctly, or the mean credit, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    n: int

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval lies above 0.5, the chance rate of pairs."""
        return self.low > 0.5

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}], n = {self.n}"


def accuracy_of(correct: Sequence[float | int] | Float[np.ndarray, " item"]) -> Accuracy:
    """Mean credit over items, each between 0 and 1, with Wilson's 95 % interval.

    For credits of 0 and 1 this is the accuracy. The interval treats fractional credits as if as many items were
    correct; they vary less than credits of 0 and 1 with the same mean, so the interval is then conservative.

    Raises:
        RequestError: if there are no items.
    """
    if not len(correct):
        raise RequestError("accuracy needs at least one item, found none")
    return wilson(float(np.mean(correct)), len(correct))


def wilson(share: float, n: int) -> Accuracy:
    """A share of n items, at least one, with Wilson's 95 % interval."""
    from statsmodels.stats.proportion import proportion_confint

    # 1 - CONFIDENCE is not exactly 0.05 in floating point and changes the last digit of the limits.
    low, high = proportion_confint(share * n, n, alpha=ALPHA, method="wilson")
    # Rounding must not put the share outside its own interval where all items or none are correct.
    return Accuracy(share, min(float(low), share), max(float(high), share), n)
