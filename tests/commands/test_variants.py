"""The paper's ways to select neurons: sizes by hand, the planted neuron ablated, and refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from parts import neuron_pairs
from parts_planted import PLANTED, write_planted

from tension_lens import evaluate, score, variants
from tension_lens.constants import SIDES, STATISTICS
from tension_lens.errors import RequestError
from tension_lens.neurons.paper_variants import selected_by_percentile, variant_sets
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet

N, SHAPE = 60, (2, 10)
RAMP = np.arange(20.0).reshape(SHAPE)


def scores_of(site="post", **statistics):
    """Scores whose two sides are alike, what is not given 0."""
    values = {
        f"{side}/{name}": np.broadcast_to(statistics.get(name, 0.0), SHAPE).astype(np.float32)
        for side in SIDES
        for name in STATISTICS
    }
    return NeuronScores(values, site, "all", {})


def test_each_variant_departs_in_one_respect_and_the_papers_in_all():
    # Two of 20 are 10 %. Means are −20 … −1 but for one of 3: clamped at 0 the percentile is 0, which all 20 reach.
    mean = RAMP - 20
    mean[0, 4] = 3.0
    magnitude = np.where(RAMP >= 15, 1.0, 0.0)  # five tied at the top
    post = scores_of(mean=mean, mean_abs=magnitude)
    gate = scores_of("gate", mean=-RAMP, mean_abs=-RAMP)
    found = variant_sets(post, gate, True, 10.0)
    assert neuron_pairs(found["toolkit"]) == ((1, 5), (1, 6))
    assert neuron_pairs(found["signed mean"]) == ((0, 4), (1, 9))
    assert neuron_pairs(found["gate"]) == ((0, 0), (0, 1))
    assert neuron_pairs(found["percentile"]) == tuple((1, index) for index in range(5, 10))
    assert len(found["clamped"]) == 20
    # −19 … 0: the 90th percentile lies between −2 and −1, at −1.9; two reach it.
    assert neuron_pairs(found["paper"]) == ((0, 0), (0, 1))
    assert (found["paper"].site, found["toolkit"].site) == ("gate", "post")


def test_without_a_gate_there_is_one_site_and_without_its_scores_nothing_is_said_of_it():
    post = scores_of(mean=RAMP, mean_abs=RAMP)
    ungated = variant_sets(post, None, False, 10.0)
    assert list(ungated) == ["toolkit", "signed mean", "percentile", "clamped", "paper"]
    assert neuron_pairs(ungated["paper"]) == ((1, 8), (1, 9))
    assert list(variant_sets(post, None, True, 10.0)) == ["toolkit", "signed mean", "percentile", "clamped"]


def test_percentile_is_numpys():
    importance = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]])
    # Between 9 and 10, at 9.1: only the last is at or above it.
    assert selected_by_percentile(importance, 10.0).sum() == 1
    assert selected_by_percentile(np.ones(SHAPE), 10.0).all()


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def scored(request, tmp_path_factory):
    """A planted model, its data and its scores at both sites."""
    folder = tmp_path_factory.mktemp("variants")
    asked = write_planted(folder, request.param, N)
    for site in ("post", "gate"):
        score.run(score.ScoreConfig(**asked, out=folder / site, site=site))
    return folder, asked, request.param == "llama"


def varied(scored, out, **changes):
    folder, asked, gated = scored
    config = {**asked, "scores": folder / "post", "gate_scores": folder / "gate" if gated else None, "out": out}
    variants.run(variants.VariantsConfig(**{**config, "top": 5.0, "draws": 2, **changes}))
    return pd.read_csv(out / "variants.csv").set_index("variant")


def test_a_row_is_what_evaluate_finds_and_differences_are_from_what_it_names(scored, tmp_path):
    folder, asked, gated = scored
    table = varied(scored, tmp_path)
    names = ["intact", "toolkit", "signed mean", "gate", "percentile", "clamped", "paper", "random-0", "random-1"]
    assert list(table.index) == [name for name in names if gated or name != "gate"]
    assert (table["n"] == N).all() and table.loc["intact", "accuracy"] == 1
    scores = NeuronScores.load(folder / "post")
    sets = variant_sets(scores, NeuronScores.load(folder / "gate"), gated, 5.0)
    assert PLANTED in neuron_pairs(sets["toolkit"])
    for name in ("toolkit", "paper"):
        sets[name].save(tmp_path / "set.json")
        out = tmp_path / "off.parquet"
        found = evaluate.run(evaluate.EvaluateConfig(**asked, out=out, ablate=tmp_path / "set.json"))
        assert table.loc[name, "accuracy"] == found["accuracy"]
        assert table.loc[name, "neurons"] == len(NeuronSet.load(tmp_path / "set.json"))
    assert table.loc["toolkit", "against"] == "intact"
    assert table.loc["toolkit", "difference"] == pytest.approx(table.loc["toolkit", "accuracy"] - 1)
    assert table.loc["toolkit", "p_value"] < 1e-3
    for name in table.index[1:]:
        other = table.loc[name, "against"]
        change = table.loc[name, "accuracy"] - table.loc[other, "accuracy"]
        assert table.loc[name, "difference"] == pytest.approx(change)
        if other in sets and name in sets:
            shared = len(set(neuron_pairs(sets[other])) & set(neuron_pairs(sets[name])))
            union = len(sets[other]) + len(sets[name]) - shared
            assert table.loc[name, "jaccard"] == pytest.approx(shared / union)
    # Random sets share no neuron with the toolkit's, which holds the planted one: every item stays right.
    assert (table.loc[["random-0", "random-1"], "accuracy"] == 1).all()
    assert (table.loc[["random-0", "random-1"], "jaccard"] == 0).all()
    assert (table.loc[["random-0", "random-1"], "difference"] > 0.2).all()
    record = json.loads((tmp_path / "run.json").read_text())
    assert set(record["results"]["model"]) == {"backbone", "seed", "objective"}


def test_refusals(scored, tmp_path):
    folder, _, gated = scored
    narrow, other = tmp_path / "narrow", tmp_path / "other"
    gate, post = NeuronScores.load(folder / "gate"), NeuronScores.load(folder / "post")
    NeuronScores(gate.values, gate.site, "last", gate.metadata).save(narrow)
    NeuronScores(post.values, post.site, post.scope, {**post.metadata, "weights_sha256": "x"}).save(other)
    for changes, message in (
        ({"scores": folder / "gate"}, r"--scores .* site gate.* post"),
        ({"gate_scores": folder / "post"}, r"--gate-scores .* at site post"),
        ({"draws": -1}, "--draws"),
        ({"top": 0.0}, r"\(0, 100\]"),
        ({"top": 60.0}, "set 'toolkit' has no control of kind 'uniform'"),
        ({"gate_scores": narrow}, "differ in scope"),
        ({"scores": other}, "differ in weights_sha256" if gated else "another model"),
    ):
        with pytest.raises(RequestError, match=message):
            varied(scored, tmp_path, **changes)
