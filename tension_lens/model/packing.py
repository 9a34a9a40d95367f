"""Packs: comparisons as one column of tokens, without padding, with what their responses have in common once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tension_lens.constants import SIDES
from tension_lens.model.tokenization import TokenizedText


@dataclass(frozen=True)
class Family:
    """Texts of one comparison that are run together, so that the tokens they all begin with are run once."""

    texts: tuple[TokenizedText, ...]
    shared: int
    """Length of the longest common prefix of the texts' token ids."""

    @classmethod
    def of(cls, texts: Sequence[TokenizedText]) -> "Family":
        """The texts, with what their tokens (whatever their letters) have in common."""
        # What the first and the last in order have in common, all between them have.
        first, last = min(text.ids for text in texts), max(text.ids for text in texts)
        differing = (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
        return cls(tuple(texts), next(differing, len(first)))

    @property
    def size(self) -> int:
        """Tokens to run: the shared ones once."""
        return self.shared + sum(len(text.ids) - self.shared for text in self.texts)


@dataclass(frozen=True)
class Pack:
    """Families as one column of tokens, without padding, each family's shared tokens once.

    Rows are the tokens that chosen responses have for themselves, then the shared ones, then those of rejected
    responses: what a side sees stands together.
    """

    texts: tuple[TokenizedText, ...]
    tokens: Int[Tensor, " row"]
    positions: Int[Tensor, " row"]
    """Where in its text each token stands."""
    rows: tuple[Int[np.ndarray, "_"], ...]
    """Of each text the rows of its tokens, first to last."""
    spans: tuple[tuple[Int[np.ndarray, "_"], int], ...]
    """(rows, n): the last n of these rows are computed by attending, each to itself and the rows before it. Every row
    is among the last n of one span."""

    by_text: bool = False
    """Whether no row is shared, so that activations can be shown to hooks as [text, pos, width]."""

    def pooled(self) -> Int[np.ndarray, " text"]:
        """The row at which each text's reward is read."""
        return np.array([rows[text.pooled] for rows, text in zip(self.rows, self.texts, strict=True)])

    def weights(self, scope: str) -> Float[Tensor, "side row"]:
        """How many texts of each side (in the order of SIDES) have each row in scope.

        A shared row counts once for every text it belongs to.
        """
        counts = np.zeros((len(SIDES), len(self.tokens)), dtype=np.float32)
        for text, rows in zip(self.texts, self.rows, strict=True):
            first, end = text.in_scope(scope)
            counts[SIDES.index(text.side), rows[first:end]] += 1
        return torch.from_numpy(counts).to(self.tokens.device)


def families(texts: Sequence[TokenizedText], token_budget: int) -> list[Family]:
    """The texts of each comparison as one family, or as several where one would exceed the budget."""
    by_item: dict[int, list[TokenizedText]] = {}
    for text in texts:
        by_item.setdefault(text.item, []).append(text)
    found = []
    for members in by_item.values():
        family = Family.of(members)
        if family.size > token_budget:
            family = Family.of(members[:1])
            for text in members[1:]:
                larger = Family.of([*family.texts, text])
                if larger.size > token_budget:
                    found.append(family)
                    larger = Family.of([text])
                family = larger
        found.append(family)
    return found


def packed(group: Sequence[Family], device: torch.device | str) -> Pack:
    """Families as one pack."""
    own = dict.fromkeys(SIDES, 0)
    for family in group:
        for text in family.texts:
            own[text.side] += len(text.ids) - family.shared
    chosen, rejected = SIDES
    shared_size = sum(family.shared for family in group)
    free = {chosen: 0, "shared": own[chosen], rejected: own[chosen] + shared_size}
    tokens, positions = np.empty((2, sum(family.size for family in group)), dtype=np.int64)
    every_rows, spans = [], []

    def placed(block: str, ids: Sequence[int], first: int) -> Int[np.ndarray, "_"]:
        rows = np.arange(free[block], free[block] + len(ids))
        free[block] += len(ids)
        tokens[rows], positions[rows] = ids, np.arange(first, first + len(ids))
        return rows

    for family in group:
        shared = placed("shared", family.texts[0].ids[: family.shared], 0)
        if len(shared):
            spans.append((shared, len(shared)))
        for text in family.texts:
            alone = placed(text.side, text.ids[family.shared :], family.shared)
            rows = np.concatenate([shared, alone])
            every_rows.append(rows)
            if len(alone):
                spans.append((rows, len(alone)))
    texts = tuple(text for family in group for text in family.texts)
    columns = [torch.from_numpy(column).to(device) for column in (tokens, positions)]
    return Pack(texts, columns[0], columns[1], tuple(every_rows), tuple(spans))


def unshared(texts: Sequence[TokenizedText], device: torch.device | str) -> Pack:
    """Texts as one pack in which every text has rows of its own."""
    return replace(packed([Family((text,), 0) for text in texts], device), by_text=True)


def packs(texts: Sequence[TokenizedText], token_budget: int, device: torch.device | str) -> Iterator[Pack]:
    """Texts in packs of at most `token_budget` distinct tokens, the largest families first.

    Texts of one comparison come together, in whatever order they are given; a comparison larger than the budget is cut
    between texts, and a text longer than the budget is a pack of its own.
    """
    group: list[Family] = []
    size = 0
    for family in sorted(families(texts, token_budget), key=lambda family: -family.size):
        if group and size + family.size > token_budget:
            yield packed(group, device)
            group, size = [], 0
        group.append(family)
        size += family.size
    if group:
        yield packed(group, device)
