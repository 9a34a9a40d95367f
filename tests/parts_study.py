"""A study on disk from rewards written by hand."""

from tension_lens.artifacts.files import write_json
from tension_lens.neurons.conditions import Condition

DATA = "hh-rlhf:mixed:test"
INTACT, SHARED = Condition(), Condition("shared", "zero")
UNIFORM_0, UNIFORM_1, LAYER_0 = (
    Condition("shared", "zero", kind, draw) for kind, draw in (("uniform", 0), ("uniform", 1), ("layer", 0))
)


def write_study(folder, cells, data=DATA):
    """Tables by (backbone, seed, objective, condition); each set has 4 neurons."""
    groups = {}
    for (backbone, seed, objective, condition), table in cells.items():
        identity = {"backbone": backbone, "seed": str(seed), "objective": objective, "data": data}
        hashes = {"weights_sha256": f"{backbone}-{seed}-{objective}", "data_sha256": data}
        target = folder / f"{backbone}-{seed}" / objective / data.replace(":", "-")
        table.save(
            target / f"{condition.label}.parquet", {**identity, **condition.metadata(), "neurons": "4", **hashes}
        )
        groups.setdefault(target, {})[condition.label] = ""
    for target, conditions in groups.items():
        write_json(target / "run.json", {"resolved": {"conditions": conditions}, "results": {"missing": []}})
    return folder
