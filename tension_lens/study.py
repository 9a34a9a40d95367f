"""Evaluate the reward models of one backbone and seed, intact and with each neuron set and its controls switched off.

--runs names a folder with models/OBJECTIVE, sets/OBJECTIVE.json and scores/OBJECTIVE, as `make demo` leaves one. Every
model is run intact and without its own set; the mixed model also without helpful, harmless, helpful_only, harmless_only
and shared, and every set beside random sets of its size. Writes to --out one item table a condition,
BACKBONE-SEED/OBJECTIVE/DATA/CONDITION.parquet, and a run record in each DATA folder; what is finished is not run again.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from tension_lens.artifacts.files import read_json, require_writable
from tension_lens.artifacts.layout import RUN_FILE, SCORES_FILE
from tension_lens.cli import parse, run_command
from tension_lens.console import run_through, tell
from tension_lens.constants import ABLATIONS, CONTROLS, OBJECTIVES, PARTS, require_one_of
from tension_lens.data.datasets import Spec
from tension_lens.errors import RequestError
from tension_lens.inputs import OpenConfig, open_run
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.controls import control_set
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet
from tension_lens.passes.rewards import item_rewards, stream_rewards

if TYPE_CHECKING:
    from tension_lens.model.reward_model import HookedRewardModel

TABLE_VERSION = "1"
"""Raised when a change of the code changes the rewards, so that older tables are not reused."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Which models, on which data, under which conditions."""

    runs: Path
    """Folder of one backbone and seed: models/, sets/ and scores/ with an entry for each objective."""
    data: list[str]
    """Data specs, one or more."""
    out: Path
    """Folder for the item tables."""
    ablation: list[str] = field(default_factory=lambda: ["zero"])
    """What neurons that are switched off hold: zero, mean (of the model's own scores), or both."""
    controls: list[str] = field(default_factory=lambda: list(CONTROLS))
    """Random sets beside each set: uniform, layer (as many in each layer), activation (as many in each bin)."""
    draws: int = 1
    """Random sets of each kind; 0 for none."""
    data_root: Path | None = None
    """Folder that mirrors the hub's data files; without it TENSION_LENS_DATA, and without that the hub."""
    max_length: int = 1024
    """Most tokens of a text, longer ones are truncated; never more than the model's context."""
    limit: int | None = None
    """Take only the first so many comparisons of each data spec."""
    token_budget: int = 4096
    """Most tokens of a batch: distinct ones on the fast engine, padding counted on the native one."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    engine: Literal["fast", "native"] = "fast"
    """The forward pass: fast computes what responses share once and pads nothing, native is TransformerLens' own."""


@dataclass(frozen=True)
class Arm:
    """A condition with what the table says of it."""

    condition: Condition
    about: dict[str, str]
    """`set`, `ablation`, `control`, `draw`, `neurons`, `shared_with_set`."""


def arms(
    sets: dict[str, NeuronSet],
    config: StudyConfig,
    activation: Float[np.ndarray, "layer neuron"] | None,
    means: Float[np.ndarray, "layer neuron"] | None,
) -> list[Arm]:
    """The intact model, then each set with each ablation, followed by its random controls."""
    intact = {"set": "", "ablation": "", "control": "", "draw": "", "neurons": "0", "shared_with_set": ""}
    found = [Arm(Condition("baseline"), intact)]
    for name, neurons in sets.items():
        controls = [
            (kind, draw, control_set(neurons, kind, draw, activation))
            for kind in config.controls
            for draw in range(config.draws)
        ]
        for ablation in config.ablation:
            label = name if ablation == "zero" else f"{name}.{ablation}"
            values = means if ablation == "mean" else None
            for kind, draw, off in [("", "", neurons), *controls]:
                about = {
                    "set": name,
                    "ablation": ablation,
                    "control": kind,
                    "draw": str(draw),
                    "neurons": str(len(off)),
                    "shared_with_set": str(off.origin["shared_with_set"]) if kind else "",
                }
                found.append(Arm(Condition(f"{label}.{kind}-{draw}" if kind else label, off, values), about))
    return found


def sets_of(runs: Path, objective: str) -> dict[str, NeuronSet]:
    """The sets to switch off in an objective's model: `own`, and in the mixed model those of the single objectives.

    A set that has no file, or no neuron, is a gap: left out, with a line on stderr.

    Raises:
        RequestError: if a file is damaged, or the model's own set comes from other weights than the model's.
    """
    files = {"own": objective}
    if objective == "mixed":
        files.update({name: name for name in ("helpful", "harmless", *PARTS)})
    found = {}
    for name, file in files.items():
        path = runs / "sets" / f"{file}.json"
        if not path.is_file():
            tell(f"note: {path} is missing: no condition {name} for the {objective} model")
            continue
        neurons = NeuronSet.load(path)
        if len(neurons):
            found[name] = neurons
        else:
            tell(f"note: {path} is empty: no condition {name} for the {objective} model")
    return found


def scores_of(runs: Path, objective: str, weights_sha256: str) -> NeuronScores | None:
    """The scores of an objective's model, None if there are none.

    Raises:
        RequestError: if they are of other weights.
    """
    folder = runs / "scores" / objective
    if not (folder / SCORES_FILE).is_file():
        return None
    scores = NeuronScores.load(folder)
    scores.require_of_model(weights_sha256, folder, runs / "models" / objective)
    return scores


def arms_of(config: StudyConfig, objective: str, model: "HookedRewardModel") -> list[Arm]:
    """Every condition of one model.

    Raises:
        RequestError: if a set or the scores do not belong to the model, or scores are needed and missing.
    """
    sets, scores = sets_of(config.runs, objective), scores_of(config.runs, objective, model.weights_sha256)
    for name, neurons in sets.items():
        neurons.require_fits(model.n_layers, model.d_mlp, what=f"model {model.name}")
        came_from = neurons.origin.get("weights_sha256", model.weights_sha256)
        if name == "own" and came_from != model.weights_sha256:
            raise RequestError(f"{config.runs}/sets/{objective}.json was selected in another model than {model.name}")
        if scores is not None and scores.site != neurons.site:
            raise RequestError(
                f"set {name!r} was ranked at site {neurons.site}, the scores in {config.runs}/scores/{objective} "
                f"at {scores.site}"
            )
    needed = "activation-matched controls" if "activation" in config.controls and config.draws else ""
    needed = "mean ablation" if "mean" in config.ablation else needed
    if sets and needed and scores is None:
        raise RequestError(f"{needed} needs scores of the {objective} model; {config.runs}/scores/{objective} has none")
    if scores is None:
        return arms(sets, config, None, None)
    return arms(sets, config, scores.importance("mean_abs"), scores.importance("mean"))


def fingerprint(config: StudyConfig, objective_arms: list[Arm]) -> dict[str, Any]:
    """What the rewards of a DATA folder depend on beside weights and data."""
    conditions = {}
    for arm in objective_arms:
        content = json.dumps([arm.about, arm.condition.neurons and arm.condition.neurons.neurons.tolist()]).encode()
        held = b"" if arm.condition.means is None else arm.condition.means.tobytes()
        conditions[arm.condition.name] = hashlib.sha256(content + held).hexdigest()
    return {"conditions": conditions, "asked_max_length": config.max_length, "table_version": TABLE_VERSION}


def is_finished(folder: Path, expected: dict[str, Any], weights_sha256: str, data_sha256: str) -> bool:
    """Whether a DATA folder holds every table of just these conditions, weights and data."""
    if not (folder / RUN_FILE).is_file():
        return False
    record = read_json(folder / RUN_FILE, "run record")
    same = all(record["resolved"].get(name) == value for name, value in expected.items())
    same = same and (record["weights_sha256"], record["data_sha256"]) == (weights_sha256, data_sha256)
    return same and all((folder / f"{name}.parquet").is_file() for name in expected["conditions"])


def slugs(data: list[str]) -> dict[str, str]:
    """A folder name for each data spec.

    Raises:
        RequestError: if two specs would share one.
    """
    found: dict[str, str] = {}
    for text in data:
        spec = Spec.parse(text).with_defaults()
        slug = spec.path.name.partition(".")[0] if spec.path is not None else str(spec).replace(":", "-")
        if slug in found:
            raise RequestError(f"--data {found[slug]} and {text} would be stored under one name, {slug}")
        found[slug] = text
    return {text: slug for slug, text in found.items()}


def run(config: StudyConfig) -> dict[str, Any]:
    """Evaluate as the config says, one model at a time, one pass over each data spec.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    from tension_lens.model.reward_model import HookedRewardModel

    for ablation in config.ablation:
        require_one_of("ablation", ablation, ABLATIONS)
    for kind in config.controls:
        require_one_of("control", kind, CONTROLS)
    if config.draws < 0:
        raise RequestError(f"--draws must be at least 0, found {config.draws}")
    names = slugs(config.data)
    require_writable(config.out)
    present = [one for one in OBJECTIVES if (config.runs / "models" / one / "config.json").is_file()]
    if not present:
        raise RequestError(f"{config.runs} holds no models/helpful, models/harmless or models/mixed")
    for objective in OBJECTIVES:
        if objective not in present:
            tell(f"note: {config.runs / 'models' / objective} is missing: no {objective} model")
    written = []
    for objective in present:
        model = HookedRewardModel.from_pretrained(
            config.runs / "models" / objective, config.device, engine=config.engine
        )
        every = arms_of(config, objective, model)
        written += [str(folder) for folder in _evaluate(config, objective, model, every, names)]
    return {"tables": written}


def _evaluate(
    config: StudyConfig, objective: str, model: "HookedRewardModel", every: list[Arm], names: dict[str, str]
) -> Iterator[Path]:
    shared = {one.name: getattr(config, one.name) for one in fields(OpenConfig) if one.name in asdict(config)}
    identity = {
        "backbone": model.card.backbone or config.runs.name,
        "seed": "unknown" if model.card.seed is None else str(model.card.seed),
        "objective": objective,
    }
    home = config.out / f"{identity['backbone'].replace('/', '--')}-{identity['seed']}" / objective
    for data, slug in names.items():
        folder = home / slug
        asked = OpenConfig(**{**shared, "model": model.name, "data": data})
        opened = open_run(asked, "truncate", loaded=model)
        opened.resolved.update(fingerprint(config, every))
        data_sha256 = opened.source.sha256
        yield folder
        if is_finished(folder, fingerprint(config, every), model.weights_sha256, data_sha256):
            tell(f"{folder}: finished before, reused")
            continue
        (folder / RUN_FILE).unlink(missing_ok=True)
        conditions = [arm.condition for arm in every]
        stream = stream_rewards(model, opened.data, conditions, config.token_budget)
        work = opened.data.n_tokens * len(conditions)
        rewards, seconds = run_through(stream, work, f"{objective} on {slug}")
        for arm in every:
            items = item_rewards(opened.source.comparisons, opened.data, rewards[arm.condition.name])
            provenance = {
                **identity,
                "data": opened.resolved["data"],
                "condition": arm.condition.name,
                **arm.about,
                "weights_sha256": model.weights_sha256,
                "data_sha256": data_sha256,
            }
            items.save(folder / f"{arm.condition.name}.parquet", provenance)
        record = opened.record("tension_lens.study", asked, seconds, work, missing=list(opened.source.missing))
        record.save(folder / RUN_FILE)
        tell(f"{folder}: {len(conditions)} conditions in {seconds:.0f} s")


if __name__ == "__main__":
    run_command("tension_lens.study", lambda: run(parse(StudyConfig, "tension_lens.study", __doc__)))
