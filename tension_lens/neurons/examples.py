"""The top-examples index: of every neuron the few comparisons, and the token of each, at which it is most active."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from tension_lens.artifacts.files import atomic_write
from tension_lens.artifacts.layout import EXAMPLES_FILE
from tension_lens.constants import SIDES
from tension_lens.errors import RequestError

if TYPE_CHECKING:
    pass


_TENSORS = {"value": np.float32, "item": np.int32, "side": np.int8, "response": np.int16, "position": np.int32}


_FIELDS = ("values", "items", "sides", "responses", "positions")


_METADATA_KEY = "tension_lens"


_SAID = {"site", "scope", "data", "data_sha256", "comparisons", "model", "weights_sha256"}


@dataclass(frozen=True)
class Example:
    """One place at which a neuron is very active."""

    value: float
    """The activation there, with its sign."""
    item: int
    """Index of the comparison in its source."""
    side: str
    response: int
    """Which of the side's responses it is, from 0."""
    position: int
    """Index of the token in prompt and response."""


@dataclass(frozen=True)
class TopExamples:
    """The index of every neuron of one model over one data set. Arrays are [layer, neuron, rank], best first."""

    values: Float[np.ndarray, "layer neuron rank"]
    items: Int[np.ndarray, "layer neuron rank"]
    """-1 where there were fewer comparisons than ranks."""
    sides: Int[np.ndarray, "layer neuron rank"]
    """Index into `SIDES`."""
    responses: Int[np.ndarray, "layer neuron rank"]
    positions: Int[np.ndarray, "layer neuron rank"]
    metadata: dict[str, str]
    """What the index is of: `site`, `scope`, `data`, `data_sha256`, `comparisons` (how many were read), `model`,
    `weights_sha256`."""

    def of(self, layer: int, neuron: int) -> list[Example]:
        """The examples of one neuron, most active first, each of another comparison."""
        columns = [getattr(self, name) for name in _FIELDS]
        rows = zip(*(column[layer, neuron].tolist() for column in columns), strict=True)
        return [Example(value, item, SIDES[side], *rest) for value, item, side, *rest in rows if item >= 0]

    def save(self, folder: Path) -> None:
        """Write `examples.safetensors` into a folder."""
        from safetensors.numpy import save

        columns = [getattr(self, name) for name in _FIELDS]
        tensors = {
            name: np.ascontiguousarray(column.astype(kind))
            for (name, kind), column in zip(_TENSORS.items(), columns, strict=True)
        }
        # One entry, since the library writes several in an order that changes from run to run.
        said = {_METADATA_KEY: json.dumps(self.metadata, sort_keys=True)}
        with atomic_write(folder / EXAMPLES_FILE) as temporary:
            temporary.write_bytes(save(tensors, metadata=said))

    @classmethod
    def load(cls, folder: Path) -> "TopExamples":
        """Read the index in a folder.

        Raises:
            RequestError: if there is none or the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / EXAMPLES_FILE
        if not path.is_file():
            raise RequestError(f"no examples in {folder}; run tension_lens.score with --top-examples K to add them")
        try:
            with safe_open(path, framework="np") as stored:
                metadata = json.loads((stored.metadata() or {})[_METADATA_KEY])
                columns = [stored.get_tensor(name) for name in _TENSORS]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise RequestError(f"{path} is damaged: {error}") from error
        if missing := sorted(_SAID - set(metadata)):
            raise RequestError(f"{path} does not say its {', '.join(missing)}; score again with --top-examples")
        if len({column.shape for column in columns}) != 1 or columns[0].ndim != 3:
            raise RequestError(f"{path}: every tensor must have the shape [n_layers, d_mlp, K]")
        return cls(**dict(zip(_FIELDS, columns, strict=True)), metadata=metadata)
