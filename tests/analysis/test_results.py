"""Results are found anywhere below a folder; inconsistent, damaged and missing results are refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from parts_items import item_table, of_margins
from parts_study import DATA, INTACT, SHARED, write_study

from analysis.results.folder import read_results
from analysis.results.scores import PAPER, STRICT, score_rows
from tension_lens.errors import RequestError
from tension_lens.metrics.item_table import ItemTable
from tension_lens.neurons.sets import NeuronSet


def write_training(folder, objective, seed=0):
    record = {
        "config": {"backbone": "tiny", "seed": seed, "objective": objective, "data": "sample"},
        "resolved": {"held_out": f"sample:{objective}:test"},
        "results": {"held_out": {"accuracy": 0.6, "low": 0.5, "high": 0.7, "n": 90}},
    }
    (folder / "models" / objective).mkdir(parents=True)
    (folder / "models" / objective / "run.json").write_text(json.dumps(record))


def write_sweep(folder, results, file="sweep.csv"):
    folder.mkdir()
    (folder / file).write_text("selector,top\nintact,0\n")
    (folder / "run.json").write_text(json.dumps({"resolved": {"data": "sample:mixed:test"}, "results": results}))


@pytest.fixture
def run(tmp_path):
    """A folder of runs with one run in it: a study, a training, a set and a sweep."""
    folder = tmp_path / "runs" / "tiny"
    write_study(folder / "study", {("tiny", 0, "mixed", INTACT): of_margins([1, -1])})
    write_training(folder, "mixed")
    NeuronSet.of("mixed", "post", (2, 3), [(0, 1)]).save(folder / "sets" / "mixed.json")
    about = {"model": {"backbone": "tiny", "seed": 0, "objective": "mixed"}}
    write_sweep(folder / "sweep", about)
    write_sweep(folder / "variants", about, "variants.csv")
    return folder


@pytest.mark.parametrize("above", [False, True])
def test_everything_is_found_from_the_run_and_from_the_folder_above(run, above):
    found = read_results(run.parent if above else run)
    assert list(found.run_folders) == ["tiny"]
    assert list(found.sets["tiny"]) == ["mixed"]
    assert found.study is not None
    assert list(found.study.cells) == [("tiny", "0", "mixed", "hh-rlhf:mixed:test", INTACT)]
    row = found.training.iloc[0]
    assert (row["run"], row["objective"], row["data"], row["accuracy"]) == ("tiny", "mixed", "sample:mixed:test", 0.6)
    assert found.sweeps["backbone"].tolist() == ["tiny"]
    assert found.variants["objective"].tolist() == ["mixed"]


def test_tables_without_a_record_are_unfinished_or_copies(run):
    before = read_results(run)
    for name in ("sweep", "variants"):
        (run / "report" / "tables").mkdir(parents=True, exist_ok=True)
        (run / "report" / "tables" / f"{name}.csv").write_text("selector,top\nanother,1\n")
    after = read_results(run)
    for name in ("sweeps", "variants"):
        assert getattr(after, name)["selector"].tolist() == getattr(before, name)["selector"].tolist() == ["intact"]


def test_two_runs_of_one_name_keep_apart(run):
    shutil.copytree(run, run.parent / "seed-2" / "tiny")
    shutil.rmtree(run.parent / "seed-2" / "tiny" / "study")
    assert sorted(read_results(run.parent).run_folders) == ["seed-2/tiny", "tiny"]


def test_studies_of_two_families_are_read_as_one(run):
    other = {("other", 0, "mixed", one): of_margins([-1, 1]) for one in (INTACT, SHARED)}
    write_study(run.parent / "other" / "study", other)
    found = read_results(run.parent).study
    right = {(cell.backbone, cell.condition.label): cell.right.tolist() for cell in found.cells.values()}
    assert right == {
        ("other", "baseline"): [[False], [True]],
        ("other", "shared"): [[False], [True]],
        ("tiny", "baseline"): [[True], [False]],
    }  # fmt: skip
    assert {row["backbone"] for row in found.scores} == {"other", "tiny"}
    assert list(found.items) == [DATA]
    gaps = [(gap["backbone"], gap["objective"], gap["condition"]) for gap in found.gaps]
    lacking = [(name, objective, "every") for name in ("other", "tiny") for objective in ("helpful", "harmless")]
    assert gaps == [*lacking, ("tiny", "mixed", "shared")]


def test_a_model_studied_on_other_data_elsewhere_is_scored_as_one_model(tmp_path):
    model = ("tiny", 0, "mixed", INTACT)
    best_of_4 = item_table([("m", "Math", [1.0], [0.0, 0.5, -1.0])])
    styles = item_table([("math/0", "math", [1.0, 2.0, 3.0], [0.0, 5.0, 0.0])])
    write_study(tmp_path / "a" / "study", {model: best_of_4}, data="reward-bench-2:all:test")
    write_study(tmp_path / "b" / "study", {model: styles}, data="rm-bench:all:test")
    found = read_results(tmp_path).study
    assert [key[3] for key in found.cells] == ["reward-bench-2:all:test", "rm-bench:all:test"]
    # The paper's Math is the mean of both: 1 of 1, and 2 of 3 pairs of one style.
    (score,) = [row for row in found.scores if row["rule"] == "paper"]
    assert (score["subtask"], score["accuracy"]) == ("Math", pytest.approx((1 + 2 / 3) / 2))
    assert [(gap["objective"], gap["data"]) for gap in found.gaps] == [
        (objective, data) for objective in ("helpful", "harmless") for data in found.items
    ]


def flagged(rows, truncated, identical, **dropped):
    """A table of one pair an item, with what truncation did to them."""
    table = item_table([(f"{name}-{n}", name, [1.0], [0.0]) for n, name in enumerate(rows)])
    flags = {"truncated": np.array(truncated, bool), "identical": np.array(identical, bool)}
    return replace(table, **flags, metadata={"dropped": json.dumps(dropped)})


def test_scores_have_the_items_that_truncation_changed_by_subtask_section_and_overall():
    code = flagged(["hep-python", "hep-python", "hep-java"], [1, 1, 1], [1, 0, 0], **{"hep-java": 4, "donotanswer": 2})
    two = flagged(["Math", "Focus"], [1, 0], [0, 0], Math=8)
    styles = item_table([("math/1", "math", [3.0, 2.0, 1.0], [0.0] * 3)])
    math = replace(styles, truncated=np.array([True]), metadata={"dropped": '{"math": 2}'})
    tables = {"reward-bench": code, "reward-bench-2": two, "rm-bench": math}
    rows = {(row["rule"], row["subtask"]): row for row in score_rows(tables)}
    found = {
        key: tuple(row[f"n_{name}"] for name in ("truncated", "identical", "dropped")) for key, row in rows.items()
    }
    assert found[STRICT, "hep-python"] == (2, 1, 0)
    assert found[STRICT, "hep-java"] == (1, 0, 4)
    assert found["RewardBench section", "Reasoning"] == (3, 1, 4)
    assert found["best of n", "Math"] == found[STRICT, "Math"] == (1, 0, 8)
    assert found["best of n", "Focus"] == found[PAPER, "Focus"] == (0, 0, 0)
    # The paper's Math is that of RewardBench 2 and that of RM-Bench.
    assert found[PAPER, "Math"] == (2, 0, 10)


def test_scores_of_rm_bench_count_its_items_and_not_its_pairs():
    styles = [("chat/1", "chat", [3.0, 2.0, 1.0], [0.0] * 3), ("math/1", "math", [3.0, 2.0, 1.0], [0.0] * 3)]
    table = replace(item_table(styles), truncated=np.array([True, True]), metadata={"dropped": '{"math": 2}'})
    rows = list(score_rows({"rm-bench": table}))
    found = {(row["n_truncated"], row["n_dropped"]) for row in rows if row["rule"].startswith("RM-Bench overall")}
    assert found == {(2, 2)}
    found = {(row["n_truncated"], row["n_dropped"]) for row in rows if row["subtask"] == "chat"}
    assert found == {(1, 0)}


def test_a_cell_that_two_studies_hold_is_refused_by_their_names(run):
    shutil.copytree(run / "study", run.parent / "other" / "study")
    both = r"other/study/tiny-0/mixed/\S+ and \S+/tiny/study/tiny-0/mixed/\S+ .*mixed model of tiny, seed 0"
    with pytest.raises(RequestError, match=rf"{both}.* {DATA} .*baseline"):
        read_results(run.parent)


def test_one_model_with_other_weights_in_another_study_is_refused(run):
    other = run.parent / "other" / "study"
    write_study(other, {("tiny", 0, "mixed", SHARED): of_margins([1, -1])})
    assert len(read_results(run.parent).study.cells) == 2
    (path,) = other.rglob("shared.parquet")
    ItemTable.load(path).save(path, {"weights_sha256": "another"})
    with pytest.raises(RequestError, match=r"mixed model of tiny, seed 0.*weights: \S+/other/\S+ and \S+/tiny/study/"):
        read_results(run.parent)


def test_studies_on_other_items_under_one_name_are_refused(run):
    write_study(run.parent / "other" / "study", {("other", 0, "mixed", INTACT): of_margins([1, -1, 1])})
    with pytest.raises(RequestError, match=rf"other items of {DATA}"):
        read_results(run.parent)


def test_a_sweep_that_does_not_say_its_model_is_refused(run):
    shutil.rmtree(run / "sweep")
    write_sweep(run / "sweep", {})
    with pytest.raises(RequestError, match="model"):
        read_results(run)


def test_a_folder_without_results_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RequestError, match=str(folder)):
            read_results(folder)


def test_a_damaged_record_is_refused_and_not_passed_over(run):
    (record,) = (run / "study").rglob("run.json")
    record.write_text("{")
    with pytest.raises(RequestError, match="JSON"):
        read_results(run)
