"""What each departure from the paper's code changes, on scores and sets whose answer is known by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from parts_figures import variant_rows

from analysis.paper import measured
from analysis.paper.departures import TEXTS, departure_table, departures
from analysis.results.folder import Results
from tension_lens.artifacts.files import write_json
from tension_lens.artifacts.layout import RunFolder
from tension_lens.constants import SIDES, STATISTICS
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet

NOTHING = pd.DataFrame()
SHAPE = (2, 10)
RAMP = np.arange(20, dtype=np.float32).reshape(SHAPE)
MODEL = ("run", "mixed")


def scores_of(mean, mean_abs, site="post", **metadata):
    """Scores whose two sides are equal; all other statistics are 0."""
    values = {f"{side}/{one}": np.zeros(SHAPE, dtype=np.float32) for side in SIDES for one in STATISTICS}
    for side in SIDES:
        values[f"{side}/mean"], values[f"{side}/mean_abs"] = mean.astype(np.float32), mean_abs.astype(np.float32)
    return NeuronScores(values, site, "all", metadata)


def save_run(folder, scores, name="mixed"):
    path = folder / "scores" / name
    path.mkdir(parents=True)
    scores.save(path)
    write_json(path / "run.json", {"counts": {"kept": 90, "dropped_too_long": 10, "truncated": 3}})
    return {"run": RunFolder(folder)}


def here(name, tables=None, folders=None, sets=None, variants=NOTHING):
    """What a departure changes on these results, by the name of its table."""
    found = departures(Results(None, folders or {}, sets or {}, NOTHING, NOTHING, variants), tables or {})
    return found[[text.get("table") for text in TEXTS["departure"]].index(name)].here


def require(text, *numbers):
    for number in numbers:
        assert number in text, f"{number} is not in: {text}"


def test_a_signed_mean_ranks_strongly_negative_neurons_last():
    # Activations −19 … 0: the magnitude reverses the order, and the top two are others.
    (row,) = measured.rankings(scores_of(-RAMP, RAMP))
    # Two of 20 drawn twice: k/(2N − k) = 2/38.
    assert row == {"neurons": 20, "spearman": pytest.approx(-1), "jaccard": 0, "chance": pytest.approx(2 / 38)}
    (same,) = measured.rankings(scores_of(RAMP, RAMP))
    assert (same["spearman"], same["jaccard"]) == (pytest.approx(1), 1)


def test_percentile_selects_every_tied_neuron_and_after_clamping_all_of_them():
    # One positive mean, 19 negative ones: clamped at 0 the 90th percentile is 0, and all 20 are >= 0.
    mean = -1 - RAMP
    mean[0, 3] = 5.0
    magnitude = np.zeros(SHAPE)
    magnitude[0, :5] = 1.0  # five tied at the top: the threshold is 1, and all five reach it
    signed, tied = measured.thresholds(scores_of(mean, magnitude))
    assert [signed[one] for one in ("exactly", "percentile", "clamped", "zero")] == [2, 2, 20, True]
    assert signed["jaccard"] == pytest.approx(2 / 20)
    assert [tied[one] for one in ("exactly", "percentile", "zero")] == [2, 5, False]


def test_layers_averaged_first_cancel():
    scores = scores_of(RAMP, RAMP)
    # Chosen is above rejected by 2 in the first layer, below by 2 in the second: overall 2, averaged first 0.
    scores.values["chosen/mean"] = scores.values["rejected/mean"] + np.array([[2.0], [-2.0]], dtype=np.float32)
    assert next(measured.rmsd_variants(scores)) == {
        "statistic": "mean",
        "overall": 2,
        "layers_averaged_first": 0,
        "ratio": 0,
    }


def test_sites_are_compared_where_scores_of_one_model_exist_at_both():
    about = {"weights_sha256": "w", "data_sha256": "d"}
    post, gate = scores_of(RAMP, RAMP), scores_of(RAMP, 19 - RAMP, "gate")

    def sites(of_post, of_gate):
        return measured.sites({MODEL: replace(post, metadata=of_post)}, {MODEL: replace(gate, metadata=of_gate)})

    table = sites(about, about)
    assert table[["run", "objective", "statistic"]].to_numpy().tolist() == [[*MODEL, "mean"], [*MODEL, "mean_abs"]]
    assert table[["spearman", "jaccard"]].to_numpy() == pytest.approx(np.array([[1, 1], [-1, 0]]))
    ungated = {**about, "gated": "no"}
    for pair in ((about, {**about, "weights_sha256": "another"}), ({}, {}), (ungated, ungated)):
        assert sites(*pair).empty


def test_a_layer_of_only_one_set_stays_whole_in_the_papers_shared_set():
    # Shared: (0, 1). Layer 2 belongs to the helpful set alone, with two neurons, layer 3 to the harmless, with one.
    helpful = NeuronSet.of("helpful", "post", (6, 10), [(0, 0), (0, 1), (2, 5), (2, 6)])
    sets = {"run": {"helpful": helpful, "harmless": NeuronSet.of("harmless", "post", (6, 10), [(0, 1), (3, 3)])}}
    row = measured.shared_by_layer(sets).iloc[0]
    assert (row["shared"], row["paper"], row["layers_in_one_set"]) == (1, 4, 2)
    assert measured.shared_by_layer({"run": {"helpful": helpful}}).empty
    require(here("shared_by_layer", sets=sets), "1 of 1", "3 neurons")


def test_thirds_cut_at_the_highest_selected_layer_move_neurons_deeper():
    # Layers 0 to 2 of 6: early, early, middle by the model's thirds; one in each third if cut at layer 2.
    sets = {"run": {"helpful": NeuronSet.of("helpful", "post", (6, 10), [(0, 0), (1, 0), (2, 0)])}}
    table = measured.depth_thirds(sets)
    assert table["share"].to_list() == pytest.approx([2 / 3, 1 / 3, 0])
    assert table["paper"].to_list() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    require(here("depth_thirds", sets=sets), "1 of 1", "33.3 points")


def test_rm_bench_is_given_by_three_rules():
    about = {"backbone": "b", "seed": "0", "objective": "mixed", "data": "rm-bench:all:test", "subtask": "chat"}
    rules = {"RM-Bench diagonal": 0.6, "RM-Bench average": 0.55, "every chosen above every rejected": 0.2}
    rows = [{**about, "condition": "baseline", "rule": rule, "accuracy": value} for rule, value in rules.items()]
    rows += [{**rows[0], "condition": "own", "accuracy": 0.0}, {**rows[0], "rule": "RM-Bench hard", "accuracy": 0.1}]
    row = measured.rm_bench_rules(pd.DataFrame(rows)).iloc[0]
    assert (row["diagonal"], row["average"], row["strict"]) == (0.6, 0.55, 0.2)
    require(
        here("rm_bench_rules", tables={"scores": pd.DataFrame(rows)}), "1 model", "60.0 %", "55.0 %", "20.0 %", "+5.0"
    )


def test_the_accuracy_effect_of_a_variant_is_its_range_over_models():
    found = measured.variant_effects(variant_rows())
    low_high = {"least": -0.03, "most": 0.05, "low": -0.06, "high": 0.09}
    assert found["signed mean"] == {"models": 2, **low_high}
    assert (found["random"]["least"], found["random"]["most"]) == (-0.01, 0.02)
    assert measured.variant_effects(NOTHING) == {}
    require(here("rankings", variants=variant_rows()), "−3.0 to +5.0", "2 models", "[−6.0, 9.0]", "−1.0 to +2.0")


def test_every_table_is_shown_with_its_numbers(tmp_path):
    about = {"weights_sha256": "w", "data_sha256": "d", "gated": "yes"}
    folders = save_run(tmp_path, scores_of(-RAMP, RAMP, **about))
    save_run(tmp_path, scores_of(-RAMP, 19 - RAMP, "gate", **about), "mixed-gate")
    facts = {"folders": folders, "variants": variant_rows()}
    require(here("rankings", **facts), "1 model", "−1.00", "0.05")
    require(here("sites", **facts), "mean_abs", "−1.00", "+1.0")
    # All means are at most 0, so that clamping gives a threshold of 0.
    require(here("thresholds", **facts), "1 of 1", "0.10", "+0.0", "+2.0")
    require(here("rmsd_variants", **facts), "mean_abs")
    require(here("lengths", **facts), "100 pairs", "10", "3")


def test_what_is_missing_is_named_with_the_command_that_computes_it(tmp_path):
    folders = save_run(tmp_path, scores_of(-RAMP, RAMP, model="models/mixed", data="sample:mixed:train"))
    command = "python -m tension_lens.score --model models/mixed --data sample:mixed:train --site gate"
    require(here("sites", folders=folders), command, "--out run/scores/mixed-gate")
    makers = {"score": ("rankings", "sites", "thresholds", "rmsd_variants", "lengths"), "variants": ("rankings",)}
    makers |= {"select": ("shared_by_layer", "depth_thirds"), "study": ("rm_bench_rules",)}
    for command, names in makers.items():
        for name in names:
            require(here(name), f"python -m tension_lens.{command}")
    ungated = save_run(tmp_path / "ungated", scores_of(-RAMP, RAMP, gated="no"))
    assert "tension_lens" not in here("sites", folders=ungated)


def test_every_departure_says_what_why_and_with_which_effect():
    table = departure_table(departures(Results(None, {}, {}, NOTHING, NOTHING), {}))
    assert list(table) == ["departure", "paper's code", "this toolkit", "why", "on these runs"]
    assert len(table) == 15 and (table.map(len) > 7).all(axis=None)
    assert not table["departure"].duplicated().any()
    text = " ".join(table.to_numpy().reshape(-1))
    assert not any(wrong in text for wrong in ("  ", " .", " ,", " ;", "{", "nan"))
