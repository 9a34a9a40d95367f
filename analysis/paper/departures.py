"""Where this toolkit departs from the paper's code, and what each departure changes on the runs at hand.

The texts are in `departures.toml`; the numbers in them come from `analysis.paper.measured`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.paper import measured
from analysis.results.folder import Results
from analysis.wording import environment
from tension_lens.artifacts.layout import SITE_SUFFIXES

TEXTS = tomllib.loads((Path(__file__).parent / "departures.toml").read_text("utf-8"))
TEMPLATES = environment()


@dataclass(frozen=True, eq=False)
class Departure:
    """One difference between the paper's code and this toolkit."""

    name: str
    paper: str
    ours: str
    why: str
    here: str
    """What it changes on the runs at hand, in numbers; or why that is unknown."""
    table: pd.DataFrame
    """The numbers behind `here`; empty if there are none."""


def departures(results: Results, tables: Mapping[str, pd.DataFrame]) -> list[Departure]:
    """Every departure, with what it changes on the runs; those that result files can show come first.

    Args:
        results: what the folder of runs holds; neuron scores are read from its run folders.
        tables: what `analysis.tables.study.tables_of` made of it; empty without a study.

    Raises:
        RequestError: if a scores file is damaged.
    """
    models = measured.scored_models(results)
    gated = [(model, one) for model, one in models.items() if one.metadata.get("gated") != "no"]
    effects = measured.variant_effects(results.variants)
    shown = {
        "rankings": measured.by_model(models, measured.rankings),
        "sites": measured.sites(models, measured.scored_models(results, "gate")),
        "thresholds": measured.by_model(models, measured.thresholds),
        "shared_by_layer": measured.shared_by_layer(results.sets),
        "depth_thirds": measured.depth_thirds(results.sets),
        "rmsd_variants": measured.by_model(models, measured.rmsd_variants),
        "rm_bench_rules": measured.rm_bench_rules(tables.get("scores", pd.DataFrame())),
        "lengths": measured.lengths(results),
    }
    facts = {"effects": effects, "top": measured.TOP, "models": models, "gated": gated, "suffixes": SITE_SUFFIXES}
    found = []
    for text in TEXTS["departure"]:
        table = shown.get(text.get("table"), pd.DataFrame())
        here = TEMPLATES.from_string(TEXTS["macros"] + text["here"]).render(facts, table=table)
        said = {name: " ".join(words.split()) for name, words in {**text, "here": here}.items() if name != "table"}
        found.append(Departure(**said, table=table))
    return found


def departure_table(found: list[Departure]) -> pd.DataFrame:
    """All departures, one row each: `departure`, `paper's code`, `this toolkit`, `why`, `on these runs`."""
    names = ["departure", "paper's code", "this toolkit", "why", "on these runs"]
    return pd.DataFrame([(one.name, one.paper, one.ours, one.why, one.here) for one in found], columns=names)
