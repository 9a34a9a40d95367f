"""Run and study folders find what is complete, and a run record decides whether results can be reused."""

from pathlib import Path

import pytest

from tension_lens.artifacts.files import write_json
from tension_lens.artifacts.layout import MODEL_CONFIG_FILE, RUN_FILE, SCORES_FILE, RunFolder, StudyFolder
from tension_lens.artifacts.record import RunRecord, is_finished
from tension_lens.errors import RequestError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_paths_are_those_of_the_contract():
    folder = RunFolder(Path("run"))
    found = (
        folder.model("mixed"), folder.scores("mixed"), folder.scores("mixed", "gate"), folder.neuron_set("shared"),
        folder.variants("mixed"), folder.sweep, folder.figures, folder.report, folder.study.path,
    )  # fmt: skip
    assert [path.relative_to("run").as_posix() for path in found] == [
        "models/mixed", "scores/mixed", "scores/mixed-gate", "sets/shared.json",
        "variants/mixed", "sweep", "figures", "report", "study",
    ]  # fmt: skip
    tables = folder.study.tables("org/gpt2", "0", "mixed", "sample")
    assert StudyFolder.table(tables, "own.mean") == Path("run/study/org--gpt2-0/mixed/sample/own.mean.parquet")


def test_run_folders_are_found_with_what_is_finished_in_them(tmp_path):
    folder = RunFolder(tmp_path / "gpt2" / "seed-0")
    for name in ("other", "mixed", "helpful"):
        touch(folder.model(name) / MODEL_CONFIG_FILE)
    folder.model("unfinished").mkdir()
    touch(folder.scores("mixed", "gate") / SCORES_FILE)
    folder.scores("helpful").mkdir()
    for name in ("shared", "own"):
        touch(folder.neuron_set(name))
    touch(folder.path / "sets" / RUN_FILE)
    assert RunFolder.find(tmp_path) == {"gpt2/seed-0": folder}
    assert RunFolder.find(folder.path) == {"seed-0": folder}
    assert list(folder.models()) == ["helpful", "mixed", "other"]
    assert folder.finished_scores() == {"mixed-gate": folder.scores("mixed", "gate")}
    assert folder.neuron_sets() == {name: folder.neuron_set(name) for name in ("own", "shared")}


def test_studies_hold_the_tables_that_their_records_name(tmp_path):
    study = RunFolder(tmp_path / "run").study
    tables = study.tables("gpt2", "0", "mixed", "sample")
    RunRecord("study", {}, {"conditions": ["baseline", "own"]}).save(tables / RUN_FILE)
    RunRecord("evaluate", {}, {}).save(study.tables("gpt2", "0", "mixed", "other") / RUN_FILE)
    StudyFolder(tmp_path / "empty" / "study").path.mkdir(parents=True)
    assert study.finished() == {tables: [tables / "baseline.parquet", tables / "own.parquet"]}
    assert StudyFolder.find(tmp_path) == StudyFolder.find(study.path) == [study]


def test_a_record_survives_its_file_and_older_files_are_read(tmp_path):
    record = RunRecord("score", {"top": 1}, {"device": "cpu"}, weights_sha256="w", counts={"kept": 3}, parity=1e-7)
    record.save(tmp_path / RUN_FILE)
    assert RunRecord.load(tmp_path / RUN_FILE) == record
    write_json(tmp_path / "old.json", {"command": "score", "dropped_field": 1})
    assert RunRecord.load(tmp_path / "old.json") == RunRecord("score", {}, {}, versions={}, git={})
    write_json(tmp_path / "list.json", [])
    for damaged in ("list.json", "missing.json"):
        with pytest.raises(RequestError, match=damaged):
            RunRecord.load(tmp_path / damaged)


@pytest.mark.parametrize(
    ("expected", "matches"),
    [
        ({}, True),
        ({"weights_sha256": "w", "command": "score"}, True),
        ({"weights_sha256": "x"}, False),
        ({"config": {"top": 1}}, True),  # Other keys of the config may differ.
        ({"config": {"top": 2}}, False),
        ({"config": {"new": None}}, True),
        ({"weights_sha256": "w", "config": {"out": "b"}}, False),
    ],
)
def test_results_are_reused_if_the_record_matches(expected, matches, tmp_path):
    record = RunRecord("score", {"top": 1, "out": "a"}, {}, weights_sha256="w")
    assert record.matches(**expected) == matches
    assert not is_finished(tmp_path / RUN_FILE, **expected)
    record.save(tmp_path / RUN_FILE)
    assert is_finished(tmp_path / RUN_FILE, **expected) == matches
