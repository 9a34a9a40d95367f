"""What each departure from the paper's code changes, on scores and sets whose answer is known by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import neuron_pairs
from parts_figures import variant_rows

from analysis.paper import measured
from analysis.paper.departure import NOT_SEEN, UNSEEN
from analysis.paper.departures import departure_table, departures
from analysis.paper.measured import ScoredModel, taken_exactly
from analysis.results.folder import Results
from tension_lens.artifacts.files import write_json
from tension_lens.artifacts.layout import RunFolder
from tension_lens.constants import SIDES, STATISTICS
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet, top_percent

NOTHING = pd.DataFrame()
SHAPE = (2, 10)
RAMP = np.arange(20, dtype=np.float32).reshape(SHAPE)


def scores_of(mean, mean_abs, site="post", **metadata):
    """Scores whose two sides are alike, all other statistics 0."""
    values = {f"{side}/{one}": np.zeros(SHAPE, dtype=np.float32) for side in SIDES for one in STATISTICS}
    for side in SIDES:
        values[f"{side}/mean"], values[f"{side}/mean_abs"] = mean.astype(np.float32), mean_abs.astype(np.float32)
    return NeuronScores(values, site, "all", metadata)


def model(scores, run="run", objective="mixed"):
    return ScoredModel(run, objective, scores)


def results_of(folders=None, sets=None, variants=NOTHING):
    folders = {name: RunFolder(path) for name, path in (folders or {}).items()}
    return Results(None, folders, sets or {}, NOTHING, NOTHING, variants)


def by_name(found):
    return {one.name: one for one in found}


def test_a_signed_mean_ranks_the_strongly_negative_last():
    # Activations −19 … 0: the magnitude orders all neurons the other way round, and the top two are others.
    row = measured.rankings([model(scores_of(-RAMP, RAMP))]).iloc[0]
    assert (row["spearman"], row["jaccard"], row["neurons"]) == (pytest.approx(-1), 0, 20)
    # Two of 20 drawn twice: k/(2N − k) = 2/38.
    assert row["chance"] == pytest.approx(2 / 38)
    same = measured.rankings([model(scores_of(RAMP, RAMP))]).iloc[0]
    assert (same["spearman"], same["jaccard"]) == (pytest.approx(1), 1)


def test_rank_correlation_shares_ranks_among_ties():
    from scipy.stats import spearmanr

    tied = np.repeat([0.0, 1.0], 10).reshape(SHAPE)
    row = measured.rankings([model(scores_of(tied, RAMP**2))]).iloc[0]
    assert row["spearman"] == pytest.approx(spearmanr(tied.reshape(-1), RAMP.reshape(-1)).statistic)


def test_percentile_takes_every_tied_neuron_and_after_clamping_all_of_them():
    # One positive mean, 19 negative ones: clamped at 0 the 90th percentile is 0, and all 20 are >= 0.
    mean = -1 - RAMP
    mean[0, 3] = 5.0
    magnitude = np.zeros(SHAPE)
    magnitude[0, :5] = 1.0  # five at the top alike: the threshold is 1, and all five reach it
    table = measured.thresholds([model(scores_of(mean, magnitude))]).set_index("statistic")
    signed = table.loc["mean"]
    assert (signed["exactly"], signed["percentile"], signed["clamped"], signed["zero"]) == (2, 2, 20, True)
    assert signed["jaccard"] == pytest.approx(2 / 20)
    tied = table.loc["mean_abs"]
    assert (tied["exactly"], tied["percentile"], tied["zero"]) == (2, 5, False)
    found = by_name(departures(results_of(), {}))["how many neurons are taken"]
    assert "Not known" in found.here


@given(st.lists(st.floats(-1, 1, width=16), min_size=20, max_size=20), st.floats(1, 100))
def test_exactly_taken_are_the_neurons_of_top_percent(values, top):
    importance = np.array(values).reshape(SHAPE)
    taken = taken_exactly(importance, top)
    assert tuple(map(tuple, np.argwhere(taken).tolist())) == neuron_pairs(top_percent(importance, top, "top", "post"))


def test_sites_are_compared_where_one_models_scores_exist_of_both():
    about = {"weights_sha256": "w", "data_sha256": "d"}
    post, gate = scores_of(RAMP, RAMP, "post", **about), scores_of(RAMP, 19 - RAMP, "gate", **about)
    table = measured.sites([model(post)], [model(gate)]).set_index("statistic")
    assert (table.loc["mean", "spearman"], table.loc["mean", "jaccard"]) == (pytest.approx(1), 1)
    assert (table.loc["mean_abs", "spearman"], table.loc["mean_abs", "jaccard"]) == (pytest.approx(-1), 0)
    assert set(table["run"]) == {"run"}
    other = replace(gate, metadata={**about, "weights_sha256": "another"})
    assert measured.sites([model(post)], [model(other)]).empty
    assert measured.sites([model(replace(post, metadata={}))], [model(replace(gate, metadata={}))]).empty
    ungated = [model(replace(one, metadata={**about, "gated": "no"})) for one in (post, gate)]
    assert measured.sites(ungated[:1], ungated[1:]).empty


def test_layers_averaged_first_cancel():
    scores = scores_of(RAMP, RAMP)
    # Chosen is above rejected by 2 in the first layer, below by 2 in the second: overall 2, averaged first 0.
    scores.values["chosen/mean"] = scores.values["rejected/mean"] + np.array([[2.0], [-2.0]], dtype=np.float32)
    row = measured.rmsd_variants([model(scores)]).set_index("statistic").loc["mean"]
    assert (row["overall"], row["layers_averaged_first"], row["ratio"]) == (2, 0, 0)


def a_set(name, neurons, layers=6):
    return NeuronSet.of(name, "post", (layers, 10), neurons)


def test_a_layer_of_one_set_alone_stays_whole_in_the_papers_shared_set():
    # Shared: (0, 1). Layer 2 is the helpful set's alone, with two neurons, layer 3 the harmless set's, with one.
    helpful = a_set("helpful", [(0, 0), (0, 1), (2, 5), (2, 6)])
    harmless = a_set("harmless", [(0, 1), (3, 3)])
    row = measured.shared_by_layer({"run": {"helpful": helpful, "harmless": harmless}}).iloc[0]
    assert (row["shared"], row["paper"], row["layers_in_one_set"]) == (1, 4, 2)
    assert measured.shared_by_layer({"run": {"helpful": helpful}}).empty
    found = by_name(departures(results_of(sets={"run": {"helpful": helpful, "harmless": harmless}}), {}))
    assert "largest difference is 3 neurons" in found["shared neurons"].here


def test_thirds_cut_at_the_highest_selected_layer_move_neurons_deeper():
    # Layers 0 to 2 of 6 are taken: by the model's thirds early, early, middle; cut at layer 2 one in each third.
    table = measured.depth_thirds({"run": {"helpful": a_set("helpful", [(0, 0), (1, 0), (2, 0)])}}).set_index("bucket")
    assert table["share"].to_list() == pytest.approx([2 / 3, 1 / 3, 0])
    assert table["paper"].to_list() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    found = by_name(departures(results_of(sets={"run": {"helpful": a_set("helpful", [(0, 0), (1, 0), (2, 0)])}}), {}))
    assert "1 of 1 set ends below the last layer" in found["thirds of depth"].here
    assert "33.3 points" in found["thirds of depth"].here


def test_rm_bench_rules_stand_side_by_side():
    about = {"backbone": "b", "seed": "0", "objective": "mixed", "data": "rm-bench:all:test", "subtask": "chat"}
    rules = {
        "RM-Bench diagonal": 0.6,
        "RM-Bench average": 0.55,
        "every chosen above every rejected": 0.2,
        "RM-Bench hard": 0,
    }
    rows = [{**about, "condition": "baseline", "rule": rule, "accuracy": value} for rule, value in rules.items()]
    rows.append({**rows[0], "condition": "own", "accuracy": 0.0})
    row = measured.rm_bench_rules(pd.DataFrame(rows)).iloc[0]
    assert (row["diagonal"], row["average"], row["strict"]) == (0.6, 0.55, 0.2)
    here = by_name(departures(results_of(), {"scores": pd.DataFrame(rows)}))["RM-Bench"].here
    assert "60.0 % by the diagonal, 55.0 % by the 3 × 3 average, 20.0 % by the strict rule" in here


def test_the_accuracy_effect_of_each_departure_is_told_with_its_interval():
    table = variant_rows()
    found = by_name(departures(results_of(variants=table), {}))
    signed = found["signed mean or mean magnitude"].here
    assert "accuracy differs by −3.0 to +5.0 points in 2 models (95 % intervals within [−6.0, 9.0])" in signed
    assert "1 of 2 is significant" in signed
    assert "Random neurons instead of the toolkit's: −1.0 to +2.0 points" in signed
    assert found["site of reading"].here.startswith("Not known: no neuron scores")
    assert "tension_lens.variants" in by_name(departures(results_of(), {}))["signed mean or mean magnitude"].here


def test_sites_and_percentile_tell_their_effects_beside_the_overlap(tmp_path):
    about = {"weights_sha256": "w", "data_sha256": "d", "gated": "yes"}
    folders = save_run(tmp_path, **about)
    gate = tmp_path / "scores" / "mixed-gate"
    gate.mkdir(parents=True)
    scores_of(-RAMP, 19 - RAMP, "gate", **about).save(gate)
    found = by_name(departures(results_of(folders, variants=variant_rows()), {}))
    site = found["site of reading"].here
    assert "by mean_abs the rank correlation of the two sites is −1.00" in site
    assert "accuracy differs by +1.0 points in 2 models" in site and "none of 2 are significant" in site
    taken = found["how many neurons are taken"].here
    assert "By percentile alone: With these neurons off instead of the toolkit's, accuracy differs by +0.0" in taken
    assert "by the signed mean: With these neurons off instead of exactly so many by the signed mean" in taken


def test_a_model_without_a_gate_has_one_site(tmp_path):
    found = by_name(departures(results_of(save_run(tmp_path, gated="no")), {}))
    assert "none of the 1 model has a gate" in found["site of reading"].here


def save_run(folder, objective="mixed", **metadata):
    path = folder / "scores" / objective
    path.mkdir(parents=True)
    scores_of(-RAMP, RAMP, model="models/mixed", data="sample:mixed:train", **metadata).save(path)
    write_json(path / "run.json", {"counts": {"kept": 90, "dropped_too_long": 10, "truncated": 0}})
    return {"run": folder}


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path):
    found = by_name(departures(results_of(save_run(tmp_path)), {}))
    site = found["site of reading"].here
    assert "python -m tension_lens.score --model models/mixed --data sample:mixed:train --site gate" in site
    assert "--out run/scores/mixed-gate" in site
    assert "tension_lens.variants" in found["signed mean or mean magnitude"].here
    assert "rank correlation of the two is −1.00" in found["signed mean or mean magnitude"].here
    assert "Of 100 pairs scored over 1 model, 10 were dropped" in found["over-long pairs"].here
    assert "tension_lens.study --data rm-bench" in found["RM-Bench"].here
    every = by_name(departures(results_of(), {}))
    for name in ("site of reading", "how many neurons are taken", "RMSD of chosen against rejected", "over-long pairs"):
        assert "tension_lens.score" in every[name].here, name


def test_every_departure_says_what_and_why():
    found = departures(results_of(), {})
    table = departure_table(found)
    assert list(table) == ["departure", "paper's code", "this toolkit", "why", "on these runs"]
    assert (table.map(len) > 7).all(axis=None)
    assert not table["departure"].duplicated().any()
    assert {one.here for one in UNSEEN} >= {NOT_SEEN}
    # What the design says of the paper's code: each place has its row.
    words = " ".join(table["paper's code"])
    for word in ("signed activation", "W_gate", ">= the 90th", "stays whole", "neuron index first", "highest selected",
                 "diagonal", "line breaks", "truncates", "never passed", "42", "test split", "running means",
                 "seven backbones"):  # fmt: skip
        assert word in words, word
