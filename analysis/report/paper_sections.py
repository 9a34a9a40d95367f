"""The report's sections about the paper: its numbers beside ours, and where its code and this toolkit part."""

from collections.abc import Iterator, Mapping

import pandas as pd

from analysis.figures.variants import variants_caption, variants_figure
from analysis.paper.beside import SOURCE, TABLES, beside, gaps
from analysis.paper.departures import Departure, departure_table, departures
from analysis.report.page import Exhibit, Section
from analysis.results.folder import Results

OURS = {
    "accuracy": "scores",
    "retention": "retention",
    "ablation_top10": "scores",
    "ablation_partition": "scores",
    "rmsd": "rmsd",
    "overlap": "overlap",
    "depth": "depth",
    "ablation_curve": "sweeps",
}
"""Our table that each published one is compared with."""
NOTHING = "Nothing in these runs is comparable; open for the published numbers"


def published_section(tables: Mapping[str, pd.DataFrame]) -> tuple[Section, dict[str, pd.DataFrame]]:
    """The paper's tables with our numbers beside them, and the same as tables by file name.

    A table that nothing of ours stands beside is folded.
    """
    exhibits, files = [], {}
    for name, mine in OURS.items():
        table = TABLES[name]
        paired = tables.get("conditions") if name.startswith("ablation_") else None
        rows = beside(tables.get(mine, pd.DataFrame()), name, paired)
        slug = f"published-{name.replace('_', '-')}"
        files[slug] = rows
        caption = (
            "ours: the number of these runs, low and high its 95 % interval over what the column interval names. "
            f"published: {table.where}. Unit: {table.unit}. {table.caveat} artefact marks a published number that is "
            "not what its place says, corrected the value it should have, where that can be known."
        )
        missing = gaps(rows)
        if missing:
            caption += f"\n\nWithout a number of ours: {'; '.join(missing)}."
        fold = NOTHING if rows["ours"].isna().all() else ""
        exhibits.append(Exhibit(slug, table.heading, caption, table=rows, fold=fold))
    words = (
        f"Facts from {SOURCE}. The paper trains six pretrained backbones with three seeds each; compare other models "
        "with it in shape, not digit for digit."
    )
    return Section("published", "Beside the published numbers", [words], exhibits), files


def departures_section(results: Results, tables: Mapping[str, pd.DataFrame]) -> tuple[Section, pd.DataFrame]:
    """Where this toolkit departs from the paper's code, and the same as one table."""
    found = departures(results, tables)
    words = "Each of these changes numbers. What it changes is measured on the runs at hand wherever their files allow."
    exhibits = list(_departures(found))
    if len(variants := results.variants):
        heading = "Accuracy with other ways to take neurons"
        drawn = variants_caption(variants), variants_figure(variants)
        exhibits.insert(0, Exhibit("variants", heading, *drawn, numbers="table-variants"))
    heading = "Where this toolkit departs from the paper's code"
    return Section("departures", heading, [words], exhibits), departure_table(found)


def _departures(found: list[Departure]) -> Iterator[Exhibit]:
    for number, one in enumerate(found):
        caption = (
            f"Paper's code: {one.paper}\n\nThis toolkit: {one.ours}\n\nWhy: {one.why}\n\nOn these runs: {one.here}"
        )
        table = one.table if len(one.table) else None
        yield Exhibit(f"departure-{number + 1}", f"{one.name[0].upper()}{one.name[1:]}", caption, table=table)
