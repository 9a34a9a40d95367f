"""The paper's rule, weighted means and the paper's sub-tasks, each against numbers worked by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts_items import item_table, judged, pairs

from tension_lens.data.benchmarks import PAPER_SUBTASKS
from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import Accuracy, accuracy_of
from tension_lens.metrics.scoring import (
    Score,
    accuracies,
    diagonal,
    judge_items,
    paper_accuracies,
    strict_chance,
    weighted_mean,
)


def score(name, accuracy, low, high, n=10):
    """A score with limits written down."""
    return Score(name, Accuracy(accuracy, low, high, n), random_rate=0.5, chance=0.5, longest=0.5)


def interval(found):
    """(low, high) of a score."""
    return found.accuracy.low, found.accuracy.high


# Items


def test_a_tie_is_wrong_for_rewards_and_for_lengths():
    # Rewards: right, tie, wrong, right: 2 of 4 (3 of 4 if a tie were right). Tokens: right, wrong, tie, tie: 1 of 4.
    rows = pairs("s", (1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (2.0, 1.0), tokens=[(5, 3), (3, 5), (4, 4), (9, 9)])
    found = judge_items("s", item_table(rows))
    assert (found.accuracy.accuracy, found.accuracy.n) == (0.5, 4)
    assert (found.longest, found.random_rate, found.chance) == (0.25, 0.5, 0.5)
    assert interval(found) == (accuracy_of([1, 0, 0, 1.0]).low, accuracy_of([1, 0, 0, 1.0]).high)


def test_the_papers_random_rate_is_not_what_random_rewards_get_where_several_are_chosen():
    # 2 chosen of 4: rate 2/4, but of the C(4, 2) = 6 ways to rank them, one puts the chosen on top: 1/6.
    # 1 chosen of 4: both 1/4. Over the two items (1/2 + 1/4)/2 = 3/8 and (1/6 + 1/4)/2 = 5/24.
    found = judge_items("s", item_table([("a", "s", [1.0, 2.0], [0.0, 3.0]), ("b", "s", [1.0], [0.0, 2.0, 3.0])]))
    assert found.random_rate == pytest.approx(3 / 8)
    assert found.chance == pytest.approx(5 / 24)


@pytest.mark.parametrize(("chosen", "rejected"), [(1, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 3)])
def test_chance_is_the_share_of_rankings_that_are_right(chosen, rejected):
    rankings = list(permutations(map(float, range(chosen + rejected))))
    table = item_table([(str(n), "s", ranks[:chosen], ranks[chosen:]) for n, ranks in enumerate(rankings)])
    (expected,) = strict_chance(np.array([chosen]), np.array([rejected]))
    assert table.right.mean() == pytest.approx(expected)
    assert judge_items("s", table).chance == pytest.approx(expected)


def test_subtasks_are_judged_alone_in_order_of_appearance():
    rows = [*judged("b", 1, 2), *judged("a", 3, 3), *judged("c", 0, 1)]
    found = accuracies(item_table([rows[0], *rows[2:], rows[1]]))
    assert [(name, one.accuracy.accuracy, one.accuracy.n) for name, one in found.items()] == [
        ("b", 0.5, 2), ("a", 1, 3), ("c", 0, 1),
    ]  # fmt: skip
    assert accuracies(item_table([])) == {}


def test_accuracy_is_that_of_the_rewards_and_needs_an_item():
    table = item_table(judged("s", 3, 4))
    table.correct[:] = 0
    assert judge_items("s", table).accuracy.accuracy == 0.75
    with pytest.raises(RequestError, match="found none"):
        judge_items("s", item_table([]))


# Weighted means


def test_a_weighted_mean_and_its_interval_by_hand():
    # Weights 3 : 1 are 3/4 and 1/4. Mean 0.75·0.6 + 0.25·0.2 = 0.5.
    # Below: √((0.75·0.1)² + (0.25·0.1)²) = √0.00625 = 0.0790569; above: √((0.75·0.1)² + (0.25·0.3)²) = √0.01125
    # = 0.1060660. The mean of the limits would be 0.4 to 0.65.
    found = weighted_mean("m", [score("a", 0.6, 0.5, 0.7), score("b", 0.2, 0.1, 0.5, n=5)], [3, 1], ["c"])
    assert found.accuracy.accuracy == pytest.approx(0.5)
    assert interval(found) == pytest.approx((0.4209431, 0.6060660), abs=1e-7)
    assert (found.accuracy.n, found.missing) == (15, ("c",))


def test_baselines_are_weighted_like_the_score():
    parts = [judge_items(name, item_table(judged(name, 1, 2))) for name in "ab"]
    parts[1] = Score("b", parts[1].accuracy, random_rate=0.25, chance=0.05, longest=1.0)
    found = weighted_mean("m", parts, [1, 3])
    # (0.5 + 3·0.25)/4, (0.5 + 3·0.05)/4, (0 + 3·1)/4.
    assert (found.random_rate, found.chance, found.longest) == pytest.approx((0.3125, 0.1625, 0.75))


def test_a_mean_of_one_has_its_limits_and_a_mean_of_none_is_refused():
    assert interval(weighted_mean("m", [score("a", 0.6, 0.45, 0.7)], [7])) == pytest.approx((0.45, 0.7))
    with pytest.raises(RequestError, match="a, b"):
        weighted_mean("m", [], [], ["a", "b"])


limits = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted)


@given(st.lists(st.tuples(limits, st.integers(1, 9)), min_size=2, max_size=5))
def test_a_mean_of_means_is_the_mean_of_all(drawn):
    scores = [score(str(number), point, low, high) for number, ((low, point, high), _) in enumerate(drawn)]
    weights = [weight for _, weight in drawn]
    flat = weighted_mean("flat", scores, weights)
    inner = weighted_mean("inner", scores[1:], weights[1:])
    nested = weighted_mean("nested", [scores[0], inner], [weights[0], sum(weights[1:])])
    assert nested.accuracy.accuracy == pytest.approx(flat.accuracy.accuracy)
    assert interval(nested) == pytest.approx(interval(flat))
    assert flat.accuracy.low <= flat.accuracy.accuracy <= flat.accuracy.high


def test_the_interval_of_a_weighted_mean_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    truth, n, weights = np.array([0.95, 0.3, 0.6]), (30, 60, 20), [984, 164, 164]
    aim, draws, held = float(np.average(truth, weights=weights)), 2000, 0
    for _ in range(draws):
        parts = []
        for share, size in zip(truth, n, strict=True):
            right = int(random.binomial(size, share))
            found = accuracy_of([1.0] * right + [0.0] * (size - right))
            parts.append(score("s", found.accuracy, found.low, found.high))
        low, high = interval(weighted_mean("m", parts, weights))
        held += low <= aim <= high
    # Three standard errors of a share of 0.95 over 2,000 draws are 0.015.
    assert held / draws == pytest.approx(0.95, abs=0.015)


# RM-Bench's diagonal


THREES = [
    # Pairs (1, 3), (4, 0), (2, 2): wrong, right, wrong. Tokens: 9 > 1, 2 < 3, 4 = 4.
    ("x", "chat", [1.0, 4.0, 2.0], [3.0, 0.0, 2.0], [9, 2, 4], [1, 3, 4]),
    # Pairs (5, 0), (1, 2), (0, 3): right, wrong, wrong. Tokens: all right.
    ("y", "chat", [5.0, 1.0, 0.0], [0.0, 2.0, 3.0], [2, 4, 6], [1, 2, 3]),
]


def test_the_diagonal_counts_each_pair_as_an_item():
    # 2 of 6 pairs; by the strict rule over all responses 0 of 2 rows. Tokens: 1 + 3 of 6.
    found = diagonal("chat", item_table(THREES))
    assert (found.accuracy.accuracy, found.accuracy.n) == (pytest.approx(1 / 3), 6)
    assert (found.longest, found.random_rate, found.chance) == (pytest.approx(2 / 3), 0.5, 0.5)
    assert judge_items("chat", item_table(THREES)).accuracy.accuracy == 0


def test_the_interval_of_the_diagonal_is_that_of_rows_not_of_pairs():
    # Twenty rows whose three pairs are right or wrong together hold no more than twenty pairs do.
    rows = [(str(n), "chat", [float(n < 12)] * 3, [0.5] * 3) for n in range(20)]
    found, expected = diagonal("chat", item_table(rows)), accuracy_of([1.0] * 12 + [0.0] * 8)
    assert interval(found) == pytest.approx((expected.low, expected.high))
    assert found.accuracy.n == 60

    with pytest.raises(RequestError, match="row 1 has 2"):
        diagonal("chat", item_table([THREES[0], ("z", "chat", [1.0] * 3, [0.0] * 2)]))


# The paper's sub-tasks


def test_the_papers_subtasks_by_its_names_and_what_is_missing():
    best_of_4 = [("a", "Factuality", [1.0], [1.0, 0.0, 0.0]), ("b", "Factuality", [1.0], [0.5, 0.0, 0.0])]
    tables = {
        "reward-bench": item_table([*judged("llmbar-natural", 3, 4), *judged("hep-cpp", 1, 1)]),
        "reward-bench-2": item_table([*best_of_4, ("ref:1", "Ties", [1.0], [0.0]), *judged("Math", 1, 1)]),
        "rm-bench": item_table([*THREES, *((*row[:1], "safety-refuse", *row[2:]) for row in THREES[1:])]),
    }
    found = paper_accuracies(tables)
    # Factuality: the tie that RewardBench 2 credits with 1/2 is wrong in the paper. Chat: the diagonal.
    assert {name: (one.name, one.accuracy.accuracy, one.accuracy.n) for name, one in found.subtasks.items()} == {
        "Chat": ("Chat", pytest.approx(1 / 3), 6),
        "Factuality": ("Factuality", 0.5, 2),
        "LLM Bar (Natural)": ("LLM Bar (Natural)", 0.75, 4),
        "Safety Refuse": ("Safety Refuse", pytest.approx(1 / 3), 3),
    }
    assert list(found.subtasks) == [name for name in PAPER_SUBTASKS if name in found.subtasks]
    # hep-cpp and Ties are no sub-tasks of the paper; Math lacks a half.
    assert list(found.missing) == [name for name in PAPER_SUBTASKS if name not in found.subtasks]
    assert len(found.subtasks) + len(found.missing) == 25
    assert found.missing["Math"] == ("rm-bench:math",)
    assert found.missing["Math PRM"] == ("reward-bench:math-prm",)
    assert found.missing["Safety"] == ("reward-bench-2:Safety",)


def test_the_papers_math_is_the_mean_of_two_benchmarks():
    rows = [(str(n), "math", [1.0] * 3, [float(n)] * 3) for n in range(2)]
    one_in_four = [("a", "Math", [1.0], [0.0] * 3), *((str(n), "Math", [0.0], [1.0] * 3) for n in range(3))]
    found = paper_accuracies({"reward-bench-2": item_table(one_in_four), "rm-bench": item_table(rows)}).subtasks["Math"]
    # 1/4 of four items and 1/2 of six pairs: (1/4 + 1/2)/2 = 3/8, not 4 of 10. Random: (1/4 + 1/2)/2.
    assert found.accuracy.accuracy == pytest.approx(3 / 8)
    assert (found.accuracy.n, found.random_rate) == (10, pytest.approx(3 / 8))
    # Wilson's limits of 1 in 4 and of 1 in 2, by MOVER.
    a, b = accuracy_of([1.0, 0, 0, 0]), accuracy_of([1.0, 0])
    below = 0.5 * ((0.25 - a.low) ** 2 + (0.5 - b.low) ** 2) ** 0.5
    assert found.accuracy.low == pytest.approx(3 / 8 - below)


def test_other_data_is_no_subtask_of_the_paper_and_unknown_data_is_refused():
    assert paper_accuracies({"hh-rlhf": item_table(judged("harmless-base", 1, 2))}).subtasks == {}
    with pytest.raises(RequestError, match="rm-bench 'Chat'"):
        paper_accuracies({"rm-bench": item_table(judged("Chat", 1, 2))})
