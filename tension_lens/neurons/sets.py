"""Sets of MLP neurons: exact top-p selection, algebra, partition, overlap against chance, depth."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tension_lens.artifacts.files import read_json, write_json
from tension_lens.constants import PARTS, SITES
from tension_lens.errors import RequestError


@dataclass(frozen=True)
class NeuronSet:
    """A set of neurons of one network shape, read at one site. `|`, `&` and `-` work as for sets."""

    name: str
    site: str
    """`post` or `gate`: where the neurons were ranked, and where mean ablation writes."""
    n_layers: int
    d_mlp: int
    neurons: tuple[tuple[int, int], ...]
    """(layer, index) pairs, sorted, each once."""
    origin: dict[str, Any] = field(default_factory=dict, compare=False)
    """How the set was made."""

    def __post_init__(self) -> None:
        if self.site not in SITES:
            raise RequestError(f"neuron set {self.name!r}: site must be one of {', '.join(SITES)}, found {self.site!r}")
        if list(self.neurons) != sorted(set(self.neurons)):
            raise RequestError(f"neuron set {self.name!r}: neurons must be sorted and each must stand once")
        for layer, index in self.neurons:
            if not (0 <= layer < self.n_layers and 0 <= index < self.d_mlp):
                raise RequestError(
                    f"neuron set {self.name!r}: neuron [{layer}, {index}] lies outside {self.n_layers} layers "
                    f"of {self.d_mlp} neurons"
                )

    @classmethod
    def of(
        cls, name: str, site: str, shape: tuple[int, int], neurons: Iterable[tuple[int, int]], **origin: Any
    ) -> "NeuronSet":
        """A set from neurons in any order."""
        ordered = tuple(sorted({(int(layer), int(index)) for layer, index in neurons}))
        return cls(name, site, *shape, ordered, origin)

    @classmethod
    def load(cls, path: Path) -> "NeuronSet":
        """Read a NeuronSet JSON file.

        Raises:
            RequestError: if it is not one, naming what is wrong.
        """
        content = read_json(path, "neuron set")
        try:
            neurons = tuple((_whole(layer), _whole(index)) for layer, index in content["neurons"])
            return cls(
                str(content["name"]),
                str(content["site"]),
                _whole(content["n_layers"]),
                _whole(content["d_mlp"]),
                neurons,
                dict(content.get("origin", {})),
            )
        except RequestError as error:
            raise RequestError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(f"{path} is not a neuron set: {type(error).__name__} {error}") from error

    def save(self, path: Path) -> None:
        """Write the set as NeuronSet JSON."""
        content = {
            "name": self.name,
            "site": self.site,
            "n_layers": self.n_layers,
            "d_mlp": self.d_mlp,
            "neurons": [list(neuron) for neuron in self.neurons],
            "origin": self.origin,
        }
        write_json(path, content)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_layers, d_mlp)."""
        return self.n_layers, self.d_mlp

    def __len__(self) -> int:
        return len(self.neurons)

    def require_fits(self, n_layers: int, d_mlp: int, what: str) -> None:
        """Check that the set can belong to a network of that shape.

        Raises:
            RequestError: if not.
        """
        if self.shape != (n_layers, d_mlp):
            raise RequestError(
                f"neuron set {self.name!r} is of a network with {self.n_layers} layers of {self.d_mlp} neurons, "
                f"{what} has {n_layers} of {d_mlp}"
            )

    def _combined(self, other: "NeuronSet", symbol: str, neurons: Iterable[tuple[int, int]]) -> "NeuronSet":
        other.require_fits(*self.shape, what=f"set {self.name!r}")
        if self.site != other.site:
            raise RequestError(
                f"neuron sets {self.name!r} and {other.name!r} were ranked at different sites, "
                f"{self.site} and {other.site}"
            )
        origin = {"operation": symbol, "left": self.origin, "right": other.origin}
        return NeuronSet.of(f"{self.name} {symbol} {other.name}", self.site, self.shape, neurons, **origin)

    def __or__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "|", {*self.neurons, *other.neurons})

    def __and__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "&", {*self.neurons} & {*other.neurons})

    def __sub__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "-", {*self.neurons} - {*other.neurons})

    def renamed(self, name: str) -> "NeuronSet":
        """The same neurons under another name."""
        return NeuronSet(name, self.site, self.n_layers, self.d_mlp, self.neurons, self.origin)

    def by_layer(self) -> dict[int, list[int]]:
        """Indices of the set's neurons in each layer that has any."""
        layers: dict[int, list[int]] = {}
        for layer, index in self.neurons:
            layers.setdefault(layer, []).append(index)
        return layers


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"must be a whole number, found {number!r}")
    return number


def require_percent(top: float) -> float:
    """The percentage itself, if it lies in (0, 100].

    Raises:
        RequestError: if it does not.
    """
    if not 0 < top <= 100:
        raise RequestError(f"the share of neurons to take must lie in (0, 100] percent, found {top:g}")
    return top


def top_percent(
    importance: Float[np.ndarray, "layer neuron"], top: float, name: str, site: str, **origin: Any
) -> NeuronSet:
    """The `top` % most important neurons: exactly round(top/100 · n_layers · d_mlp) of them.

    Highest importance first, ties broken by (layer, index). Paper section 2.3 takes `>= percentile` instead, which
    takes more where scores are tied (all neurons where the threshold is a common value).

    Raises:
        RequestError: if `top` is outside (0, 100] or an importance is not a number.
    """
    count = round(require_percent(top) / 100 * importance.size)
    if np.isnan(importance).any():
        raise RequestError(f"importance has {int(np.isnan(importance).sum())} values that are not numbers")
    order = np.argsort(-importance.reshape(-1), kind="stable")[:count]
    chosen = np.stack(np.unravel_index(order, importance.shape), axis=1).tolist()
    return NeuronSet.of(name, site, importance.shape, map(tuple, chosen), top_percent=top, **origin)


def partition(helpful: NeuronSet, harmless: NeuronSet) -> dict[str, NeuronSet]:
    """`helpful_only` = helpful − harmless, `harmless_only` = harmless − helpful, `shared` = helpful ∩ harmless.

    Raises:
        RequestError: if the sets are of different networks or sites.
    """
    parts = (helpful - harmless, harmless - helpful, helpful & harmless)
    return {name: part.renamed(name) for name, part in zip(PARTS, parts, strict=True)}
