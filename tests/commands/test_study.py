"""A study of planted models: its tables, what it reuses, what it refuses, and what its tables then say."""

import json
import random
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from parts import neuron_pairs, save_checkpoint
from parts_planted import PLANTED, planted_comparisons, planted_reward_model, save_other

from analysis.results.study import read_study
from analysis.tables import __main__ as tables
from tension_lens import evaluate, score, select, study
from tension_lens.artifacts.files import write_json
from tension_lens.errors import RequestError
from tension_lens.metrics.item_table import ItemTable
from tension_lens.neurons.conditions import Condition, random_controls
from tension_lens.neurons.sets import NeuronSet

N = 60


def write_data(path):
    """Planted pairs twice: as they are, and with the sides of each swapped by a coin."""
    coin = random.Random(1)
    rows = []
    for one in planted_comparisons(N):
        texts = [one.chosen[0], one.rejected[0]]
        shuffled = texts[::-1] if coin.random() < 0.5 else texts
        rows.append({"chosen": texts[0], "rejected": texts[1], "subset": "planted", "id": f"p{one.id}"})
        rows.append({"chosen": shuffled[0], "rejected": shuffled[1], "subset": "shuffled", "id": f"s{one.id}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What a researcher has before a study: three models of one seed, their scores, their sets and the partition."""
    folder = tmp_path_factory.mktemp("runs") / "planted"
    data = write_data(folder.parent / "pairs.jsonl")
    for objective in ("helpful", "harmless", "mixed"):
        model = save_checkpoint(planted_reward_model("gpt2"), folder / "models" / objective)
        write_json(model / "reward_model.json", {"objective": objective, "seed": 3, "backbone": "planted"})
        scores = folder / "scores" / objective
        score.run(score.ScoreConfig(model=str(model), data=str(data), out=scores, device="cpu"))
        out = folder / "sets" / f"{objective}.json"
        select.run(select.SelectConfig(scores=scores, top=2.0, out=out))
    sets = folder / "sets"
    split = select.SelectConfig(helpful=sets / "helpful.json", harmless=sets / "harmless.json", out=sets)
    select.run(split)
    return folder


def config_of(made, out, **changes):
    data = [str(made.parent / "pairs.jsonl")]
    few = {"controls": ["uniform", "layer", "activation"], "draws": 1}
    return study.StudyConfig(**{"runs": made, "data": data, "out": out, "device": "cpu", **few, **changes})


@pytest.fixture(scope="module")
def done(runs, tmp_path_factory):
    """A finished study."""
    out = tmp_path_factory.mktemp("study")
    study.run(config_of(runs, out, ablation=["zero", "mean"], draws=2))
    return out


def tables_of(folder):
    return {path.stem: ItemTable.load(path) for path in sorted(folder.glob("*.parquet"))}


def test_every_condition_has_a_table_that_says_what_it_is(done):
    mixed = tables_of(done / "planted-3" / "mixed" / "pairs")
    sets = ("own", "helpful", "harmless", "shared")
    kinds = [f"{kind}-{draw}" for kind in ("uniform", "layer", "activation") for draw in (0, 1)]
    each = [
        f"{name}{mean}{tail}" for name in sets for mean in ("", ".mean") for tail in ("", *(f".{k}" for k in kinds))
    ]
    # The sets of both objectives are the same here, so helpful_only and harmless_only are empty: gaps, not conditions.
    assert set(mixed) == {"baseline", *each}
    about = mixed["shared.mean.layer-1"].metadata
    assert (about["dtype"], about["truncation"], about["n_truncated"], about["dropped"]) == (
        "float32",
        "left",
        "0",
        "{}",
    )
    expected = {"backbone": "planted", "seed": "3", "objective": "mixed"}
    assert {**expected, **Condition("shared", "mean", "layer", 1).columns()}.items() <= about.items()
    helpful = tables_of(done / "planted-3" / "helpful" / "pairs")
    assert set(helpful) == {"baseline", *(name for name in each if "own" in name)}


def test_tables_hold_what_evaluate_finds(runs, done, tmp_path):
    off = runs / "sets" / "shared.json"
    asked = {"model": str(runs / "models" / "mixed"), "data": str(runs.parent / "pairs.jsonl"), "device": "cpu"}
    evaluate.run(evaluate.EvaluateConfig(**asked, out=tmp_path / "intact.parquet"))
    evaluate.run(evaluate.EvaluateConfig(**asked, out=tmp_path / "off.parquet", ablate=off))
    folder = done / "planted-3" / "mixed" / "pairs"
    for ours, theirs in (("baseline", "intact"), ("shared", "off")):
        columns = [
            pd.read_parquet(path)["chosen_rewards"].str[0]
            for path in (folder / f"{ours}.parquet", tmp_path / f"{theirs}.parquet")
        ]
        assert (columns[0] - columns[1]).abs().max() < 1e-5
        assert columns[0].nunique() > N


def test_controls_are_seeded_by_the_ablated_models_weights(runs, done):
    own = NeuronSet.load(runs / "sets" / "mixed.json")
    folder = done / "planted-3" / "mixed" / "pairs"
    record = json.loads((folder / "run.json").read_text())
    assert tables_of(folder)["own.uniform-1"].metadata["neurons"] == str(len(own))
    hashes = []
    for weights in (record["weights_sha256"], "another"):
        controls = random_controls(own.renamed("own"), 2, weights_sha256=weights)
        hashes.append(study.fingerprint(controls, 1024)["conditions"])
    recorded = {label: record["resolved"]["conditions"][label] for label in hashes[0]}
    assert recorded == hashes[0] != hashes[1]
    assert record["results"]["unavailable"] == []


def test_a_control_that_cannot_be_is_left_out_and_named(runs, tmp_path, capsys):
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    for objective in ("helpful", "harmless"):
        shutil.rmtree(folder / "models" / objective)
        (folder / "sets" / f"{objective}.json").unlink()
    scores = folder / "scores" / "mixed"
    select.run(select.SelectConfig(scores=scores, top=10.0, out=folder / "sets" / "mixed.json"))
    config = config_of(runs, tmp_path / "out", runs=folder, limit=6, ablation=["zero", "mean"], draws=2)
    study.run(config)
    # The top 29 of 288 neurons by activation leave no neuron in the last of the twenty bins.
    why = r"set 'own' has no control of kind 'activation': activation bin 18 must hold at least 1\d neurons .*, found 0"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "has no control" in line]
    assert re.search(f"mixed model: {why}", line)
    data = tmp_path / "out" / "planted-3" / "mixed" / "pairs"
    unavailable = json.loads((data / "run.json").read_text())["results"]["unavailable"]
    assert [(one["set"], one["ablation"], one["control"]) for one in unavailable] == [
        ("own", "zero", "activation"), ("own", "mean", "activation")
    ]  # fmt: skip
    assert all(re.search(why, one["why"]) for one in unavailable)
    labels = set(tables_of(data))
    assert not [label for label in labels if label.startswith("own") and "activation" in label]
    assert {"own.uniform-1", "own.mean.layer-0", "shared.activation-1"} < labels
    result = tables.run(tables.TablesConfig(study=tmp_path / "out", out=tmp_path / "tables"))
    gaps = pd.read_csv(result["tables"]["gaps"]).query("objective == 'mixed'")
    assert gaps["condition"].tolist() == ["own.activation", "own.mean.activation"]
    assert gaps["why"].tolist() == [one["why"] for one in unavailable]
    study.run(config)
    assert "finished before, reused" in capsys.readouterr().err
    # Asking for such a control later adds no table, but its reason to the record.
    (folder / "sets" / "shared.json").unlink()
    for controls in (["uniform"], ["uniform", "activation"]):
        study.run(replace(config, controls=controls, limit=2))
    assert json.loads((data / "run.json").read_text())["results"]["unavailable"] == unavailable


@pytest.fixture(scope="module")
def written(runs, done, tmp_path_factory):
    """The tables of the finished study."""
    out = tmp_path_factory.mktemp("tables")
    tables.run(tables.TablesConfig(study=done, out=out, runs=[runs]))
    return {path.stem: pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in out.glob("*.csv")}


def test_the_planted_effect_is_found_and_none_on_shuffled_labels(written):
    found = written["conditions"]
    zeroed = found[(found["ablation"] == "zero") & (found["objective"] == "mixed")].set_index(["subtask", "set"])
    planted, shuffled = zeroed.loc["planted"], zeroed.loc["shuffled"]
    assert (planted["before"] == 1).all()
    assert (planted["difference"] < -0.35).all()
    assert (planted["p_value"] < 1e-6).all()
    assert (planted["high"] < -0.25).all()
    assert (shuffled["p_value"] > 0.05 / len(shuffled)).all()
    assert ((shuffled["low"] < 0) & (shuffled["high"] > 0)).all()


def test_random_sets_without_the_planted_neuron_change_nothing(runs, done, written):
    found = written["conditions"]
    (_, row), *_ = found.query("subtask == 'planted' and condition == 'own' and objective == 'mixed'").iterrows()
    assert PLANTED in neuron_pairs(NeuronSet.load(runs / "sets" / "mixed.json"))
    assert (row["uniform_mean"], row["uniform_min"], row["uniform_max"], row["uniform_draws"]) == (0, 0, 0, 2)
    # Controls have no rows of their own in any table.
    labels = written["conditions"]["condition"].unique()
    for name in ("effects", "scores", "retention", "margins"):
        assert set(written[name]["condition"]) <= {*labels, "baseline"}


def test_three_models_alike_keep_everything(written):
    kept = written["retention"]
    intact = kept[(kept["condition"] == "baseline") & (kept["subtask"] == "planted")]
    assert set(intact["measure"]) == {"combined", "helpful", "harmless", "jaccard_helpful", "jaccard_harmless"}
    assert (intact["numerator"] == N).all()
    assert (intact["share"] == 1).all()
    off = kept[(kept["condition"] == "shared") & (kept["subtask"] == "planted") & (kept["measure"] == "combined")]
    assert 0.35 < off["share"].item() < 0.65
    assert written["seeds"]["sd"].isna().all()


@pytest.mark.slow
def test_a_second_run_reuses_every_table_and_gives_its_bytes(runs, done, tmp_path, capsys):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in done.rglob("*.parquet")}
    config = config_of(runs, done, ablation=["zero", "mean"], draws=2)
    study.run(config)
    assert capsys.readouterr().err.count("finished before, reused") == 3
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    study.run(replace(config, out=tmp_path))
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.parquet")} == {
        path.relative_to(done): content for path, (_, content) in before.items()
    }


def test_other_settings_and_lost_tables_are_run_again(runs, tmp_path, capsys):
    config = config_of(runs, tmp_path, draws=0, limit=8)
    study.run(config)
    folder = tmp_path / "planted-3" / "mixed" / "pairs"
    assert len(list(folder.glob("*.parquet"))) == 5
    (folder / "shared.parquet").unlink()
    capsys.readouterr()
    study.run(config)
    assert capsys.readouterr().err.count("finished before, reused") == 2
    assert (folder / "shared.parquet").is_file()
    study.run(replace(config, limit=9))
    assert len(ItemTable.load(folder / "shared.parquet")) == 9


def test_tables_without_a_record_are_no_result(done, tmp_path):
    shutil.copytree(done, tmp_path / "copy")
    (tmp_path / "copy" / "planted-3" / "mixed" / "pairs" / "run.json").unlink()
    found = read_study(tmp_path / "copy")
    assert {cell.objective for cell in found.cells.values()} == {"helpful", "harmless"}
    assert [(gap["objective"], gap["condition"]) for gap in found.gaps] == [("mixed", "every")]
    assert found.gaps[0]["why"] == "no model of this objective"


def test_a_missing_model_is_a_gap_with_a_name(runs, tmp_path, capsys):
    partial = tmp_path / "runs"
    shutil.copytree(runs, partial)
    shutil.rmtree(partial / "models" / "harmless")
    (partial / "sets" / "harmless.json").unlink()
    study.run(config_of(runs, tmp_path / "out", runs=partial, draws=0, limit=6))
    assert "no harmless model" in capsys.readouterr().err
    found = read_study(tmp_path / "out")
    assert [(gap["objective"], gap["why"]) for gap in found.gaps] == [("harmless", "no model of this objective")]
    assert "harmless" not in {cell.condition for cell in found.cells.values()}
    result = tables.run(tables.TablesConfig(study=tmp_path / "out", out=tmp_path / "tables"))
    assert "harmless" in (tmp_path / "tables" / "gaps.csv").read_text()
    assert pd.read_csv(result["tables"]["margins"])["reference"].unique().tolist() == ["helpful"]


def other_set(site, d_mlp):
    return lambda folder: NeuronSet.of("shared", site, (3, d_mlp), [(0, 1)]).save(folder / "sets" / "shared.json")


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda folder: save_other(folder / "models" / "mixed"), "holds scores of another model"),
        (other_set("post", 95), "3 layers of 95 neurons"),
        (other_set("gate", 96), "site gate"),
        (lambda folder: shutil.rmtree(folder / "scores" / "mixed"), "activation-matched controls needs scores"),
        (lambda folder: shutil.rmtree(folder / "models"), "holds no models/helpful"),
        (lambda folder: (folder / "sets" / "mixed.json").write_text("{"), "is not JSON"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(runs, breaks, message, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    breaks(folder)
    with pytest.raises(RequestError, match=message):
        study.run(config_of(runs, tmp_path / "out", runs=folder, limit=4))
    assert not list((tmp_path / "out").rglob("mixed/*/run.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ablation": ["noise"]}, "unknown ablation 'noise'"),
        ({"controls": ["magnitude"]}, "unknown control 'magnitude'"),
        ({"draws": -1}, "--draws must be at least 0"),
        ({"data": ["sample", "sample:mixed:test"]}, "stored under one name"),
        ({"data": ["rm-bench:chat", "rm-bench:math"]}, "parts of one benchmark"),
        ({"data": ["no-such-data"]}, "unknown data spec"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(runs, changes, message, tmp_path):
    with pytest.raises(RequestError, match=message):
        study.run(config_of(runs, tmp_path / "out", **changes))
    assert not list(tmp_path.rglob("*.parquet"))


def truncated(folder):
    path = folder / "own.parquet"
    path.write_bytes(path.read_bytes()[:-40])


def of_another_model(folder):
    ItemTable.load(folder / "own.parquet").save(folder / "own.parquet", {"weights_sha256": "another"})


def of_other_items(folder):
    table = ItemTable.load(folder / "own.parquet")
    replace(table, item=np.array([*table.item[:-1], "another"])).save(folder / "own.parquet", {})


def of_another_task_type(folder):
    table = ItemTable.load(folder / "own.parquet")
    replace(table, task_type=np.full(len(table), "another", dtype=object)).save(folder / "own.parquet", {})


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (truncated, "own.parquet cannot be read"),
        (of_another_model, "are of different weights"),
        (of_other_items, "hold other items"),
        (of_another_task_type, "hold other items"),
        (lambda folder: (folder / "own.parquet").unlink(), "own.parquet cannot be read"),
    ],
)
def test_tables_that_are_damaged_or_foreign_are_refused(done, breaks, message, tmp_path):
    shutil.copytree(done, tmp_path / "study")
    breaks(tmp_path / "study" / "planted-3" / "mixed" / "pairs")
    with pytest.raises(RequestError, match=message):
        read_study(tmp_path / "study")
