"""Selectors: every way to rank a model's neurons, from scores to one importance each, highest first."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from tension_lens.constants import CHANGE_STATISTIC, STATISTICS, require_one_of
from tension_lens.errors import RequestError
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet, top_percent

CONTRAST_FLOOR = 0.1
"""What `contrast` adds to its denominator, as a share of the layer's mean of it; see `contrast`."""


@dataclass(frozen=True)
class Selector:
    """One way to rank neurons."""

    importance: Callable[..., Float[np.ndarray, "layer neuron"]]
    """From scores, or from scores and those to compare them with, to each neuron's importance."""
    meaning: str
    """What it ranks by, in half a line."""
    compares: bool = False
    """Whether it needs the scores of the same model on other data, too."""


def mean_of_sides(scores: NeuronScores, statistic: str) -> Float[np.ndarray, "layer neuron"]:
    """½ (statistic on chosen + statistic on rejected): `NeuronScores.importance`."""
    return scores.importance(statistic)


def margin(scores: NeuronScores, contribution: str) -> Float[np.ndarray, "layer neuron"]:
    """Contribution to the mean chosen reward minus that to the mean rejected reward, in units of reward, with its sign.

    Where every comparison has one response a side this is the contribution to the mean margin: for `attribution` the
    first-order drop of the mean margin when the neuron is zeroed. The highest are the neurons that hold the margin up.
    """
    chosen, rejected = scores.sides(contribution)
    difference: Float[np.ndarray, "layer neuron"] = chosen - rejected
    return difference


def contrast(scores: NeuronScores) -> Float[np.ndarray, "layer neuron"]:
    """(chosen − rejected) / (chosen + rejected + c) of `mean_abs`, in (−1, 1).

    c = `CONTRAST_FLOOR` · mean over the layer's neurons of (chosen + rejected). With c = 0 the highest contrasts belong
    to neurons that are almost silent, whose two means are both noise and whose quotient can be anything up to 1. A
    tenth of what is usual leaves a usual neuron within 10 % of its quotient and brings one of 1/1000 the activity down
    to 1/100. It is the layer's own mean since activations of one layer can be many times those of another. A layer of
    silence has contrast 0.
    """
    chosen, rejected = scores.sides("mean_abs")
    total: Float[np.ndarray, "layer neuron"] = chosen + rejected
    floored = total + CONTRAST_FLOOR * total.mean(axis=1, keepdims=True)
    quotient: Float[np.ndarray, "layer neuron"] = np.divide(
        chosen - rejected, floored, out=np.zeros_like(total), where=floored > 0
    )
    return quotient


def lape(scores: NeuronScores, against: NeuronScores) -> Float[np.ndarray, "layer neuron"]:
    """(ln 2 − H) · sign(p_a − p_b), nats in [−ln 2, ln 2]: how much a neuron fires on the first data alone.

    p_a and p_b are the frequencies (½ chosen + ½ rejected) of one model's neuron over two kinds of data, H the entropy
    of (p_a, p_b) / (p_a + p_b): the language activation probability entropy (LAPE) of Tang et al. 2024,
    "Language-Specific Neurons", with kinds of preference data in the place of languages. Highest are the neurons that
    fire on the first data and not on the second, lowest those of the second; 0 those that do not tell them apart, and
    those that never fire.

    Two departures. The original ranks by H alone and then looks which languages each neuron is of; two kinds of data
    need no more than a sign. And it first leaves out every neuron with no frequency above the 95th percentile of all
    frequencies: of two kinds of data at most a tenth of the neurons would be left, and no larger set could be asked
    for. Nothing is left out here, so a neuron that fires rarely can rank high. (On gated MLPs the original counts how
    often the gate is above 0: scores at site `gate`.)

    Raises:
        RequestError: if the two are not scores of one model, site and scope on different data.
    """
    from scipy.special import entr

    _require_comparable(scores, against)
    first, second = scores.importance("frequency"), against.importance("frequency")
    if np.array_equal(first, second):
        raise RequestError("--scores and --against hold the same frequencies; lape needs scores on two kinds of data")
    total = first + second
    share = np.divide(first, total, out=np.full_like(total, 0.5), where=total > 0)
    entropy = entr(share) + entr(1 - share)
    specific: Float[np.ndarray, "layer neuron"] = (np.log(2) - entropy) * np.sign(first - second)
    return specific


def _require_comparable(scores: NeuronScores, against: NeuronScores) -> None:
    weights, others = (one.metadata.get("weights_sha256") for one in (scores, against))
    if weights is None or weights != others or scores.shape != against.shape:
        raise RequestError(
            "--scores and --against must be of one model, found weights_sha256 "
            f"{(weights or 'unknown')[:12]} and {(others or 'unknown')[:12]}; score one model on both kinds of data"
        )
    for what in ("site", "scope"):
        found, other = getattr(scores, what), getattr(against, what)
        if found != other:
            raise RequestError(
                f"--scores and --against must be of one {what}, found {found} and {other}; score both with one --{what}"
            )


_MEANINGS = {
    "mean": "mean activation, with its sign",
    "mean_abs": "mean magnitude",
    "rms": "root mean square",
    "frequency": "share of tokens at which the neuron is above 0",
    "max": "largest activation",
    CHANGE_STATISTIC: "root mean square of the change since before fine-tuning (score --base)",
}
SELECTORS: dict[str, Selector] = {
    **{
        name: Selector(partial(mean_of_sides, statistic=name), f"{_MEANINGS[name]}; mean of chosen and rejected")
        for name in (*STATISTICS, CHANGE_STATISTIC)
    },
    "contrast": Selector(contrast, "mean_abs on chosen against rejected, (c − r)/(c + r + floor)"),
    "lape": Selector(lape, "fires on the data of --scores and not on those of --against, by entropy", compares=True),
    "attribution": Selector(
        partial(margin, contribution="attribution"),
        "how far zeroing lowers the reward margin, to first order (score --attribution)",
    ),
    "direct": Selector(
        partial(margin, contribution="direct"),
        "what is written straight to the value head, on the margin (score --attribution)",
    ),
}


def described() -> str:
    """The selectors and what each ranks by, a line each."""
    width = max(map(len, SELECTORS))
    return "\n".join(f"  {name:{width}}  {selector.meaning}" for name, selector in SELECTORS.items())


def importance(
    statistic: str, scores: NeuronScores, against: NeuronScores | None = None
) -> Float[np.ndarray, "layer neuron"]:
    """Each neuron's importance by the selector of that name, float64, highest first.

    Args:
        statistic: a key of `SELECTORS`.
        scores: the model's scores.
        against: scores of the same model on other data, for a selector that compares two.

    Raises:
        RequestError: if there is no such selector, the scores do not hold what it needs, or `against` is missing, not
            comparable or not used.
    """
    require_one_of("statistic", statistic, tuple(SELECTORS))
    selector = SELECTORS[statistic]
    if selector.compares and against is None:
        raise RequestError(
            f"statistic {statistic} compares two kinds of data; give the model's scores on the other one with --against"
        )
    if against is None:
        return selector.importance(scores)
    if not selector.compares:
        comparing = ", ".join(name for name, one in SELECTORS.items() if one.compares)
        raise RequestError(f"--against is used by statistic {comparing} alone, not by {statistic}; leave it out")
    return selector.importance(scores, against)


def select_neurons(
    scores: NeuronScores,
    statistic: str = "mean_abs",
    top: float = 10.0,
    name: str | None = None,
    against: NeuronScores | None = None,
) -> NeuronSet:
    """Select the `top` % of neurons with the highest importance by a selector.

    Args:
        scores: the model's scores.
        statistic: a key of `SELECTORS`.
        top: share of all neurons in percent, in (0, 100].
        name: of the set; by default it names the share and the statistic.
        against: scores of the same model on other data, for a selector that compares two.

    Raises:
        RequestError: as `importance` and `top_percent` do.
    """
    ranked = importance(statistic, scores, against)
    # Contributions have a scope of their own, whatever the scope of the scores they are stored with.
    scope = scores.metadata.get(f"{statistic}_scope", scores.scope)
    origin: dict[str, Any] = {"statistic": statistic, "scope": scope, **scores.metadata}
    if against is not None:
        origin["against"] = against.metadata
    return top_percent(ranked, top, name or f"top {top:g} % by {statistic}", scores.site, **origin)
