"""Item tables written down row by row."""

from itertools import pairwise

from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.ragged import Ragged


def item_table(rows):
    """A table of rows (item, subtask, chosen rewards, rejected rewards[, chosen tokens, rejected tokens]).

    Without tokens every response is 5 tokens long.
    """
    full = [(*row, [5] * len(row[2]), [5] * len(row[3])) if len(row) == 4 else row for row in rows]
    sides = [Ragged.of(row[column] for row in full) for column in (2, 3, 4, 5)]
    return ItemTable.judge([(row[0], row[1], "unknown") for row in full], *sides)


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
