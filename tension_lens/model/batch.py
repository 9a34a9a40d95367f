"""The batch that every forward pass takes: texts, their tokens, and where each token's activations are found."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tension_lens.constants import SIDES
from tension_lens.model.tokenization import TokenizedText

Rows = Int[np.ndarray, "_"]


@dataclass(frozen=True)
class Packing:
    """How the packed forward computes a batch: one column of tokens, shared prefixes once, no padding."""

    positions: Int[Tensor, " token"]
    """Position of each token in its text."""
    rows: tuple[Rows, ...]
    """Of each text the places of its tokens in the column, first to last."""
    spans: tuple[tuple[Rows, int], ...]
    """(rows, n): the last n of these rows attend, each to itself and the rows before it. Every row is among the last n
    of exactly one span."""
    by_text: bool
    """Whether no token is shared and hooks see activations as [text, pos, width], padded with zeros."""


@dataclass(frozen=True)
class Batch:
    """Texts that one forward pass computes."""

    texts: tuple[TokenizedText, ...]
    tokens: Int[Tensor, "*shape"]
    """[batch, pos], padded on the right, for the native forward; [token] for the packed one."""
    rows: tuple[Rows, ...]
    """Of each text the rows of its tokens in the activations that hooks see, flattened to [row, d_mlp]."""
    packing: Packing | None = None
    """None for the native forward pass."""

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts; a shared token counts once for each text."""
        return sum(len(text.ids) for text in self.texts)

    def pooled(self) -> Int[np.ndarray, " text"]:
        """The row at which each text's reward is read."""
        return np.array([rows[text.pooled] for rows, text in zip(self.rows, self.texts, strict=True)])

    def weights(self, scope: str) -> Float[Tensor, "side row"]:
        """How many texts of each side (in the order of SIDES) have each row in scope; 0 for padding.

        A shared row counts once for each text it belongs to.
        """
        size = 1 + max(int(rows.max()) for rows in self.rows)
        counts = np.zeros((len(SIDES), size), dtype=np.float32)
        for text, rows in zip(self.texts, self.rows, strict=True):
            first, end = text.in_scope(scope)
            counts[SIDES.index(text.side), rows[first:end]] += 1
        return torch.from_numpy(counts).to(self.tokens.device)
