"""Neuron importance: statistics of MLP activations, streamed over preference data, and the scores they end in."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tension_lens.constants import SIDES
from tension_lens.passes.accumulator import ActivationAccumulator, add_packed, add_padded, blocks_of

if TYPE_CHECKING:
    from torch import Tensor

    from tension_lens.model.packing import Pack
    from tension_lens.model.padding import Batch
    from tension_lens.model.reward_model import HookedRewardModel
    from tension_lens.model.tokenization import TokenizedText
    from tension_lens.passes.top_examples import ExampleAccumulator, Place
from tension_lens.neurons.scores import NeuronScores

Add = Callable[[int, "Tensor", "Tensor | None"], None]
"""Adds (layer, activations of a batch, the base model's activations or None) to the statistics."""


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
    from tension_lens.model.batching import plan
    from tension_lens.model.packing import Pack
    from tension_lens.model.padding import padded
    from tension_lens.passes.top_examples import places_of

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
    from tension_lens.model.hooks import reading

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
