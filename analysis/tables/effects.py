"""What switching a set off does to accuracy: paired differences from the intact model and from the random controls."""

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


def effects(study: Study) -> pd.DataFrame:
    """Paired accuracy differences by sub-task, a row for each pair of conditions of one model on one sub-task.

    `against` is what a condition is compared with: the `intact` model, or, for a set, one of its random controls, whose
    kind and draw are `against_control` and `against_draw`. `difference` = accuracy under the condition − accuracy under
    the other, a fraction, with Tango's 95 % interval and McNemar's exact `p_value`. `p_holm` is corrected over the
    `family_size` tests of one model that answer one question: its sets against the intact model, its controls against
    it, its sets against controls of one kind. An item is correct where min(chosen rewards) > max(rejected rewards),
    whatever its benchmark.
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
    frames = [_frame(comparisons) for comparisons in questions.values()]
    if not frames:
        return pd.DataFrame(columns=[*KEYS, *FIELDS, *AGAINST, "subtask"])
    return pd.concat(frames, ignore_index=True)


def _pairs(group: dict[Condition, Cell]) -> Iterator[tuple[Cell, Cell, str]]:
    """(cell, the cell it is compared with, the family of the test) for one model on one data spec."""
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


def _frame(comparisons: dict[tuple[str, ...], PairedCounts]) -> pd.DataFrame:
    tests = paired_tests(comparisons)
    keys = pd.DataFrame(tests.comparison, columns=[*KEYS, *FIELDS, *AGAINST])
    names = ("subtask", "n", "before", "after", "difference", "low", "high", "lost", "gained", "p_value")
    columns = {name: getattr(tests, name) for name in names}
    return keys.assign(**columns, p_holm=tests.adjusted_p, family_size=tests.family_size)


def condition_table(effects_table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Every set of every model on every sub-task beside its random controls, one row each.

    Columns: `n`, `before` and `after` (accuracy intact and with the set off), `difference` with `low`, `high` and
    `p_holm`; for each kind of control `KIND_mean`, `KIND_min`, `KIND_max`: differences from the intact model over the
    draws of that control, and `KIND_draws`, how many there are. A kind without a draw is empty, not 0.
    """
    from_intact = effects_table[effects_table["against"] == INTACT]
    sizes = pd.DataFrame([cell.labels() for cell in study.cells.values()])[[*KEYS, "neurons"]]
    rows = from_intact.merge(sizes, on=list(KEYS), how="left")
    sets, controls = rows[rows["control"] == ""], rows[rows["control"] != ""]
    same = ["backbone", "seed", "objective", "data", "set", "ablation", "subtask"]
    for kind, drawn in controls.groupby("control", sort=True):
        spread = drawn.groupby(same)["difference"].agg(["mean", "min", "max", "size"])
        spread.columns = [f"{kind}_{name}" for name in ("mean", "min", "max", "draws")]
        sets = sets.merge(spread.reset_index(), on=same, how="left")
    return sets.drop(columns=[*AGAINST, "control", "draw"])


def seed_table(rows: pd.DataFrame, value: str, by: list[str], seeds: list[str]) -> pd.DataFrame:
    """A measure across training seeds: mean, standard deviation (n − 1, empty with one seed), each, and those missing.

    Args:
        rows: a row for each seed and group, with the columns `seed`, `value` and `by`.
        value: the column of the measure.
        by: what makes a group.
        seeds: the seeds there would be.
    """
    wanted = [int(seed) for seed in seeds]
    found: list[dict[str, Any]] = []
    for key, group in rows.groupby(by, sort=False) if len(rows) else ():
        across = AcrossSeeds.of({int(s): v for s, v in zip(group["seed"], group[value], strict=True)}, wanted)
        each = {f"seed_{seed}": across.by_seed.get(seed) for seed in wanted}
        about = dict(zip(by, key, strict=True))
        missing = " ".join(map(str, across.missing))
        overall = across.moments
        found.append({**about, "mean": overall.mean, "sd": overall.sd, "seeds": overall.n, **each, "missing": missing})
    return pd.DataFrame(found, columns=None if found else [*by, "mean", "sd", "seeds", "missing"])
