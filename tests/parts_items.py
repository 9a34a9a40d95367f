"""Item tables written down row by row."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.ragged import Ragged


def item_table(rows, correct=None):
    """A table of rows (item, subtask, chosen rewards, rejected rewards[, chosen tokens, rejected tokens]).

    Every response is 5 tokens long by default, and `correct` follows from the rewards.
    """
    full = [(*row, [5] * len(row[2]), [5] * len(row[3])) if len(row) == 4 else row for row in rows]
    sides = [Ragged.of(row[column] for row in full) for column in (2, 3, 4, 5)]
    kinds = [row[1].partition("-")[0] for row in full]
    types = [kind if kind in ("helpful", "harmless") else "unknown" for kind in kinds]
    table = ItemTable.judge([(*row[:2], kind) for row, kind in zip(full, types, strict=True)], *sides)
    return table if correct is None else replace(table, correct=np.array(correct, dtype=np.float64))


def of_credits(correct, item=None, subtask=None, chosen=None, rejected=None):
    """A table with these credits; rewards are by default one pair an item, in favour of the credited response."""
    chosen = [[float(credit)] for credit in correct] if chosen is None else chosen
    rejected = [[1.0 - credit] for credit in correct] if rejected is None else rejected
    names = item or [str(row) for row in range(len(correct))]
    rows = zip(names, subtask or ["a"] * len(correct), chosen, rejected, strict=True)
    return item_table(list(rows), correct)


def of_margins(margins, subtasks=None, tokens=None):
    """A table of one pair an item: the chosen reward is the margin, the rejected one 0."""
    subtasks = subtasks or ["helpful-base"] * len(margins)
    chosen, rejected = tokens or ([1] * len(margins), [2] * len(margins))
    columns = zip(subtasks, margins, chosen, rejected, strict=True)
    return item_table([(f"item-{n}", name, [float(m)], [0.0], [a], [b]) for n, (name, m, a, b) in enumerate(columns)])


def pairs(subtask, *rewards, tokens=None):
    """Rows of one subtask with one chosen and one rejected response each: (chosen reward, rejected reward)."""
    lengths = [(5, 5)] * len(rewards) if tokens is None else tokens
    return [
        (f"{subtask}-{number}", subtask, [chosen], [rejected], [a], [b])
        for number, ((chosen, rejected), (a, b)) in enumerate(zip(rewards, lengths, strict=True))
    ]


def judged(subtask, right, n):
    """Rows of one subtask, the first `right` of n judged correctly."""
    return pairs(subtask, *[(1.0, 0.0)] * right, *[(0.0, 1.0)] * (n - right))


def lists(ragged):
    """The numbers of each item as a list."""
    return [ragged.values[start:end].tolist() for start, end in pairwise(ragged.offsets)]
