"""Draw where neuron sets lie in depth: early, middle and late thirds beside chance, and a histogram over layers.

python -m analysis.depth --sets helpful.json harmless.json mixed.json --out depth.html
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.style import PLOT_CONFIG
from tension_lens.artifacts.files import atomic_write, require_writable
from tension_lens.cli import command
from tension_lens.errors import RequestError
from tension_lens.neurons.depth import uniform_depth
from tension_lens.neurons.sets import NeuronSet

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
from analysis.figures.layers import depth_figure
from analysis.tables.depth import depth_table


def write_html(figure: "Figure", path: Path) -> None:
    """A figure as one HTML file that opens without a network."""
    with atomic_write(path) as temporary:
        page = figure.to_html(include_plotlyjs=True, full_html=True, config=PLOT_CONFIG)
        temporary.write_text(page, "utf-8")


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """What to draw."""

    sets: list[Path]
    """NeuronSet JSON files of one network shape, in the order they are drawn."""
    out: Path
    """The .html file."""
    title: str = "Where the neurons lie in depth"
    """Heading of the figure."""


def run(config: DepthConfig) -> dict[str, Any]:
    """Draw the figure of the sets and write it.

    Raises:
        RequestError: if a set cannot be read or compared, or the output cannot be written.
    """
    if config.out.suffix != ".html":
        raise RequestError(f"--out must be an .html file, found {config.out}")
    sets = [NeuronSet.load(path) for path in config.sets]
    figure = depth_figure(sets, config.title)
    require_writable(config.out.parent, config.out.name)
    write_html(figure, config.out)
    table = depth_table(sets)
    shares = {
        str(name): {
            row["bucket"]: None if pd.isna(row["share"]) else round(row["share"], 4) for _, row in rows.iterrows()
        }
        for name, rows in table.groupby("set", sort=False)
    }
    return {"figure": str(config.out), "shares": shares, "uniform": uniform_depth(sets[0].n_layers)}


main = command("analysis.depth", DepthConfig, run, __doc__)

if __name__ == "__main__":
    main()
