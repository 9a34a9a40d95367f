"""Selecting writes the true top, partitioning three sets; invalid input is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from parts import neuron_pairs
from parts_commands import call, files_in, neuron_set, refused, tensors

from tension_lens import select
from tension_lens.errors import RequestError
from tension_lens.neurons.selectors import SELECTORS
from tension_lens.neurons.sets import NeuronSet
from tension_lens.select import SelectConfig


def test_selecting_writes_the_contracts_file_with_the_true_top(scored, checkpoints, tmp_path):
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
    assert found["origin"]["model"] == checkpoints["gpt2"]


def test_partition_writes_three_files_and_the_overlap_with_chance(tmp_path):
    helpful = neuron_set(tmp_path / "helpful.json", [(0, 0), (0, 1), (0, 2)], (2, 3))
    harmless = neuron_set(tmp_path / "harmless.json", [(0, 0), (1, 0)], (2, 3))
    printed = select.run(SelectConfig(helpful=helpful, harmless=harmless, out=tmp_path / "parts"))
    assert files_in(tmp_path / "parts") == ["harmless_only.json", "helpful_only.json", "shared.json"]
    found = {path.stem: NeuronSet.load(path) for path in (tmp_path / "parts").iterdir()}
    neurons = {"helpful_only": ((0, 1), (0, 2)), "harmless_only": ((1, 0),), "shared": ((0, 0),)}
    assert {part.name: neuron_pairs(part) for part in found.values()} == neurons
    assert printed["neurons"] == {"helpful_only": 2, "harmless_only": 1, "shared": 1}
    assert printed["overlap"]["jaccard"] == 0.25
    assert printed["overlap"]["expected_intersection"] == pytest.approx(1)


def test_a_partition_of_empty_sets_prints_valid_json(two_sets, tmp_path, capsys):
    assert call(select, *two_sets, "--out", tmp_path / "parts") == 0
    assert json.loads(capsys.readouterr().out)["overlap"]["jaccard"] is None


@pytest.mark.parametrize(
    "given", [[], ["helpful"], ["harmless"], ["scores", "helpful"], ["scores", "helpful", "harmless"]]
)
def test_select_needs_either_scores_or_both_sets(given, tmp_path):
    with pytest.raises(RequestError, match=r"--scores.*--helpful.*--harmless"):
        select.run(SelectConfig(out=tmp_path / "out.json", **{name: Path(name) for name in given}))
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("top", ["0", "-3", "100.1", "nan", "inf"])
def test_a_share_outside_its_range_is_refused(top, scored, tmp_path, capsys):
    refused(capsys, r"\(0, 100\]", select, "--scores", scored, "--top", top, "--out", tmp_path / "set.json")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--top", "10"], "--top"),
        (["--statistic", "mean_abs"], "--statistic"),
        (["--statistic", "lape", "--top", "5", "--against", "d"], "--statistic, --top, --against"),
    ],
)
def test_a_partition_refuses_what_only_selecting_uses(flags, named, two_sets, tmp_path, capsys):
    refused(capsys, f"uses no {named};", select, *two_sets, *flags, "--out", tmp_path / "parts")
    assert files_in(tmp_path) == ["harmless.json", "helpful.json"]


def test_the_help_of_selecting_lists_every_way_to_rank(capsys):
    call(select, "--help")
    described, flags = capsys.readouterr().out.split("options:")
    for name, selector in SELECTORS.items():
        assert re.search(rf"^  {name} +{re.escape(selector.meaning)}$", described, re.MULTILINE)
        assert re.search(rf"\b{name}[,;]", flags)
