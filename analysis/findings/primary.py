"""What the primary analysis shows: each set against its random sets, and how well attribution forecasts a change."""

from typing import Any

import pandas as pd

from analysis.tables.primary import (
    BOUNDS,
    COLUMNS,
    DIFFERS,
    EQUIVALENT,
    IDENTITY,
    INCONCLUSIVE,
    NOT_AVAILABLE,
    TESTED,
    primary_rows,
)
from tension_lens.constants import PARTS
from tension_lens.metrics.primary import FEW_DRAWS


def primary_facts(table: pd.DataFrame) -> dict[str, Any]:
    """What the table `primary` says, for the template.

    `tests` has the rows of the family by corrected p-value, `verdicts` the same rows by verdict. `varied` names the
    columns that tell two tests' models or data apart. `single` has the comparisons of two sets of equal size, which
    have an interval and no p-value. `missing` has the kinds of random sets that a set cannot have. With `draws` random
    sets no p-value can be below 1/(1 + draws); `needed` random sets allow one below 0.05.
    """
    rows, every = primary_rows(table), table.reindex(columns=COLUMNS)
    tested = rows["against"].isin(TESTED) & rows["p_value"].notna()
    draws = rows.loc[tested, "draws"].min()
    shown = rows[~rows["replaced"]]
    tests = shown[shown["p_adjusted"].notna()].sort_values("p_adjusted", kind="stable")
    return {
        "tests": tests,
        "verdicts": {verdict: tests[tests["verdict"] == verdict] for verdict in (DIFFERS, EQUIVALENT, INCONCLUSIVE)},
        "varied": [name for name in IDENTITY if tests[name].nunique() > 1],
        "single": shown[shown["against"].isin(PARTS) & shown["p_value"].isna()],
        "missing": every[every["verdict"] == NOT_AVAILABLE],
        "draws": draws,
        "needed": FEW_DRAWS,
        "bounds": BOUNDS,
        "parts": PARTS,
    }


def forecast_facts(table: pd.DataFrame) -> dict[str, Any]:
    """The rows of `forecast_table` in the table `primary`: `r` and `slope`, a row for each swept model."""
    outcomes = table.reindex(columns=COLUMNS)
    return {name: outcomes[outcomes["outcome"] == f"forecast {name}"] for name in ("r", "slope")}
