"""Item rewards come in the order of the source and survive the disk; correctness and intervals are as by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import FAMILIES, PAIRS, byte_tokenizer, make_reward_model, save_checkpoint

from tension_lens.comparisons import Comparison, split_transcript
from tension_lens.errors import RequestError
from tension_lens.evaluation import (
    COLUMNS,
    Condition,
    ItemRewards,
    accuracy_of,
    is_correct,
    item_rewards,
    load_item_table,
    stream_rewards,
)
from tension_lens.neurons import NeuronSet
from tension_lens.packing import tokenize
from tension_lens.reward_model import HookedRewardModel
from tension_lens.vocabulary import SITES


def comparison(number, pair):
    """One pair as the comparison of its prompt and replies."""
    (prompt, chosen), (_, rejected) = map(split_transcript, pair)
    return Comparison(prompt, (chosen,), (rejected,), f"part {number % 2}", "helpful", f"item-{number}")


BEST_OF_N = (
    Comparison(
        "\n\nHuman: Sea?\n\nAssistant:", (" Blue.",), (" no", " A long, long way off", "?"), "n", "unknown", "1:3"
    ),
    Comparison("\n\nHuman: é?\n\nAssistant:", (" ☃", " oui, bien sûr"), (" a", "bc"), "n", "harmless", "2:2"),
)
COMPARISONS = [*BEST_OF_N[:1], *(comparison(number, pair) for number, pair in enumerate(PAIRS)), *BEST_OF_N[1:]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Of each family Hugging Face's model and the hooked one."""
    folder = tmp_path_factory.mktemp("models")
    references = {family: make_reward_model(family) for family in FAMILIES}
    return {
        family: (one, HookedRewardModel.from_pretrained(save_checkpoint(one, folder / family)))
        for family, one in references.items()
    }


def tokenized(model, max_length=256, long="drop"):
    """The comparisons as evaluation reads them."""
    return tokenize(COMPARISONS, model.tokenizer, max_length, long)


def run(model, data, *conditions, token_budget=300):
    """Rewards by condition after the last batch."""
    *_, (_, rewards) = stream_rewards(model, data, conditions, token_budget)
    return rewards


def conditions_of(model):
    """The intact model and some ablated ones, at both sites, by zero and by mean."""
    shape = (model.n_layers, model.d_mlp)
    some = [(layer, index) for layer in range(shape[0]) for index in range(0, shape[1], 3)]
    means = np.random.default_rng(0).normal(size=shape)
    ablations = [
        Condition(f"{site}, {kind}", NeuronSet.of("some", site, shape, some), held)
        for site in SITES
        for kind, held in (("zero", None), ("mean", means))
    ]
    return [*ablations[:2], Condition("baseline"), *ablations[2:]]


# Rewards of items


@pytest.mark.parametrize("token_budget", [1, 200, 100_000])
def test_rewards_are_hugging_faces_in_the_order_of_the_source(models, family, token_budget):
    reference, model = models[family]
    data = tokenized(model)
    found = item_rewards(
        COMPARISONS, data, run(model, data, Condition("baseline"), token_budget=token_budget)["baseline"]
    )
    assert found.comparisons == tuple(COMPARISONS)
    tokenizer = byte_tokenizer()
    for number, one in enumerate(COMPARISONS):
        for side, responses in (("chosen", one.chosen), ("rejected", one.rejected)):
            ids = [tokenizer(one.prompt + response).input_ids for response in responses]
            with torch.no_grad():
                expected = [float(reference(input_ids=torch.tensor([row])).logits[0, 0]) for row in ids]
            assert found.rewards[side][number] == pytest.approx(expected, abs=1e-5)
            assert found.tokens[side][number] == tuple(map(len, ids))


def test_an_item_dropped_as_too_long_has_no_row_and_moves_no_other(models, family):
    _, model = models[family]
    whole, cut = tokenized(model), tokenized(model, max_length=45)
    everything = item_rewards(COMPARISONS, whole, run(model, whole, Condition("baseline"))["baseline"])
    rest = item_rewards(COMPARISONS, cut, run(model, cut, Condition("baseline"))["baseline"])
    short = [
        number
        for number, one in enumerate(COMPARISONS)
        if max(len((one.prompt + response).encode()) for response in (*one.chosen, *one.rejected)) <= 45
    ]
    assert 0 < len(short) < len(COMPARISONS)
    assert rest.comparisons == tuple(COMPARISONS[number] for number in short)
    for side in ("chosen", "rejected"):
        expected = [everything.rewards[side][number] for number in short]
        for found, wanted in zip(rest.rewards[side], expected, strict=True):
            assert found == pytest.approx(wanted, abs=1e-5)


def test_a_truncated_item_keeps_its_row_and_is_read_at_its_cut(models, family):
    reference, model = models[family]
    data = tokenized(model, max_length=30, long="truncate")
    found = item_rewards(COMPARISONS, data, run(model, data, Condition("baseline"))["baseline"])
    assert found.comparisons == tuple(COMPARISONS)
    one = COMPARISONS[-1]
    ids = byte_tokenizer()(one.prompt + one.chosen[1]).input_ids
    assert len(ids) > 30
    with torch.no_grad():
        expected = float(reference(input_ids=torch.tensor([ids[:30]])).logits[0, 0])
    assert found.rewards["chosen"][-1][1] == pytest.approx(expected, abs=1e-5)
    assert found.tokens["chosen"][-1][1] == 30


def test_every_token_is_reported_once_for_each_condition(models, family):
    _, model = models[family]
    data, conditions = tokenized(model), conditions_of(model)
    done = [tokens for tokens, _ in stream_rewards(model, data, conditions, 100)]
    assert len(done) > 3
    assert sum(done) == data.n_tokens * len(conditions)


def test_several_conditions_in_one_pass_are_each_what_they_are_alone(models, family):
    _, model = models[family]
    data, conditions = tokenized(model), conditions_of(model)
    found = run(model, data, *conditions)
    assert list(found) == [one.name for one in conditions]
    for one in conditions:
        np.testing.assert_allclose(found[one.name], run(model, data, one)[one.name], atol=1e-6, rtol=0)
    # Else the conditions could be mixed up without notice. Zero is the same at both sites, and gpt2 has but one.
    alike = ["gate, zero"] if family == "llama" else ["gate, zero", "gate, mean"]
    distinct = [found[one.name] for one in conditions if one.name not in alike]
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(distinct) for b in distinct[:i])


def test_zero_ablation_is_the_same_at_both_sites(models, family):
    _, model = models[family]
    found = run(model, tokenized(model), *conditions_of(model))
    np.testing.assert_allclose(found["post, zero"], found["gate, zero"], atol=1e-6, rtol=0)


def test_the_intact_condition_knows_nothing_of_the_ablated_ones(models, family):
    _, model = models[family]
    data = tokenized(model)
    expected = model.rewards([list(text.ids) for text in data.texts]).numpy()
    np.testing.assert_allclose(run(model, data, *conditions_of(model))["baseline"], expected, atol=1e-5, rtol=0)


def test_conditions_of_one_name_are_refused(models, family):
    _, model = models[family]
    data = tokenized(model)
    with pytest.raises(RequestError, match="different names"):
        run(model, data, Condition("same"), Condition("other"), Condition("same"))


def test_rewards_that_are_not_numbers_are_refused(models, family):
    _, model = models[family]
    data = tokenized(model)
    rewards = run(model, data, Condition("baseline"))["baseline"]
    rewards[3] = np.nan
    with pytest.raises(RequestError, match="not numbers"):
        item_rewards(COMPARISONS, data, rewards)


# The item table


@pytest.fixture
def items(models):
    """Item rewards of a model."""
    _, model = models["gpt2"]
    data = tokenized(model)
    return item_rewards(COMPARISONS, data, run(model, data, Condition("baseline"))["baseline"])


def test_the_table_holds_the_columns_of_the_contract_in_order(items):
    table = items.table()
    assert tuple(table.columns) == (
        "item",
        "subtask",
        "task_type",
        "chosen_rewards",
        "rejected_rewards",
        "chosen_tokens",
        "rejected_tokens",
        "correct",
    )
    assert table["item"].tolist() == ["1:3", *(f"item-{i}" for i in range(5)), "2:2"]
    assert table["subtask"].tolist() == ["n", "part 0", "part 1", "part 0", "part 1", "part 0", "n"]
    assert table["task_type"].tolist() == ["unknown", *["helpful"] * 5, "harmless"]
    assert [len(rewards) for rewards in table["chosen_rewards"]] == [1, 1, 1, 1, 1, 1, 2]
    assert [len(rewards) for rewards in table["rejected_rewards"]] == [3, 1, 1, 1, 1, 1, 2]


def test_the_table_on_disk_has_the_types_of_the_contract(items, tmp_path):
    items.save(tmp_path / "items.parquet", {"condition": "baseline"})
    schema = pq.read_schema(tmp_path / "items.parquet")
    for column in ("item", "subtask", "task_type"):
        assert pa.types.is_string(schema.field(column).type) or pa.types.is_large_string(schema.field(column).type)
    for column in ("chosen_rewards", "rejected_rewards"):
        assert pa.types.is_list(schema.field(column).type)
        assert pa.types.is_floating(schema.field(column).type.value_type)
    for column in ("chosen_tokens", "rejected_tokens"):
        assert pa.types.is_list(schema.field(column).type)
        assert pa.types.is_integer(schema.field(column).type.value_type)
    assert pa.types.is_floating(schema.field("correct").type)
    assert schema.metadata[b"tension_lens.condition"] == b"baseline"


def test_the_table_survives_the_disk_bit_for_bit(items, tmp_path):
    items.save(tmp_path / "new" / "items.parquet", {})
    table = load_item_table(tmp_path / "new" / "items.parquet")
    assert tuple(table.columns) == COLUMNS
    for column in COLUMNS:
        found = [value.tolist() if isinstance(value, np.ndarray) else value for value in table[column]]
        assert found == items.table()[column].tolist()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["items.parquet"]


def test_the_table_judges_each_item_by_its_own_rewards():
    rewards = {"chosen": ((1.0,), (0.0, 3.0), (2.0, 3.0)), "rejected": ((1.0,), (-1.0, 1.0), (-1.0, 1.0))}
    tokens = {side: tuple((1,) * len(row) for row in rows) for side, rows in rewards.items()}
    found = ItemRewards(tuple(COMPARISONS[:3]), rewards, tokens)
    assert found.correct == [0, 0, 1]
    assert found.table()["correct"].tolist() == [0, 0, 1]


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"none\.parquet"):
        load_item_table(tmp_path / "none.parquet")


@pytest.mark.parametrize("kept", [0, 3, 100, -1, -100])
def test_a_damaged_table_is_refused(items, tmp_path, kept):
    path = tmp_path / "items.parquet"
    items.save(path, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RequestError, match="cannot be read"):
        load_item_table(path)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_table_that_lacks_a_column_is_refused_by_its_name(items, tmp_path, column):
    path = tmp_path / "items.parquet"
    items.table().drop(columns=column).to_parquet(path)
    with pytest.raises(RequestError, match=column):
        load_item_table(path)


def test_a_table_may_hold_more_columns(items, tmp_path):
    items.table().assign(note="").to_parquet(tmp_path / "items.parquet")
    assert isinstance(load_item_table(tmp_path / "items.parquet"), pd.DataFrame)


# Correct


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ([1.0], [0.0], 1),
        ([0.0], [1.0], 0),
        ([1.0], [1.0], 0),
        ([-1.0], [-2.0], 1),
        ([1.0, 3.0], [0.0, 0.5], 1),
        ([1.0, 3.0], [0.0, 2.0], 0),
        ([1.0, 3.0], [0.0, 1.0], 0),
        ([2.0], [0.0, 1.0, 2.0], 0),
        ([0.0, 5.0, 9.0], [-1.0], 1),
    ],
)
def test_an_item_is_correct_when_the_worst_chosen_beats_the_best_rejected(chosen, rejected, expected):
    assert is_correct(chosen, rejected) == expected


numbers = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=4)


@given(numbers, numbers)
def test_an_item_is_correct_when_every_chosen_beats_every_rejected(chosen, rejected):
    assert is_correct(chosen, rejected) == all(a > b for a in chosen for b in rejected)


# Accuracy


def wilson(right, n):
    """Wilson's interval: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z the 97.5 % point of the normal."""
    p, z = right / n, 1.959963984540054
    centre, spread = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return (centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n)


@pytest.mark.parametrize(("right", "n"), [(60, 100), (1, 1), (0, 7), (7, 7), (500, 1000), (2, 3)])
def test_accuracy_comes_with_wilsons_interval(right, n):
    found = accuracy_of([1.0] * right + [0.0] * (n - right))
    assert (found.accuracy, found.n) == (right / n, n)
    assert (found.low, found.high) == pytest.approx(wilson(right, n), abs=1e-12)


def test_sixty_of_a_hundred_by_hand():
    # z² = 3.8415: centre 0.6 + 0.0192 = 0.6192, spread 1.96 √(0.0024 + 0.00009604) = 0.09792, over 1.038415.
    found = accuracy_of([1.0] * 60 + [0.0] * 40)
    assert found.low == pytest.approx(0.502, abs=5e-4)
    assert found.high == pytest.approx(0.6906, abs=5e-4)
    assert str(found) == "60.0 % [50.2, 69.1], n = 100"
    assert found.beats_chance


def test_chance_is_not_beaten_by_an_interval_that_holds_one_half():
    assert not accuracy_of([1.0] * 59 + [0.0] * 41).beats_chance
    assert not replace(accuracy_of([1.0]), low=0.5).beats_chance


def test_no_item_has_no_accuracy():
    with pytest.raises(RequestError, match="no item"):
        accuracy_of([])
