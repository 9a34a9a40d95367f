"""Selectors: the ways to rank a model's neurons. Each turns scores into one importance per neuron, highest first."""

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
"""The term c in the denominator of `contrast`, as a share of the layer's mean denominator."""


@dataclass(frozen=True)
class Selector:
    """One way to rank neurons."""

    importance: Callable[..., Float[np.ndarray, "layer neuron"]]
    """Each neuron's importance, from scores, or from scores and the scores to compare them with."""
    meaning: str
    """What it ranks by, in a few words."""
    compares: bool = False
    """Whether it also needs scores of the same model on other data."""


def margin(scores: NeuronScores, contribution: str) -> Float[np.ndarray, "layer neuron"]:
    """Contribution to the mean chosen reward minus that to the mean rejected reward, signed, in units of reward.

    If every comparison has one response on each side, this is the contribution to the mean margin: for `attribution`
    the first-order drop of the mean margin when the neuron is zeroed.
    """
    chosen, rejected = scores.sides(contribution)
    difference: Float[np.ndarray, "layer neuron"] = chosen - rejected
    return difference


def contrast(scores: NeuronScores) -> Float[np.ndarray, "layer neuron"]:
    """(chosen − rejected) / (chosen + rejected + c) of `mean_abs`, in (−1, 1).

    c = `CONTRAST_FLOOR` · mean over the layer's neurons of (chosen + rejected). With c = 0 the highest contrasts belong
    to almost inactive neurons, for which the quotient is noise. With the floor of 0.1, a neuron of mean activity keeps
    91 % of its quotient, and one of 1/1000 of that activity keeps 1 %. The mean is the layer's own because activations
    differ in scale between layers. An inactive layer has contrast 0.
    """
    chosen, rejected = scores.sides("mean_abs")
    total: Float[np.ndarray, "layer neuron"] = chosen + rejected
    floored = total + CONTRAST_FLOOR * total.mean(axis=1, keepdims=True)
    quotient: Float[np.ndarray, "layer neuron"] = np.divide(
        chosen - rejected, floored, out=np.zeros_like(total), where=floored > 0
    )
    return quotient


def lape(scores: NeuronScores, against: NeuronScores) -> Float[np.ndarray, "layer neuron"]:
    """(ln 2 − H) · sign(p_a − p_b), in nats, in [−ln 2, ln 2]: how specific a neuron's firing is to the first data.

    p_a and p_b are the frequencies (½ chosen + ½ rejected) of a neuron on two kinds of data, and H is the entropy of
    (p_a, p_b) / (p_a + p_b): the language activation probability entropy (LAPE) of Tang et al. 2024,
    "Language-Specific Neurons", with kinds of preference data instead of languages. Neurons that fire only on the first
    data rank highest, those that fire only on the second lowest. Neurons that fire equally often or never have 0.

    Two differences from the original. It ranks by H alone and then assigns languages to neurons; for two kinds of data
    the sign suffices. It first excludes neurons without a frequency above the 95th percentile of all frequencies, which
    with two kinds of data limits a set to a tenth of the neurons. Here no neuron is excluded, so a neuron that fires
    rarely can rank high. On gated MLPs the original counts how often the gate is above 0, which is site `gate`.

    Raises:
        RequestError: if the scores do not share model, site and scope, or have the same frequencies.
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
    "mean": "signed mean activation",
    "mean_abs": "mean magnitude",
    "rms": "root mean square",
    "frequency": "share of tokens with activation above 0",
    "max": "largest activation",
    CHANGE_STATISTIC: "root mean square change by fine-tuning (score --base)",
}
SELECTORS: dict[str, Selector] = {
    **{
        name: Selector(
            partial(NeuronScores.importance, statistic=name), f"{_MEANINGS[name]}; mean of chosen and rejected"
        )
        for name in (*STATISTICS, CHANGE_STATISTIC)
    },
    "contrast": Selector(contrast, "mean_abs on chosen against rejected, (c − r)/(c + r + floor)"),
    "lape": Selector(lape, "fires on the data of --scores and not on that of --against, by entropy", compares=True),
    "attribution": Selector(
        partial(margin, contribution="attribution"),
        "first-order drop of the reward margin when zeroed (score --attribution)",
    ),
    "direct": Selector(
        partial(margin, contribution="direct"),
        "direct contribution to the reward margin at the value head (score --attribution)",
    ),
}


def described() -> str:
    """The selectors and what they rank by, one per line."""
    width = max(map(len, SELECTORS))
    return "\n".join(f"  {name:{width}}  {selector.meaning}" for name, selector in SELECTORS.items())


def importance(
    statistic: str, scores: NeuronScores, against: NeuronScores | None = None
) -> Float[np.ndarray, "layer neuron"]:
    """Each neuron's importance by the selector of that name, as float64.

    Args:
        statistic: a key of `SELECTORS`.
        scores: the model's scores.
        against: scores of the same model on other data, for a selector that compares two.

    Raises:
        RequestError: if the selector is unknown, the scores lack what it needs, or `against` is missing, not
            comparable or not used.
    """
    require_one_of("statistic", statistic, tuple(SELECTORS))
    selector = SELECTORS[statistic]
    if selector.compares and against is None:
        raise RequestError(
            f"statistic {statistic} compares two kinds of data; give the model's scores on the other with --against"
        )
    if against is None:
        return selector.importance(scores)
    if not selector.compares:
        comparing = ", ".join(name for name, one in SELECTORS.items() if one.compares)
        raise RequestError(f"--against is used only by statistic {comparing}, not by {statistic}; omit it")
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
        name: name of the set. Default: the share and the statistic.
        against: scores of the same model on other data, for a selector that compares two.

    Raises:
        RequestError: as `importance` and `top_percent` do.
    """
    ranked = importance(statistic, scores, against)
    # Contributions have their own scope, independent of that of the scores they are stored with.
    scope = scores.metadata.get(f"{statistic}_scope", scores.scope)
    origin: dict[str, Any] = {"statistic": statistic, "scope": scope, **scores.metadata}
    if against is not None:
        origin["against"] = against.metadata
    return top_percent(ranked, top, name or f"top {top:g} % by {statistic}", scores.site, **origin)
