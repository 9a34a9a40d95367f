"""Accuracy of judged items with its 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from tension_lens.constants import ALPHA
from tension_lens.errors import RequestError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Accuracy:
    """The share of items judged correctly, or the mean credit, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    n: int

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval lies above one half, the chance rate of pairs."""
        return self.low > 0.5

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}], n = {self.n}"


def accuracy_of(correct: Sequence[float | int] | Float[np.ndarray, " item"]) -> Accuracy:
    """Mean credit over items, each credited between 0 and 1, with Wilson's 95 % interval.

    For items judged 1 or 0 that is the accuracy. Fractions of credit are counted as if so many items were right; since
    they vary less than 1 and 0 with the same mean, the interval is then wider than it need be.

    Raises:
        RequestError: if there is no item.
    """
    from statsmodels.stats.proportion import proportion_confint

    if not len(correct):
        raise RequestError("no item to take an accuracy of")
    share = float(np.mean(correct))
    low, high = proportion_confint(share * len(correct), len(correct), alpha=ALPHA, method="wilson")
    # Rounding must not put the share outside its own interval where all items or none are right.
    return Accuracy(share, min(float(low), share), max(float(high), share), len(correct))
