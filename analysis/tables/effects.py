"""Effects of ablations on accuracy: paired differences from the intact model, next to those of random controls."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.results.cells import Cell
from analysis.results.study import Study
from tension_lens.constants import CONTROLS
from tension_lens.metrics.distributions import AcrossSeeds
from tension_lens.metrics.paired import PairedCounts, count_pairs, paired_tests
from tension_lens.metrics.pairs import item_credits
from tension_lens.neurons.conditions import Condition

KEYS = ("backbone", "seed", "objective", "data", "condition", "set", "ablation")
"""The columns that identify a model, its data and an ablated set; `condition` is the label of set and ablation."""
COLUMNS = ("subtask", "n", "before", "after", "difference", "low", "high", "lost", "gained", "p_value")


def effects(study: Study) -> pd.DataFrame:
    """Change of accuracy from the intact model by sub-task, a row for each set ablated in each model.

    `before` and `after` are the accuracies of the intact model and with the set ablated, over `n` items. `difference` =
    after − before, a fraction, with Tango's 95 % interval `low` to `high`. `lost` and `gained` sum the credit that
    items lose and gain. An item's credit is the share of its pairs that are judged correctly, see `pairs_won`; RM-Bench
    has three pairs an item, all else one. `p_value` is of the exact sign-flip test over items (for one pair an item
    McNemar's). It is not corrected for the number of sub-tasks: they are exploratory.
    """
    comparisons: dict[tuple[str, ...], PairedCounts] = {}
    for group in study.groups().values():
        intact = group.get(Condition())
        for condition, cell in group.items():
            if intact is not None and not condition.is_intact:
                key = (*cell.model, cell.data, condition.label, condition.set, condition.ablation)
                comparisons[key] = _change(study, intact, cell)
    if not comparisons:
        return pd.DataFrame(columns=[*KEYS, *COLUMNS])
    tests = paired_tests(comparisons)
    columns = {name: getattr(tests, name) for name in COLUMNS}
    return pd.DataFrame(tests.comparison, columns=list(KEYS)).assign(**columns)


def _change(study: Study, intact: Cell, cell: Cell) -> PairedCounts:
    """Changes of the items' credits from the intact model to a cell, by sub-task."""
    before, after = item_credits(intact.right), item_credits(cell.right)
    return count_pairs(before, after, study.items[cell.data].subtask, pairs=cell.right.shape[1])


def condition_table(effects_table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The rows of `effects` with the size of each set, next to its random controls.

    More columns: `neurons`; for each kind of control `KIND_mean`, `KIND_min`, `KIND_max` (changes of accuracy from the
    intact model over the draws, without a test) and `KIND_draws`. A set without controls of a kind has empty cells, not
    0.
    """
    about = pd.DataFrame([cell.labels() for cell in study.cells.values()])
    rows = effects_table.merge(about[[*KEYS, "neurons"]], on=list(KEYS), how="left")
    controls = _control_changes(study)
    for kind in sorted(controls):
        rows = rows.merge(pd.concat(controls[kind], ignore_index=True), on=[*KEYS, "subtask"], how="left")
    return rows


def _control_changes(study: Study) -> dict[str, list[pd.DataFrame]]:
    """By kind of control, for each set the mean, minimum and maximum change over the draws, by sub-task.

    Only of random sets that were run on all items, as their set was.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for draws in study.draws:
        intact, kind = study.cells.get((*draws.model, draws.data, Condition())), draws.condition.control
        if intact is None or kind not in CONTROLS or len(draws.rows) < len(intact.right):
            continue
        codes, subtasks = pd.factorize(study.items[draws.data].subtask)
        n = np.bincount(codes)
        credit = draws.right.mean(axis=2) - item_credits(intact.right)
        changes = np.array([np.bincount(codes, weights=one) / n for one in credit])
        spans = {"mean": changes.mean(axis=0), "min": changes.min(axis=0), "max": changes.max(axis=0)}
        columns = {f"{kind}_{name}": values for name, values in {**spans, "draws": len(changes)}.items()}
        of_set = draws.condition.of_set
        identity = (*draws.model, draws.data, of_set.label, of_set.set, of_set.ablation)
        key = dict(zip(KEYS, identity, strict=True))
        found.setdefault(kind, []).append(pd.DataFrame({"subtask": subtasks, **columns}).assign(**key))
    return found


def seed_table(rows: pd.DataFrame, value: str, by: list[str], seeds: list[str]) -> pd.DataFrame:
    """A measure across training seeds: mean, standard deviation (n − 1, empty for one seed), values, missing seeds.

    Args:
        rows: a row for each seed and group, with the columns `seed`, `value` and `by`.
        value: the column of the measure.
        by: columns of the group.
        seeds: all expected seeds.
    """
    wanted = [int(seed) for seed in seeds]
    found: list[dict[str, Any]] = []
    for key, group in rows.groupby(by, sort=False) if len(rows) else ():
        across = AcrossSeeds.of(dict(zip(group["seed"].astype(int), group[value], strict=True)), wanted)
        about = {**dict(zip(by, key, strict=True)), "mean": across.moments.mean, "sd": across.moments.sd}
        each = {f"seed_{seed}": across.by_seed.get(seed) for seed in wanted}
        missing = " ".join(map(str, across.missing))
        found.append({**about, "seeds": len(across.by_seed), **each, "missing": missing})
    return pd.DataFrame(found, columns=None if found else [*by, "mean", "sd", "seeds", "missing"])
