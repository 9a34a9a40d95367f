"""Draw the depth of neuron sets: early, middle and late thirds of the layers next to chance, and single layers.

python -m analysis.depth --sets helpful.json harmless.json mixed.json --out depth.html
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.figures.layers import depth_figure
from analysis.figures.style import PLOT_CONFIG
from tension_lens.artifacts.files import atomic_write, require_writable
from tension_lens.cli import command
from tension_lens.errors import RequestError
from tension_lens.neurons.depth import depth_shares, uniform_depth
from tension_lens.neurons.sets import NeuronSet


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """Input and output of analysis.depth."""

    sets: list[Path]
    """NeuronSet JSON files of one network shape, in the order of the figure."""
    out: Path
    """The .html file."""
    title: str = "Depth of the neuron sets"
    """Heading of the figure."""


def run(config: DepthConfig) -> dict[str, Any]:
    """Draw the figure and write it as one HTML file that opens offline.

    Raises:
        RequestError: if a set cannot be read or compared, or the output cannot be written.
    """
    if config.out.suffix != ".html":
        raise RequestError(f"--out must be an .html file, found {config.out}")
    sets = [NeuronSet.load(path) for path in config.sets]
    figure = depth_figure(sets, config.title)
    require_writable(config.out.parent, config.out.name)
    with atomic_write(config.out) as temporary:
        temporary.write_text(figure.to_html(include_plotlyjs=True, config=PLOT_CONFIG), "utf-8")
    shares = {
        one.name: {bucket: round(share, 4) if len(one) else None for bucket, share in depth_shares(one).items()}
        for one in sets
    }
    return {"figure": str(config.out), "shares": shares, "uniform": uniform_depth(sets[0].n_layers)}


main = command("analysis.depth", DepthConfig, run, __doc__)

if __name__ == "__main__":
    main()
