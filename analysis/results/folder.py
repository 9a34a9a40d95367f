"""Find and read everything that a folder of runs holds: studies, sweeps, trainings, neuron scores and sets."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.results.study import Study, finished_folders, read_study
from tension_lens.artifacts.files import read_json
from tension_lens.artifacts.record import RUN_FILE
from tension_lens.constants import OBJECTIVES, PARTS
from tension_lens.errors import RequestError
from tension_lens.neurons.scores import SCORES_FILE
from tension_lens.neurons.sets import NeuronSet

STUDY_FOLDER = "study"
SWEEP_FILE, VARIANTS_FILE = "sweep.csv", "variants.csv"
AT_SITE = {"post": "", "gate": "-gate"}
"""What follows the objective in the name of a folder with scores, by the site at which neurons were read."""


@dataclass(frozen=True, eq=False)
class Results:
    """What a folder of runs holds; what it does not hold is empty."""

    study: Study | None
    """The item tables of every folder named `study` (and of the folder itself, if it is one), as one study."""
    run_folders: dict[str, Path]
    """Folders of one backbone and seed, with scores/ and sets/, by their path below the folder of runs."""
    sets: dict[str, dict[str, NeuronSet]]
    """By run folder and name: helpful, harmless, mixed, helpful_only, harmless_only, shared."""
    training: pd.DataFrame
    """A row for each trained model: run, backbone, seed, objective, the held-out data, accuracy, low, high, n."""
    sweeps: pd.DataFrame
    """Rows of every sweep.csv with run, backbone, seed, objective and data beside them."""
    variants: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of every variants.csv with the same columns beside them."""


def read_results(folder: Path) -> Results:
    """Everything below a folder of runs.

    Raises:
        RequestError: if there is no such folder, nothing in it is a result, a result is damaged, or studies do not fit
            together (see `analysis.results.study.read_study`).
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder of runs")
    found = sorted({path.parent for name in ("sets", "scores", "models") for path in folder.glob(f"**/{name}")})
    run_folders = {str(path.relative_to(folder)) if path != folder else folder.name: path for path in found}
    sets = {name: _sets(path) for name, path in run_folders.items()}
    of_models = (_of_models(folder, name) for name in (SWEEP_FILE, VARIANTS_FILE))
    results = Results(_study(folder), run_folders, sets, _training(run_folders), *of_models)
    if results.study is None and not run_folders and results.sweeps.empty and results.variants.empty:
        raise RequestError(f"{folder} holds no study, no scores or sets and no sweep; run `make demo` or the commands")
    return results


def scores_folders(run_folder: Path, site: str = "post") -> dict[str, Path]:
    """The folders with neuron scores of a run folder, by objective."""
    folders = {one: run_folder / "scores" / f"{one}{AT_SITE[site]}" for one in OBJECTIVES}
    return {one: path for one, path in folders.items() if (path / SCORES_FILE).is_file()}


def _study(folder: Path) -> Study | None:
    found = [path for path in (folder, *sorted(folder.glob(f"**/{STUDY_FOLDER}"))) if finished_folders(path)]
    return read_study(*found) if found else None


def _sets(run_folder: Path) -> dict[str, NeuronSet]:
    paths = {name: run_folder / "sets" / f"{name}.json" for name in (*OBJECTIVES, *PARTS)}
    return {name: NeuronSet.load(path) for name, path in paths.items() if path.is_file()}


def _training(run_folders: dict[str, Path]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for name, folder in run_folders.items():
        for objective in OBJECTIVES:
            path = folder / "models" / objective / RUN_FILE
            if path.is_file():
                record = read_json(path, "run record")
                about = {"run": name, **{key: record["config"][key] for key in ("backbone", "seed", "objective")}}
                about["data"] = record["resolved"]["held_out"]
                rows.append({**about, **record["results"]["held_out"]})
    return pd.DataFrame(rows)


def _of_models(folder: Path, file: str) -> pd.DataFrame:
    """Rows of every such table, with the model and the data that the record beside it names.

    One without a record is not finished, or a copy, as reports have them.
    """
    frames = []
    for path in sorted(folder.glob(f"**/{file}")):
        if not (path.parent / RUN_FILE).is_file():
            continue
        record = read_json(path.parent / RUN_FILE, "run record")
        card = record["results"].get("model")
        if card is None:
            raise RequestError(f"the record beside {path} does not say its model; make it again")
        about = {"run": str(path.parent.relative_to(folder)), **card, "data": record["resolved"]["data"]}
        frames.append(pd.read_csv(path).assign(**about))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
