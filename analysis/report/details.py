"""Every table of a report in full, with what its columns mean."""

from collections.abc import Iterator

import pandas as pd

from analysis.report.page import Exhibit
from tension_lens.constants import BASELINE

MOST_FLIPPED = 300
"""Items listed among those that flip most often."""
WARNING = (
    "Content warning: items that models judge differently, by id. The data behind them holds offensive text and "
    "requests for harm. Open to see the ids."
)
CHANGES = ("difference", "uniform_mean", "layer_mean", "activation_mean")
INTERVAL = "low and high bound the 95 % interval"
CONTROL = "KIND_mean, KIND_min and KIND_max are the same change under random sets of equal size"
TEXTS = {
    "conditions": (
        "Each set switched off, by sub-task",
        "before and after: accuracy of the intact model and with the set off, fractions of n items. difference = after "
        f"− before over the same items; {INTERVAL} (Tango). p_holm: McNemar's exact p, Holm-corrected over the "
        f"family_size tests of one model. {CONTROL}, drawn KIND_draws times: a change that lies among them says "
        "nothing about the set. Empty: no such control was run.",
    ),
    "scores": (
        "Accuracy by every rule",
        "accuracy is a fraction of n items under the rule named; "
        f"{INTERVAL} (Wilson). random_rate: what a coin would score; chance: what a model without skill scores by this "
        "rule; longest_wins: what preferring the longest response scores. missing: what the rule averages too and the "
        "data lacks. Data “paper” holds the 25 sub-tasks of the paper.",
    ),
    "effects": (
        "Every paired comparison",
        "Accuracy under a condition against that of the intact model, or of a set against each of its random controls. "
        f"difference = after − before over the same n items; {INTERVAL} (Tango). lost and gained: items that change "
        "sides. p_value: McNemar's exact test; p_holm: Holm-corrected over family_size tests.",
    ),
    "retention": (
        "Retention of the mixed model",
        "share = numerator / denominator: of the items that the helpful or the harmless model judges right, those "
        f"that the mixed model judges right too (combined), or those of one model alone; {INTERVAL} (Wilson). "
        "Jaccard: items right in both over items right in either. Where no share can be given, reason says why.",
    ),
    "margins": (
        "Margins of retained items",
        "Over the n items that the mixed model and the reference model both judge right: mean and sd of the margin "
        "(lowest chosen reward − highest rejected reward) in both, and difference = mixed − reference; "
        f"{INTERVAL} (Student). Raw margins of two models have different units; standardised ones are in standard "
        "deviations of each model's own margins.",
    ),
    "distributions": (
        "Rewards before and after each ablation",
        "Mean, standard deviation and quantiles of the n rewards on the chosen and on the rejected side, in the "
        "model's own units, intact and with the set off. auc: how often a chosen reward lies above a rejected one, "
        "over all pairs of the two sides.",
    ),
    "seeds": (
        "Accuracy across training seeds",
        "mean and sd (n − 1) of accuracy over the training seeds found; with one seed there is no sd. missing names "
        "the seeds without a score.",
    ),
    "rmsd": (
        "Chosen against rejected RMSD",
        "Root mean square over neurons of the difference between the chosen and the rejected statistic of each neuron, "
        "in units of that statistic; by layer, over all layers, and the paper's variant that averages layers first. "
        "It has no interval: neurons are not a sample.",
    ),
    "overlap": (
        "Overlap of neuron sets",
        "How many neurons two sets share, and their Jaccard index, beside what two random sets of their sizes would "
        "share.",
    ),
    "depth": (
        "Depth of neuron sets",
        "share: fraction of a set's neurons in a third of the model's layers; uniform: what a uniformly drawn set "
        "would have there.",
    ),
    "sweeps": (
        "Accuracy against the share of neurons off",
        "accuracy (fraction of n items) with the top percent of neurons of each selector at zero, and difference from "
        f"the intact model; {INTERVAL}. Selector random: sets drawn at random, one row a draw. p_holm: McNemar's exact "
        "p, Holm-corrected over one sweep.",
    ),
    "variants": (
        "Accuracy with other ways to take neurons",
        "accuracy (fraction of n items) with the neurons of each variant at zero: toolkit, by mean magnitude and "
        "exactly so many; signed mean; ranked at the gate; every neuron at or above the percentile; the same by the "
        "signed mean clamped at 0; and all of the paper's code together; random sets of the toolkit's size. "
        "difference: from the accuracy with the neurons off that against names, over the same items; its 95 % "
        "interval is Tango's. jaccard: of the two sets. p_holm: McNemar's exact p, Holm-corrected over family_size "
        "tests of one model.",
    ),
    "training": (
        "Accuracy on held-out pairs",
        "accuracy is a fraction of the n pairs held out from training; "
        f"{INTERVAL} (Wilson). An interval that holds 0.5 does not show that the model learned its objective.",
    ),
    "gaps": (
        "Missing cells",
        "Cells of the grid of models, data and conditions that have no result. They are left out of every number here.",
    ),
}


def details(tables: dict[str, pd.DataFrame]) -> Iterator[Exhibit]:
    """An exhibit for each table that has rows and a text."""
    for name, (heading, caption) in TEXTS.items():
        table = tables.get(name)
        if table is not None and len(table):
            signed = tuple(one for one in CHANGES if one in table)
            where = f" The file is tables/{name}.csv."
            yield Exhibit(f"table-{name}", heading, caption + where, table=table, signed=signed)


def changes_by_backbone(conditions: pd.DataFrame) -> Exhibit:
    """Changes of accuracy in percentage points with a column for each backbone, coloured by sign."""
    keys = ["objective", "condition", "data", "subtask"]
    wide = 100 * conditions.pivot_table("difference", keys, "backbone", sort=False, observed=True)
    counts = conditions.groupby(keys, sort=False, observed=True)["n"].first()
    seeds = conditions.groupby("backbone")["seed"].nunique().max()
    mean = f"Means over up to {seeds} seeds. " if seeds > 1 else ""
    return Exhibit(
        "changes",
        "Change of accuracy by sub-task and backbone",
        f"Accuracy with the set off − accuracy intact, on the same n items, in percentage points. {mean}Orange: "
        "lost, blue: gained, the deeper the larger. Intervals, corrected p and the random controls of each change are "
        "in the table “Each set switched off”: a colour alone claims nothing.",
        table=wide.reset_index().merge(counts.reset_index(), on=keys)[[*keys, "n", *wide.columns]],
        signed=tuple(map(str, wide.columns)),
    )


def flipped(flips: pd.DataFrame) -> Iterator[Exhibit]:
    """How many items change sides, and which do so in the most models; nothing where none does."""
    if flips.empty:
        return
    keys = ["backbone", "seed", "objective", "data", "condition", "reference"]
    counts = flips.groupby([*keys, "flip"], sort=False, observed=True).size().unstack("flip", fill_value=0)
    counts = counts.reindex(columns=["lost", "gained"], fill_value=0).reset_index()
    yield Exhibit(
        "flip-counts",
        "How many items change sides",
        "lost: items right in the reference and wrong here; gained: the reverse. The reference is the same model "
        f"intact where a set is off; for the {BASELINE} condition of a mixed model it is the intact helpful or "
        "harmless model. An item is right where every chosen response scores above every rejected one.",
        table=counts,
    )
    same = ["data", "condition", "objective", "reference", "flip", "subtask", "item"]
    often = flips.groupby(same, sort=False, observed=True).size().rename("models").reset_index()
    often = often.sort_values("models", ascending=False, kind="stable").head(MOST_FLIPPED)
    yield Exhibit(
        "flip-items",
        "Items that change sides most often",
        f"models counts the backbones and seeds in which the item changes sides so; the {MOST_FLIPPED} most frequent "
        "rows. All of them stand in tables/flips.csv.",
        table=often,
        fold=WARNING,
    )
