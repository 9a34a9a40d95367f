"""Response time of the explorer: each view of each run, for a pair whose longer text has about --length tokens.

    python -m benchmarks.explorer --runs runs/demo

Seconds from the request to the response as JSON, inside the server, without drawing in the browser. The first response
of a run loads its models; the median and the slowest of the others are reported.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from plotly.utils import PlotlyJSONEncoder

from analysis.explorer.answering import Explorer, answer
from analysis.explorer.catalogue import DEFAULT_DATA, Catalogue
from analysis.explorer.models import Models
from analysis.explorer.runs import find_runs
from analysis.explorer.views.ablation import ablation_panel, sweep_panel
from analysis.explorer.views.neuron_map import depth_panel, map_panel
from analysis.explorer.views.neuron_page import driven_panel, neuron_panel
from analysis.explorer.views.pair_view import pair_panel
from benchmarks.timing import timed
from tension_lens.cli import command
from tension_lens.console import progress
from tension_lens.errors import RequestError

VIEWS: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "pair, coloured by reward": (pair_panel, {}),
    "pair, coloured by a set": (pair_panel, {"colour": "set"}),
    "ablation: a set ablated in three models, zero": (ablation_panel, {}),
    "ablation: a set ablated in three models, mean": (ablation_panel, {"ablation": "mean"}),
    "ablation: sweep of three models": (sweep_panel, {}),
    "neuron map": (map_panel, {}),
    "depth of the selection": (depth_panel, {}),
    "neuron": (neuron_panel, {"layer": 2, "neuron": 5}),
    "tokens of largest activation": (driven_panel, {"layer": 2, "neuron": 5}),
}


@dataclass(frozen=True, kw_only=True)
class ExplorerBenchmarkConfig:
    """Runs and repetitions."""

    runs: Path = Path("runs/demo")
    """A run, or a folder of runs."""
    length: int = 256
    """Fewest tokens of the pair's longer text."""
    repeats: int = 5
    """Responses per view, after the first."""


def pair_of(explorer: Explorer, run: str, length: int) -> tuple[str, int]:
    """The shortest pair of the sample with at least `length` tokens: its item and its number of tokens."""
    with explorer.models.using() as models:
        tokenizer = models.get(explorer.runs[run].model("mixed")).tokenizer
    comparisons = explorer.catalogue.source(DEFAULT_DATA[0]).comparisons
    sizes = ((max(len(text.ids) for text in tokenizer(one, 0)), number) for number, one in enumerate(comparisons))
    size, number = min((found for found in sizes if found[0] >= length), default=(0, 0))
    if not size:
        raise RequestError(f"no pair of {DEFAULT_DATA[0]} has {length} tokens; choose a smaller --length")
    return f"{number}.0.0", size


def run(config: ExplorerBenchmarkConfig) -> dict[str, Any]:
    """Time every view of every run.

    Raises:
        RequestError: if there is no run, or no pair of that length.
    """
    explorer = Explorer(find_runs(config.runs), Catalogue(DEFAULT_DATA), Models("cpu"))
    found: dict[str, Any] = {}
    numbers = count(1)
    with progress(len(explorer.runs) * len(VIEWS), "views", unit="view") as bar:
        for name in explorer.runs:
            item, tokens = pair_of(explorer, name, config.length)
            about = {"run": name, "model": "mixed", "data": DEFAULT_DATA[0], "item": item, "set": "shared"}
            times: dict[str, Any] = {}
            for view, (panel, asked) in VIEWS.items():
                seconds, request = [], {**about, **asked, "session": "one"}
                for _ in range(1 + config.repeats):
                    with timed() as spent:
                        content = answer(explorer, view, {**request, "token": next(numbers)}, panel)
                        size = len(json.dumps(content, cls=PlotlyJSONEncoder))
                    seconds.append(round(spent.seconds, 3))
                first, *others = seconds
                slowest = {"median": statistics.median(others), "slowest": max(others)} if others else {}
                times[view] = {"first": first, **slowest, "kilobytes": round(size / 1000)}
                bar.update(1)
            found[name] = {"tokens": tokens, "seconds": times}
    return found


if __name__ == "__main__":
    command("benchmarks.explorer", ExplorerBenchmarkConfig, run, __doc__)()
