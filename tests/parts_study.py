"""A study on disk from rewards written by hand."""

from tension_lens.artifacts.files import write_json

DATA = "hh-rlhf:mixed:test"


def write_study(folder, cells, data=DATA):
    """Tables by (backbone, seed, objective, condition), conditions named SET[.ABLATION][.CONTROL-DRAW]."""
    groups = {}
    for (backbone, seed, objective, condition), table in cells.items():
        name, *rest = condition.split(".")
        control = rest[-1] if rest and "-" in rest[-1] else ""
        kind, _, draw = control.partition("-")
        ablation = "" if name == "baseline" else "mean" if "mean" in rest else "zero"
        about = {"condition": condition, "set": "" if name == "baseline" else name, "ablation": ablation}
        about.update({"control": kind, "draw": draw, "neurons": "4", "shared_with_set": "1" if kind else ""})
        identity = {"backbone": backbone, "seed": str(seed), "objective": objective, "data": data}
        hashes = {"weights_sha256": f"{backbone}-{seed}-{objective}", "data_sha256": data}
        target = folder / f"{backbone}-{seed}" / objective / data.replace(":", "-")
        table.save(target / f"{condition}.parquet", {**identity, **about, **hashes})
        groups.setdefault(target, {})[condition] = ""
    for target, conditions in groups.items():
        write_json(target / "run.json", {"resolved": {"conditions": conditions}, "results": {"missing": []}})
    return folder
