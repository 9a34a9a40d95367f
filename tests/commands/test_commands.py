"""The commands keep their contracts: what they write and print, how they refuse, and what a killed one leaves."""

import errno
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from parts import (
    PAIRS,
    byte_tokenizer,
    make_reward_model,
    neuron_pairs,
    save_checkpoint,
    write_pairs,
)
from safetensors import safe_open

from tension_lens import check, evaluate, score, select
from tension_lens.check import CheckConfig
from tension_lens.cli import parse, run_command
from tension_lens.console import progress
from tension_lens.errors import FailedError, RequestError
from tension_lens.evaluate import EvaluateConfig
from tension_lens.neurons.selectors import SELECTORS
from tension_lens.neurons.sets import NeuronSet
from tension_lens.score import ScoreConfig
from tension_lens.select import SelectConfig

STATISTICS = ("mean", "mean_abs", "rms", "frequency", "max")
SHAPE = {"gpt2": (3, 96), "llama": (3, 40)}
TOKENS = {side: sum(len(pair[place].encode()) for pair in PAIRS) for place, side in enumerate(("chosen", "rejected"))}
"""The byte tokenizer makes a token of each byte."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small lose more to waiting threads than they gain, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Checkpoints that no test changes, by family; `other` and `wide` are GPT-2s of other weights, of another shape."""
    folder = tmp_path_factory.mktemp("models")
    made = {family: make_reward_model(family) for family in SHAPE}
    made["other"] = make_reward_model("gpt2", seed=1)
    made["wide"] = make_reward_model("gpt2", n_inner=50)
    return {name: str(save_checkpoint(model, folder / name)) for name, model in made.items()}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return str(write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl", PAIRS))


@pytest.fixture(scope="module")
def scored(models, pairs, tmp_path_factory):
    """A folder of scores of the GPT-2 model on the pairs."""
    folder = tmp_path_factory.mktemp("scored")
    score.run(ScoreConfig(model=models["gpt2"], data=pairs, out=folder))
    return folder


@pytest.fixture
def request_for_scores(models, pairs, tmp_path):
    """Flags of a score command that would do."""
    return ["--model", models["gpt2"], "--data", pairs, "--out", tmp_path / "out"]


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def neuron_set(path, neurons, shape=SHAPE["gpt2"], site="post"):
    NeuronSet.of(path.stem, site, shape, neurons).save(path)
    return path


def tensors(folder):
    with safe_open(folder / "scores.safetensors", framework="np") as stored:
        return {key: stored.get_tensor(key) for key in stored.keys()}, stored.metadata()  # noqa: SIM118


def call(module, *arguments):
    """A command as its `__main__` runs it, in this process."""
    config_class = {score: ScoreConfig, select: SelectConfig, evaluate: EvaluateConfig, check: CheckConfig}[module]
    argv = list(map(str, arguments))
    run_command(module.__name__, lambda: module.run(parse(config_class, module.__name__, module.__doc__, argv)))


def refused(capsys, message, module, *arguments):
    """Check that a command refuses a request with exit code 2, nothing on stdout and one line that says why."""
    with pytest.raises(SystemExit) as ended:
        call(module, *arguments)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    (line,) = printed.err.splitlines()
    assert f"{module.__name__}: error: " in line
    assert re.search(message, line), line


ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def process(module, *arguments):
    """A command in a process of its own, its output piped, so that nothing is a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(running):
    out, err = running.communicate(timeout=300)
    return running.returncode, out, err


# --- score ---


@pytest.mark.parametrize("family", SHAPE)
def test_scoring_writes_two_files_with_the_contracts_tensors(family, models, pairs, tmp_path):
    printed = score.run(ScoreConfig(model=models[family], data=pairs, out=tmp_path / "out"))
    assert files_in(tmp_path / "out") == ["run.json", "scores.safetensors"]
    values, metadata = tensors(tmp_path / "out")
    assert set(values) == {f"{side}/{name}" for side in TOKENS for name in STATISTICS}
    assert {(value.shape, str(value.dtype)) for value in values.values()} == {(SHAPE[family], "float32")}
    assert {"site": "post", "scope": "all", "items": "5"}.items() <= metadata.items()
    assert {side: int(metadata[f"{side}_tokens"]) for side in TOKENS} == TOKENS
    assert (printed["items"], printed["tokens"]) == (5, sum(TOKENS.values()))
    assert printed["scores"] == str(tmp_path / "out" / "scores.safetensors")


def test_a_base_of_another_shape_is_refused(models, pairs, tmp_path):
    with pytest.raises(RequestError, match="has another shape or vocabulary than model"):
        score.run(ScoreConfig(model=models["gpt2"], data=pairs, out=tmp_path / "out", base=models["wide"]))
    assert not (tmp_path / "out").exists()


def test_the_run_record_says_what_was_asked_read_and_run(models, pairs, scored):
    record = json.loads((scored / "run.json").read_text("utf-8"))
    assert record["command"] == "tension_lens.score"
    asked = {"model": models["gpt2"], "data": pairs, "data_root": None, "max_length": 1024, "limit": None, "base": None}
    asked |= {"site": "post", "scope": "all", "long": "drop", "device": "auto", "dtype": "float32", "out": str(scored)}
    assert asked.items() <= record["config"].items()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # The model reads 256 tokens at most, and `auto` has become a device.
    assert {"data": pairs, "max_length": 256, "long": "drop"}.items() <= record["resolved"].items()
    assert record["resolved"]["device"].startswith(device)
    assert {"kept": 5, "dropped_too_long": 0, "truncated": 0, "tokens": sum(TOKENS.values())} == record["counts"]
    weights = Path(models["gpt2"], "model.safetensors").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert len(record["data_sha256"]) == 64
    _, metadata = tensors(scored)
    assert {key: record[key] for key in ("weights_sha256", "data_sha256")}.items() <= metadata.items()
    assert record["template"] == "\n\nHuman: {prompt}\n\nAssistant: {response}"
    assert "not pad_token_id" in record["pooled_token"]
    assert 0 <= record["parity"] < 1e-4
    assert record["seconds"] > 0
    assert record["tokens_per_second"] == pytest.approx(sum(TOKENS.values()) / record["seconds"])
    assert record["versions"]["torch"] == version("torch")
    assert set(record["git"]) == {"commit", "dirty"}


def test_dropped_rows_are_told_and_recorded(models, tmp_path, capsys):
    long = ("\n\nHuman: a\n\nAssistant:" + "x" * 300, "\n\nHuman: a\n\nAssistant: b")
    data = write_pairs(tmp_path / "pairs.jsonl", [*PAIRS, long])
    score.run(ScoreConfig(model=models["gpt2"], data=str(data), out=tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["dropped_too_long"] == 1
    assert capsys.readouterr().err == "note: dropped 1 of 6 comparisons longer than 256 tokens\n"


def test_flawed_rows_of_hh_rlhf_are_told_and_recorded(models, tmp_path, capsys):
    same = ("\n\nHuman: a\n\nAssistant: b",) * 2
    (tmp_path / "hh-rlhf" / "helpful-base").mkdir(parents=True)
    write_pairs(tmp_path / "hh-rlhf" / "helpful-base" / "test.jsonl", [*PAIRS, same])
    settings = {"data": "hh-rlhf:helpful", "data_root": tmp_path, "out": tmp_path / "out"}
    score.run(ScoreConfig(model=models["gpt2"], **settings))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["counts"]["kept"], record["counts"]["dropped_identical"]) == (5, 1)
    told = capsys.readouterr().err.splitlines()
    assert any("helpful-online/test" in line and "not found" in line for line in told)
    assert any("dropped 1 identical" in line for line in told)


def test_a_later_run_replaces_an_earlier_and_a_refused_one_leaves_it(models, pairs, tmp_path):
    config = {"model": models["gpt2"], "data": pairs, "out": tmp_path}
    score.run(ScoreConfig(**config))
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    with pytest.raises(RequestError, match="nothing is left to run"):
        score.run(ScoreConfig(**config, max_length=2))
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before
    score.run(ScoreConfig(**config, scope="last"))
    assert tensors(tmp_path)[1]["scope"] == "last"
    assert files_in(tmp_path) == sorted(before)


def test_the_same_command_gives_the_same_bytes(models, pairs, tmp_path):
    off = neuron_set(tmp_path / "off.json", [(0, 1), (2, 5)])
    results = set()
    for _ in range(4):
        score.run(ScoreConfig(model=models["gpt2"], data=pairs, out=tmp_path, attribution=True))
        evaluate.run(EvaluateConfig(model=models["gpt2"], data=pairs, out=tmp_path / "t.parquet", ablate=off, random=1))
        names = ("scores.safetensors", "t.parquet", "t.random-0.parquet")
        results.add(tuple(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names))
    assert [len(set(hashes)) for hashes in zip(*results, strict=True)] == [1, 1, 1]


@pytest.mark.parametrize("family", SHAPE)
@pytest.mark.parametrize("site", ["post", "gate"])
def test_attribution_adds_what_neurons_contribute_whatever_site_and_scope(family, site, models, pairs, tmp_path):
    config = {"model": models[family], "data": pairs, "token_budget": 300}
    score.run(ScoreConfig(**config, out=tmp_path / "plain", site=site, scope="last"))
    printed = score.run(ScoreConfig(**config, out=tmp_path / "more", site=site, scope="last", attribution=True))
    plain, said = tensors(tmp_path / "plain")
    more, said_more = tensors(tmp_path / "more")
    added = {f"{side}/{name}" for side in TOKENS for name in ("attribution", "direct")}
    assert set(more) == set(plain) | added
    assert all(np.array_equal(more[name], plain[name]) for name in plain)
    assert {more[name].shape for name in added} == {SHAPE[family]}
    counts = {"chosen_responses": "5", "rejected_responses": "5"}
    assert said_more == {**said, "attribution_scope": "all", "direct_scope": "last", **counts}
    record = json.loads((tmp_path / "more" / "run.json").read_text("utf-8"))
    assert record["config"]["attribution"] is True
    # Two passes over the data are as many tokens twice.
    assert record["tokens_per_second"] * record["seconds"] == pytest.approx(2 * sum(TOKENS.values()))
    assert printed["tokens"] == sum(TOKENS.values())
    other = "gate" if site == "post" else "post"
    score.run(ScoreConfig(**config, out=tmp_path / "other", site=other, attribution=True))
    elsewhere, _ = tensors(tmp_path / "other")
    assert all(np.array_equal(elsewhere[name], more[name]) for name in added)


# --- select ---


def test_selecting_writes_the_contracts_file_with_the_true_top(scored, models, tmp_path):
    printed = select.run(SelectConfig(scores=scored, out=tmp_path / "helpful.json"))
    assert files_in(tmp_path) == ["helpful.json"]
    assert printed == {"set": str(tmp_path / "helpful.json"), "neurons": 29, "of": 288}
    found = json.loads((tmp_path / "helpful.json").read_text("utf-8"))
    assert list(found) == ["name", "site", "n_layers", "d_mlp", "neurons", "origin"]
    assert (found["name"], found["site"], found["n_layers"], found["d_mlp"]) == ("helpful", "post", 3, 96)
    values, _ = tensors(scored)
    importance = (values["chosen/mean_abs"].astype(float) + values["rejected/mean_abs"]) / 2
    ranked = sorted(np.ndindex(3, 96), key=lambda neuron: -importance[neuron])
    assert found["neurons"] == sorted(map(list, ranked[:29]))
    assert {"statistic": "mean_abs", "scope": "all", "top_percent": 10.0}.items() <= found["origin"].items()
    assert found["origin"]["model"] == models["gpt2"]


def test_partition_writes_three_files_and_the_overlap_with_chance(tmp_path):
    helpful = neuron_set(tmp_path / "helpful.json", [(0, 0), (0, 1), (0, 2)], (2, 3))
    harmless = neuron_set(tmp_path / "harmless.json", [(0, 0), (1, 0)], (2, 3))
    printed = select.run(SelectConfig(helpful=helpful, harmless=harmless, out=tmp_path / "parts"))
    assert files_in(tmp_path / "parts") == ["harmless_only.json", "helpful_only.json", "shared.json"]
    found = {path.stem: NeuronSet.load(path) for path in (tmp_path / "parts").iterdir()}
    assert neuron_pairs(found["helpful_only"]) == ((0, 1), (0, 2))
    assert neuron_pairs(found["harmless_only"]) == ((1, 0),)
    assert neuron_pairs(found["shared"]) == ((0, 0),)
    assert {name: part.name for name, part in found.items()} == {name: name for name in found}
    assert printed["neurons"] == {"helpful_only": 2, "harmless_only": 1, "shared": 1}
    assert printed["overlap"]["jaccard"] == 0.25
    assert printed["overlap"]["expected_intersection"] == pytest.approx(1)


def test_a_partition_of_empty_sets_prints_json_without_numbers_that_are_none(tmp_path):
    helpful, harmless = (neuron_set(tmp_path / f"{name}.json", []) for name in ("helpful", "harmless"))
    printed = select.run(SelectConfig(helpful=helpful, harmless=harmless, out=tmp_path / "parts"))
    assert json.loads(json.dumps(printed, allow_nan=False))["overlap"]["jaccard"] is None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"helpful": Path("a.json")},
        {"harmless": Path("a.json")},
        {"scores": Path("s"), "helpful": Path("a.json")},
        {"scores": Path("s"), "helpful": Path("a.json"), "harmless": Path("b.json")},
    ],
)
def test_select_needs_either_scores_or_both_sets(settings, tmp_path):
    with pytest.raises(RequestError, match="give either --scores, to select, or both --helpful and --harmless"):
        select.run(SelectConfig(out=tmp_path / "out.json", **settings))
    assert files_in(tmp_path) == []


# --- evaluate ---


def rewards_by_hugging_face(family, texts):
    reference, tokenizer = make_reward_model(family), byte_tokenizer()
    with torch.no_grad():
        return [reference(torch.tensor([tokenizer(text).input_ids])).logits.item() for text in texts]


@pytest.mark.parametrize("family", SHAPE)
def test_the_item_table_holds_hugging_faces_rewards_in_the_sources_order(family, models, pairs, tmp_path):
    printed = evaluate.run(EvaluateConfig(model=models[family], data=pairs, out=tmp_path / "items.parquet"))
    assert files_in(tmp_path) == ["items.parquet", "items.run.json"]
    table = pq.read_table(tmp_path / "items.parquet")
    words, floats, wholes = pa.string(), pa.list_(pa.float64()), pa.list_(pa.int64())
    kinds = {field.name: pa.string() if pa.types.is_large_string(field.type) else field.type for field in table.schema}
    assert kinds == {
        "item": words,
        "subtask": words,
        "task_type": words,
        "chosen_rewards": floats,
        "rejected_rewards": floats,
        "chosen_tokens": wholes,
        "rejected_tokens": wholes,
        "correct": pa.float64(),
    }
    rows = table.to_pylist()
    assert [row["item"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert {(row["subtask"], row["task_type"]) for row in rows} == {("pairs", "unknown")}
    for place, side in enumerate(TOKENS):
        texts = [pair[place] for pair in PAIRS]
        assert [row[f"{side}_tokens"] for row in rows] == [[len(text.encode())] for text in texts]
        found = [row[f"{side}_rewards"][0] for row in rows]
        assert found == pytest.approx(rewards_by_hugging_face(family, texts), abs=1e-5)
    correct = [float(row["chosen_rewards"][0] > row["rejected_rewards"][0]) for row in rows]
    assert [row["correct"] for row in rows] == correct
    assert (printed["accuracy"], printed["n"], printed["condition"]) == (sum(correct) / 5, 5, "baseline")
    assert 0 <= printed["low"] <= printed["accuracy"] <= printed["high"] <= 1
    assert printed["subtasks"]["pairs"]["accuracy"] == printed["accuracy"]


def test_the_table_and_its_record_say_what_they_are_of(models, pairs, tmp_path):
    evaluate.run(EvaluateConfig(model=models["gpt2"], data=pairs, out=tmp_path / "items.parquet"))
    record = json.loads((tmp_path / "items.run.json").read_text("utf-8"))
    metadata = pq.read_schema(tmp_path / "items.parquet").metadata
    assert metadata[b"tension_lens.condition"] == b"baseline"
    for key in ("weights_sha256", "data_sha256"):
        assert metadata[f"tension_lens.{key}".encode()].decode() == record[key]
    assert record["command"] == "tension_lens.evaluate"
    assert record["resolved"]["long"] == "truncate"


def test_long_texts_are_cut_so_that_every_item_keeps_its_row_or_dropped_if_asked(models, pairs, tmp_path):
    config = {"model": models["gpt2"], "data": pairs, "max_length": 40}
    evaluate.run(EvaluateConfig(**config, out=tmp_path / "cut.parquet"))
    cut = pd.read_parquet(tmp_path / "cut.parquet")
    assert list(cut["item"]) == ["0", "1", "2", "3", "4"]
    for place, side in enumerate(TOKENS):
        assert [list(tokens) for tokens in cut[f"{side}_tokens"]] == [[min(40, len(p[place].encode()))] for p in PAIRS]
    evaluate.run(EvaluateConfig(**config, out=tmp_path / "dropped.parquet", long="drop"))
    kept = [str(n) for n, pair in enumerate(PAIRS) if max(len(text.encode()) for text in pair) <= 40]
    assert 0 < len(kept) < 5
    assert list(pd.read_parquet(tmp_path / "dropped.parquet")["item"]) == kept
    counts = json.loads((tmp_path / "dropped.run.json").read_text())["counts"]
    assert (counts["kept"], counts["dropped_too_long"]) == (len(kept), 5 - len(kept))


def rewards_in(path):
    table = pd.read_parquet(path)
    return np.array([[*row.chosen_rewards, *row.rejected_rewards] for row in table.itertuples()])


@pytest.mark.parametrize("family", SHAPE)
def test_ablating_zeroes_the_neurons_columns_of_the_down_projection(family, models, pairs, tmp_path):
    neurons = [(0, 0), (0, 7), (2, 3), (2, 39)]
    off = neuron_set(tmp_path / "off.json", neurons, SHAPE[family])
    evaluate.run(EvaluateConfig(model=models[family], data=pairs, out=tmp_path / "off.parquet", ablate=off))
    # Oracle: a Hugging Face model whose MLP outputs take nothing from those neurons.
    silenced = make_reward_model(family)
    with torch.no_grad():
        for layer, index in neurons:
            if family == "gpt2":
                silenced.transformer.h[layer].mlp.c_proj.weight[index] = 0
            else:
                silenced.model.layers[layer].mlp.down_proj.weight[:, index] = 0
    save_checkpoint(silenced, tmp_path / "silenced")
    evaluate.run(EvaluateConfig(model=str(tmp_path / "silenced"), data=pairs, out=tmp_path / "oracle.parquet"))
    evaluate.run(EvaluateConfig(model=models[family], data=pairs, out=tmp_path / "intact.parquet"))
    found = rewards_in(tmp_path / "off.parquet")
    np.testing.assert_allclose(found, rewards_in(tmp_path / "oracle.parquet"), atol=1e-5)
    assert np.abs(found - rewards_in(tmp_path / "intact.parquet")).max() > 1e-3


def test_random_controls_have_tables_of_their_own(models, pairs, tmp_path):
    off = neuron_set(tmp_path / "shared.json", [(0, index) for index in range(40)])
    config = {"model": models["gpt2"], "data": pairs, "ablate": off}
    printed = evaluate.run(EvaluateConfig(**config, out=tmp_path / "out" / "t.parquet", random=3))
    names = [f"t.random-{number}.parquet" for number in range(3)]
    assert files_in(tmp_path / "out") == sorted(["t.parquet", "t.run.json", *names])
    assert printed["condition"] == "shared"
    assert [control["condition"] for control in printed["controls"]] == ["uniform-0", "uniform-1", "uniform-2"]
    assert [Path(control["table"]).name for control in printed["controls"]] == names
    found = [rewards_in(tmp_path / "out" / name) for name in ("t.parquet", *names)]
    for number, one in enumerate(found):
        assert all(np.abs(one - other).max() > 1e-4 for other in found[:number])
    # The controls do not change what the set itself gives.
    evaluate.run(EvaluateConfig(**config, out=tmp_path / "alone.parquet"))
    np.testing.assert_array_equal(rewards_in(tmp_path / "alone.parquet"), found[0])


@pytest.mark.parametrize("site", ["post", "gate"])
@pytest.mark.parametrize("family", SHAPE)
def test_mean_ablation_takes_the_means_given_or_those_of_the_evaluated_texts(family, site, models, pairs, tmp_path):
    score.run(ScoreConfig(model=models[family], data=pairs, out=tmp_path / "scores", site=site))
    off = neuron_set(tmp_path / "off.json", [(1, index) for index in range(20)], SHAPE[family], site)
    config = {"model": models[family], "data": pairs, "ablate": off}
    evaluate.run(EvaluateConfig(**config, out=tmp_path / "own.parquet", ablation="mean"))
    given = EvaluateConfig(**config, out=tmp_path / "given.parquet", ablation="mean", means=tmp_path / "scores")
    evaluate.run(given)
    evaluate.run(EvaluateConfig(**config, out=tmp_path / "zero.parquet"))
    own, theirs, zero = (rewards_in(tmp_path / f"{name}.parquet") for name in ("own", "given", "zero"))
    np.testing.assert_allclose(own, theirs, atol=1e-6)
    assert np.abs(own - zero).max() > 1e-4


def test_means_of_another_model_or_site_are_refused(models, pairs, scored, tmp_path):
    off = neuron_set(tmp_path / "off.json", [(0, 0)])
    config = {"data": pairs, "out": tmp_path / "t.parquet", "ablation": "mean", "means": scored}
    with pytest.raises(RequestError, match="holds scores of another model than"):
        evaluate.run(EvaluateConfig(model=models["other"], ablate=off, **config))
    gate = neuron_set(tmp_path / "gate.json", [(0, 0)], site="gate")
    with pytest.raises(RequestError, match=r"site post.* site gate"):
        evaluate.run(EvaluateConfig(model=models["gpt2"], ablate=gate, **config))
    assert files_in(tmp_path) == ["gate.json", "off.json"]


@pytest.mark.parametrize("settings", [{"random": 1}, {"random": -1, "ablate": Path("set.json")}])
def test_random_controls_need_a_set_and_a_number(settings, models, pairs, tmp_path):
    with pytest.raises(RequestError, match="--random N needs --ablate"):
        evaluate.run(EvaluateConfig(model=models["gpt2"], data=pairs, out=tmp_path / "t.parquet", **settings))


# --- check ---


def test_check_gives_the_parity_with_hugging_face(models, pairs):
    printed = check.run(CheckConfig(model=models["llama"], data=pairs))
    assert 0 <= printed["parity"] < 1e-5
    assert printed["parity"] == max(printed["batch_1"], printed["batch_16"])
    lengths = [len(text.encode()) for pair in PAIRS for text in pair]
    assert (printed["tokens_shortest"], printed["tokens_longest"]) == (min(lengths), max(lengths))
    assert printed["pairs"] == 5
    assert (
        printed["weights_sha256"] == hashlib.sha256(Path(models["llama"], "model.safetensors").read_bytes()).hexdigest()
    )


# --- refusals ---

DATA = {
    "a missing column": ("d.jsonl", b'{"chosen": "a"}\n', r"d\.jsonl, row 0: column 'rejected' is missing"),
    "an empty file": ("d.jsonl", b"", r"d\.jsonl.*empty"),
    "malformed JSON": (
        "d.jsonl",
        b'{"chosen": "a", "rejected": "b"}\n{"chosen"\n',
        r"d\.jsonl, line 2: malformed JSON",
    ),
    "a list of nothing": ("d.json", b"[]", r"d\.json.*empty"),
    "an empty text": ("d.jsonl", b'{"chosen": "", "rejected": "b", "id": "q7"}', "chosen text of item 'q7' is empty"),
    "half a character": ("d.jsonl", b'{"chosen": "a\\ud83d", "rejected": "b"}\n', r"d\.jsonl|item '0'"),
    "JSON nested too deep": ("d.json", b"[" * 100_000, r"d\.json"),
    "a number of 5,000 digits": ("d.jsonl", b'{"id": ' + b"9" * 5000 + b"}", r"d\.jsonl"),
    "no gzip": ("d.jsonl.gz", b'{"chosen": "a", "rejected": "b"}\n', r"d\.jsonl\.gz"),
    "no parquet": ("d.parquet", b"PAR1", r"d\.parquet"),
}


@pytest.mark.parametrize("case", DATA)
@pytest.mark.parametrize("module", [score, evaluate])
def test_data_that_cannot_be_used_is_refused(module, case, models, tmp_path, capsys):
    name, content, message = DATA[case]
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out" / ("scores" if module is score else "items.parquet")
    refused(capsys, message, module, "--model", models["gpt2"], "--data", tmp_path / name, "--out", out)
    assert [path.name for path in tmp_path.iterdir()] == [name], "a refused command leaves no folder behind"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "anthropic"], r"'anthropic'.*hh-rlhf"),
        (["--data", "sample:harmful"], "unknown subset of sample 'harmful'"),
        (["--data", "nowhere.jsonl"], r"nowhere\.jsonl cannot be read"),
        (["--data", "hh-rlhf:helpful", "--data-root", "nowhere"], "data root nowhere"),
        (["--max-length", "2"], "all 5 comparisons are longer than 2 tokens"),
        (["--max-length", "0"], "--max-length must be at least 1, found 0"),
        (["--token-budget", "0"], "--token-budget must be at least 1, found 0"),
        (["--limit", "0"], "--limit must be at least 1, found 0"),
        (["--limit", "many"], "--limit.*many"),
        (["--site", "mid"], "--site.*mid.*post.*gate"),
        (["--scope", "some"], "--scope.*some.*response"),
        (["--long", "fold"], "--long.*fold"),
        (["--dtype", "float8"], "--dtype.*float8"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--tokens", "5"], "unrecognized arguments: --tokens"),
        (["--base", "/nowhere"], "/nowhere.*neither a folder nor a model on the hub"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message, request_for_scores, tmp_path, capsys):
    # The last of a repeated flag counts.
    refused(capsys, message, score, *request_for_scores, *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [score, select, evaluate, check])
def test_a_flag_that_must_be_given_is_asked_for(module, capsys):
    missing = {score: "--model", select: "--out", evaluate: "--model", check: "--model"}
    refused(capsys, f"required.*{missing[module]}", module)


def backbone_alone(folder):
    save_checkpoint(make_reward_model("gpt2").transformer, folder)


@pytest.mark.parametrize("name", ["/nowhere/model", "no such id", "nobody/no-such-model"])
def test_a_model_that_is_nowhere_is_refused(name, pairs, tmp_path, capsys):
    message = f"model '{name}' is neither a folder nor a model on the hub"
    refused(capsys, message, score, "--model", name, "--data", pairs, "--out", tmp_path / "out")


@pytest.mark.parametrize("top", ["0", "-3", "100.1", "nan", "inf"])
def test_a_share_outside_its_range_is_refused(top, scored, tmp_path, capsys):
    message = r"must lie in \(0, 100\] percent"
    refused(capsys, message, select, "--scores", scored, "--top", top, "--out", tmp_path / "set.json")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--top", "10"], "--top"),
        (["--statistic", "mean_abs"], "--statistic"),
        (["--statistic", "lape", "--top", "5", "--against", "d"], "--statistic, --top, --against"),
    ],
)
def test_a_partition_refuses_what_only_selecting_uses(flags, named, tmp_path, capsys):
    parts = [f for name in ("helpful", "harmless") for f in (f"--{name}", neuron_set(tmp_path / f"{name}.json", []))]
    refused(capsys, f"two sets uses no {named};", select, *parts, *flags, "--out", tmp_path / "parts")
    assert files_in(tmp_path) == ["harmless.json", "helpful.json"]


def test_an_output_with_the_wrong_ending_is_refused(scored, models, pairs, tmp_path, capsys):
    refused(capsys, r"must be a \.json file", select, "--scores", scored, "--out", tmp_path / "set.txt")
    model = ["--model", models["gpt2"], "--data", pairs]
    refused(capsys, r"must be a \.parquet file", evaluate, *model, "--out", tmp_path / "items.csv")
    assert files_in(tmp_path) == []


def test_an_output_under_a_file_is_refused(scored, models, pairs, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    model = ["--model", models["gpt2"], "--data", pairs]
    parts = [f for name in ("helpful", "harmless") for f in (f"--{name}", neuron_set(tmp_path / f"{name}.json", []))]
    for module, flags, out in (
        (score, model, "file/out"),
        (score, model, "file"),
        (evaluate, model, "file/items.parquet"),
        (select, ["--scores", scored], "file/set.json"),
        (select, parts, "file/parts"),
    ):
        refused(capsys, "output folder .*file.* is not writable", module, *flags, "--out", tmp_path / out)
    assert files_in(tmp_path) == ["file", "harmless.json", "helpful.json"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["set.json", "items.parquet", "out/scores.safetensors", "out/run.json"])
def test_a_folder_where_an_output_file_should_be_is_refused(name, scored, request_for_scores, tmp_path, capsys):
    (tmp_path / name).mkdir(parents=True)
    module, flags = {
        "set.json": (select, ["--scores", scored, "--out", tmp_path / name]),
        "items.parquet": (evaluate, [*request_for_scores, "--out", tmp_path / name]),
    }.get(name, (score, request_for_scores))
    refused(capsys, Path(name).name, module, *flags)
    assert files_in(tmp_path) == []


# --- how a command ends ---


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RequestError("two\nlines  of it"), 2, "name: error: two lines of it"),
        (FailedError("it\ndid not"), 1, "name: failed: it did not"),
        (KeyboardInterrupt(), 130, "name: interrupted, no result was written"),
    ],
)
def test_each_bad_end_has_its_exit_code_and_one_line(error, code, line, capsys):
    def work():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command("name", work)
    assert ended.value.code == code
    assert capsys.readouterr() == ("", line + "\n")


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["scores.safetensors", "run.json"])
def test_a_full_disk_ends_in_one_line_and_nothing_half_written(name, request_for_scores, tmp_path, capsys, monkeypatch):
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: full_disk() if Path(new).name == name else rename(old, new))
    with pytest.raises(SystemExit) as ended:
        call(score, *request_for_scores)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert "No space left on device" in line
    assert files_in(tmp_path / "out") == ([] if name == "scores.safetensors" else ["scores.safetensors"])


def test_other_errors_of_the_system_are_bugs_and_keep_their_traceback():
    with pytest.raises(FileNotFoundError):
        run_command("name", lambda: Path("/nowhere/file").read_text())


@pytest.mark.parametrize(("result", "printed"), [({"a": [1, None]}, {"a": [1, None]}), (Path("a/b"), "a/b")])
def test_a_result_is_printed_as_json_or_as_a_path(result, printed, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command("name", lambda: result)
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert (json.loads(out) if isinstance(result, dict) else out.removesuffix("\n")) == printed
    assert err == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_alone(terminal, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    with progress(4000, "scoring") as bar:
        bar.update(1000)
    shown = stream.getvalue()
    if terminal:
        # How much of all, the time left after `<`, and the rate.
        assert re.search(r"scoring.*1\.00k/4\.00k.*<.*tok/s", shown)
    else:
        assert shown == ""


# --- in processes of their own ---


@pytest.mark.slow
def test_a_command_prints_json_and_nothing_else(models, pairs, tmp_path):
    code, out, err = finish(
        process("tension_lens.score", "--model", models["llama"], "--data", pairs, "--out", tmp_path)
    )
    # No progress bar and no library's chatter where stderr is not a terminal.
    assert (code, err) == (0, "")
    assert json.loads(out)["items"] == 5
    # The same numbers as in this process, from another process with its own random hash seeds.
    score.run(ScoreConfig(model=models["llama"], data=pairs, out=tmp_path / "here"))
    here, there = tensors(tmp_path / "here"), tensors(tmp_path)
    assert here[1] == there[1]
    for key, value in here[0].items():
        np.testing.assert_allclose(value, there[0][key], atol=1e-6)


def test_select_prints_json_and_refuses_in_one_line(scored, tmp_path):
    arguments = ["tension_lens.select", "--scores", scored, "--out", tmp_path / "set.json"]
    code, out, err = finish(process(*arguments))
    assert (code, err, json.loads(out)["neurons"]) == (0, "", 29)
    (tmp_path / "set.json").unlink()
    code, out, err = finish(process(*arguments, "--top", 0))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert files_in(tmp_path) == []


@pytest.mark.slow
def test_a_model_without_a_score_head_is_refused_in_one_line(pairs, tmp_path):
    backbone_alone(tmp_path / "model")
    arguments = ["--model", tmp_path / "model", "--data", pairs, "--out", tmp_path / "out"]
    code, out, err = finish(process("tension_lens.score", *arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "has no score head" in err
    assert not (tmp_path / "out").exists() or files_in(tmp_path / "out") == []


@pytest.mark.parametrize("config_class", [ScoreConfig, SelectConfig, EvaluateConfig, CheckConfig])
def test_help_speaks_of_every_flag(config_class, capsys):
    with pytest.raises(SystemExit):
        parse(config_class, "name", None, ["--help"])
    shown = capsys.readouterr().out
    for name in config_class.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in shown


def test_the_help_of_selecting_lists_every_way_to_rank():
    _, out, _ = finish(process("tension_lens.select", "--help"))
    described, flags = out.split("options:")
    for name, selector in SELECTORS.items():
        assert re.search(rf"^  {name} +{re.escape(selector.meaning)}$", described, re.MULTILINE)
        assert re.search(rf"\b{name}[,;]", flags)


def test_flags_and_what_reads_results_do_not_wait_for_torch():
    commands = ("score", "select", "evaluate", "sweep", "variants", "study", "check")
    rooms = ("neurons.selectors", "neurons.conditions", "neurons.effects", "metrics.item_table", "metrics.paired")
    heavy = ("torch", "transformers", "transformer_lens", "trl", "datasets", "plotly")
    code = f"import sys, {', '.join(f'tension_lens.{one}' for one in (*commands, *rooms))}\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_run_stopped_midway_leaves_no_results_and_does_not_hinder_the_next(sent, models, tmp_path):
    # One text too long makes the command say so once everything is loaded, right before the long work starts. With a
    # batch for each of 40,000 texts that work takes far longer than this test waits.
    too_long = ("x" * 300, "y")
    data = write_pairs(tmp_path / "pairs.jsonl", [*PAIRS * 4000, too_long])
    arguments = {"model": models["gpt2"], "data": str(data), "out": tmp_path / "out"}
    flags = [text for name, value in arguments.items() for text in (f"--{name}", value)]
    # A parent that ignores SIGINT (a job in the background) would have its children ignore it too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = process("tension_lens.score", *flags, "--token-budget", 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert running.stderr.readline().startswith("note: dropped 1 of 20001 comparisons")
    time.sleep(0.5)
    assert running.poll() is None
    running.send_signal(sent)
    code, out, err = finish(running)
    if sent == signal.SIGINT:
        assert (code, err) == (130, "tension_lens.score: interrupted, no result was written\n")
    else:
        assert code == -signal.SIGKILL
    assert out == ""
    assert files_in(tmp_path / "out") == []
    assert score.run(ScoreConfig(**arguments, limit=4))["items"] == 4
    assert files_in(tmp_path / "out") == ["run.json", "scores.safetensors"]
