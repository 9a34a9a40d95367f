"""The whole line on the embedded sample: train, score, select, partition, ablate, draw, and a table to read.

    python scripts/demo.py --family gpt2-tiny --out runs/demo

Every step writes to --out/FAMILY and leaves a run record; a step whose record says that it finished with the same
config on the same weights is reused, so an interrupted demo goes on where it stopped.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import depth
from analysis.report import __main__ as report
from analysis.results.study import Cell, read_study
from analysis.tables.effects import effects
from tension_lens import score, select, study, sweep, variants
from tension_lens.artifacts.files import sha256_of_files
from tension_lens.artifacts.layout import RUN_FILE, RunFolder
from tension_lens.artifacts.record import RunRecord, is_finished, plain
from tension_lens.cli import parse, run_command
from tension_lens.console import tell
from tension_lens.constants import ALPHA, INTACT, OBJECTIVES, PARTS, require_one_of
from tension_lens.errors import RequestError
from tension_lens.metrics.accuracy import accuracy_of
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.sets import NeuronSet
from train.settings import TINY_BACKBONES

SETS_OFF = ("own", "helpful", "harmless", *PARTS)
DATA = "sample:mixed:test"
SWEPT_TOPS, SWEPT_PAIRS = (5.0, 10.0, 20.0, 30.0), 200
EXAMPLES = 8
GATED = ("smollm2-tiny",)
"""Families whose neurons can be read at two sites."""
VARIED_PAIRS = 400


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What to demonstrate."""

    family: str = "gpt2-tiny"
    """gpt2-tiny or smollm2-tiny."""
    out: Path = Path("runs/demo")
    """Folder for all results."""
    seed: int = 0
    """Seed of the three trainings."""
    top: float = 10.0
    """Share of neurons to take as an objective's, in percent."""


class Steps:
    """Numbers the steps and skips those that are finished."""

    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total

    def run(self, title: str, work: Callable[[], Any], record: Path | None = None, **expected: Any) -> None:
        """Do a step, unless its run record shows that it finished with these settings."""
        self.done += 1
        label = f"[{self.done:2}/{self.total}] {title}"
        if record is not None and is_finished(record, **expected):
            tell(f"{label}: finished before, reused")
            return
        tell(label)
        started = time.perf_counter()
        work()
        tell(f"{label}: {time.perf_counter() - started:.0f} s")


def n_steps(config: DemoConfig) -> int:
    """How many steps there are: each objective's, the split, study and sweep, two drawings, the report."""
    return (5 if config.family in GATED else 4) * len(OBJECTIVES) + 1 + 2 + 2 + 1


def weights_sha256(model: Path) -> str:
    """Hash of a model's weights as they lie on disk."""
    return sha256_of_files(model.glob("*.safetensors"))


def train_models(config: DemoConfig, folder: RunFolder, steps: Steps) -> None:
    """The three reward models, from one backbone and one seed."""
    from train.settings import reward_config
    from train.trainer import train_reward_model

    for objective in OBJECTIVES:
        out = folder.model(objective)
        asked = {"backbone": config.family, "objective": objective, "out": str(out), "seed": config.seed}
        hash_on_disk = weights_sha256(out) if objective in folder.models() else None
        steps.run(
            f"train the {objective} reward model",
            lambda objective=objective, out=out: train_reward_model(
                config.family,
                objective,
                out,
                reward_config(config.family, objective, out, config.seed),
                seed=config.seed,
            ),
            out / RUN_FILE,
            config={**asked, "data": "sample"},
            weights_sha256=hash_on_disk,
        )


def score_once(asked: score.ScoreConfig, title: str, steps: Steps) -> None:
    """Score a model, unless its scores are there."""
    weights = weights_sha256(Path(asked.model))
    steps.run(title, lambda: score.run(asked), asked.out / RUN_FILE, config=plain(asked), weights_sha256=weights)


def score_and_select(config: DemoConfig, folder: RunFolder, steps: Steps) -> None:
    """Each model scored over its own training pairs, its top neurons, and the partition of helpful and harmless."""
    for objective in OBJECTIVES:
        model, out = folder.model(objective), folder.scores(objective)
        asked = score.ScoreConfig(model=str(model), data=f"sample:{objective}:train", out=out, top_examples=EXAMPLES)
        score_once(asked, f"score the neurons of the {objective} model", steps)
        if config.family in GATED:
            at_gate = replace(asked, site="gate", out=folder.scores(objective, "gate"))
            score_once(at_gate, f"score the {objective} model at the gate", steps)
    for objective in OBJECTIVES:
        chosen = select.SelectConfig(scores=folder.scores(objective), top=config.top, out=folder.neuron_set(objective))
        steps.run(f"select the top {config.top:g} % of the {objective} model", lambda chosen=chosen: select.run(chosen))
    helpful, harmless = (folder.neuron_set(name) for name in ("helpful", "harmless"))
    split = select.SelectConfig(helpful=helpful, harmless=harmless, out=helpful.parent)
    steps.run("split into helpful_only, harmless_only and shared", lambda: select.run(split))


def switch_off(folder: RunFolder, steps: Steps) -> None:
    """Every model intact and with each set off beside random sets; the mixed one again for a range of shares."""
    studied = study.StudyConfig(runs=folder.path, data=[DATA], out=folder.study.path, controls=["uniform"], draws=1)
    steps.run("switch off every set, and a random one of its size, in every model", lambda: study.run(studied))
    model, scores, out = folder.model("mixed"), folder.scores("mixed"), folder.sweep
    swept = sweep.SweepConfig(
        model=str(model), scores=scores, data=DATA, out=out, limit=SWEPT_PAIRS, tops=list(SWEPT_TOPS), draws=2
    )
    steps.run(
        f"switch off {SWEPT_TOPS[0]:g} to {SWEPT_TOPS[-1]:g} % of the mixed model's neurons",
        lambda: sweep.run(swept),
        out / RUN_FILE,
        config=plain(swept),
        weights_sha256=weights_sha256(model),
    )


def vary(config: DemoConfig, folder: RunFolder, steps: Steps) -> None:
    """Each model with the neurons off that the paper's code would take, beside those taken here."""
    for objective in OBJECTIVES:
        model = folder.model(objective)
        varied = variants.VariantsConfig(
            model=str(model),
            scores=folder.scores(objective),
            gate_scores=folder.scores(objective, "gate") if config.family in GATED else None,
            data=f"sample:{objective}:test",
            out=folder.variants(objective),
            top=config.top,
            limit=VARIED_PAIRS,
        )
        steps.run(
            f"take the {objective} model's neurons in other ways",
            lambda varied=varied: variants.run(varied),
            varied.out / RUN_FILE,
            config=plain(varied),
            weights_sha256=weights_sha256(model),
        )


def draw(config: DemoConfig, folder: RunFolder, steps: Steps) -> None:
    """The depth figures of the three objectives and of the partition."""
    for file, names in (("depth.html", OBJECTIVES), ("depth-partition.html", PARTS)):
        asked = depth.DepthConfig(
            sets=[folder.neuron_set(name) for name in names],
            out=folder.figures / file,
            title=f"Top {config.top:g} % neurons of {config.family} reward models",
        )
        steps.run(f"draw {file}", lambda asked=asked: depth.run(asked))


def percent(accuracy: dict[str, Any]) -> str:
    """An accuracy with its interval, in percent."""
    return f"{100 * accuracy['accuracy']:.1f} [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]"


def accuracy_table(folder: RunFolder) -> pd.DataFrame:
    """Held-out accuracy of each model on its own objective."""
    rows = []
    for objective in OBJECTIVES:
        record = RunRecord.load(folder.model(objective) / RUN_FILE)
        held_out = record.results["held_out"]
        rows.append(
            {
                "model": objective,
                "held-out pairs": held_out["n"],
                "accuracy %, 95 % interval": percent(held_out),
                "beats 50 %": "yes" if held_out["low"] > 0.5 else "not shown",
                "training s": round(record.seconds),
            }
        )
    return pd.DataFrame(rows)


def depth_summary(folder: RunFolder) -> pd.DataFrame:
    """Share of each set's neurons in the thirds of the layers."""
    sets = [NeuronSet.load(folder.neuron_set(name)) for name in (*OBJECTIVES, *PARTS)]
    table = depth.depth_table(sets)
    wide = (100 * table.pivot(index="set", columns="bucket", values="share")).round(0)
    wide.insert(0, "neurons", table.groupby("set")["neurons"].first())
    return wide.loc[[one.name for one in sets], ["neurons", "early", "middle", "late"]].reset_index()


def ablation_table(cells: dict[Condition, Cell], task_types: Any) -> pd.DataFrame:
    """Accuracy of the mixed model by task type under each condition, and under a random set of the same size."""
    rows = []
    for condition in (Condition(), *(Condition(name, "zero") for name in SETS_OFF)):
        if condition not in cells:
            continue
        cell, control = cells[condition], cells.get(replace(condition, control="uniform", draw=0))
        row = {"ablated": condition.set or "nothing", "neurons": cell.neurons}
        for task_type in ("helpful", "harmless"):
            items = task_types == task_type
            row[f"{task_type} pairs"] = percent(asdict(accuracy_of(cell.right[items])))
            row[f"random, {task_type}"] = percent(asdict(accuracy_of(control.right[items]))) if control else "-"
        rows.append(row)
    return pd.DataFrame(rows)


def surviving(table: pd.DataFrame) -> str:
    """Which sets change the mixed model's accuracy by more than chance, of the effects table."""
    tested = table[(table["objective"] == "mixed") & (table["against"] == INTACT)]
    tested = tested[(tested["control"] == "") & (tested["ablation"] == "zero")]
    found = tested[tested["p_holm"] < ALPHA]
    named = [f"{row.set} on {row.subtask} ({100 * row.difference:+.1f} points)" for row in found.itertuples()]
    return f"{'; '.join(named) or 'none'} (McNemar's exact test, Holm's correction over {len(tested)} tests)"


def summary(config: DemoConfig, folder: RunFolder) -> str:
    """What came out, for somebody who sees it for the first time."""
    sets = {name: NeuronSet.load(folder.neuron_set(name)) for name in ("helpful", "harmless")}
    shared = overlap(sets["helpful"], sets["harmless"])
    layers = sets["helpful"].n_layers
    read = read_study(folder.study.path)
    groups = {objective: cells for (_, _, objective, _), cells in read.groups().items()}
    uniform = ", ".join(f"{name} {100 * share:.0f}" for name, share in depth.uniform_depth(layers).items())
    parts = [
        f"1. Three reward models of {config.family}, accuracy on pairs they were not trained on",
        accuracy_table(folder).to_string(index=False),
        f"2. Where the top {config.top:g} % of MLP neurons lie ({layers} layers), % of each set; by chance: {uniform}",
        depth_summary(folder).to_string(index=False),
        f"   helpful and harmless share {shared.intersection} neurons (Jaccard {shared.jaccard:.2f}); "
        f"two random sets of their sizes would share {shared.expected_intersection:.0f} "
        f"(Jaccard {shared.expected_jaccard:.2f})",
        "3. The mixed model with neurons set to zero: accuracy %, 95 % interval",
        ablation_table(groups["mixed"], read.items[DATA].task_type).to_string(index=False),
        f"   Changes by sub-task that survive correction: {surviving(effects(read))}.",
        "   `random`: as many neurons drawn at random, switched off instead. A change that a random set brings too,\n"
        "   or one smaller than the intervals, says nothing about the set. These are tiny models trained on 1,100\n"
        "   pairs: they show how to read the results, not how language models work.",
        f"Results: {folder.path}   Report: {folder.report}/report.html",
    ]
    return "\n\n".join(parts)


def run(config: DemoConfig) -> str:
    """Run every step that is not finished and describe the results.

    Raises:
        RequestError: if the family is not one of the tiny backbones.
    """
    require_one_of("family", config.family, TINY_BACKBONES)
    folder, steps, started = RunFolder(config.out / config.family), Steps(n_steps(config)), time.perf_counter()
    if config.out.exists() and not config.out.is_dir():
        raise RequestError(f"--out {config.out} is a file")
    train_models(config, folder, steps)
    score_and_select(config, folder, steps)
    switch_off(folder, steps)
    vary(config, folder, steps)
    draw(config, folder, steps)
    wanted = report.ReportConfig(runs=folder.path, out=folder.report, latex=True)
    steps.run("write the report", lambda: report.run(wanted))
    tell(f"done in {time.perf_counter() - started:.0f} s\n")
    return summary(config, folder)


if __name__ == "__main__":
    run_command("demo", lambda: run(parse(DemoConfig, "demo", __doc__)))
