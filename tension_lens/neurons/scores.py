"""Statistics of every MLP neuron on the chosen and the rejected side, and their file."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tension_lens.artifacts.files import atomic_write
from tension_lens.artifacts.layout import SCORES_FILE
from tension_lens.constants import OPTIONAL_STATISTICS, SIDES, STATISTICS, require_one_of
from tension_lens.errors import RequestError


@dataclass(frozen=True)
class NeuronScores:
    """Statistics of every MLP neuron on the chosen and on the rejected side."""

    values: dict[str, Float[np.ndarray, "layer neuron"]]
    """float32, by `<side>/<statistic>`."""
    site: str
    scope: str
    metadata: dict[str, str]
    """The file's other metadata: model, hashes of weights and data, counts of tokens and sequences."""

    def __repr__(self) -> str:
        layers, neurons = self.shape
        return f"NeuronScores({layers} x {neurons:,} neurons, site {self.site}: {', '.join(self.statistics)})"

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics that these scores hold."""
        return tuple(key.split("/")[1] for key in self.values if key.startswith("chosen/"))

    @property
    def shape(self) -> tuple[int, int]:
        """(n_layers, d_mlp)."""
        layers, neurons = next(iter(self.values.values())).shape
        return layers, neurons

    def sides(self, statistic: str) -> tuple[Float[np.ndarray, "layer neuron"], Float[np.ndarray, "layer neuron"]]:
        """A statistic on the chosen and on the rejected side, as float64.

        Raises:
            RequestError: if the scores do not hold that statistic.
        """
        if statistic in OPTIONAL_STATISTICS and statistic not in self.statistics:
            flag = OPTIONAL_STATISTICS[statistic]
            raise RequestError(f"the scores hold no {statistic}; run tension_lens.score with {flag} to add it")
        require_one_of("statistic", statistic, self.statistics)
        chosen, rejected = (self.values[f"{side}/{statistic}"].astype(np.float64) for side in SIDES)
        return chosen, rejected

    def importance(self, statistic: str) -> Float[np.ndarray, "layer neuron"]:
        """½ (statistic on chosen + statistic on rejected), as float64; paper section 2.2.

        Raises:
            RequestError: if the scores do not hold that statistic.
        """
        chosen, rejected = self.sides(statistic)
        importance: Float[np.ndarray, "layer neuron"] = (chosen + rejected) / 2
        return importance

    def require_of_model(self, weights_sha256: str, folder: Path, model: str | Path) -> None:
        """Check that these scores, read from `folder`, belong to the model with these weights.

        Raises:
            RequestError: if they do not.
        """
        if self.metadata.get("weights_sha256") != weights_sha256:
            raise RequestError(f"{folder} holds scores of another model than {model}")

    def save(self, folder: Path) -> None:
        """Write `scores.safetensors` into a folder."""
        metadata = {**self.metadata, "site": self.site, "scope": self.scope}
        with atomic_write(folder / SCORES_FILE) as temporary:
            temporary.write_bytes(_ordered(save(self.values, metadata=metadata)))

    @classmethod
    def load(cls, folder: Path) -> "NeuronScores":
        """Read the scores in a folder.

        Raises:
            RequestError: if there are none, or the file is damaged or incomplete.
        """
        path = folder / SCORES_FILE
        if not path.is_file():
            raise RequestError(f"no scores in {folder}: {SCORES_FILE} is missing; run tension_lens.score first")
        try:
            with safe_open(path, framework="np") as stored:
                metadata = dict(sorted((stored.metadata() or {}).items()))
                values = {key: stored.get_tensor(key) for key in sorted(stored.keys())}
        except (SafetensorError, OSError) as error:
            raise RequestError(f"{path} is damaged: {error}") from error
        # An optional statistic must be present on both sides or on neither.
        optional = {name for name in OPTIONAL_STATISTICS if any(f"{side}/{name}" in values for side in SIDES)}
        wanted = {f"{side}/{statistic}" for side in SIDES for statistic in {*STATISTICS, *optional}}
        if missing := sorted(wanted - set(values)):
            raise RequestError(f"{path} lacks the tensors {', '.join(missing)}")
        if len({value.shape for value in values.values()}) != 1 or next(iter(values.values())).ndim != 2:
            raise RequestError(f"{path}: every tensor must have the shape [n_layers, d_mlp]")
        if not {"site", "scope"} <= set(metadata):
            raise RequestError(f"{path} does not say its site and scope")
        return cls(values, metadata.pop("site"), metadata.pop("scope"), metadata)


def _ordered(file: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order; the library's order changes from run to run."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    # Reordering keeps the length; spaces make up for differences between JSON writers.
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    return file[:8] + text + file[8 + length :]
