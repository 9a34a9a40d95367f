"""Accuracy of an item table by the paper's rule, weighted means with intervals, and the paper's 25 sub-tasks.

Everything is computed from the rewards, not from a table's `correct` column. `benchmark_rules` holds the rules of
benchmarks that differ from the paper's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from tension_lens.constants import RM_BENCH_STYLES
from tension_lens.data.benchmarks import PAPER_SUBTASKS, SUBTASKS, find_subtask
from tension_lens.data.datasets import UNNAMED, Spec
from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import Accuracy, accuracy_of
from tension_lens.metrics.item_table import ItemTable


@dataclass(frozen=True)
class Score:
    """The accuracy of items under a rule, or a weighted mean of such accuracies, with its trivial baselines."""

    name: str
    accuracy: Accuracy
    """Mean credit with Wilson's 95 % interval, or a weighted mean with MOVER's from the parts' limits."""
    random_rate: float
    """Mean of n_chosen/(n_chosen + n_rejected) over items, the paper's random rate."""
    chance: float
    """Expected mean credit under the same rule of random rewards without ties."""
    longest: float
    """Mean credit under the same rule of a scorer whose reward is the number of tokens."""
    missing: tuple[str, ...] = ()
    """Parts of a weighted mean that the data lacks."""


def strict_chance(
    n_chosen: Int[np.ndarray, " item"], n_rejected: Int[np.ndarray, " item"]
) -> Float[np.ndarray, " item"]:
    """1/C(n_chosen + n_rejected, n_chosen): the probability that random rewards rank every chosen response first.

    It equals the paper's random rate for one chosen response and is lower for several: 1/20 instead of 1/2 for 3
    against 3.
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
    """The means over items that `Score` holds.

    Raises:
        RequestError: if there are no items.
    """
    accuracy = accuracy_of(credit.astype(np.float64))
    return Score(name, accuracy, float(random_rate.mean()), float(chance.mean()), float(longest.mean()))


def judge_items(name: str, table: ItemTable) -> Score:
    """All items of a table by the paper's rule: correct if min(chosen rewards) > max(rejected rewards).

    A tie is wrong. This is the rule of the paper's benchmarking code, and for one chosen response also that of
    RewardBench and of RMB's best-of-N.

    Raises:
        RequestError: if there are no items.
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

    low = Σ wᵢ pᵢ − √Σ wᵢ² (pᵢ − lᵢ)², high = Σ wᵢ pᵢ + √Σ wᵢ² (uᵢ − pᵢ)². MOVER, the method of variance estimates
    recovery (Zou and Donner 2008), keeps the asymmetry of Wilson's limits and assumes parts without common items. A
    mean of means has the same interval as the mean of all their parts.

    Args:
        name: name of the mean.
        parts: at least one.
        weights: one positive weight per part.
        missing: names of parts that the data lacks.

    Raises:
        RequestError: if there are no parts.
    """
    if not parts:
        raise RequestError(f"{name} is a mean over sub-tasks, but the data has none of them; add {', '.join(missing)}")
    share = np.array(weights, dtype=np.float64) / sum(weights)
    point, low, high, random_rate, chance, longest = np.array(
        [(p.accuracy.accuracy, p.accuracy.low, p.accuracy.high, p.random_rate, p.chance, p.longest) for p in parts]
    ).T
    mean = float(share @ point)
    below, above = (float(np.linalg.norm(share * (point - limit))) for limit in (low, high))
    accuracy = Accuracy(mean, mean - below, mean + above, sum(part.accuracy.n for part in parts))
    baselines = {"random_rate": random_rate, "chance": chance, "longest": longest}
    means = {key: float(share @ values) for key, values in baselines.items()}
    return Score(name, accuracy, **means, missing=tuple(missing))


def style_wins(table: ItemTable, of: str) -> Bool[np.ndarray, "item chosen_style rejected_style"]:
    """RM-Bench's comparisons: whether chosen response i has more `rewards` or `tokens` than rejected response j.

    Raises:
        RequestError: if an item does not have three responses on each side.
    """
    chosen, rejected = (getattr(table, f"{side}_{of}").matrix(RM_BENCH_STYLES) for side in ("chosen", "rejected"))
    wins: Bool[np.ndarray, "item chosen_style rejected_style"] = chosen[:, :, None] > rejected[:, None, :]
    return wins


def diagonal(name: str, table: ItemTable) -> Score:
    """RM-Bench as the paper reports it: each pair (chosen i, rejected i) of one style counts as an item.

    `n` therefore counts pairs, three per row. Pairs of one row are not independent, so the interval is over rows, with
    a row's share of correct pairs as its credit. It is conservative, as in `accuracy_of`.

    Raises:
        RequestError: if there are no items, or one does not have three responses on each side.
    """
    credit, longest = (
        np.diagonal(style_wins(table, of), axis1=1, axis2=2).mean(axis=1) for of in ("rewards", "tokens")
    )
    half = np.full(len(table), 0.5)
    score = score_items(name, credit, longest, random_rate=half, chance=half)
    return replace(score, accuracy=replace(score.accuracy, n=RM_BENCH_STYLES * len(table)))


def benchmark_of(table: ItemTable) -> str | None:
    """The dataset that the data spec in the table's metadata names, such as `rm-bench`; None without one."""
    data = table.metadata.get("data", UNNAMED)
    return None if data == UNNAMED else Spec.parse(data).name


def require_known_subtasks(benchmark: str, table: ItemTable) -> list[str]:
    """The names of a table's subtasks in order of appearance.

    Raises:
        RequestError: if the benchmark does not have one of them.
    """
    return [find_subtask(benchmark, name).name for name in table.subtasks()]


@dataclass(frozen=True)
class PaperAccuracies:
    """The paper's sub-tasks, by its names and in its order."""

    subtasks: dict[str, Score]
    missing: dict[str, tuple[str, ...]]
    """Sub-tasks without a score, each with the data it lacks, as `benchmark:subset`."""


def paper_accuracies(tables: Mapping[str, ItemTable]) -> PaperAccuracies:
    """The paper's 25 sub-tasks by its rule, from the item table of each benchmark.

    RM-Bench is scored by `diagonal`. `Math` is the unweighted mean of RewardBench 2's Math and RM-Bench's math, and is
    missing if either is.

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
            subtasks[paper] = weighted_mean(paper, [found[part] for part in parts], [1] * len(parts))
    return PaperAccuracies(subtasks, missing)
