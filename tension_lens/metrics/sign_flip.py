"""The exact sign-flip test of paired changes, of which McNemar's exact test is the case of changes of one size."""

import numpy as np
from jaxtyping import Float, Int


def sign_flip_exact(changes: Int[np.ndarray, "test change"]) -> Float[np.ndarray, " test"]:
    """Exact two-sided p-values of the sign-flip test: P(|Σ ±dᵢ| ≥ |Σ dᵢ|) over all signs of the items' changes dᵢ.

    Under the null hypothesis the change of each item is as likely as its opposite. If all changes have one size this is
    McNemar's exact test. The p-value is 1 if no item changes.

    Args:
        changes: number of items with each change, −k, …, −1, 0, 1, …, k in any unit.
    """
    most = changes.shape[1] // 2
    sizes = changes[:, most + 1 :] + changes[:, :most][:, ::-1]
    total = np.abs(changes @ np.arange(-most, most + 1))
    largest = (np.arange(1, most + 1) * (sizes > 0)).max(axis=1, initial=1)
    items, surplus = sizes.sum(axis=1), total // largest
    p_value = mcnemar_exact((items - surplus) // 2, (items + surplus) // 2)
    for test in np.flatnonzero((sizes > 0).sum(axis=1) > 1):
        p_value[test] = _by_convolution(sizes[test], int(total[test]))
    return p_value


def _by_convolution(sizes: Int[np.ndarray, " size"], total: int) -> float:
    """P(|Σ ±dᵢ| ≥ total), where `sizes` are the numbers of items with |d| = 1, 2, …"""
    from scipy.stats import binom

    probability = np.ones(1)
    for size, items in enumerate(sizes, start=1):
        # The sum of the items of one size is size · (2X − items), X ~ Binomial(items, ½).
        of_size = np.zeros(2 * size * items + 1)
        of_size[:: 2 * size] = binom.pmf(np.arange(items + 1), items, 0.5)
        probability = np.convolve(probability, of_size)
    reach = len(probability) // 2
    return min(1.0, float(probability[np.abs(np.arange(-reach, reach + 1)) >= total].sum()))


def mcnemar_exact(lost: Int[np.ndarray, " test"], gained: Int[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """McNemar's exact two-sided p-values: min(1, 2 P(X ≤ min(lost, gained))), X ~ Binomial(lost + gained, ½).

    Under the null hypothesis a changed item is as likely lost as gained. The p-value is 1 if no item changes.
    """
    from scipy.stats import binom

    both_tails: Float[np.ndarray, " test"] = 2 * binom.cdf(np.minimum(lost, gained), lost + gained, 0.5)
    return both_tails.clip(max=1.0)
