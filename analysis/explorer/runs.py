"""What a runs directory holds: models, scores and saved neuron sets, by name. Nothing outside it is ever opened."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tension_lens.artifacts.layout import EXAMPLES_FILE, SCORES_FILE, RunFolder
from tension_lens.errors import RequestError
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet


@dataclass(frozen=True)
class Run:
    """One backbone and seed: a folder with models/ and, where they were made, scores/ and sets/."""

    name: str
    models: dict[str, Path]
    """Checkpoint folders by name; the objectives first, in their usual order."""
    scores: dict[str, Path]
    """Folders with scores, by name."""
    sets: dict[str, Path]
    """NeuronSet JSON files, by name."""

    def model(self, name: str | None) -> Path:
        """The folder of a model.

        Raises:
            RequestError: if the run has no model of that name.
        """
        return _named(self.models, name, "model", self.name, "models")

    def neuron_set(self, name: str | None) -> NeuronSet:
        """A saved set, read anew.

        Raises:
            RequestError: if the run has no set of that name or the file is none.
        """
        return NeuronSet.load(_named(self.sets, name, "neuron set", self.name, "sets"))

    def scores_of(self, name: str | None) -> NeuronScores:
        """The scores of a model, read once for each state of the file.

        Raises:
            RequestError: if the run has none of that name or the file is damaged.
        """
        folder = _named(self.scores, name, "scores", self.name, "scores")
        return _scores(folder, (folder / SCORES_FILE).stat().st_mtime_ns)

    def sites(self) -> dict[str, dict[str, str]]:
        """By site, for which objective or model which scores were read there: {site: {model: name of scores}}.

        Scores in a folder of the model's own name come before others of the same model.
        """
        found: dict[str, dict[str, str]] = {}
        for name in self.scores:
            try:
                scores = self.scores_of(name)
            except RequestError:
                continue
            model = name if name in self.models else scores.metadata.get("objective", name)
            known = found.setdefault(scores.site, {})
            if model not in known or name == model:
                known[model] = name
        return found

    def examples(self, model: str | None, site: str) -> Path | None:
        """The folder with the model's top-examples index at a site, if one was made."""
        folder = self.scores.get(self.sites().get(site, {}).get(model or "", ""))
        return folder if folder is not None and (folder / EXAMPLES_FILE).is_file() else None


@lru_cache(maxsize=32)
def _scores(folder: Path, written: int) -> NeuronScores:
    return NeuronScores.load(folder)


def _named(known: dict[str, Path], name: str | None, what: str, run: str, folder: str) -> Path:
    if not known:
        raise RequestError(f"run {run} has no {what}: its folder {folder}/ is missing or empty")
    if name not in known:
        raise RequestError(f"run {run} has no {what} {name!r}; choose one of {', '.join(known)}")
    return known[name]


def find_runs(root: Path) -> dict[str, Run]:
    """Every run in a directory, by its path below it; the directory itself may be one.

    A run is a folder that holds models/ with at least one checkpoint. Links that lead out of the directory are left
    out.

    Raises:
        RequestError: if the directory is missing or holds none.
    """
    if not root.is_dir():
        raise RequestError(f"--runs must be a folder of runs, {root} is none; make demo makes one")
    root = root.resolve()
    found = (_run(name, folder, root) for name, folder in RunFolder.find(root).items())
    runs = {run.name: run for run in found if run.models}
    if not runs:
        raise RequestError(f"no run in {root}: no folder there holds models/ with a checkpoint; make demo makes one")
    return runs


def _run(name: str, folder: RunFolder, root: Path) -> Run:
    def inside(paths: dict[str, Path]) -> dict[str, Path]:
        return {name: path for name, path in paths.items() if path.resolve().is_relative_to(root)}

    scores, sets = inside(folder.finished_scores()), inside(folder.neuron_sets())
    return Run(name, models=inside(folder.models()), scores=scores, sets=sets)
