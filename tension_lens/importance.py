"""Neuron importance: statistics of MLP activations, streamed over preference data, and the scores they end in."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from tension_lens.accumulator import ActivationAccumulator, add_packed, add_padded, blocks_of
from tension_lens.errors import RequestError
from tension_lens.records import atomic_write
from tension_lens.vocabulary import OPTIONAL_STATISTICS, SIDES, STATISTICS, require_one_of

if TYPE_CHECKING:
    from torch import Tensor

    from tension_lens.examples import ExampleAccumulator, Place
    from tension_lens.packing import Batch, TokenizedText
    from tension_lens.packs import Pack
    from tension_lens.reward_model import HookedRewardModel

SCORES_FILE = "scores.safetensors"
Add = Callable[[int, "Tensor", "Tensor | None"], None]
"""Adds (layer, activations of a batch, the base model's activations or None) to the statistics."""


@dataclass(frozen=True)
class NeuronScores:
    """Statistics of every MLP neuron on the chosen and on the rejected side."""

    values: dict[str, Float[np.ndarray, "layer neuron"]]
    """float32, by `<side>/<statistic>`."""
    site: str
    scope: str
    metadata: dict[str, str]
    """What the file says beside site and scope: model, weights and data hashes, token and sequence counts."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """The statistics these scores hold."""
        return tuple(key.split("/")[1] for key in self.values if key.startswith("chosen/"))

    @property
    def shape(self) -> tuple[int, int]:
        """(n_layers, d_mlp)."""
        layers, neurons = next(iter(self.values.values())).shape
        return layers, neurons

    def sides(self, statistic: str) -> tuple[Float[np.ndarray, "layer neuron"], Float[np.ndarray, "layer neuron"]]:
        """A statistic on the chosen and on the rejected side, float64.

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
        """½ (statistic on chosen + statistic on rejected), float64; paper section 2.2.

        Raises:
            RequestError: if the scores do not hold that statistic.
        """
        chosen, rejected = self.sides(statistic)
        importance: Float[np.ndarray, "layer neuron"] = (chosen + rejected) / 2
        return importance

    def require_of_model(self, weights_sha256: str, folder: Path, model: str | Path) -> None:
        """Check that these scores, read from a folder, are of the model with those weights.

        Raises:
            RequestError: if they are not.
        """
        if self.metadata.get("weights_sha256") != weights_sha256:
            raise RequestError(f"{folder} holds scores of another model than {model}")

    def save(self, folder: Path) -> None:
        """Write `scores.safetensors` into a folder."""
        from safetensors.numpy import save

        metadata = {**self.metadata, "site": self.site, "scope": self.scope}
        with atomic_write(folder / SCORES_FILE) as temporary:
            temporary.write_bytes(_ordered(save(self.values, metadata=metadata)))

    @classmethod
    def load(cls, folder: Path) -> "NeuronScores":
        """Read the scores in a folder.

        Raises:
            RequestError: if there are none or the file is damaged or lacks what a scores file must hold.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / SCORES_FILE
        if not path.is_file():
            raise RequestError(f"no scores in {folder}: {SCORES_FILE} is missing; run tension_lens.score first")
        try:
            with safe_open(path, framework="np") as stored:
                metadata = dict(sorted((stored.metadata() or {}).items()))
                values = {key: stored.get_tensor(key) for key in sorted(stored.keys())}
        except (SafetensorError, OSError) as error:
            raise RequestError(f"{path} is damaged: {error}") from error
        # A statistic is of both sides: one that is optional must be whole where there is any of it.
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
    # The same keys and values in another order are as long as before; spaces make up for what JSON writers differ in.
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    return file[:8] + text + file[8 + length :]


def in_scope(batch: "Batch", scope: str) -> dict[str, "Tensor"]:
    """Which tokens of a batch count, for each side: Bool[Tensor, "batch pos"]."""
    import torch

    first, end = torch.tensor([text.in_scope(scope) for text in batch.texts], device=batch.tokens.device).T[..., None]
    positions = batch.positions()
    mask = (positions >= first) & (positions < end)
    of_side = {side: [text.side == side for text in batch.texts] for side in SIDES}
    return {side: mask & torch.tensor(own, device=mask.device)[:, None] for side, own in of_side.items()}


def stream_statistics(
    model: "HookedRewardModel",
    texts: "Sequence[TokenizedText]",
    *,
    site: str,
    scope: str,
    token_budget: int,
    base: "HookedRewardModel | None" = None,
    examples: "ExampleAccumulator | None" = None,
) -> Iterator[tuple[int, dict[str, ActivationAccumulator]]]:
    """Run texts through the model in batches and accumulate the statistics of every neuron in one pass.

    Yields after every batch (tokens done in it, the accumulators by side); the last yield has seen everything. Memory
    is that of one batch and O(neurons), whatever the number of items.

    Args:
        model: the reward model.
        texts: what to run, of both sides, in any order.
        site: `post` or `gate`.
        scope: `all`, `response` or `last`.
        token_budget: most tokens of a batch, padding and distinct tokens counted.
        base: the backbone before fine-tuning, of the same shape, to add `change_rms`.
        examples: where each neuron is most active, found in the same pass.
    """
    from tension_lens.engine import plan
    from tension_lens.examples import places_of
    from tension_lens.packing import padded
    from tension_lens.packs import Pack

    shape = (model.n_layers, model.d_mlp)
    sides = {side: ActivationAccumulator(shape, base is not None, model.device) for side in SIDES}
    for batch in plan([model] if base is None else [model, base], texts, token_budget):
        if isinstance(batch, Pack) and not batch.by_text:
            adds: list[Add] = [partial(add_packed, sides, blocks_of(batch.weights(scope)))]
            rows = batch.rows
        else:
            shown = padded(batch.texts, model.pad_id, model.device)
            adds = [partial(add_padded, sides, in_scope(shown, scope))]
            rows = tuple(np.arange(shown.tokens.numel()).reshape(shown.tokens.shape))
        if examples is not None:
            adds.append(_looking(examples, places_of(batch.texts, rows, scope)))
        _run_through_layers(model, base, batch, site, adds)
        yield sum(len(text.ids) for text in batch.texts), sides


def _looking(examples: "ExampleAccumulator", places: "Sequence[Sequence[Place]]") -> Add:
    return lambda layer, activations, _: examples.update(layer, activations.flatten(0, 1), places)


def _run_through_layers(
    model: "HookedRewardModel", base: "HookedRewardModel | None", batch: "Batch | Pack", site: str, adds: Sequence[Add]
) -> None:
    from tension_lens.hooks import reading

    before: dict[int, Tensor] = {}

    def keep(layer: int, activations: "Tensor") -> None:
        before[layer] = activations.clone()

    if base is not None:
        with reading(base.hooked, site, keep):
            base.activate(batch)

    def see(layer: int, activations: "Tensor") -> None:
        of_base = before.pop(layer, None)
        for add in adds:
            add(layer, activations, of_base)

    with reading(model.hooked, site, see):
        model.activate(batch)


def finish_scores(
    sides: dict[str, ActivationAccumulator], site: str, scope: str, metadata: dict[str, str]
) -> NeuronScores:
    """The scores that the accumulators of both sides end in, with their token counts in the metadata."""
    values = {f"{side}/{name}": value for side in SIDES for name, value in sides[side].finish().items()}
    counts = {f"{side}_tokens": str(sides[side].tokens) for side in SIDES}
    return NeuronScores(values, site, scope, {**metadata, **counts})
