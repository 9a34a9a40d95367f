"""Running sums of activations, from padded batches or packs, and the statistics they end in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.constants import CHANGE_STATISTIC, SIDES
from tension_lens.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROWS_AT_ONCE = 256
"""How many tokens' activations of a pack are summed at a time: so few that they stay in the processor's cache."""


class ActivationAccumulator:
    """Running sums from which the statistics of one side are made. Sums are float64; memory is O(neurons).

    Args:
        shape: (n_layers, d_mlp).
        with_change: whether activations of a base model are given too.
    """

    def __init__(self, shape: tuple[int, int], with_change: bool, device: "torch.device | str" = "cpu") -> None:
        import torch

        self.tokens = 0
        """Tokens seen, counted once a layer's update of layer 0."""
        names = ["sum", "sum_abs", "sum_square", "positive", *(["sum_square_change"] if with_change else [])]
        self.sums = {name: torch.zeros(shape, dtype=torch.float64, device=device) for name in names}
        self.maximum = torch.full(shape, -torch.inf, device=device)

    def update(
        self,
        layer: int,
        activations: 'Float[Tensor, "token d_mlp"]',
        base: 'Float[Tensor, "token d_mlp"] | None' = None,
    ) -> None:
        """Add one layer's activations at the tokens in scope."""
        import torch

        if layer == 0:
            self.tokens += len(activations)
        if not len(activations):
            return
        values = activations.float()
        wide = torch.float64
        self.sums["sum"][layer] += values.sum(0, dtype=wide)
        self.sums["sum_abs"][layer] += values.abs().sum(0, dtype=wide)
        self.sums["sum_square"][layer] += values.square().sum(0, dtype=wide)
        self.sums["positive"][layer] += (values > 0).sum(0)
        self.maximum[layer] = torch.maximum(self.maximum[layer], values.amax(0))
        if base is not None:
            self.sums["sum_square_change"][layer] += (values - base.float()).square().sum(0, dtype=wide)

    def merge(self, other: "ActivationAccumulator") -> None:
        """Add what another accumulator has seen, as if this one had seen it."""
        import torch

        self.tokens += other.tokens
        for name, value in other.sums.items():
            self.sums[name] += value
        self.maximum = torch.maximum(self.maximum, other.maximum)

    def finish(self) -> dict[str, Float[np.ndarray, "layer neuron"]]:
        """The statistics over all tokens seen, float32.

        mean = Σa/n, mean_abs = Σ|a|/n, rms = √(Σa²/n), frequency = #(a > 0)/n, max, and with a base model
        change_rms = √(Σ(a − a_base)²/n), for n tokens.

        Raises:
            RequestError: if no token was in scope.
        """
        if not self.tokens:
            raise RequestError("no token is in scope; with --scope response every item needs a prompt and a response")
        means = {name: (value / self.tokens).cpu().numpy() for name, value in self.sums.items()}
        statistics = {
            "mean": means["sum"],
            "mean_abs": means["sum_abs"],
            "rms": np.sqrt(means["sum_square"]),
            "frequency": means["positive"],
            "max": self.maximum.cpu().numpy(),
        }
        if "sum_square_change" in means:
            statistics[CHANGE_STATISTIC] = np.sqrt(means["sum_square_change"])
        return {name: value.astype(np.float32) for name, value in statistics.items()}


def add_padded(
    sides: dict[str, ActivationAccumulator],
    masks: "dict[str, Bool[Tensor, 'batch pos']]",
    layer: int,
    activations: "Float[Tensor, 'batch pos d_mlp']",
    base: "Float[Tensor, 'batch pos d_mlp'] | None",
) -> None:
    """Add one layer's activations of a padded batch at each side's tokens in scope."""
    for side, mask in masks.items():
        sides[side].update(layer, activations[mask], None if base is None else base[mask])


@dataclass(frozen=True)
class Block:
    """Some rows of a pack that the same sides have in scope."""

    rows: "slice | Tensor"
    sides: tuple[str, ...]
    times: "Float[Tensor, 'side row']"
    """How often each side has each row."""


def blocks_of(weights: "Float[Tensor, 'side row']") -> list[Block]:
    """The rows that any side (in the order of SIDES) has in scope, in blocks."""
    found = []
    for pattern in ([True, False], [True, True], [False, True]):
        alike = (weights > 0) == weights.new_tensor(pattern)[:, None].bool()
        mine = [number for number, has in enumerate(pattern) if has]
        every = alike.all(0).nonzero()[:, 0]
        for start in range(0, len(every), ROWS_AT_ONCE):
            rows = every[start : start + ROWS_AT_ONCE]
            first, last = int(rows[0]), int(rows[-1])
            # Rows that stand together are read where they are.
            where = slice(first, last + 1) if last - first + 1 == len(rows) else rows
            found.append(Block(where, tuple(SIDES[number] for number in mine), weights[mine][:, rows]))
    return found


def add_packed(
    sides: dict[str, ActivationAccumulator],
    blocks: Sequence[Block],
    layer: int,
    activations: "Float[Tensor, '1 row d_mlp']",
    base: "Float[Tensor, '1 row d_mlp'] | None",
) -> None:
    """Add one layer's activations of a pack, each row as often as each side has it in scope.

    A row is read once, whatever the number of texts it belongs to. Sums are float32 within a block and float64 over
    blocks.
    """
    import torch

    if layer == 0:
        for block in blocks:
            for side, times in zip(block.sides, block.times, strict=True):
                sides[side].tokens += int(times.sum())
    scratch = torch.empty(ROWS_AT_ONCE, activations.shape[-1], device=activations.device)
    for block in blocks:
        values = activations[0, block.rows].float()
        buffer = scratch[: len(values)]
        sums = {
            "sum": block.times @ values,
            "sum_abs": block.times @ torch.abs(values, out=buffer),
            "sum_square": block.times @ torch.mul(values, values, out=buffer),
            "positive": block.times @ torch.gt(values, 0, out=buffer),
        }
        if base is not None:
            torch.sub(values, base[0, block.rows], out=buffer)
            sums["sum_square_change"] = block.times @ buffer.square_()
        largest = values.amax(0)
        for number, side in enumerate(block.sides):
            for name, found in sums.items():
                sides[side].sums[name][layer] += found[number]
            maximum = sides[side].maximum[layer]
            torch.maximum(maximum, largest, out=maximum)
