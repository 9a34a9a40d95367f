"""Rewards of an item tie within rounding: against a loop, by hand, and under the benchmarks' rules."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts_items import item_table, lists

from tension_lens.errors import RequestError
from tension_lens.metrics.benchmark_rules import best_of_credit, reward_bench_2
from tension_lens.metrics.ragged import Ragged
from tension_lens.metrics.scoring import judge_items, style_wins
from tension_lens.metrics.ties import ROUNDING_BOUND, settled, tie

ROUNDING = 3e-8
BASES = [-200.0, -1.0, -0.3, 0.0, 0.3, 1.0, 200.0]
# Steps of a fraction of the bound, so that ties, chains of ties and differences beyond rounding all occur.
near = st.builds(lambda base, step: base + step * 2.0**-18, st.sampled_from(BASES), st.integers(-6, 6))
side = st.lists(near, min_size=1, max_size=4)
items = st.lists(st.tuples(side, side), max_size=4)


def by_a_loop(chosen, rejected, bound):
    """The same rule, value by value."""
    lowest, run = {}, None
    for value in sorted([*chosen, *rejected]):
        if run is None or value - run[1] > bound * max(1.0, abs(value), abs(run[1])):
            run = [value, value]
        run[1] = value
        lowest[value] = run[0]
    return [lowest[value] for value in chosen], [lowest[value] for value in rejected]


@given(items, st.sampled_from(list(ROUNDING_BOUND)))
def test_settling_is_the_rule_of_a_simple_loop(rows, dtype):
    found = settled(Ragged.of(row[0] for row in rows), Ragged.of(row[1] for row in rows), dtype)
    expected = [by_a_loop(*row, ROUNDING_BOUND[dtype]) for row in rows]
    assert list(zip(*map(lists, found), strict=True)) == expected


@given(items)
def test_settling_twice_changes_nothing_and_no_order_is_reversed(rows):
    raw = [Ragged.of(row[place] for row in rows) for place in (0, 1)]
    once = settled(*raw, "float32")
    for before, after in zip(once, settled(*once, "float32"), strict=True):
        assert before.values.tobytes() == after.values.tobytes()
    for chosen, rejected, new_chosen, new_rejected in zip(*map(lists, (*raw, *once)), strict=True):
        for a, new_a in zip(chosen, new_chosen, strict=True):
            for b, new_b in zip(rejected, new_rejected, strict=True):
                assert new_a == new_b if tie(a, b, "float32") else new_a == new_b or (new_a > new_b) == (a > b)


def test_ties_reach_through_their_neighbours_but_not_to_other_items():
    step = 0.75 * ROUNDING_BOUND["float32"]
    chosen, rejected = settled(Ragged.of([[0.0, 2 * step], [step]]), Ragged.of([[step, 0.5], [0.5]]), "float32")
    assert (lists(chosen), lists(rejected)) == ([[0.0, 0.0], [step]], [[0.0, 0.5], [0.5]])


def test_an_unknown_dtype_is_refused():
    with pytest.raises(RequestError, match="unknown dtype 'float8'"):
        settled(Ragged.of([[1.0]]), Ragged.of([[1.0]]), "float8")


@pytest.mark.parametrize(("apart", "right"), [(ROUNDING, False), (1e-4, True)])
def test_rounding_decides_no_rule(apart, right):
    """The accuracy, best of four, RM-Bench's cells and the two comparisons of Ties."""
    pair = item_table([("0", "s", [0.3 + apart], [0.3])])
    assert judge_items("s", pair).accuracy.accuracy == right
    four = item_table([("0", "s", [0.3], [0.3 - apart, 0.1, 0.2])])
    assert best_of_credit(four.chosen_rewards, four.rejected_rewards).tolist() == [1 if right else 0.5]
    styles = item_table([("0", "s", [0.3, 0.3, 0.3 + apart], [0.3, 0.3, 0.3])])
    assert style_wins(styles, "rewards")[0].tolist() == [[False] * 3, [False] * 3, [right] * 3]
    # Correct answers `apart` from each other and from the wrong one: within rounding both spread and gap are 0.
    rows = [("ref:1", "Ties", [0.3 + apart], [0.3]), ("tied:1", "Ties", [0.3 + 2.5 * apart, 0.3 + 2 * apart], [0.3])]
    found = reward_bench_2(item_table(rows)).ties
    assert (found.accuracy_ref.accuracy.accuracy, found.accuracy_tied.accuracy.accuracy) == (right, right)
    assert (found.apart.accuracy, found.apart_in_both.accuracy) == (right, right)
    assert np.sign(found.margin) == right
