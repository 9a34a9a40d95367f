"""Padded batches for the native forward pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from tension_lens.model.tokenization import TokenizedText

DEFAULT_TOKEN_BUDGET = 4096


@dataclass(frozen=True)
class Batch:
    """Texts of like length, padded on the right."""

    tokens: Int[Tensor, "batch pos"]
    texts: tuple[TokenizedText, ...]

    def positions(self) -> Int[Tensor, "1 pos"]:
        """0, 1, … pos−1, to compare with each text's bounds."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device)[None, :]


def padded(texts: Sequence[TokenizedText], pad: int, device: torch.device | str) -> Batch:
    """Texts as one batch, padded on the right with the id `pad` (which no real token can see)."""
    tokens = torch.full((len(texts), max(len(text.ids) for text in texts)), pad)
    for row, text in enumerate(texts):
        tokens[row, : len(text.ids)] = torch.tensor(text.ids)
    return Batch(tokens.to(device), tuple(texts))


def batches(texts: Sequence[TokenizedText], token_budget: int, pad: int, device: torch.device | str) -> Iterator[Batch]:
    """Texts in batches of at most `token_budget` tokens, padding counted, longest first.

    A text longer than the budget is a batch of its own.
    """
    group: list[TokenizedText] = []
    for text in sorted(texts, key=lambda text: -len(text.ids)):
        if group and (len(group) + 1) * len(group[0].ids) > token_budget:
            yield padded(group, pad, device)
            group = []
        group.append(text)
    if group:
        yield padded(group, pad, device)
