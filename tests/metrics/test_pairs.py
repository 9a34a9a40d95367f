"""The pairs of an item: three of one style for RM-Bench, the worst chosen against the best rejected elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
from parts_items import item_table

from tension_lens.errors import RequestError
from tension_lens.metrics.pairs import item_credits, pair_margins, pairs_won

ROWS = [
    ("a", "chat", [1.0, 2.0, 3.0], [0.0, 5.0, 2.0]),
    ("b", "chat", [4.0, 4.0, 4.0], [4.0, 3.0, 1.0]),
]


def of(data, rows=ROWS):
    table = item_table(rows)
    return table if data is None else replace(table, metadata={"data": data})


@pytest.mark.parametrize("data", ["rm-bench", "rm-bench:all:test", "rm-bench:chat"])
def test_an_item_of_rm_bench_has_a_pair_for_each_style(data):
    # 1 > 0, 2 < 5, 3 > 2; 4 = 4 is a tie and not won, 4 > 3, 4 > 1.
    won = pairs_won(of(data))
    assert won.tolist() == [[True, False, True], [False, True, True]]
    assert pair_margins(of(data)).tolist() == [[1, -3, 1], [0, 1, 3]]
    assert item_credits(won) == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parametrize("data", [None, "unnamed", "rmb:all:test", "reward-bench-2:all:test", "rm-bench.jsonl"])
def test_any_other_item_has_one_pair(data):
    # 1 < 5; 4 = 4.
    assert pairs_won(of(data)).tolist() == [[False], [False]]
    assert pair_margins(of(data)).tolist() == [[-4], [0]]
    best_of_4 = of(data, [("c", "Math", [1.0], [0.0, 0.5, -1.0])])
    assert (pairs_won(best_of_4).tolist(), pair_margins(best_of_4).tolist()) == ([[True]], [[0.5]])
    assert item_credits(np.array([[True], [False]])).tolist() == [1, 0]


def test_an_item_of_rm_bench_without_three_styles_is_refused():
    table = of("rm-bench:all:test", [("c", "chat", [1.0], [0.0])])
    for function in (pairs_won, pair_margins):
        with pytest.raises(RequestError, match="3 responses"):
            function(table)
