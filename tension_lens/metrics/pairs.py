"""The pairs by which an item is judged in paired tests and retention.

An item of RM-Bench has three pairs, chosen i against rejected i of one style, as in the paper. Any other item has one:
its worst chosen against its best rejected response.
"""

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.constants import RM_BENCH_STYLES
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.scoring import benchmark_of, style_wins


def pairs_won(table: ItemTable) -> Bool[np.ndarray, "item pair"]:
    """Whether the chosen response of each pair has the higher reward; a tie is not won.

    The data spec in the table's metadata tells whether the items are RM-Bench's.

    Raises:
        RequestError: if an item of RM-Bench does not have three responses on each side.
    """
    if benchmark_of(table) == "rm-bench":
        return np.diagonal(style_wins(table, "rewards"), axis1=1, axis2=2)
    return table.right[:, None]


def pair_margins(table: ItemTable) -> Float[np.ndarray, "item pair"]:
    """Chosen − rejected reward of each pair, in units of reward.

    Raises:
        RequestError: if an item of RM-Bench does not have three responses on each side.
    """
    if benchmark_of(table) == "rm-bench":
        chosen, rejected = (side.matrix(RM_BENCH_STYLES) for side in (table.chosen_rewards, table.rejected_rewards))
        margins: Float[np.ndarray, "item pair"] = chosen - rejected
        return margins
    return table.margin[:, None]


def item_credits(won: Bool[np.ndarray, "item pair"]) -> Float[np.ndarray, " item"]:
    """The share of its pairs that each item wins."""
    credit: Float[np.ndarray, " item"] = won.mean(axis=1)
    return credit
