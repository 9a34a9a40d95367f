"""A folder of runs as a small study leaves it, without a model: item tables, scores, sets, trainings and a sweep."""

import itertools

import numpy as np
import pandas as pd

from benchmarks.synthetic_study import write_cell
from tension_lens.artifacts.files import write_json
from tension_lens.constants import OBJECTIVES, SIDES, STATISTICS
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet

BACKBONES = ("gpt2-small", "smollm2-135m")
SEEDS = (0, 247)
DATA = {"hh-rlhf:mixed:test": 20, "reward-bench:all:filtered": 6}
"""Of which every n-th item is taken."""
OWN = [Condition(), Condition("own", "zero"), Condition("own", "zero", "uniform", 0)]
DRAWS = [Condition("shared", "zero", kind, draw) for kind, draw in (("uniform", 0), ("uniform", 1), ("layer", 0))]
SHARED = [Condition("shared", "zero"), *DRAWS, Condition("shared", "mean")]
CONDITIONS = {"helpful": OWN, "harmless": OWN, "mixed": [*OWN[:2], *SHARED]}
SHAPE = (6, 40)
TOPS = (5.0, 10.0, 20.0)


def write_runs(folder):
    """Runs of all backbones and seeds, and a study for each backbone; the first mixed model lacks a condition."""
    random = np.random.default_rng(5)
    for number, (backbone, seed) in enumerate(itertools.product(BACKBONES, SEEDS)):
        run = folder / f"run-{number}"
        write_neurons(run, random)
        for objective in OBJECTIVES:
            config = {"backbone": backbone, "seed": seed, "objective": objective, "data": "hh-rlhf"}
            resolved = {"data": f"hh-rlhf:{objective}:train", "held_out": f"hh-rlhf:{objective}:test"}
            held_out = {"accuracy": 0.61, "low": 0.52, "high": 0.69, "n": 120}
            record = {"config": config, "resolved": resolved, "results": {"held_out": held_out}}
            write_json(run / "models" / objective / "run.json", record)
            for data, every in DATA.items():
                about = {"backbone": backbone, "seed": str(seed), "objective": objective, "data": data}
                there = CONDITIONS[objective][: -1 if number == 0 and objective == "mixed" and every < 20 else None]
                write_cell(folder / backbone / "study", about, there, random, every)
        write_sweep(run / "sweep", backbone, seed, random)
    return folder


def write_neurons(run, random):
    for objective in OBJECTIVES:
        keys = [f"{side}/{statistic}" for side in SIDES for statistic in STATISTICS]
        values = {key: random.normal(0, 1, SHAPE).astype(np.float32) for key in keys}
        NeuronScores(values, "post", "all", {}).save(run / "scores" / objective)
    masks = {one: random.permutation(np.arange(np.prod(SHAPE)) < 24).reshape(SHAPE) for one in OBJECTIVES}
    masks["harmless"] |= masks["helpful"] & (masks["helpful"].cumsum().reshape(SHAPE) <= 6)
    masks["helpful_only"] = masks["helpful"] & ~masks["harmless"]
    masks["harmless_only"] = masks["harmless"] & ~masks["helpful"]
    masks["shared"] = masks["helpful"] & masks["harmless"]
    for name, mask in masks.items():
        NeuronSet.from_mask(name, "post", mask).save(run / "sets" / f"{name}.json")


def write_sweep(folder, backbone, seed, random):
    drawn = itertools.product(["mean_abs", "mean", "random"], TOPS, (0, 1))
    rows = [("intact", 0.0, 0), *(row for row in drawn if row[0] == "random" or row[2] == 0)]
    table = pd.DataFrame(rows, columns=["selector", "top", "draw"])
    change = -pd.Series(random.uniform(0, 0.2, len(rows))).where(table["top"] > 0)
    accuracy = 0.6 + change.fillna(0)
    table = table.assign(n=100, accuracy=accuracy, low=accuracy - 0.09, high=accuracy + 0.09, difference=change)
    table = table.assign(difference_low=change - 0.05, difference_high=change + 0.05, p_value=0.2)
    folder.mkdir(parents=True)
    table.to_csv(folder / "sweep.csv", index=False)
    model = {"backbone": backbone, "seed": seed, "objective": "mixed"}
    write_json(folder / "run.json", {"resolved": {"data": next(iter(DATA))}, "results": {"model": model}})
