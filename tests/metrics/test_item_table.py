"""An item table survives the disk bit for bit, judges by the rewards alone, and is refused by name where it is odd."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts_items import item_table, lists

from tension_lens.errors import RequestError
from tension_lens.metrics.item_table import COLUMNS, FLAGS, LISTS, NAMES, ItemTable, read_metadata
from tension_lens.metrics.ragged import Ragged

ROWS = [
    ("1:3", "n", [0.1], [-1.5, 1e-300, 0.3], [7], [1, 12, 3]),
    ("é ☃", "part 0", [2.0], [1.0], [4], [9]),
    ("b", "n", [2.0, 1 / 3], [-2.0, 0.25], [8, 9], [7, 6]),
]


@pytest.fixture
def table():
    """Three items, two of which have several responses on a side."""
    return item_table(ROWS)


# Numbers of items


finite = st.floats(-5, 5)
ragged_rows = st.lists(st.lists(finite, min_size=1, max_size=4), max_size=6)


@given(ragged_rows)
def test_least_and_greatest_are_pythons(rows):
    ragged = Ragged.of(rows)
    assert (len(ragged), lists(ragged)) == (len(rows), rows)
    assert ragged.minimum().tolist() == [min(row) for row in rows]
    assert ragged.maximum().tolist() == [max(row) for row in rows]
    assert ragged.counts.tolist() == [len(row) for row in rows]


@given(st.data(), st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=6))
def test_taking_and_counting_are_pythons(data, rows):
    ragged = Ragged.of(rows)
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    kept = [row for row, keep in zip(rows, mask, strict=True) if keep]
    assert lists(ragged.take(np.array(mask))) == kept
    assert lists(ragged.take(np.array(places))) == [rows[place] for place in places]
    assert ragged.count_equal(ragged.maximum()).tolist() == [row.count(max(row)) for row in rows]


def test_integers_stay_integers_and_a_matrix_needs_one_width():
    assert Ragged.of([[2**53 + 1], [3]]).values.tolist() == [2**53 + 1, 3]
    assert Ragged.of([[1, 2], [3, 4], [5, 6]]).matrix(2).tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(RequestError, match="row 1 has 3"):
        Ragged.of([[1, 2], [3, 4, 5], [6]]).matrix(2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0], []], "row 1 has none"),
        ([[], [1.0]], "row 0 has none"),
        ([[1.0, 2.0], [0.0, np.nan]], "row 1 holds nan"),
        ([[1.0, -np.inf], [0.0]], "row 0 holds -inf"),
    ],
)
def test_an_item_without_a_finite_number_is_refused(rows, message):
    with pytest.raises(RequestError, match=message):
        Ragged.of(rows)


# What a table says of its items


numbers = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=4)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5))
def test_an_item_is_right_when_every_chosen_beats_every_rejected(items):
    found = item_table([(str(number), "s", *item) for number, item in enumerate(items)])
    assert found.right.tolist() == [all(a > b for a in chosen for b in rejected) for chosen, rejected in items]
    assert found.correct.tolist() == found.right.tolist()
    assert found.margin.tolist() == [min(chosen) - max(rejected) for chosen, rejected in items]


def test_lengths_and_random_rates_by_hand(table):
    # Tokens: 7 against 1, 12, 3: the longest is rejected. 4 < 9. 8 and 9 against 7 and 6: both chosen are longer.
    assert table.longest_wins.tolist() == [False, False, True]
    # One of four responses is chosen, one of two, two of four.
    assert table.random_rate.tolist() == [1 / 4, 1 / 2, 1 / 2]
    assert table.subtasks() == ["n", "part 0"]


def test_rows_are_taken_with_all_they_hold(table):
    for rows in (np.array([False, False, True]), np.array([2])):
        part = table.where(rows)
        assert (part.item.tolist(), part.subtask.tolist(), len(part)) == (["b"], ["n"], 1)
        assert [lists(getattr(part, column)) for column in LISTS] == [[list(one)] for one in ROWS[2][2:]]
        assert part.correct.tolist() == [1.0]


def test_parts_of_different_items_are_refused(table):
    with pytest.raises(RequestError, match="equally long"):
        replace(table, chosen_rewards=Ragged.of([[1.0], [2.0]]))
    with pytest.raises(RequestError, match="row 0 has 3 and 1"):
        replace(table, rejected_tokens=Ragged.of([[1], [1, 2, 3], [1, 2]]))
    for odd in (1.5, -0.1, np.nan):
        with pytest.raises(RequestError, match="between 0 and 1, row 1"):
            replace(table, correct=np.array([0.0, odd, 1.0]))


# On disk


def test_the_table_on_disk_has_the_columns_and_types_of_the_contract(table, tmp_path):
    table.save(tmp_path / "items.parquet", {"condition": "baseline"})
    schema = pq.read_schema(tmp_path / "items.parquet")
    assert schema.names == [
        "item", "subtask", "task_type", "chosen_rewards", "rejected_rewards", "chosen_tokens", "rejected_tokens",
        "correct", "prompt", "truncated", "identical",
    ]  # fmt: skip
    kinds = schema.types
    assert all(pa.types.is_large_string(kind) for kind in kinds[:3])
    assert kinds[3:5] == [pa.list_(pa.float64())] * 2
    assert kinds[5:7] == [pa.list_(pa.int64())] * 2
    assert kinds[7:] == [pa.float64(), pa.large_string(), pa.bool_(), pa.bool_()]
    assert schema.metadata == {b"tension_lens.condition": b"baseline"}


def test_the_table_survives_the_disk_bit_for_bit(table, tmp_path):
    table.save(tmp_path / "new" / "items.parquet", {"condition": "ü", "seed": "0"})
    found = ItemTable.load(tmp_path / "new" / "items.parquet")
    for column in (*NAMES, "correct", *FLAGS):
        assert getattr(found, column).tolist() == getattr(table, column).tolist()
    for column in LISTS:
        ours, theirs = getattr(table, column), getattr(found, column)
        assert theirs.values.tobytes() == ours.values.tobytes()
        assert (theirs.values.dtype, theirs.offsets.tolist()) == (ours.values.dtype, ours.offsets.tolist())
    metadata = {"condition": "ü", "seed": "0"}
    assert found.metadata == read_metadata(tmp_path / "new" / "items.parquet") == metadata
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["items.parquet"]


def test_the_same_table_has_the_same_bytes(table, tmp_path):
    for number in range(2):
        item_table(ROWS).save(tmp_path / f"{number}.parquet", {"condition": "baseline"})
    ItemTable.load(tmp_path / "0.parquet").save(tmp_path / "2.parquet", {})
    assert len({(tmp_path / f"{number}.parquet").read_bytes() for number in range(3)}) == 1


def test_a_table_without_items_is_a_table(tmp_path):
    item_table([]).save(tmp_path / "items.parquet", {})
    found = ItemTable.load(tmp_path / "items.parquet")
    assert (len(found), found.right.tolist(), found.random_rate.tolist(), found.subtasks()) == (0, [], [], [])


def test_credits_by_another_rule_are_kept(table, tmp_path):
    replace(table, correct=np.array([0.5, 0.0, 1.0])).save(tmp_path / "items.parquet", {})
    found = ItemTable.load(tmp_path / "items.parquet")
    assert found.correct.tolist() == [0.5, 0.0, 1.0]
    assert found.right.tolist() == [False, True, True]


NEAR = [("near", "s", [0.5 + 3e-8], [0.5]), ("far", "s", [0.5 + 1e-4], [0.5]), ("big", "s", [90.0001], [90.0])]
"""Rewards 3e-8 apart, which is rounding in float32, and 1e-4 apart, of which 90 times the bound is more than that."""


def test_rewards_within_rounding_tie_when_judged():
    found = item_table(NEAR)
    assert (found.correct.tolist(), found.right.tolist()) == ([0, 1, 0], [False, True, False])
    assert found.margin[[0, 2]].tolist() == [0, 0]


def test_rewards_within_rounding_tie_in_a_file_of_another_program(tmp_path):
    path = tmp_path / "items.parquet"
    one, two = pa.array([[0.5 + 3e-8], [0.5 + 1e-4]]), pa.array([[0.5], [0.5]])
    tokens, names = pa.array([[1], [1]]), pa.array(["a", "b"])
    rewards = {"chosen_rewards": one, "rejected_rewards": two, "chosen_tokens": tokens, "rejected_tokens": tokens}
    table = pa.table({"item": names, "subtask": names, "task_type": names, **rewards, "correct": [1.0, 1.0]})
    pq.write_table(table, path)
    found = ItemTable.load(path)
    assert (found.right.tolist(), found.correct.tolist()) == ([False, True], [1, 1])
    assert (found.truncated.tolist(), found.identical.tolist()) == ([False, False], [False, False])
    pq.write_table(table.replace_schema_metadata({"tension_lens.dtype": "bfloat16"}), path)
    assert ItemTable.load(path).right.tolist() == [False, False]
    pq.write_table(table.replace_schema_metadata({"tension_lens.dtype": "int8"}), path)
    with pytest.raises(RequestError, match="unknown dtype 'int8'"):
        ItemTable.load(path)


def test_items_are_counted_by_what_truncation_did_to_them():
    dropped = json.dumps({"a": 2, "gone": 5})
    table = replace(
        item_table([(str(n), "aab"[n], [1.0], [0.0]) for n in range(3)]),
        truncated=np.array([True, True, False]),
        identical=np.array([False, True, False]),
        metadata={"dropped": dropped},
    )
    assert table.lengths() == {"n_truncated": 2, "n_identical": 1, "n_dropped": 7}
    assert table.lengths(["a"]) == {"n_truncated": 2, "n_identical": 1, "n_dropped": 2}
    assert table.lengths(["b"]) == {"n_truncated": 0, "n_identical": 0, "n_dropped": 0}
    assert table.where(np.array([1, 2])).truncated.tolist() == [True, False]


def frame(table, tmp_path):
    """The table as pandas reads it."""
    table.save(tmp_path / "whole.parquet", {})
    return pd.read_parquet(tmp_path / "whole.parquet")


def test_pandas_reads_and_writes_tables(table, tmp_path):
    found = frame(table, tmp_path)
    assert [row.tolist() for row in found["rejected_rewards"]] == [[-1.5, 1e-300, 0.3], [1.0], [-2.0, 0.25]]
    assert found["correct"].tolist() == [0.0, 1.0, 1.0]
    # Rows picked out of a frame and stored one by one, which arrow reads as several chunks.
    whole = pa.Table.from_pandas(found.assign(note="more columns"))
    pq.write_table(pa.concat_tables([whole.slice(2), whole.slice(1, 1)]), tmp_path / "items.parquet", row_group_size=1)
    found = ItemTable.load(tmp_path / "items.parquet")
    assert found.item.tolist() == ["b", "é ☃"]
    assert lists(found.chosen_rewards) == [[2.0, 1 / 3], [2.0]]
    assert lists(found.rejected_tokens) == [[7, 6], [9]]


@pytest.mark.parametrize("name", ["none.parquet", "."])
@pytest.mark.parametrize("read", [ItemTable.load, read_metadata])
def test_a_missing_table_is_refused(tmp_path, name, read):
    with pytest.raises(RequestError, match=r"item table .* cannot be read"):
        read(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 3, 100, -1, -100])
def test_a_truncated_table_is_refused(table, tmp_path, kept):
    path = tmp_path / "items.parquet"
    table.save(path, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RequestError, match=r"items\.parquet cannot be read"):
        ItemTable.load(path)


@pytest.mark.slow
def test_a_flipped_bit_is_never_read_as_another_number(table, tmp_path):
    path = tmp_path / "items.parquet"
    table.save(path, {})
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            found = ItemTable.load(path)
        except RequestError:
            refused += 1
            continue
        for column in LISTS:
            assert lists(getattr(found, column)) == lists(getattr(table, column))
        assert found.item.tolist() == table.item.tolist()
        assert found.correct.tolist() == table.correct.tolist()
    # What is left are bytes that no reader needs.
    assert refused > len(whole) / 2


@pytest.mark.parametrize("column", COLUMNS)
def test_a_table_that_lacks_a_column_is_refused_by_its_name(table, tmp_path, column):
    path = tmp_path / "items.parquet"
    frame(table, tmp_path).drop(columns=column).to_parquet(path)
    with pytest.raises(RequestError, match=rf"items\.parquet: .* {column}$"):
        ItemTable.load(path)


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("item", [1, 2, 3], "item .* int64"),
        ("subtask", ["a", None, "b"], "subtask has 1 "),
        ("chosen_rewards", [1.0, 2.0, 3.0], "chosen_rewards .* double"),
        ("chosen_rewards", [["1"], ["2"], ["3"]], "chosen_rewards .* string"),
        ("chosen_rewards", [[1.0], None, [1.0, 2.0]], "chosen_rewards has 1 empty cells"),
        ("chosen_rewards", [[1.0], [None], [1.0, 2.0]], "chosen_rewards has 1 empty numbers"),
        ("chosen_rewards", [[1.0], [], [1.0, 2.0]], "chosen_rewards: .* row 1"),
        ("rejected_rewards", [[1.0, 2.0, 3.0], [np.nan], [1.0, 2.0]], "rejected_rewards: .* row 1 holds nan"),
        ("rejected_rewards", [[1.0, 2.0, np.inf], [1.0], [1.0, 2.0]], "rejected_rewards: .* row 0 holds inf"),
        ("rejected_rewards", [[1.0, 2.0], [1.0], [1.0, 2.0]], "rejected .* row 0 has 2 and 3"),
        ("chosen_tokens", [[1.0], [1.0], [1.0, 2.0]], "chosen_tokens .* double"),
        ("chosen_tokens", [[1], [1], [1]], "chosen .* row 2 has 2 and 1"),
        ("correct", [0.0, 1.5, 1.0], "correct.* row 1 holds 1.5"),
        ("correct", [0.0, None, 1.0], "correct has 1 empty"),
        ("correct", ["0", "1", "1"], "correct .* string"),
    ],
)
def test_a_column_that_is_not_what_it_must_be_is_refused(table, tmp_path, column, cells, message):
    path = tmp_path / "items.parquet"
    table.save(path, {})
    whole = pq.read_table(path)
    # Arrow's from_pandas would turn not-a-number into an empty cell.
    odd = whole.set_column(whole.schema.names.index(column), column, pa.array(cells, from_pandas=False))
    pq.write_table(odd, path)
    with pytest.raises(RequestError, match=rf"items\.parquet: .*{message}"):
        ItemTable.load(path)
