"""Sets of MLP neurons: their file, set algebra, exact selection of the top percent, and the partition of two sets."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tension_lens.artifacts.files import read_json, write_json
from tension_lens.constants import PARTS, SITES
from tension_lens.errors import RequestError


@dataclass(frozen=True, eq=False)
class NeuronSet:
    """A set of neurons of one network shape, ranked at one site. `|`, `&`, `-`, `in` and `==` work as for sets."""

    name: str
    site: str
    """`post` or `gate`: where the neurons were ranked, and where mean ablation writes."""
    n_layers: int
    d_mlp: int
    flat: Int[np.ndarray, " neuron"]
    """layer · d_mlp + index of each neuron, in ascending order, without duplicates."""
    origin: dict[str, Any] = field(default_factory=dict)
    """How the set was made; not part of equality."""

    def __post_init__(self) -> None:
        if self.site not in SITES:
            raise RequestError(f"neuron set {self.name!r}: site must be one of {', '.join(SITES)}, found {self.site!r}")
        if (np.diff(self.flat) <= 0).any():
            raise RequestError(f"neuron set {self.name!r}: neurons must be sorted and unique")

    @classmethod
    def of(
        cls, name: str, site: str, shape: tuple[int, int], neurons: Iterable[tuple[int, int]], **origin: Any
    ) -> "NeuronSet":
        """A set from (layer, index) pairs in any order.

        Raises:
            RequestError: if a neuron lies outside the network.
        """
        pairs = np.array(list(neurons), dtype=np.int64).reshape(-1, 2)
        outside = ((pairs < 0) | (pairs >= shape)).any(axis=1)
        if outside.any():
            layer, index = pairs[outside][0]
            raise RequestError(
                f"neuron set {name!r}: neuron [{layer}, {index}] lies outside {shape[0]} layers of {shape[1]} neurons"
            )
        return cls(name, site, *shape, np.unique(pairs[:, 0] * shape[1] + pairs[:, 1]), origin)

    @classmethod
    def from_mask(cls, name: str, site: str, mask: Bool[np.ndarray, "layer neuron"], **origin: Any) -> "NeuronSet":
        """The set of the neurons at which a mask is true."""
        n_layers, d_mlp = mask.shape
        return cls(name, site, n_layers, d_mlp, np.flatnonzero(mask), origin)

    @classmethod
    def load(cls, path: Path | str) -> "NeuronSet":
        """Read a NeuronSet JSON file.

        Raises:
            RequestError: if it is not one.
        """
        content = read_json(Path(path), "neuron set")
        try:
            pairs = [(_whole(layer), _whole(index)) for layer, index in content["neurons"]]
            shape = _whole(content["n_layers"]), _whole(content["d_mlp"])
            name, site = str(content["name"]), str(content["site"])
            if pairs != sorted(set(pairs)):
                raise RequestError(f"neuron set {name!r}: neurons must be sorted and unique")
            return replace(cls.of(name, site, shape, pairs), origin=dict(content.get("origin", {})))
        except RequestError as error:
            raise RequestError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(f"{path} is not a neuron set: {type(error).__name__} {error}") from error

    def save(self, path: Path | str) -> None:
        """Write the set as NeuronSet JSON."""
        content = {
            "name": self.name,
            "site": self.site,
            "n_layers": self.n_layers,
            "d_mlp": self.d_mlp,
            "neurons": self.neurons.tolist(),
            "origin": self.origin,
        }
        write_json(Path(path), content)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_layers, d_mlp)."""
        return self.n_layers, self.d_mlp

    @property
    def layers(self) -> Int[np.ndarray, " neuron"]:
        """The layer of each neuron."""
        return self.flat // self.d_mlp

    @property
    def indices(self) -> Int[np.ndarray, " neuron"]:
        """The index of each neuron within its layer."""
        return self.flat % self.d_mlp

    @property
    def neurons(self) -> Int[np.ndarray, "neuron 2"]:
        """(layer, index) of each neuron."""
        return np.stack([self.layers, self.indices], axis=1)

    def mask(self) -> Bool[np.ndarray, "layer neuron"]:
        """Which neurons of the network are in the set."""
        mask = np.zeros(self.shape, dtype=bool)
        mask.flat[self.flat] = True
        return mask

    def by_layer(self) -> dict[int, Int[np.ndarray, " neuron"]]:
        """Indices of the set's neurons by layer, for layers with at least one."""
        return {int(layer): self.indices[self.layers == layer] for layer in np.unique(self.layers)}

    def __len__(self) -> int:
        return len(self.flat)

    def __contains__(self, neuron: tuple[int, int]) -> bool:
        return bool(np.isin(neuron[0] * self.d_mlp + neuron[1], self.flat))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NeuronSet):
            return NotImplemented
        same = (self.name, self.site, self.shape) == (other.name, other.site, other.shape)
        return same and np.array_equal(self.flat, other.flat)

    def __hash__(self) -> int:
        return hash((self.name, self.site, self.shape, self.flat.tobytes()))

    def __repr__(self) -> str:
        return f"NeuronSet({self.name!r}, {len(self):,} of {self.n_layers} x {self.d_mlp:,} neurons, site {self.site})"

    def require_fits(self, n_layers: int, d_mlp: int, what: str) -> None:
        """Check that the set belongs to a network of this shape.

        Raises:
            RequestError: if it does not.
        """
        if self.shape != (n_layers, d_mlp):
            raise RequestError(
                f"neuron set {self.name!r} belongs to a network with {self.n_layers} layers of {self.d_mlp} neurons, "
                f"{what} has {n_layers} of {d_mlp}"
            )

    def _combined(self, other: "NeuronSet", symbol: str, flat: Int[np.ndarray, " neuron"]) -> "NeuronSet":
        other.require_fits(*self.shape, what=f"set {self.name!r}")
        if self.site != other.site:
            raise RequestError(
                f"neuron sets {self.name!r} and {other.name!r} were ranked at different sites, "
                f"{self.site} and {other.site}"
            )
        origin = {"operation": symbol, "left": self.origin, "right": other.origin}
        return NeuronSet(f"{self.name} {symbol} {other.name}", self.site, *self.shape, flat, origin)

    def __or__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "|", np.union1d(self.flat, other.flat))

    def __and__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "&", np.intersect1d(self.flat, other.flat, assume_unique=True))

    def __sub__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "-", np.setdiff1d(self.flat, other.flat, assume_unique=True))

    def renamed(self, name: str) -> "NeuronSet":
        """The same neurons under another name."""
        return replace(self, name=name)


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"must be a whole number, found {number!r}")
    return number


def require_percent(top: float) -> float:
    """Return the percentage.

    Raises:
        RequestError: if it is outside (0, 100].
    """
    if not 0 < top <= 100:
        raise RequestError(f"the share of neurons to select must lie in (0, 100] percent, found {top:g}")
    return top


def top_percent(
    importance: Float[np.ndarray, "layer neuron"], top: float, name: str, site: str, **origin: Any
) -> NeuronSet:
    """The `top` % most important neurons: exactly round(top/100 · n_layers · d_mlp) of them.

    Ties are broken by (layer, index). Paper section 2.3 selects `>= percentile` instead, which selects more neurons if
    importances are tied: all of them if the threshold is a common value.

    Raises:
        RequestError: if `top` is outside (0, 100] or an importance is NaN.
    """
    count = round(require_percent(top) / 100 * importance.size)
    if missing := int(np.isnan(importance).sum()):
        raise RequestError(f"importance must be a number for every neuron, found {missing} NaN")
    order = np.argsort(-importance.reshape(-1), kind="stable")[:count]
    n_layers, d_mlp = importance.shape
    return NeuronSet(name, site, n_layers, d_mlp, np.sort(order), {"top_percent": top, **origin})


def partition(helpful: NeuronSet, harmless: NeuronSet) -> dict[str, NeuronSet]:
    """`helpful_only` = helpful − harmless, `harmless_only` = harmless − helpful, `shared` = helpful ∩ harmless.

    Raises:
        RequestError: if the sets belong to different networks or sites.
    """
    parts = (helpful - harmless, harmless - helpful, helpful & harmless)
    return {name: part.renamed(name) for name, part in zip(PARTS, parts, strict=True)}
