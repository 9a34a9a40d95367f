"""A folder of runs as a small study leaves it, without a model: item tables, scores, sets, trainings and a sweep."""

import itertools

import numpy as np
import pandas as pd

from benchmarks.synthetic_study import RESPONSES, items_of, ragged
from tension_lens.artifacts.files import write_json
from tension_lens.constants import OBJECTIVES, SIDES, STATISTICS
from tension_lens.metrics.item_table import ItemTable
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet

SEEDS = (0, 247)
DATA = ("hh-rlhf:mixed:test", "reward-bench:all:filtered")
CONDITIONS = {
    "helpful": ("baseline", "own", "own.uniform-0"),
    "harmless": ("baseline", "own", "own.uniform-0"),
    "mixed": ("baseline", "own", "shared", "shared.uniform-0", "shared.uniform-1", "shared.layer-0", "shared.mean"),
}
SHAPE = (6, 40)
TOPS = (5.0, 10.0, 20.0)


def write_runs(folder, backbones):
    """Runs of these backbones, with every 20th item of two benchmarks, and a study for each backbone.

    The first model lacks one of its conditions.
    """
    random = np.random.default_rng(3)
    for number, (backbone, seed) in enumerate(itertools.product(backbones, SEEDS)):
        run = folder / f"run-{number}"
        write_study_part(folder / backbone / "study" / f"model-{number}", backbone, seed, random, gap=number == 0)
        write_neurons(run, random)
        for objective in OBJECTIVES:
            config = {"backbone": backbone, "seed": seed, "objective": objective, "data": "hh-rlhf"}
            resolved = {"data": f"hh-rlhf:{objective}:train", "held_out": f"hh-rlhf:{objective}:test"}
            held_out = {"accuracy": 0.61, "low": 0.52, "high": 0.69, "n": 120}
            record = {"config": config, "resolved": resolved, "results": {"held_out": held_out}}
            write_json(run / "models" / objective / "run.json", record)
        write_sweep(run / "sweep", backbone, seed, random)
    return folder


def write_study_part(folder, backbone, seed, random, gap):
    for objective, data in itertools.product(OBJECTIVES, DATA):
        names = items_of(data)[:: 20 if data.startswith("hh") else 6]
        widths = RESPONSES[data.partition(":")[0]]
        tokens = [ragged(random.integers(20, 400, (len(names), width))) for width in widths]
        intact = [random.normal(shift, 1, (len(names), width)) for width, shift in zip(widths, (0.7, 0), strict=True)]
        conditions = [one for one in CONDITIONS[objective] if not (gap and one == "shared.mean" and data == DATA[1])]
        target = folder / objective / data.replace(":", "-")
        for condition in conditions:
            noise = 0.0 if condition == "baseline" else 0.6
            rewards = [ragged(one + noise * random.normal(0, 1, one.shape)) for one in intact]
            name, *rest = condition.split(".")
            control = rest[-1] if rest and "-" in rest[-1] else ""
            kind, _, draw = control.partition("-")
            off = name != "baseline"
            about = {
                "backbone": backbone, "seed": str(seed), "objective": objective, "data": data, "condition": condition,
                "set": name if off else "", "ablation": ("mean" if "mean" in rest else "zero") if off else "",
                "control": kind, "draw": draw, "neurons": "24" if off else "0", "shared_with_set": "2" if kind else "",
                "weights_sha256": f"{folder.name}-{objective}", "data_sha256": data,
            }  # fmt: skip
            ItemTable.judge(names, *rewards, *tokens).save(target / f"{condition}.parquet", about)
        resolved = {"conditions": dict.fromkeys(conditions, "")}
        write_json(target / "run.json", {"resolved": resolved, "results": {"missing": []}})


def write_neurons(run, random):
    for objective in OBJECTIVES:
        keys = [f"{side}/{statistic}" for side in SIDES for statistic in STATISTICS]
        values = {key: random.normal(0, 1, SHAPE).astype(np.float32) for key in keys}
        NeuronScores(values, "post", "all", {}).save(run / "scores" / objective)
    places = [(layer, index) for layer in range(SHAPE[0]) for index in range(SHAPE[1])]
    picked = {one: {places[i] for i in random.choice(len(places), 24, replace=False)} for one in OBJECTIVES}
    picked["harmless"] |= set(sorted(picked["helpful"])[:6])
    parts = {
        "helpful_only": picked["helpful"] - picked["harmless"],
        "harmless_only": picked["harmless"] - picked["helpful"],
        "shared": picked["helpful"] & picked["harmless"],
    }
    for name, neurons in {**picked, **parts}.items():
        NeuronSet.of(name, "post", SHAPE, neurons).save(run / "sets" / f"{name}.json")


def write_sweep(folder, backbone, seed, random):
    intact = {"selector": "intact", "top": 0.0, "draw": 0, "neurons": 0, "n": 100, "accuracy": 0.6, "low": 0.5,
              "high": 0.69, "mean_margin": 0.4}  # fmt: skip
    rows = [intact]
    for top, (selector, draw) in itertools.product(TOPS, [("mean_abs", 0), ("mean", 0), ("random", 0), ("random", 1)]):
        change = -float(random.uniform(0, top / 100))
        accuracy = 0.6 + change
        rows.append(
            {"selector": selector, "top": top, "draw": draw, "neurons": int(top * 2.4), "n": 100, "accuracy": accuracy,
             "low": accuracy - 0.09, "high": accuracy + 0.09, "mean_margin": 0.4 + change, "difference": change,
             "difference_low": change - 0.05, "difference_high": change + 0.05, "p_value": 0.2, "p_holm": 1.0}
        )  # fmt: skip
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "sweep.csv", index=False)
    model = {"backbone": backbone, "seed": seed, "objective": "mixed"}
    write_json(folder / "run.json", {"resolved": {"data": DATA[0]}, "results": {"model": model}})
