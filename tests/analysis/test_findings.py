"""Findings of runs whose truth is known: an effect is claimed, a null is not, nor one that random sets share."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parts_items import of_margins
from parts_study import write_study

from analysis.findings.ablation import RANDOM, SET, UNCHANGED, UNCONTROLLED, verdicts
from analysis.findings.accuracy import own_accuracies
from analysis.findings.findings import findings, lead_paragraph, scope_finding
from analysis.findings.wording import change, luck, many, of_all, p_text, span
from analysis.results.folder import Results
from analysis.results.study import read_study
from analysis.tables.study import tables_of
from tension_lens.artifacts.layout import RunFolder
from tension_lens.neurons.sets import NeuronSet

NOTHING = pd.DataFrame()
ITEMS = 200
SUBTASKS = ["helpful-base"] * ITEMS + ["harmless-base"] * ITEMS


def judged(helpful, harmless, lost=0, start=0):
    """The first `helpful` and `harmless` items of each sub-task are right, but for `lost` helpful ones from `start`."""
    right = np.zeros((2, ITEMS), dtype=bool)
    right[0, :helpful], right[1, :harmless] = True, True
    right[0, start : start + lost] = False
    return of_margins(np.where(right.reshape(-1), 2.0, -1.0), SUBTASKS)


def of_study(folder, cells, training=NOTHING):
    study = read_study(write_study(folder, {("tiny", *key): table for key, table in cells.items()}))
    tables = tables_of(study)
    results = Results(study, {}, {}, training, NOTHING)
    return lead_paragraph(results, tables), findings(results, tables), tables


def test_an_accuracy_above_chance_is_claimed_and_one_that_reaches_it_is_not(tmp_path):
    lead, lines, _ = of_study(
        tmp_path, {(0, "helpful", "baseline"): judged(150, 0), (0, "harmless", "baseline"): judged(0, 104)}
    )
    assert "1 of 2 accuracies lie above chance with the whole 95 % interval, 1 cannot be told from it" in lead
    # 150 of 200 with Wilson's interval, from the formula: (p + z²/2n ± z√(p(1−p)/n + z²/4n²)) / (1 + z²/n), z = 1.96.
    helpful = next(line for line in lines if line.startswith("The helpful model"))
    assert "75.0 % [68.6, 80.5] of 200 helpful items" in helpful
    assert "better than chance (50.0 %)" in helpful
    harmless = next(line for line in lines if line.startswith("The harmless model"))
    assert "52.0 % [45.1, 58.8] of 200 harmless items" in harmless
    assert "not told from chance" in harmless


def test_worse_than_chance_is_said(tmp_path):
    lead, lines, _ = of_study(tmp_path, {(0, "helpful", "baseline"): judged(60, 0)})
    assert "0 of 1 accuracy lies above chance, 1 lie below it" in lead
    assert any("worse than chance" in line for line in lines)


def test_a_models_accuracy_is_of_the_items_it_is_trained_for(tmp_path):
    _, _, tables = of_study(
        tmp_path, {(0, "helpful", "baseline"): judged(150, 7), (0, "mixed", "baseline"): judged(90, 120)}
    )
    found = own_accuracies(tables["scores"]).set_index(["objective", "task_type"])
    assert list(found.index) == [("helpful", "helpful"), ("mixed", "helpful"), ("mixed", "harmless")]
    assert found.loc[("mixed", "harmless"), "accuracy"] == pytest.approx(120 / 200)
    assert list(found["verdict"]) == ["above", "unclear", "above"]


SET_OFF = {(0, "mixed", "baseline"): judged(160, 160), (0, "mixed", "shared"): judged(160, 160, lost=60)}


def test_an_effect_that_no_random_set_has_is_claimed_with_its_numbers(tmp_path):
    controls = {(0, "mixed", f"shared.uniform-{draw}"): judged(160, 160, lost=draw + 1) for draw in range(3)}
    lead, lines, tables = of_study(tmp_path, {**SET_OFF, **controls})
    assert "1 can be told from no change after Holm's correction; 1 of these can be told from every random set" in lead
    told = next(line for line in lines if line.startswith("Told from every random set"))
    # 160 of 200 right become 100 of 200; the controls lose 1, 2 and 3 of 200.
    assert "from 80.0 % to 50.0 % on 200 items: −30.0 points [" in told
    assert "Holm-corrected p < 0.001; 3 random controls: −1.5 to −0.5 points" in told
    assert "shared (4 neurons) off in the mixed model of tiny (seed 0) takes helpful-base" in told
    found = verdicts(tables["conditions"], tables["effects"]).set_index("subtask")
    assert list(found["verdict"]) == [SET, UNCHANGED]
    assert list(found["draws"]) == [3, 3]


@pytest.mark.parametrize("start", [0, 100])
def test_an_effect_that_one_random_set_shares_is_not_laid_to_the_set(tmp_path, start):
    # One of three controls loses as many items, the same or others.
    controls = {
        (0, "mixed", "shared.uniform-0"): judged(160, 160, lost=1),
        (0, "mixed", "shared.layer-0"): judged(160, 160, lost=60, start=start),
        (0, "mixed", "shared.uniform-1"): judged(160, 160),
    }
    lead, lines, tables = of_study(tmp_path, {**SET_OFF, **controls})
    assert (
        "none of these can be told from every random set of the same size, too; 1 cannot, as a random set may" in lead
    )
    assert not any(line.startswith("Told from every random set") for line in lines)
    assert any("Not told from random sets of the same size: shared" in line for line in lines)
    assert verdicts(tables["conditions"], tables["effects"])["verdict"].to_list() == [RANDOM, UNCHANGED]


def test_an_effect_in_the_other_direction_than_the_controls_difference_is_not_the_sets(tmp_path):
    # The set loses 60, the control 140: the set differs from both, but from the control by losing less.
    controls = {(0, "mixed", "shared.uniform-0"): judged(160, 160, lost=140)}
    lead, _, _ = of_study(tmp_path, {**SET_OFF, **controls})
    assert (
        "none of these can be told from every random set of the same size, too; 1 cannot, as a random set may" in lead
    )


def test_an_effect_without_a_control_is_not_laid_to_the_set(tmp_path):
    lead, _, tables = of_study(tmp_path, SET_OFF)
    assert "none can be laid to its set, since no random set was switched off in its place" in lead
    assert verdicts(tables["conditions"], tables["effects"])["verdict"].to_list() == [UNCONTROLLED, UNCHANGED]


def test_a_null_is_not_claimed_and_says_what_is_not_ruled_out(tmp_path):
    cells = {
        (0, "mixed", "baseline"): judged(160, 160),
        (0, "mixed", "shared"): judged(160, 160, lost=3),
        (0, "mixed", "shared.uniform-0"): judged(160, 160),
    }
    lead, lines, tables = of_study(tmp_path, cells)
    assert "No change of accuracy by switching a set off can be told from no change" in lead
    assert "Told from" not in " ".join(lines)
    least = tables["conditions"]["low"].min()
    assert any(f"the intervals reach from −{-100 * least:.1f} to" in line for line in lines)


def test_one_seed_is_said_and_several_are_counted(tmp_path):
    lead, lines, _ = of_study(tmp_path / "one", {(0, "helpful", "baseline"): judged(150, 0)})
    assert "all of one training seed: how much another seed would change is not known" in lead
    assert any("no standard deviation over seeds" in line for line in lines)
    lead, lines, _ = of_study(tmp_path / "two", {(seed, "helpful", "baseline"): judged(150, 0) for seed in (0, 247)})
    assert "trained with 2 seeds a backbone" in lead
    assert "one training seed" not in lead
    assert any("2 training seeds a backbone (0, 247)" in line for line in lines)


def test_seeds_are_counted_by_backbone():
    def scope(models):
        rows = [{"backbone": backbone, "seed": seed, "objective": "mixed"} for backbone, seed in models]
        found = scope_finding(Results(None, {}, {}, pd.DataFrame(rows), NOTHING))
        return f"{found.lead} {' '.join(found.detail)}"

    apart = scope([("a", 0), ("b", 247)])
    assert "all of one training seed a backbone" in apart and "one training seed a backbone (0, 247)" in apart
    assert "trained with up to 2 seeds a backbone" in scope([("a", 0), ("a", 247), ("b", 0)])


@pytest.mark.parametrize(("kept", "words"), [(180, "more than what"), (130, "which cannot be told from what")])
def test_retention_is_compared_with_the_other_items(tmp_path, kept, words):
    # Right by the helpful or the harmless model: the first 200 of 400 items, the helpful ones. The mixed model judges
    # `kept` of them right, and 120 of the other 200: 130 against 120 is a difference that luck brings easily.
    cells = {
        (0, "helpful", "baseline"): judged(200, 0),
        (0, "harmless", "baseline"): judged(0, 0),
        (0, "mixed", "baseline"): judged(kept, 120),
    }
    lead, _, _ = of_study(tmp_path, cells)
    assert f"keeps {kept / 2:.1f} % [" in lead
    assert (
        f"of the 200 items that the helpful or the harmless model judges right, {words} it judges right of the other"
        in lead
    )
    assert "(60.0 %)" in lead


def random_set(name, seed, shape=(6, 100), size=60):
    places = np.random.default_rng(seed).choice(shape[0] * shape[1], size, replace=False)
    return NeuronSet.of(name, "post", shape, [divmod(int(place), shape[1]) for place in places])


def of_sets(helpful, harmless):
    from dataclasses import asdict

    from tension_lens.neurons.overlap import overlap

    sizes = {"left_neurons": len(helpful), "right_neurons": len(harmless)}
    about = {"runs": "run", "left": "helpful", "right": "harmless", **sizes}
    tables = {"overlap": pd.DataFrame([{**about, **asdict(overlap(helpful, harmless))}])}
    results = Results(
        None, {"run": RunFolder(Path())}, {"run": {"helpful": helpful, "harmless": harmless}}, NOTHING, NOTHING
    )
    return lead_paragraph(results, tables), findings(results, tables)


def test_random_sets_overlap_and_lie_as_chance_has_it():
    lead, lines = of_sets(random_set("helpful", 1), random_set("harmless", 2))
    assert "In 0 of 1 pair of objectives" in lead
    assert "none of 2 sets lie otherwise than uniformly drawn neurons" in lead
    assert any("not told from chance" in line for line in lines)


def test_sets_that_share_and_lie_deep_are_said_to():
    deep = NeuronSet.of("helpful", "post", (6, 100), [(5, index) for index in range(60)])
    other = NeuronSet.of("harmless", "post", (6, 100), [(5, index) for index in range(20, 80)])
    lead, lines = of_sets(deep, other)
    assert "In 1 of 1 pair of objectives the sets of neurons share more than random sets" in lead
    # 40 shared where 60 · 60/600 = 6 are expected; union 80.
    assert any(
        "share 40 neurons, random sets of their sizes 6 (Jaccard index 0.50 against 0.05)" in line for line in lines
    )
    assert "In depth, both sets lie otherwise than uniformly drawn neurons" in lead
    assert any("late 100 % (uniform 33 %; more in 1)" in line and "early 0.00 %" in line for line in lines)
    assert any("by itself" in line for line in lines)


def test_with_nothing_the_paragraph_says_what_is_missing():
    results = Results(None, {"run": RunFolder(Path())}, {}, NOTHING, NOTHING)
    lead, lines = lead_paragraph(results, {}), findings(results, {})
    assert "without any judged item" in lead
    assert "No set was switched off" in lead
    assert len(lines) >= 4
    assert not any(word in lead for word in ("above", "more than", "told from"))


def test_held_out_pairs_are_judged_against_one_half():
    about = {"run": "r", "backbone": "tiny", "seed": 0, "data": "sample", "n": 400}
    training = pd.DataFrame(
        [
            {**about, "objective": "helpful", "accuracy": 0.6, "low": 0.551, "high": 0.647},
            {**about, "objective": "harmless", "accuracy": 0.52, "low": 0.471, "high": 0.568},
        ]
    )
    results = Results(None, {"r": RunFolder(Path())}, {}, training, NOTHING)
    assert (
        "1 of 2 accuracies lie above chance with the whole 95 % interval, 1 cannot be told from it"
        in lead_paragraph(results, {})
    )
    assert any(
        "60.0 % [55.1, 64.7] of 400 held-out pairs of sample right: better than" in line
        for line in findings(results, {})
    )


def test_many_accuracies_are_counted_beside_what_luck_would_bring():
    about = {"run": "r", "backbone": "tiny", "objective": "helpful", "data": "sample", "n": 400}
    numbers = {"accuracy": 0.52, "low": 0.47, "high": 0.57}
    training = pd.DataFrame([{**about, **numbers, "seed": seed} for seed in range(80)])
    lines = findings(Results(None, {"r": RunFolder(Path())}, {}, training, NOTHING), {})
    # 2.5 % of 80.
    assert any(
        "none of 80 accuracies lie above chance" in line and "luck would put about 2 of the 80" in line
        for line in lines
    )


def test_gaps_are_counted(tmp_path):
    results = Results(None, {}, {}, NOTHING, NOTHING)
    assert "3 cells of the study are missing." in lead_paragraph(results, {"gaps": pd.DataFrame({"why": ["x"] * 3})})


def test_numbers_in_words():
    assert change(-0.064, -0.081, -0.047) == "−6.4 points [−8.1, −4.7]"
    assert change(0.5, float("nan"), float("nan")) == "+50.0 points"
    assert (p_text(0.0004), p_text(0.0312)) == ("p < 0.001", "p = 0.031")
    assert (span(np.array([0.21, 0.43])), span(np.array([61.0, 61.2]), " %")) == ("0.21 to 0.43", "61 %")
    assert (many(1, "model"), many(1200, "model"), many(2, "is", "are")) == ("1 model", "1,200 models", "2 are")
    counts = {
        (0, 3): "none of 3",
        (2, 3): "2 of 3",
        (3, 3): "all 3",
        (1, 1): "1 of 1",
        (2, 2): "both",
        (1, 2): "1 of 2",
    }
    assert {pair: of_all(*pair) for pair in counts} == counts
    assert (luck(10), luck(80), luck(54, 0.05)) == ("less than one", "about 2", "about 3")


def test_sweeps_are_told_beside_random_sets_without_laying_anything_to_a_choice():
    def row(selector, top, difference, p_holm, draw=0):
        return {"selector": selector, "top": top, "draw": draw, "difference": difference, "p_holm": p_holm}

    sweeps = pd.DataFrame(
        [row("intact", 0.0, None, None), row("mean", 5.0, -0.02, 1.0), row("mean", 10.0, -0.20, 0.01)]
        + [row("random", top, -0.05, 1.0, draw) for top in (5.0, 10.0) for draw in (0, 1)]
    )
    lines = [line for line in findings(Results(None, {}, {}, NOTHING, sweeps), {}) if line.startswith("Sweeps")]
    assert "mean: 1 of 2 sets (5 to 10 % of the neurons)" in lines[0]
    assert "changes from −20.0 to −2.0 points, 1 of them below every random set of their size (not a test)" in lines[0]
    assert "random: 0 of 4 sets" in lines[1]
