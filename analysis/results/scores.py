"""Scores of one model under one condition, by every rule of its benchmarks."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from tension_lens.data.benchmarks import BENCHMARKS, PAPER_SUBTASKS, SUBTASKS, subtasks_of
from tension_lens.data.datasets import Spec
from tension_lens.errors import RequestError
from tension_lens.metrics.benchmark_rules import TIES, reward_bench, reward_bench_2, rm_bench
from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.scoring import Score, accuracies, diagonal, paper_accuracies

STRICT = "every chosen above every rejected"
"""The paper's rule for items of several responses."""
PAPER = "paper"
"""The paper's 25 sub-tasks; those of RM-Bench by its diagonal."""
DIAGONAL = "RM-Bench diagonal"
"""Pairs of one style, by which paired tests and retention judge RM-Bench."""


def score_rows(tables: Mapping[str, ItemTable]) -> Iterator[dict[str, Any]]:
    """Scores of one model under one condition, from its item table of each data spec.

    Columns: `data`, `rule`, `subtask`, `task_type`; `accuracy`, `low`, `high` (fractions, 95 % interval; None without
    an interval) and `n`; `n_truncated`, `n_identical`, `n_dropped`, of the items of the row's sub-tasks (see
    `ItemTable.lengths`); `random_rate`, `chance`, `longest_wins` (see `Score`); `missing`, parts that the rule averages
    and the data does not have.

    Raises:
        RequestError: if two data specs are of one benchmark, or a table does not have the benchmark's format.
    """
    official: dict[str, ItemTable] = {}
    for data, table in tables.items():
        types = dict(zip(table.subtask, table.task_type, strict=True))
        for name, score in accuracies(table).items():
            yield _row(data, STRICT, score, types[name], table.lengths([name]))
        benchmark = Spec.parse(data).name
        if benchmark in BENCHMARKS:
            if benchmark in official:
                raise RequestError(f"the study holds {benchmark} twice; keep one data spec of it, such as {data}")
            official[benchmark] = table
            yield from _by_its_own_rule(benchmark, data, table, types)
    if official:
        for name, score in paper_accuracies(official).subtasks.items():
            parts = [(official[one.benchmark], one.name) for one in SUBTASKS if one.paper == name]
            lengths = Counter[str]()
            for table, part in parts:
                lengths.update(table.lengths([part]))
            yield _row(PAPER, PAPER, score, PAPER_SUBTASKS[name], lengths)


def _row(data: str, rule: str, score: Score, task_type: str, lengths: Mapping[str, int]) -> dict[str, Any]:
    about = {"data": data, "rule": rule, "subtask": score.name, "task_type": task_type}
    baselines = {"random_rate": score.random_rate, "chance": score.chance, "longest_wins": score.longest}
    return {**about, **asdict(score.accuracy), **lengths, **baselines, "missing": ", ".join(score.missing)}


def _by_its_own_rule(benchmark: str, data: str, table: ItemTable, types: dict[str, str]) -> Iterator[dict[str, Any]]:
    if benchmark == "reward-bench":
        found = reward_bench(table)
        for section in found.sections.values():
            members = [one.name for one in subtasks_of("reward-bench") if one.section == section.name]
            yield _row(data, "RewardBench section", section, "", table.lengths(members))
        if found.overall is not None:
            yield _row(data, "RewardBench overall", found.overall, "", table.lengths())
    elif benchmark == "reward-bench-2":
        yield from _reward_bench_2(data, table, types)
    elif benchmark == "rm-bench":
        domains = rm_bench(table)
        for name, domain in domains.domains.items():
            part, lengths = table.where(table.subtask == name), table.lengths([name])
            yield _row(data, DIAGONAL, diagonal(name, part), types[name], lengths)
            for kind in ("easy", "normal", "hard", "average"):
                yield _row(data, f"RM-Bench {kind}", getattr(domain, kind), types[name], lengths)
        yield _row(data, "RM-Bench overall", domains.overall["average"], "", table.lengths())
        for kind in ("easy", "normal", "hard"):
            yield _row(data, f"RM-Bench overall {kind}", domains.overall[kind], "", table.lengths())


def _reward_bench_2(data: str, table: ItemTable, types: dict[str, str]) -> Iterator[dict[str, Any]]:
    found = reward_bench_2(table)
    for name, score in found.subsets.items():
        yield _row(data, "best of n", score, types[name], table.lengths([name]))
    if found.ties is not None:
        unknown = {"random_rate": np.nan, "chance": np.nan, "longest_wins": found.ties.longest}
        about = {"data": data, "rule": "Ties composite", "subtask": TIES, "task_type": types[TIES]}
        n = found.ties.accuracy_ref.accuracy.n + found.ties.accuracy_tied.accuracy.n
        interval = {"accuracy": found.ties.score, "low": np.nan, "high": np.nan, "n": n}
        yield {**about, **interval, **table.lengths([TIES]), **unknown, "missing": ", ".join(found.ties.unpaired)}
