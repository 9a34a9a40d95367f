"""The tests of the primary analysis as one family: corrected p-values, and the effect that a test can find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tension_lens.constants import ALPHA

POWER = 0.8
"""Power of the minimum detectable effect."""


@dataclass(frozen=True, eq=False)
class Family:
    """The tests of one page, corrected together."""

    p_values: Float[np.ndarray, " test"]
    critical: float
    """The standardised statistic above which the first test is significant at the 5 % level."""
    draws: int
    """Random sets that every test has."""


def family_p_values(tests: Sequence[tuple[float, Float[np.ndarray, " _"]]]) -> Family:
    """p-values of several tests such that any true null is called special with probability 5 % at most.

    Westfall and Young's step-down max-T (1993): the statistics of a test and of its draws are divided by their common
    root mean square. The most extreme test is compared with the largest statistic of any test in draw 1, in draw 2, and
    so on, p = (1 + draws at least as extreme)/(1 + draws); the next one with the largest of the remaining tests; a
    p-value is never below that of a more extreme test. Draw d of all outcomes of a set is the same random set, so that
    their dependence is kept. Unlike Bonferroni's and Holm's corrections it does not need more draws for more tests.

    Args:
        tests: of each test its statistic and those of its draws, as in `Effect`.
    """
    draws = min((len(reference) for _, reference in tests), default=0)
    if not draws:
        return Family(np.full(len(tests), np.nan), float("nan"), 0)
    every = np.abs(np.array([[statistic, *reference[:draws]] for statistic, reference in tests]))
    size = np.sqrt((every**2).mean(axis=1, keepdims=True))
    scaled = np.divide(every, size, out=np.zeros_like(every), where=size > 0)
    order = np.argsort(-scaled[:, 0], kind="stable")
    # The largest statistic of each draw over a test and all less extreme ones.
    largest = np.maximum.accumulate(scaled[order[::-1], 1:], axis=0)[::-1]
    extreme = (largest >= scaled[order, :1] * (1 - 1e-12)).sum(axis=1)
    p_values = np.empty(len(tests))
    p_values[order] = np.maximum.accumulate((1 + extreme) / (1 + draws))
    return Family(p_values, float(np.quantile(largest[0], 1 - ALPHA)), draws)


def detectable_effect(critical: float) -> float:
    """The minimum detectable effect of a test, critical + z(`POWER`), in null standard deviations of its estimate."""
    from scipy.stats import norm

    return float(critical + norm.ppf(POWER))
