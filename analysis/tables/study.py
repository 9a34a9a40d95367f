"""All tables of a study."""

import pandas as pd

from analysis.results.study import Study
from analysis.tables.effects import condition_table, effects, seed_table
from analysis.tables.primary import primary_table
from analysis.tables.retention import flip_table, margin_table, retention_table

SCORE_KEYS = ["backbone", "objective", "data", "condition", "set", "ablation", "rule", "subtask"]


def tables_of(study: Study) -> dict[str, pd.DataFrame]:
    """All tables of a study, by name."""
    every = effects(study)
    scores = pd.DataFrame(study.scores)
    # A checkpoint from elsewhere may have no seed; means over seeds exclude it.
    seeds = sorted({cell.seed for cell in study.cells.values() if cell.seed.isdigit()}, key=int)
    seeded = scores[scores["seed"].isin(seeds)]
    return {
        "primary": primary_table(study),
        "conditions": condition_table(every, study),
        "scores": scores,
        "effects": every,
        "retention": retention_table(study),
        "margins": margin_table(study),
        "distributions": pd.DataFrame(study.distributions).drop(columns=["edges", "density"], errors="ignore"),
        "seeds": seed_table(seeded, "accuracy", SCORE_KEYS, seeds),
        "gaps": pd.DataFrame(study.gaps, columns=["backbone", "seed", "objective", "data", "condition", "why"]),
        "flips": flip_table(study),
    }
