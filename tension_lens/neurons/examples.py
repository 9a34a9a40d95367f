"""The top-examples index: for every neuron the few comparisons, and the token of each, at which it is most active."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tension_lens.artifacts.files import atomic_write
from tension_lens.artifacts.layout import EXAMPLES_FILE
from tension_lens.constants import SIDES
from tension_lens.errors import RequestError

TENSORS = {"value": np.float32, "item": np.int32, "side": np.int8, "response": np.int16, "position": np.int32}
FIELDS = ("values", "items", "sides", "responses", "positions")
_METADATA_KEY = "tension_lens"
_METADATA = {"site", "scope", "data", "data_sha256", "comparisons", "model", "weights_sha256"}


@dataclass(frozen=True)
class Example:
    """One token at which a neuron is highly active."""

    value: float
    """The signed activation at the token."""
    item: int
    """Index of the comparison in its dataset."""
    side: str
    response: int
    """Index of the response within its side."""
    position: int
    """Index of the token in the prompt with its response, before truncation."""


@dataclass(frozen=True)
class TopExamples:
    """The examples of every neuron of one model over one dataset. Arrays are [layer, neuron, rank], best first."""

    values: Float[np.ndarray, "layer neuron rank"]
    items: Int[np.ndarray, "layer neuron rank"]
    """-1 if there were fewer comparisons than ranks."""
    sides: Int[np.ndarray, "layer neuron rank"]
    """Index into `SIDES`."""
    responses: Int[np.ndarray, "layer neuron rank"]
    positions: Int[np.ndarray, "layer neuron rank"]
    metadata: dict[str, str]
    """`site`, `scope`, `data`, `data_sha256`, `comparisons` (how many were read), `model` and `weights_sha256`."""

    def of(self, layer: int, neuron: int) -> list[Example]:
        """The examples of one neuron, most active first, at most one per comparison."""
        columns = [getattr(self, name) for name in FIELDS]
        rows = zip(*(column[layer, neuron].tolist() for column in columns), strict=True)
        return [Example(value, item, SIDES[side], *rest) for value, item, side, *rest in rows if item >= 0]

    def save(self, folder: Path) -> None:
        """Write `examples.safetensors` into a folder."""
        columns = [getattr(self, name) for name in FIELDS]
        tensors = {
            name: np.ascontiguousarray(column.astype(kind))
            for (name, kind), column in zip(TENSORS.items(), columns, strict=True)
        }
        # One entry, since the library writes several in an order that varies between runs.
        metadata = {_METADATA_KEY: json.dumps(self.metadata, sort_keys=True)}
        with atomic_write(folder / EXAMPLES_FILE) as temporary:
            temporary.write_bytes(save(tensors, metadata=metadata))

    @classmethod
    def load(cls, folder: Path) -> "TopExamples":
        """Read the index from a folder.

        Raises:
            RequestError: if there is none or the file is damaged.
        """
        path = folder / EXAMPLES_FILE
        if not path.is_file():
            raise RequestError(f"no examples in {folder}; run tension_lens.score with --top-examples K to add them")
        try:
            with safe_open(path, framework="np") as stored:
                metadata = json.loads((stored.metadata() or {})[_METADATA_KEY])
                columns = [stored.get_tensor(name) for name in TENSORS]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise RequestError(f"{path} is damaged: {error}") from error
        if missing := sorted(_METADATA - set(metadata)):
            raise RequestError(f"{path} does not say its {', '.join(missing)}; score again with --top-examples")
        if len({column.shape for column in columns}) != 1 or columns[0].ndim != 3:
            raise RequestError(f"{path}: every tensor must have the shape [n_layers, d_mlp, K]")
        return cls(**dict(zip(FIELDS, columns, strict=True)), metadata=metadata)
