"""Tables and traces for the tests of figures."""

import numpy as np
import pandas as pd
from parts_items import of_margins

from analysis.figures.frame import META
from tension_lens.constants import SIDES, STATISTICS
from tension_lens.neurons.scores import NeuronScores


def judged(pattern):
    """Items with margin 2 for each 1 in the pattern and −1 for each 0; helpful ones, a space, harmless ones."""
    helpful, harmless = pattern.split()
    subtasks = ["helpful-base"] * len(helpful) + ["harmless-base"] * len(harmless)
    return of_margins([2.0 if mark == "1" else -1.0 for mark in helpful + harmless], subtasks)


def neuron_scores(chosen, rejected):
    """Scores with these values of mean_abs by layer; all other statistics are 1."""
    values = {f"{side}/{name}": np.ones(np.shape(chosen), np.float32) for side in SIDES for name in STATISTICS}
    values.update({"chosen/mean_abs": np.float32(chosen), "rejected/mean_abs": np.float32(rejected)})
    return NeuronScores(values, "post", "all", {})


def score_rows(cells, task_type="helpful", rule="paper", chance=0.5):
    """Rows of the table `scores` from (backbone, seed, objective, sub-task): (accuracy, low, high)."""
    columns = ["backbone", "seed", "objective", "subtask", "accuracy", "low", "high"]
    data = "paper" if rule == "paper" else "sample:mixed:test"
    about = {"condition": "baseline", "set": "", "data": data, "rule": rule, "task_type": task_type}
    rows = [(*model, *numbers) for model, numbers in cells.items()]
    return pd.DataFrame(rows, columns=columns).assign(**about, n=100, chance=chance)


def _sweep():
    """Rows of `Results.sweeps` of one model."""
    rows = [
        ("intact", 0, 0, 0.7, 0.65, 0.75),
        ("mean_abs", 10, 0, 0.6, 0.5, 0.7),
        ("mean_abs", 5, 0, 0.65, 0.6, 0.7),
        ("random", 5, 0, 0.7, 0.6, 0.8),
        ("random", 5, 1, 0.66, 0.6, 0.8),
        ("random", 10, 0, 0.6, 0.5, 0.7),
    ]
    model = {"run": "run/sweep", "backbone": "tiny", "seed": "0", "objective": "mixed", "data": "sample:mixed:test"}
    table = pd.DataFrame(rows, columns=["selector", "top", "draw", "accuracy", "low", "high"]).assign(n=200, **model)
    changes = table["accuracy"].where(table["selector"] == "mean_abs")
    return table.assign(difference=changes, difference_low=changes, difference_high=changes, p_value=changes)


SWEEP = _sweep()


def variant_rows():
    """Rows of `Results.variants` of two models: (variant, against, difference, low, high, p_value) of each."""
    columns = ["objective", "variant", "against", "difference", "difference_low", "difference_high", "p_value"]
    both = [
        ("gate", "toolkit", 0.01, -0.02, 0.04, 1.0),
        ("percentile", "toolkit", 0.0, -0.01, 0.01, 1.0),
        ("clamped", "signed mean", 0.02, -0.02, 0.06, 1.0),
    ]
    rows = [
        ("helpful", "signed mean", "toolkit", -0.03, -0.06, 0.0, 0.4),
        *(("helpful", *row) for row in both),
        ("helpful", "random-0", "toolkit", -0.01, -0.04, 0.02, 1.0),
        ("helpful", "random-1", "toolkit", 0.02, -0.01, 0.05, 1.0),
        ("harmless", "signed mean", "toolkit", 0.05, 0.01, 0.09, 0.01),
        *(("harmless", *row) for row in both),
        ("harmless", "random-0", "toolkit", 0.01, -0.02, 0.04, 1.0),
    ]
    about = {"run": "variants", "backbone": "tiny", "seed": "0", "data": "sample:mixed:test"}
    table = pd.DataFrame(rows, columns=columns).assign(**about, n=400, accuracy=0.6, neurons=9, jaccard=0.5)
    is_random = table["variant"].str.startswith("random")
    return table.assign(control=is_random.map({True: "uniform", False: None}))


def rows_of(figure, trace):
    """The names of the rows in which a trace's dots lie."""
    labels = [label.replace("-<br>", "-").replace("<br>", " ") for label in figure.layout.yaxis.ticktext]
    return [labels[round(place)] for place in trace.y]


def points(figure, **wanted):
    """By row: (x, low, high) of the dots of the traces with these properties; None for limits without an interval."""
    found = {}
    for trace in figure.data:
        if all(getattr(trace, name) == value for name, value in wanted.items()):
            above, below = trace.error_x.array, trace.error_x.arrayminus
            for number, place in enumerate(rows_of(figure, trace)):
                value = trace.x[number]
                low, high = (None, None) if above is None else (value - below[number], value + above[number])
                assert place not in found, f"two dots for {place}"
                found[place] = (value, low, high)
    return found


def require_well_made(figure, titles=True):
    """What holds for every figure: transparent background, fixed height, no title, rounded numbers, valid meta."""
    layout = figure.layout
    assert layout.height > 100
    assert layout.width is None
    assert layout.title.text is None
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert len(figure.data)
    for trace in figure.data:
        meta = dict(trace.meta or {})
        over = meta.pop("over", {})
        assert set(meta) <= set(META)
        assert all(isinstance(value, str) and value for value in meta.values())
        assert set(over) <= {"backbone", "seed"} - set(meta)
        assert all(len(values) > 1 and all(isinstance(one, str) for one in values) for values in over.values())
        for name in ("x", "y", "r"):
            for value in getattr(trace, name, None) or ():
                assert value is None or isinstance(value, str) or value in (float(f"{value:.4g}"), round(value, 4))
    for menu in layout.updatemenus:
        for button in menu.buttons:
            assert len(button.args[0]["visible"]) == len(figure.data)
    if titles:
        assert layout.xaxis.title.text


def choices(figure):
    """The traces that each choice of the figure's menu shows, by its label."""
    (menu,) = figure.layout.updatemenus
    return {
        button.label: [trace for trace, shown in zip(figure.data, button.args[0]["visible"], strict=True) if shown]
        for button in menu.buttons
    }
