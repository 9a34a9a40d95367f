"""Packed batches hold each shared token once and know the rows of each text's tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tension_lens.constants import SCOPES, SIDES
from tension_lens.model.packing import Family, families, packs
from tension_lens.model.tokenization import TokenizedText, pooled_position

ids = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)
"""Few different tokens, so that texts often begin alike; 0 is the pad token."""


@st.composite
def some_rows(draw):
    """(item, side, ids, response start) of a few comparisons, in any order, any number of responses on each side."""
    found = []
    for item in range(draw(st.integers(1, 4))):
        prompt = draw(st.lists(st.integers(0, 2), max_size=6).map(tuple))
        for side in SIDES:
            for _ in range(draw(st.integers(0 if found else 1, 2))):
                whole = prompt + draw(ids)
                found.append((item, side, whole, draw(st.integers(0, len(whole)))))
    return draw(st.permutations(found))


def texts_of(rows):
    """The texts; made outside of the strategy, since their type check draws random numbers."""
    return [TokenizedText(item, side, ids, start, pooled_position(ids, 0)) for item, side, ids, start in rows]


def shared_by_hand(rows):
    """How many tokens all rows begin with, counted one after another."""
    length = 0
    while all(len(row) > length for row in rows) and len({row[length] for row in rows}) == 1:
        length += 1
    return length


@settings(deadline=None)
@given(st.lists(ids, min_size=1, max_size=6))
def test_what_is_shared_is_the_longest_common_prefix_of_the_tokens(rows):
    family = Family.of([TokenizedText(0, "chosen", row, 0, 0) for row in rows])
    assert family.shared == shared_by_hand(rows)
    assert family.size == family.shared + sum(len(row) - family.shared for row in rows)


@settings(deadline=None)
@given(some_rows(), st.integers(1, 60))
def test_every_text_is_in_one_pack_with_its_tokens_at_their_positions(rows_of_texts, budget):
    texts = texts_of(rows_of_texts)
    found = list(packs(texts, budget, "cpu"))
    assert sorted(map(id, texts)) == sorted(id(text) for pack in found for text in pack.texts)
    for pack in found:
        for text, rows in zip(pack.texts, pack.rows, strict=True):
            assert tuple(pack.tokens[rows].tolist()) == text.ids
            assert pack.packing.positions[rows].tolist() == list(range(len(text.ids)))
        assert pack.pooled().tolist() == [
            int(rows[text.pooled]) for rows, text in zip(pack.rows, pack.texts, strict=True)
        ]
        assert sorted({int(row) for rows in pack.rows for row in rows}) == list(range(len(pack.tokens)))
        assert len(pack.tokens) <= budget or len(pack.texts) == 1


@settings(deadline=None)
@given(some_rows(), st.integers(1, 60))
def test_every_row_is_computed_once_and_sees_its_own_text_up_to_itself(rows_of_texts, budget):
    texts = texts_of(rows_of_texts)
    for pack in packs(texts, budget, "cpu"):
        seen = {}
        for rows, n in pack.packing.spans:
            for query in range(len(rows) - n, len(rows)):
                assert int(rows[query]) not in seen
                seen[int(rows[query])] = rows[: query + 1].tolist()
        assert len(seen) == len(pack.tokens)
        for rows in pack.rows:
            for position, row in enumerate(rows):
                assert seen[int(row)] == rows[: position + 1].tolist()


@settings(deadline=None)
@given(some_rows())
def test_a_comparison_within_the_budget_is_not_cut(rows_of_texts):
    texts = texts_of(rows_of_texts)
    (pack,) = packs(texts, 10_000, "cpu")
    by_item = {}
    for text in texts:
        by_item.setdefault(text.item, []).append(text.ids)
    sizes = [sum(map(len, rows)) - (len(rows) - 1) * shared_by_hand(rows) for rows in by_item.values()]
    assert len(pack.tokens) == sum(sizes)


@settings(deadline=None)
@given(some_rows(), st.sampled_from(SCOPES))
def test_weights_count_every_text_that_has_a_token_in_scope(rows_of_texts, scope):
    texts = texts_of(rows_of_texts)
    (pack,) = packs(texts, 10_000, "cpu")
    expected = np.zeros((2, len(pack.tokens)))
    for text, rows in zip(pack.texts, pack.rows, strict=True):
        for position, row in enumerate(rows):
            inside = {"all": True, "response": position >= text.response_start, "last": position == text.pooled}[scope]
            expected[SIDES.index(text.side), row] += inside
    assert pack.weights(scope).tolist() == expected.tolist()


def test_a_pack_by_hand():
    # Two responses to (5 6), and a rejected one of another comparison.
    texts = [
        TokenizedText(0, "chosen", (5, 6, 7), 2, 2),
        TokenizedText(0, "rejected", (5, 6, 8, 9), 2, 3),
        TokenizedText(1, "rejected", (5,), 0, 0),
    ]
    (pack,) = packs(texts, 100, "cpu")
    # Chosen alone: 7. Shared: 5 6 and, as a comparison of one text shares all with itself, 5. Rejected alone: 8 9.
    assert pack.tokens.tolist() == [7, 5, 6, 5, 8, 9]
    assert pack.packing.positions.tolist() == [2, 0, 1, 0, 2, 3]
    assert [rows.tolist() for rows in pack.rows] == [[1, 2, 0], [1, 2, 4, 5], [3]]
    assert pack.weights("all").tolist() == [[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 1]]
    assert pack.weights("response").tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]]
    assert pack.weights("last").tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 1]]


@pytest.mark.parametrize(("budget", "cut"), [(13, [3]), (12, [2, 1]), (8, [1, 1, 1]), (1, [1, 1, 1])])
def test_a_comparison_over_the_budget_is_cut_between_texts(budget, cut):
    # Four shared tokens and 2, 3, 4 of their own: 13 in all, 9 for the first two, 8 for the last alone.
    texts = [TokenizedText(0, "chosen", (1, 1, 1, 1, *[number + 2] * number), 4, 0) for number in (2, 3, 4)]
    assert [len(family.texts) for family in families(texts, budget)] == cut


def test_packs_come_largest_comparison_first_and_fill_the_budget():
    texts = [TokenizedText(item, "chosen", (1,) * length, 0, 0) for item, length in enumerate([2, 9, 4, 3, 1, 4])]
    found = [[len(text.ids) for text in pack.texts] for pack in packs(texts, 8, "cpu")]
    assert found == [[9], [4, 4], [3, 2, 1]]
