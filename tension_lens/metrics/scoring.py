"""Accuracy of an item table by the paper's rule, weighted means with intervals, and the paper's 25 sub-tasks.

Everything is computed from the rewards; the `correct` a table carries is not read. RewardBench's own rule for an item
and that of RMB's best-of-N are the paper's; what benchmarks have beyond it is in `benchmark_rules`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from tension_lens.constants import RM_BENCH_STYLES
from tension_lens.data.benchmarks import PAPER_SUBTASKS, SUBTASKS, find_subtask
from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import Accuracy, accuracy_of
from tension_lens.metrics.item_table import ItemTable


@dataclass(frozen=True)
class Score:
    """Items judged by a rule, or a weighted mean of such, beside what needs no judgement at all."""

    name: str
    accuracy: Accuracy
    """Mean credit with its 95 % interval. Wilson's; of a weighted mean MOVER's from the parts' limits."""
    random_rate: float
    """Mean of n_chosen/(n_chosen + n_rejected) over items, what the paper calls the random rate."""
    chance: float
    """Mean credit, under the same rule, of a scorer that gives random rewards, no two alike."""
    longest: float
    """Mean credit, under the same rule, of a scorer whose reward is the number of tokens."""
    parts: tuple[str, ...] = ()
    """What it is a weighted mean of; nothing where it is of items."""
    missing: tuple[str, ...] = ()
    """What the rule averages too and the data lacks."""


def strict_chance(
    n_chosen: Int[np.ndarray, " item"], n_rejected: Int[np.ndarray, " item"]
) -> Float[np.ndarray, " item"]:
    """1/C(n_chosen + n_rejected, n_chosen): how likely random rewards put every chosen response above every other.

    Of all orders of the responses, that share has the chosen ones on top. It is the paper's random rate where one
    response is chosen, and less where several are: 1/20 and not 1/2 for 3 against 3.
    """
    from scipy.special import comb

    chance: Float[np.ndarray, " item"] = 1 / comb(n_chosen + n_rejected, n_chosen)
    return chance


def score_items(
    name: str,
    credit: Float[np.ndarray, " item"] | Bool[np.ndarray, " item"],
    longest: Float[np.ndarray, " item"] | Bool[np.ndarray, " item"],
    random_rate: Float[np.ndarray, " item"],
    chance: Float[np.ndarray, " item"],
) -> Score:
    """The mean over items of what `Score` holds.

    Raises:
        RequestError: if there is no item.
    """
    accuracy = accuracy_of(credit.astype(np.float64))
    return Score(name, accuracy, float(random_rate.mean()), float(chance.mean()), float(longest.mean()))


def judge_items(name: str, table: ItemTable) -> Score:
    """All items of a table by the paper's rule: right where min(chosen rewards) > max(rejected rewards).

    A tie is wrong; `longest` puts tokens in the place of rewards. The rule of the paper's benchmarking code; for one
    chosen response also that of RewardBench and of RMB's best-of-N.

    Raises:
        RequestError: if there is no item.
    """
    chance = strict_chance(table.chosen_rewards.counts, table.rejected_rewards.counts)
    return score_items(name, table.right, table.longest_wins, table.random_rate, chance)


def accuracies(table: ItemTable) -> dict[str, Score]:
    """`judge_items` of every subtask, in order of appearance."""
    return {name: judge_items(name, table.where(table.subtask == name)) for name in table.subtasks()}


def weighted_mean(
    name: str, parts: Sequence[Score], weights: Sequence[float | int], missing: Sequence[str] = ()
) -> Score:
    """Σ wᵢ pᵢ with weights normalised to sum 1, and its 95 % interval by MOVER from the parts' own limits.

    low = Σ wᵢ pᵢ − √Σ wᵢ² (pᵢ − lᵢ)², high = Σ wᵢ pᵢ + √Σ wᵢ² (uᵢ − pᵢ)². The method of variance estimates recovery
    (Zou and Donner 2008) keeps the asymmetry of Wilson's limits and holds for parts without a common item. A mean of
    means has the interval that the mean of all their parts has.

    Args:
        name: what the mean is called.
        parts: at least one.
        weights: one for each part, positive.
        missing: names of what the rule averages too and is not there.

    Raises:
        RequestError: if there is no part.
    """
    if not parts:
        raise RequestError(f"{name} is a mean over sub-tasks, and none is there; it lacks {', '.join(missing)}")
    share = np.array(weights, dtype=np.float64) / sum(weights)
    point, low, high, random_rate, chance, longest = np.array(
        [(p.accuracy.accuracy, p.accuracy.low, p.accuracy.high, p.random_rate, p.chance, p.longest) for p in parts]
    ).T
    mean = float(share @ point)
    below, above = (float(np.linalg.norm(share * (point - limit))) for limit in (low, high))
    accuracy = Accuracy(mean, mean - below, mean + above, sum(part.accuracy.n for part in parts))
    return Score(
        name,
        accuracy,
        random_rate=float(share @ random_rate),
        chance=float(share @ chance),
        longest=float(share @ longest),
        parts=tuple(part.name for part in parts),
        missing=tuple(missing),
    )


def style_wins(table: ItemTable, of: str) -> Bool[np.ndarray, "item chosen_style rejected_style"]:
    """RM-Bench's comparisons: whether chosen response i has more of `of`, `rewards` or `tokens`, than rejected j.

    Raises:
        RequestError: if an item does not have three responses on each side.
    """
    chosen, rejected = (getattr(table, f"{side}_{of}").matrix(RM_BENCH_STYLES) for side in ("chosen", "rejected"))
    wins: Bool[np.ndarray, "item chosen_style rejected_style"] = chosen[:, :, None] > rejected[:, None, :]
    return wins


def diagonal(name: str, table: ItemTable) -> Score:
    """RM-Bench as the paper reports it: each (chosen i, rejected i), both of one style, counts as an item of its own.

    `n` therefore counts pairs, three for each row. Pairs of one row are not independent, so the interval is that of
    the rows, each with its share of right pairs as credit: Wilson's formula with the number of rows, which is cautious
    since a share varies less than a judgement of 0 or 1 with the same mean.

    Raises:
        RequestError: if there is no item, or one does not have three responses on each side.
    """
    credit, longest = (
        np.diagonal(style_wins(table, of), axis1=1, axis2=2).mean(axis=1) for of in ("rewards", "tokens")
    )
    half = np.full(len(table), 0.5)
    score = score_items(name, credit, longest, random_rate=half, chance=half)
    return replace(score, accuracy=replace(score.accuracy, n=RM_BENCH_STYLES * len(table)))


def require_known_subtasks(benchmark: str, table: ItemTable) -> list[str]:
    """The names of a table's subtasks in order of appearance.

    Raises:
        RequestError: if the benchmark has no subtask of a name, naming those it has.
    """
    return [find_subtask(benchmark, name).name for name in table.subtasks()]


@dataclass(frozen=True)
class PaperAccuracies:
    """The paper's sub-tasks, by its names and in its order."""

    subtasks: dict[str, Score]
    missing: dict[str, tuple[str, ...]]
    """Sub-tasks that cannot be given, each with the data it lacks, as `benchmark:subset`."""


def paper_accuracies(tables: Mapping[str, ItemTable]) -> PaperAccuracies:
    """The paper's 25 sub-tasks by its rule, from the item table of each benchmark.

    RM-Bench counts by the `diagonal`. `Math` is the mean of RewardBench 2's Math and RM-Bench's math, each with weight
    1/2, and missing unless both are there. Nothing stands in for a sub-task whose data is missing.

    Raises:
        RequestError: if a table holds a subtask its benchmark does not have.
    """
    found: dict[tuple[str, str], Score] = {}
    for benchmark, table in tables.items():
        judge = diagonal if benchmark == "rm-bench" else judge_items
        for name in require_known_subtasks(benchmark, table):
            found[benchmark, name] = judge(name, table.where(table.subtask == name))
    subtasks: dict[str, Score] = {}
    missing: dict[str, tuple[str, ...]] = {}
    for paper in PAPER_SUBTASKS:
        parts = [(one.benchmark, one.name) for one in SUBTASKS if one.paper == paper]
        if lacking := tuple(":".join(part) for part in parts if part not in found):
            missing[paper] = lacking
        elif len(parts) == 1:
            subtasks[paper] = replace(found[parts[0]], name=paper)
        else:
            scores = [replace(found[part], name=":".join(part)) for part in parts]
            subtasks[paper] = weighted_mean(paper, scores, [1] * len(scores))
    return PaperAccuracies(subtasks, missing)
