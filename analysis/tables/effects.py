"""Effects of ablations on accuracy: paired differences from the intact model and from random controls."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.results.study import Cell, Study
from tension_lens.constants import INTACT
from tension_lens.metrics.distributions import AcrossSeeds
from tension_lens.metrics.paired import PairedCounts, count_pairs, paired_tests
from tension_lens.neurons.conditions import Condition

KEYS = ("backbone", "seed", "objective", "data", "condition")
FIELDS = ("set", "ablation", "control", "draw")
"""The columns that identify a condition; `condition` is its label."""
AGAINST = ("against", "against_control", "against_draw")
COLUMNS = ("subtask", "n", "before", "after", "difference", "low", "high", "lost", "gained", "p_value")


def effects(study: Study) -> pd.DataFrame:
    """Paired differences in accuracy by sub-task, a row for each pair of conditions of a model.

    `against` is the reference: the `intact` model or, for a set, one of its random controls, whose kind and draw are
    `against_control` and `against_draw`. `difference` = accuracy under the condition − accuracy under the reference, a
    fraction, with Tango's 95 % interval and McNemar's exact `p_value`. `p_holm` is Holm-corrected over the
    `family_size` tests of one model in one family: sets against the intact model, controls against the intact model, or
    sets against controls of one kind. An item is correct if min(chosen rewards) > max(rejected rewards), for every
    benchmark.
    """
    questions: dict[tuple[str, ...], dict[tuple[str, ...], PairedCounts]] = {}
    for group in study.groups().values():
        for cell, other, question in _pairs(group):
            reference = other.condition.columns()
            against = INTACT if other.condition.is_intact else reference["condition"]
            about = (*cell.condition.columns().values(), against, reference["control"], reference["draw"])
            key = (*cell.model, cell.data, *about)
            before, after = (one.right.astype(np.float64) for one in (other, cell))
            counts = count_pairs(before, after, study.items[cell.data].subtask)
            questions.setdefault((*cell.model, question), {})[key] = counts
    keys = [*KEYS, *FIELDS, *AGAINST]
    frames = [pd.DataFrame(columns=[*keys, "subtask"])] if not questions else []
    for tests in map(paired_tests, questions.values()):
        columns = {name: getattr(tests, name) for name in COLUMNS}
        frame = pd.DataFrame(tests.comparison, columns=keys).assign(**columns)
        frames.append(frame.assign(p_holm=tests.adjusted_p, family_size=tests.family_size))
    return pd.concat(frames, ignore_index=True)


def _pairs(group: dict[Condition, Cell]) -> Iterator[tuple[Cell, Cell, str]]:
    """(cell, reference cell, family of the test) for one model on one data spec."""
    intact = group.get(Condition())
    for condition, cell in group.items():
        if condition.is_intact:
            continue
        if intact is not None:
            yield cell, intact, "controls" if condition.is_control else "sets"
        if not condition.is_control:
            for other in group.values():
                if other.condition.is_control and other.condition.of_set == condition:
                    yield cell, other, other.condition.control


def condition_table(effects_table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The effect of every set in every model on every sub-task, next to its random controls; a row each.

    Columns: `n`, `before` and `after` (accuracy of the intact model and with the set ablated), `difference` with `low`,
    `high` and `p_holm`; for each kind of control `KIND_mean`, `KIND_min`, `KIND_max` (differences from the intact model
    over the draws) and `KIND_draws`. A set without controls of a kind has empty cells, not 0.
    """
    from_intact = effects_table[effects_table["against"] == INTACT].drop(columns=[*FIELDS, *AGAINST])
    about = pd.DataFrame([cell.labels() for cell in study.cells.values()])[[*KEYS, *FIELDS, "neurons"]]
    rows = from_intact.merge(about, on=list(KEYS), how="left")
    sets, controls = rows[rows["control"] == ""], rows[rows["control"] != ""]
    same = ["backbone", "seed", "objective", "data", "set", "ablation", "subtask"]
    for kind, drawn in controls.groupby("control", sort=True):
        span = drawn.groupby(same)["difference"].agg(["mean", "min", "max", "size"])
        span.columns = [f"{kind}_{name}" for name in ("mean", "min", "max", "draws")]
        sets = sets.merge(span.reset_index(), on=same, how="left")
    return sets.drop(columns=["control", "draw"])


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
