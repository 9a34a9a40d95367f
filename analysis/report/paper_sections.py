"""The report's sections about the paper: its published numbers and the differences from its code."""

from collections.abc import Mapping

import pandas as pd

from analysis.figures.variants import variants_caption, variants_figure
from analysis.paper.comparison import compare_with_published, gaps
from analysis.paper.departures import departure_table, departures
from analysis.paper.published import SOURCE, TABLES
from analysis.report.page import Exhibit, Section
from analysis.results.folder import Results


def published_section(tables: Mapping[str, pd.DataFrame]) -> tuple[Section, dict[str, pd.DataFrame]]:
    """The paper's tables with our numbers, and the same tables by file name.

    A table without a number of ours is collapsed.
    """
    exhibits, files = [], {}
    for name, table in TABLES.items():
        if not table.ours:
            continue
        paired = tables.get("conditions") if name.startswith("ablation_") else None
        rows = compare_with_published(tables.get(table.ours, pd.DataFrame()), name, paired)
        slug = f"published-{name.replace('_', '-')}"
        files[slug] = rows
        caption = (
            "ours: the number from these runs; low and high bound its 95 % interval over the units named in the column "
            f"interval. published: {table.where}. Unit: {table.unit}. {table.caveat} artefact: the published number "
            "is not the quantity that its table names; corrected: the value it should have, where known."
        )
        if missing := gaps(rows):
            caption += f"\n\nNo number of ours: {'; '.join(missing)}."
        fold = "No comparable result in these runs; open for the published numbers" if rows["ours"].isna().all() else ""
        exhibits.append(Exhibit(slug, table.heading, caption, table=rows, fold=fold))
    words = (
        f"Published numbers from {SOURCE}. The paper trains six pretrained backbones with three seeds each. For other "
        "models, compare patterns, not exact values."
    )
    return Section("published", "Comparison with the published numbers", [words], exhibits), files


def departures_section(results: Results, tables: Mapping[str, pd.DataFrame]) -> tuple[Section, pd.DataFrame]:
    """The differences between this toolkit and the paper's code, and the same as one table."""
    exhibits = []
    if len(variants := results.variants):
        drawn = variants_caption(variants), variants_figure(variants)
        exhibits.append(Exhibit("variants", "Accuracy with other selection rules", *drawn, numbers="table-variants"))
    found = departures(results, tables)
    for number, one in enumerate(found, start=1):
        caption = (
            f"Paper's code: {one.paper}\n\nThis toolkit: {one.ours}\n\nReason: {one.why}\n\nOn these runs: {one.here}"
        )
        table = one.table if len(one.table) else None
        exhibits.append(Exhibit(f"departure-{number}", f"{one.name[0].upper()}{one.name[1:]}", caption, table=table))
    words = "Each difference changes numbers. The report measures its effect on these runs where their files allow it."
    return Section("departures", "Differences from the paper's code", [words], exhibits), departure_table(found)
