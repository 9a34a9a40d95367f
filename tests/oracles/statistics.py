"""Independent implementations of the statistics: other algorithms, on Python sets and by enumeration."""

from itertools import combinations, product

import numpy as np
from scipy.stats import norm


def tango_limits(n, lost, gained):
    """Tango's 95 % limits from the quartic that the score equation becomes when its square root is squared away.

    With f(δ) = (d − nδ)²/(z² n) = 2q + δ(1 − δ), q = (f − δ + δ²)/2 must solve 2n q² + B q + C = 0.
    """
    delta = np.polynomial.Polynomial([0, 1])
    d = gained - lost
    q = ((d - n * delta) ** 2 / (norm.ppf(0.975) ** 2 * n) - delta + delta**2) / 2
    quartic = 2 * n * q**2 + ((2 * n + lost - gained) * delta - lost - gained) * q - lost * delta * (1 - delta)
    real = [root.real for root in quartic.roots() if abs(root.imag) < 1e-6]
    # Squaring adds roots of the other sign of the square root; those of the score equation enclose all the others.
    return min(real), max(real)


def sign_flip_p(changes):
    """The share of all choices of signs of integer changes whose sum is at least as far from 0 as that of `changes`."""
    sums = [abs(sum(sign * one for sign, one in zip(signs, changes, strict=True)))
            for signs in product((-1, 1), repeat=len(changes))]  # fmt: skip
    return sum(one >= abs(sum(changes)) for one in sums) / len(sums)


def retention(helpful, harmless, mixed):
    """(numerator, denominator) of each measure of retention, from sets of the items judged correctly."""
    either = helpful | harmless
    return {
        "combined": (len(mixed & either), len(either)),
        "helpful": (len(mixed & helpful), len(helpful)),
        "harmless": (len(mixed & harmless), len(harmless)),
        "jaccard_helpful": (len(mixed & helpful), len(mixed | helpful)),
        "jaccard_harmless": (len(mixed & harmless), len(mixed | harmless)),
    }


def chance_overlap(a, b, n):
    """Expected intersection and Jaccard index of `a` with every set as large as `b` among n, and P(at least a ∩ b)."""
    drawn = [set(draw) for draw in combinations(range(n), len(b))]
    shared = [len(a & draw) for draw in drawn]
    jaccards = [len(a & draw) / len(a | draw) for draw in drawn]
    return np.mean(shared), np.mean(jaccards), np.mean([one >= len(a & b) for one in shared])
