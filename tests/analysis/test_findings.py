"""Findings on results whose truth is known: verdicts on numbers, and templates that show the numbers."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError
from parts_items import item_table, of_margins
from parts_study import INTACT, SHARED, write_study
from scipy.stats import hypergeom

from analysis.findings.ablation import sweep_summary
from analysis.findings.accuracy import against_chance, own_accuracies, retention_verdicts
from analysis.findings.findings import FEW, findings, render, scope
from analysis.findings.neurons import baseline_verdicts, depth_verdicts, overlap_verdicts
from analysis.findings.primary import primary_facts
from analysis.results.folder import Results
from analysis.results.study import read_study
from analysis.tables.study import tables_of
from analysis.wording import interval, many, of_all, p_text, points, span
from tension_lens.artifacts.layout import RunFolder
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.sets import NeuronSet

NOTHING = pd.DataFrame()
NO_BASELINES = baseline_verdicts(NOTHING)
ITEMS = 200
SUBTASKS = ["helpful-base"] * ITEMS + ["harmless-base"] * ITEMS


def judged(helpful, harmless, lost=0, start=0):
    """The first `helpful` and `harmless` items of a sub-task are correct, except `lost` helpful ones from `start`."""
    correct = np.zeros((2, ITEMS), dtype=bool)
    correct[0, :helpful], correct[1, :harmless] = True, True
    correct[0, start : start + lost] = False
    return of_margins(np.where(correct.reshape(-1), 2.0, -1.0), SUBTASKS)


def results_of(study=None, training=NOTHING):
    return Results(study, {"run": RunFolder(Path())}, {}, training, NOTHING)


def study_of(folder, cells):
    """The study of one backbone, from tables by (seed, objective, condition)."""
    return read_study(write_study(folder, {("tiny", *key): table for key, table in cells.items()}))


def require(found, *numbers):
    """Check that a finding, or a line of one, holds every number."""
    text = found if isinstance(found, str) else " ".join([found.lead, *found.detail])
    for number in numbers:
        assert number in text, f"{number} is not in: {text}"


def accuracies(*rows):
    table = pd.DataFrame(rows, columns=["objective", "accuracy", "low", "high"])
    return against_chance(table.assign(run="r", backbone="tiny", seed=7, data="sample", n=400, chance=0.5))


def test_accuracy_is_above_or_below_chance_only_if_the_whole_interval_is():
    rows = accuracies(("helpful", 0.6, 0.551, 0.647), ("harmless", 0.52, 0.471, 0.568), ("mixed", 0.4, 0.353, 0.449))
    assert list(rows["verdict"]) == ["above", "unclear", "below"]
    found = render("accuracy", on="PLACE", rows=rows)
    require(found.lead, "PLACE", "1 of 3")
    estimates = "60.0 % [55.1, 64.7]", "52.0 % [47.1, 56.8]", "40.0 % [35.3, 44.9]"
    for line, estimate in zip(found.detail, estimates, strict=True):
        require(line, estimate, "400", "50.0 %", "tiny", "7", "sample")
    same = [render("accuracy", on="", rows=rows.iloc[[0]].assign(verdict=one)).detail[0] for one in rows["verdict"]]
    assert len(set(same)) == 3


def test_many_accuracies_are_summarised_with_the_number_expected_by_chance():
    first, second = render("accuracy", on="", rows=accuracies(*[("helpful", 0.52, 0.47, 0.57)] * 80)).detail
    # 2.5 % of 80.
    require(first, "none of 80", "2.0 of 80")
    require(second, "helpful", "none of 80", "52 %", "+2.0")


def test_a_models_accuracy_is_of_the_items_of_its_objective_with_wilsons_interval(tmp_path):
    cells = {(0, "helpful", INTACT): judged(150, 7), (0, "mixed", INTACT): judged(90, 120)}
    scores = tables_of(study_of(tmp_path, cells))["scores"]
    found = own_accuracies(scores).set_index(["objective", "task_type"])
    assert list(found.index) == [("helpful", "helpful"), ("mixed", "helpful"), ("mixed", "harmless")]
    assert found.loc[("mixed", "harmless"), "accuracy"] == pytest.approx(120 / 200)
    assert list(found["verdict"]) == ["above", "unclear", "above"]
    # 150 of 200: (p + z²/2n ± z√(p(1−p)/n + z²/4n²)) / (1 + z²/n), z = 1.96.
    assert found.iloc[0][["low", "high"]].to_list() == pytest.approx([0.6857, 0.8050], abs=1e-4)
    assert own_accuracies(scores[scores["objective"] == "none"]).empty


ABLATED = {(0, "mixed", INTACT): judged(160, 160), (0, "mixed", SHARED): judged(160, 160, lost=60)}


def test_a_sweep_counts_sets_and_those_below_every_random_one():
    rows = [("intact", 0.0, None), ("mean", 5.0, -0.02), ("mean", 10.0, -0.20)]
    rows += [("random", top, -0.05) for top in (5.0, 10.0)] * 2
    sweeps = pd.DataFrame(rows, columns=["selector", "top", "difference"])
    sweeps = sweeps.assign(run="r", backbone="tiny", seed="0", objective="mixed", data="sample")
    found = sweep_summary(sweeps)
    mean = {"sets": 2, "top_low": 5, "top_high": 10, "low": -0.2, "high": -0.02}
    assert found.to_dict("records")[0] == {"selector": "mean", **mean, "controlled": 2, "below": 1}
    assert found.loc[1, ["selector", "sets", "controlled"]].to_list() == ["random", 4, 0]
    # The random sets of another model are no controls, nor are those of another size.
    other = sweeps[(sweeps["selector"] == "mean") & (sweeps["top"] == 10)].assign(difference=-0.04)
    other = pd.concat([other.assign(run="other"), other.assign(top=20.0)])
    assert sweep_summary(pd.concat([sweeps, other])).loc[0, ["sets", "controlled", "below"]].to_list() == [4, 2, 1]
    strong = sweeps.assign(run="other", difference=-0.5)
    assert sweep_summary(pd.concat([sweeps, strong])).loc[0, ["sets", "controlled", "below"]].to_list() == [4, 4, 1]
    first, second = render("sweep", rows=found).detail
    require(first, "mean", "2 sets", "5 to 10 %", "−20.0 to −2.0", "1 of 2")
    require(second, "random", "4 sets", "−5.0")
    assert not sweep_summary(sweeps[sweeps["selector"] != "random"])["controlled"].any()


@pytest.mark.parametrize(("kept", "verdict", "both"), [(180, "more", "all 2"), (130, "unclear", "1 of 2")])
def test_retention_is_compared_with_the_other_items(tmp_path, kept, verdict, both):
    # The helpful or the harmless model judges the first 200 of 400 items correctly, the helpful ones. The mixed model
    # judges `kept` of them correctly, and 120 of the other 200: 130 against 120 is no significant difference.
    correct = {"helpful": judged(200, 0), "harmless": judged(0, 0), "mixed": judged(kept, 120)}
    tables = tables_of(study_of(tmp_path, {(0, name, INTACT): table for name, table in correct.items()}))
    rows = retention_verdicts(tables["retention"], tables["scores"])
    assert rows[["share", "elsewhere", "verdict"]].to_numpy().tolist() == [[kept / 200, 0.6, verdict]]
    numbers = f"{kept / 2:.1f} %", "200", "60.0 %", p_text(rows["p_holm"][0])
    require(render("retention", rows=rows, known=True), *numbers)
    twice = pd.concat([rows, rows.assign(share=0.5, elsewhere=0.3, verdict="more")])
    require(render("retention", rows=twice, known=True), span(twice["share"], " %", 100), "30 to 60 %", both)
    assert retention_verdicts(tables["retention"].assign(share=None), tables["scores"]).empty


def test_retention_of_rm_bench_is_by_pairs_and_tested_by_items(tmp_path):
    def styles(first, second):
        """90 items, of which the first 45 and the last 45 win so many of their three pairs."""
        rewards = [[10.0 * style + (style < won) for style in range(3)] for won in [first] * 45 + [second] * 45]
        return item_table([(f"{n}", "chat", chosen, [0.5, 10.5, 20.5]) for n, chosen in enumerate(rewards)])

    cells = {"helpful": styles(3, 0), "harmless": styles(0, 0), "mixed": styles(2, 1)}
    study = read_study(write_study(
        tmp_path, {("tiny", 0, name, INTACT): table for name, table in cells.items()}, data="rm-bench:all:test"
    ))  # fmt: skip
    tables = tables_of(study)
    (row,) = retention_verdicts(tables["retention"], tables["scores"]).to_dict("records")
    # Of 135 pairs the mixed model keeps 90; of the other 135 it wins 45. A third of each: 30 and 15 of 45.
    assert (row["share"], row["denominator"], row["elsewhere"], row["unit"]) == (
        2 / 3,
        135,
        pytest.approx(1 / 3),
        "pair",
    )
    assert row["p_holm"] == pytest.approx(hypergeom(90, 45, 45).sf(29))
    found = render("retention", rows=pd.DataFrame([row]), known=True)
    require(found, "135 pairs", "66.7 %", "33.3 %")


def set_verdicts(helpful, harmless):
    about = {"runs": "run", "left": "helpful", "right": "harmless"}
    shared = overlap_verdicts(pd.DataFrame([about | asdict(overlap(helpful, harmless))]))
    return shared, depth_verdicts({"run": {"helpful": helpful, "harmless": harmless}})


def test_random_sets_overlap_and_are_distributed_over_depth_as_by_chance():
    masks = np.random.default_rng(1).permuted(np.arange(600) < 60 + np.zeros((2, 1)), axis=1).reshape(2, 6, 100)
    shared, depth = set_verdicts(*(NeuronSet.from_mask("a", "post", mask) for mask in masks))
    assert list(shared["verdict"]) == ["unclear"]
    assert list(depth["verdict"]) == ["unclear"] * 6
    require(render("depth", rows=depth), "none of 2")


def test_sets_that_share_neurons_and_are_deep_get_their_verdicts():
    deep, other = (NeuronSet.of("a", "post", (6, 100), [(5, one + start) for one in range(60)]) for start in (0, 20))
    shared, depth = set_verdicts(deep, other)
    assert list(shared["verdict"]) == ["more"]
    # 40 shared where 60 · 60/600 = 6 are expected; union 80.
    found = render("overlap", rows=shared, baselines=NO_BASELINES)
    require(found, "helpful", "harmless", "40 neurons", "6", "0.50", "0.05", "p < 0.001")
    assert found.detail[0] != render("overlap", rows=shared.assign(verdict="unclear"), baselines=NO_BASELINES).detail[0]
    seven = pd.concat([shared] * (FEW + 1))
    require(render("overlap", rows=seven, baselines=NO_BASELINES), "0.50", "0.05", "all 7")
    assert list(depth["verdict"]) == ["fewer", "fewer", "more"] * 2
    assert list(depth["share"]) == [0, 0, 1] * 2
    require(render("depth", rows=depth), "helpful", "0 %", "100 %", "33 %", "more in 1", "fewer in 1", "all 2")


def beside(runs=1, **excesses):
    """Rows of the table `overlap_baselines`: excess by baseline, each with an interval of ± 0.1, of some runs."""
    rows = [
        (f"run-{run}", name.replace("_", " "), 0.4, 0.4 - value, value, value - 0.1, value + 0.1)
        for run in range(runs)
        for name, value in excesses.items()
    ]
    columns = ["runs", "baseline", "jaccard", "baseline_jaccard", "excess", "low", "high"]
    return baseline_verdicts(pd.DataFrame(rows, columns=columns).assign(pairs=1, neurons=60))


@pytest.mark.parametrize(("excess", "words"), [(-0.25, "share less"), (0.15, "share more"), (0.05, "neither clearly")])
def test_the_overlap_is_told_beside_its_baselines(excess, words):
    rows = set_verdicts(*(NeuronSet.of("a", "post", (6, 100), [(5, one)]) for one in (0, 1)))[0]
    halves = {"halves_helpful": -0.5, "halves_harmless": -0.52}
    found = render("overlap", rows=rows, baselines=beside(random=0.35, backbone=excess, prompts=0.02, **halves))
    numbers = "Jaccard index of 0.40", "random sets of these sizes 0.05", f"same data {0.4 - excess:.2f}"
    require(found.lead, *numbers, "prompts alone 0.38", "0.90 to 0.92", words, f"{excess:+.2f}".replace("-", "−"))
    require(found.detail[0], "run-0", "prompts +0.02 [−0.08, +0.12]", "halves harmless −0.52 [−0.62, −0.42].")
    assert "hypergeometric" not in found.lead


def test_without_a_baseline_the_lead_says_what_is_missing():
    rows = set_verdicts(*(NeuronSet.of("a", "post", (6, 100), [(5, one)]) for one in (0, 1)))[0]
    require(render("overlap", rows=rows, baselines=NO_BASELINES).lead, "nothing follows", "--baselines")
    found = render("overlap", rows=rows, baselines=beside(random=0.35))
    require(found.lead, "random sets of these sizes 0.05.", "unknown", "--base")
    assert "backbone" not in found.detail[0]


def test_overlaps_of_several_runs_are_counted_by_side():
    rows = set_verdicts(*(NeuronSet.of("a", "post", (6, 100), [(5, one)]) for one in (0, 1)))[0]
    few = pd.concat([beside(2, backbone=-0.3), beside(1, backbone=0.02).assign(runs="run-2")])
    require(
        render("overlap", rows=rows, baselines=few).lead, "below 0 in 2 of 3", "above 0 in none of 3", "−0.30 to +0.02"
    )
    found = render("overlap", rows=rows, baselines=beside(FEW + 1, backbone=-0.3, random=0.3))
    require(found.detail[0], "backbone", "below 0 in all 7 and above 0 in none of 7")
    require(found.detail[1], "random", "below 0 in none of 7 and above 0 in all 7")


def test_the_scope_counts_models_and_seeds_of_studies_and_trainings(tmp_path):
    study = study_of(tmp_path, {(seed, "helpful", INTACT): judged(150, 0) for seed in (0, 247)})
    found = scope(results_of(study))
    assert (found["items"], found["conditions"], found["runs"]) == (400, 1, 1)
    assert found["models"].to_numpy().tolist() == [["tiny", "0", "helpful"], ["tiny", "247", "helpful"]]
    require(render("scope", **found), "2 reward models", "tiny", "400 items", "1 condition", "2 seeds", "0, 247")
    many_models = pd.DataFrame({"backbone": [f"b{n}" for n in range(FEW + 1)], "seed": "0", "objective": "mixed"})
    assert "These results cover 7 reward models, evaluated" in render("scope", **{**found, "models": many_models}).lead
    for seeds, words in (([0, 247, 0], "up to 2 seeds"), ([0, 0, 7], "1 seed")):
        training = pd.DataFrame({"backbone": ["a", "a", "b"], "seed": seeds}).assign(objective="mixed")
        require(render("scope", **scope(results_of(training=training))), words)


def test_the_scope_says_how_many_items_truncation_changed(tmp_path):
    table = judged(150, 0)
    assert (
        "truncated"
        not in render("scope", **scope(results_of(study_of(tmp_path / "0", {(0, "helpful", INTACT): table})))).lead
    )
    first = np.arange(2 * ITEMS)
    cells = {
        (0, "helpful", INTACT): replace(table, truncated=first < 30, identical=first < 4),
        (0, "mixed", INTACT): replace(
            table, truncated=first < 35, metadata={"dropped": '{"gone": 7, "helpful-base": 2}'}
        ),
    }
    found = render("scope", **scope(results_of(study_of(tmp_path / "1", cells))))
    require(
        found, "30 to 35 items were truncated", "in 0 to 4 a chosen and a rejected text", "forced ties", "0 to 2 more"
    )


def test_without_results_every_finding_names_what_is_missing():
    found = findings(results_of(), {})
    assert "1 run" in " ".join(one.lead for one in found)
    # Two accuracies, overlap, depth, sweeps, retention.
    assert len({line for one in found for line in one.detail}) == 6


def test_every_finding_is_told_in_clean_text(tmp_path):
    cells = {(0, one, INTACT): judged(150, 120) for one in ("helpful", "harmless", "mixed")}
    study = study_of(tmp_path, {**cells, **ABLATED})
    tables = {**tables_of(study), "gaps": pd.DataFrame({"why": ["x"] * 3})}
    found = findings(results_of(study), tables)
    primary = render("primary", conditions=tables["conditions"], **primary_facts(tables["primary"]))
    for one in (primary, render("gaps", count=3), render("scope", **scope(results_of(study)))):
        assert one.lead and one.detail and one in found
    text = "\n".join(line for one in found for line in (one.lead, *one.detail))
    assert not any(wrong in text for wrong in ("  ", " .", " ,", " ;", "( ", " )", "{", "nan", "None,"))


@pytest.mark.parametrize(
    "name", ["scope", "accuracy", "overlap", "depth", "primary", "sweep", "forecast", "retention", "gaps"]
)
def test_a_template_without_its_facts_is_an_error(name):
    with pytest.raises(UndefinedError):
        render(name)


def test_numbers_as_text():
    assert (points(-0.064), points([-0.064, 0.012]), points([0.1, 0.1])) == ("−6.4", "−6.4 to +1.2", "+10.0")
    assert (interval(-0.081, 0.047), interval(float("nan"), 1.0)) == ("[−8.1, 4.7]", "")
    assert (p_text(0.0004), p_text(0.0312)) == ("p < 0.001", "p = 0.031")
    assert [span([0.21, 0.43]), span([0.61, 0.612], " %", 100), span([1.5, 9])] == [
        "0.21 to 0.43",
        "61 %",
        "1.5 to 9.0",
    ]
    assert [span(np.array([1, 1200])), span([0.5, np.nan]), span([np.nan])] == ["1 to 1,200", "0.50", "undefined"]
    assert (many(1, "model"), many(1200, "model"), many(2, "is", "are")) == ("1 model", "1,200 models", "2 are")
    assert [of_all(*pair) for pair in ((0, 3), (2, 3), (3, 3), (1, 1))] == ["none of 3", "2 of 3", "all 3", "1 of 1"]
