"""Random neuron sets to compare a set with: of its size, and without any of its neurons."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tension_lens.constants import CONTROLS, require_one_of
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

ACTIVATION_BINS = 20
"""Bins of equally many neurons; an activation-matched control has as many neurons in each bin as its set."""


class ControlUnavailable(RequestError):  # noqa: N818 - the name says what callers handle
    """A set has no random control of a kind: too few neurons to draw from, or only one way to draw them."""


def strata(
    kind: str, shape: tuple[int, int], activation: Float[np.ndarray, "layer neuron"] | None = None
) -> Int[np.ndarray, "layer neuron"]:
    """The stratum of each neuron within which a control is drawn.

    `uniform`: one stratum. `layer`: the layer. `activation`: the neuron's bin among `ACTIVATION_BINS` bins of equally
    many neurons in order of activation, floor(bins · rank / N), ties by (layer, index).

    Raises:
        RequestError: if the kind is unknown, or `activation` is missing or of another network.
    """
    require_one_of("control", kind, CONTROLS)
    if kind == "uniform":
        return np.zeros(shape, dtype=np.int64)
    if kind == "layer":
        return np.broadcast_to(np.arange(shape[0])[:, None], shape)
    if activation is None:
        raise RequestError("an activation-matched control needs the activation of every neuron")
    if activation.shape != shape:
        raise RequestError(f"activations are of a network of {activation.shape}, the set of one of {shape}")
    order = np.argsort(activation.reshape(-1), kind="stable")
    ranks = np.empty(order.size, dtype=np.int64)
    ranks[order] = np.arange(order.size)
    return (ACTIVATION_BINS * ranks // order.size).reshape(shape)


def control_set(
    like: NeuronSet,
    kind: str,
    draw: int,
    activation: Float[np.ndarray, "layer neuron"] | None = None,
    *,
    weights_sha256: str = "",
) -> NeuronSet:
    """Neurons outside `like`, drawn without replacement, from every stratum as many as `like` has there.

    The seed is a hash of `weights_sha256`, the site, shape and neurons of `like`, `kind` and `draw`.

    Args:
        like: the set that the control is for.
        kind: `uniform`, `layer` or `activation`, see `strata`.
        draw: number of the control; another number gives another one.
        activation: each neuron's activation, for kind `activation`.
        weights_sha256: hash of the weights of the model in which the control is ablated.

    Raises:
        ControlUnavailable: if a stratum has fewer neurons outside the set than in it, or if only one control is
            possible, since all draws would then be the same; so for an empty set.
        RequestError: as `strata`.
    """
    pools = _pools(like, kind, activation)
    return _drawn(like, pools, kind, draw, weights_sha256, seeded_by=[kind])


def subset_of(pool: NeuronSet, like: NeuronSet, draw: int, *, weights_sha256: str = "") -> NeuronSet:
    """len(like) neurons drawn from `pool` without replacement, to compare two sets at the same size.

    The seed is a hash of `weights_sha256`, the sites, shapes and neurons of both sets, and `draw`.

    Raises:
        ControlUnavailable: if `pool` is not larger than `like`, if they share a neuron, or if `like` is empty.
        RequestError: if the sets belong to different networks or sites.
    """
    pools = _pool_of_set(pool, like)
    return _drawn(like, pools, pool.name, draw, weights_sha256, seeded_by=_content(pool))


@dataclass(frozen=True)
class _Pool:
    """What a control draws from one stratum."""

    name: str
    size: int
    """Number of neurons to draw."""
    flat: Int[np.ndarray, " neuron"]
    """The neurons to draw from, none of them in the set."""


def _pools(like: NeuronSet, kind: str, activation: Float[np.ndarray, "layer neuron"] | None) -> list[_Pool]:
    """What a control draws from each stratum that the set touches."""
    stratum = strata(kind, like.shape, activation).reshape(-1)
    others = ~like.mask().reshape(-1)
    names = {"uniform": "the network", "layer": "layer {}", "activation": "activation bin {}"}
    found = [
        _Pool(names[kind].format(number), int(size), np.flatnonzero(others & (stratum == number)))
        for number, size in zip(*np.unique(stratum[like.flat], return_counts=True), strict=True)
    ]
    return _require_choice(found, like, kind)


def _pool_of_set(pool: NeuronSet, like: NeuronSet) -> list[_Pool]:
    """What a subset of `pool` is drawn from."""
    if shared := len(pool & like):
        raise ControlUnavailable(
            f"set {like.name!r} has no control of kind {pool.name!r}: the two sets must share no neuron, found {shared}"
        )
    return _require_choice([_Pool(f"set {pool.name!r}", len(like), pool.flat)], like, pool.name)


def _require_choice(pools: list[_Pool], like: NeuronSet, kind: str) -> list[_Pool]:
    if not len(like):
        raise ControlUnavailable(f"set {like.name!r} has no control of kind {kind!r}: it must have neurons, found 0")
    for pool in pools:
        if len(pool.flat) < pool.size:
            raise ControlUnavailable(
                f"set {like.name!r} has no control of kind {kind!r}: {pool.name} must hold at least {pool.size:,} "
                f"neurons outside the set, found {len(pool.flat):,}"
            )
    if all(len(pool.flat) == pool.size for pool in pools):
        where = ", ".join(pool.name for pool in pools)
        raise ControlUnavailable(
            f"set {like.name!r} has no random control of kind {kind!r}: {where} must hold more than {len(like):,} "
            f"neurons outside the set, found {sum(len(pool.flat) for pool in pools):,}; all draws would be the same"
        )
    return pools


def _drawn(
    like: NeuronSet, pools: list[_Pool], control: str, draw: int, weights_sha256: str, *, seeded_by: list[object]
) -> NeuronSet:
    seed = hashlib.sha256(json.dumps([weights_sha256, _content(like), seeded_by, draw]).encode()).hexdigest()
    random = np.random.default_rng(int(seed, 16))
    flat = np.concatenate([random.choice(pool.flat, size=pool.size, replace=False) for pool in pools])
    origin = {"control_of": like.name, "control": control, "draw": draw, "weights_sha256": weights_sha256, "seed": seed}
    return NeuronSet(f"{control}-{draw}", like.site, *like.shape, np.sort(flat), origin)


def _content(neurons: NeuronSet) -> list[object]:
    """What tells sets apart, whatever their names."""
    return [neurons.site, neurons.shape, neurons.flat.tolist()]
