"""The table of sub-tasks against the benchmarks and the paper's published tables."""

import csv
from collections import Counter

import pytest
from parts import SHARED_DATA

from tension_lens.data.benchmarks import BENCHMARKS, PAPER_SUBTASKS, SUBTASKS, find_subtask, subtasks_of
from tension_lens.errors import RequestError

PUBLISHED = SHARED_DATA.parent / "published" / "accuracy.csv"


def test_the_paper_has_seventeen_helpful_and_eight_harmless_subtasks_in_that_order():
    assert list(PAPER_SUBTASKS.values()) == ["helpful"] * 17 + ["harmless"] * 8
    assert list(PAPER_SUBTASKS)[:4] == ["Alpaca Eval (Easy)", "Alpaca Eval (Hard)", "Alpaca Eval (Length)", "Chat"]
    assert list(PAPER_SUBTASKS)[17:] == [
        "Do Not Answer",
        "Refusals Dangerous",
        "Refusals Offensive",
        "Safety",
        "Safety Refuse",
        "Safety Response",
        "XStest Should Refuse",
        "XStest Should Respond",
    ]


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"NO PUBLISHED TABLES: {PUBLISHED} is not there")
def test_names_and_task_types_are_those_of_the_papers_published_tables():
    with open(PUBLISHED, encoding="utf-8") as lines:
        published = {row["subtask"]: row["task_type"] for row in csv.DictReader(lines)}
    assert list(PAPER_SUBTASKS.items()) == list(published.items())


def test_math_alone_is_two_subtasks_in_one():
    rows = Counter(one.paper for one in SUBTASKS if one.paper is not None)
    assert {paper for paper, n in rows.items() if n > 1} == {"Math"}
    assert [(one.benchmark, one.name) for one in SUBTASKS if one.paper == "Math"] == [
        ("reward-bench-2", "Math"),
        ("rm-bench", "math"),
    ]


def test_the_paper_leaves_out_code_and_ties_and_what_it_leaves_out_has_no_task_type():
    left_out = [one.name for name in BENCHMARKS[:3] for one in subtasks_of(name) if one.paper is None]
    assert left_out == ["hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust", "Ties", "code"]
    assert {find_subtask(name, one).task_type for name in BENCHMARKS[:3] for one in left_out if one in names(name)} == {
        "unknown"
    }


def names(benchmark):
    return {one.name for one in subtasks_of(benchmark)}


@pytest.mark.parametrize(
    ("section", "subsets", "weight"),
    # Sums of the published counts: 100+95+95+28+40; 37+100+134+92+47+46; 100+100+154+250+136; 984+6*164.
    [("Chat", 5, 358), ("Chat Hard", 6, 456), ("Safety", 5, 740), ("Reasoning", 7, 1968)],
)
def test_sections_of_reward_bench_weigh_what_the_benchmark_says(section, subsets, weight):
    rows = [one for one in SUBTASKS if one.section == section]
    assert (len(rows), sum(one.weight for one in rows)) == (subsets, weight)
    assert {one.benchmark for one in rows} == {"reward-bench"}


def test_weights_of_reward_bench_add_up_to_the_published_number_of_rows():
    # 2,985 rows in split `filtered`. math-prm has 447 rows but weighs as much as all code, 984.
    code = sum(one.weight for one in subtasks_of("reward-bench") if one.name.startswith("hep-"))
    assert find_subtask("reward-bench", "math-prm").weight == code == 984
    assert sum(one.weight for one in subtasks_of("reward-bench")) - 984 + 447 == 2985


@pytest.mark.parametrize(
    ("benchmark", "expected"),
    [
        ("hh-rlhf", {"helpful": 3, "harmless": 1}),
        ("reward-bench", {"helpful": 12, "harmless": 5, "unknown": 6}),
        ("reward-bench-2", {"helpful": 4, "harmless": 1, "unknown": 1}),
        ("rm-bench", {"helpful": 2, "harmless": 2, "unknown": 1}),
        ("rmb", {"helpful": 37, "harmless": 12}),
    ],
)
def test_every_data_set_has_so_many_parts_of_each_task_type(benchmark, expected):
    assert Counter(one.task_type for one in subtasks_of(benchmark)) == expected


def test_names_are_unique_in_their_data_set():
    assert len({(one.benchmark, one.name) for one in SUBTASKS}) == len(SUBTASKS)


def test_the_folder_says_the_task_type_of_rmb():
    for one in subtasks_of("rmb"):
        assert one.name.split("/")[0] == {"helpful": "Helpfulness", "harmless": "Harmlessness"}[one.task_type]


@pytest.mark.parametrize(
    ("benchmark", "name", "named"),
    [
        ("reward-bench-2", "ties", "'ties'.*Ties"),
        ("rm-bench", "Math", "'Math'.*math"),
        ("reward-bench-3", "Math", "none"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(benchmark, name, named):
    with pytest.raises(RequestError, match=named):
        find_subtask(benchmark, name)
