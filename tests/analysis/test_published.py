"""The published numbers, their caveats, and their comparison with our numbers."""

import math

import pandas as pd
import pytest

from analysis.paper.comparison import compare_with_published, gaps, with_backbones
from analysis.paper.published import FOLDER, TABLES, load, paper_backbones
from analysis.paper.subtasks import paper_scores
from analysis.results.folder import Results
from analysis.tables.depth import depth_table
from tension_lens.artifacts.layout import RunFolder
from tension_lens.constants import BUCKETS, PARTS
from tension_lens.data.benchmarks import PAPER_SUBTASKS
from tension_lens.neurons.sets import NeuronSet

NOTHING = pd.DataFrame()


def only(table, *key):
    return load(table).set_index(TABLES[table].keys).loc[key]


PRINTED = {
    "accuracy": ["mean"], "retention": ["mean"], "ablation_top10": ["delta"], "rmsd": ["rmsd"], "overlap": ["jaccard"],
    "ablation_partition": ["baseline", *(f"delta_{part}" for part in PARTS)], "depth": list(BUCKETS),
    "ablation_curve": ["value"], "training": ["value"],
}  # fmt: skip
"""Columns of the extracted files that hold the published values."""
COUNTS = {
    "accuracy": 450, "retention": 300, "ablation_top10": 525, "ablation_partition": 108, "rmsd": 18, "overlap": 22,
    "depth": 63, "ablation_curve": 207, "training": 43,
}  # fmt: skip
"""Published numbers of each table: the rows of the extracted file without derived ones, times the columns above."""


@pytest.mark.parametrize("table", TABLES)
def test_every_published_number_is_loaded_once(table):
    rows = load(table)
    assert len(rows) == COUNTS[table]
    assert not rows.duplicated(TABLES[table].keys).any()
    if table != "training":
        assert rows["published"].notna().all() and rows["source"].fillna("").ne("").all()
        # Every artefact has a reason, and only artefacts have a correction.
        assert (rows.loc[rows["artefact"], "caveat"] != "").all()
        assert rows.loc[~rows["artefact"], "corrected"].isna().all()


@pytest.mark.parametrize("table", TABLES)
def test_every_value_keeps_the_digits_that_were_published(shared_data, table):
    folders = shared_data.parent / "published", FOLDER
    extracted, ours = (pd.read_csv(one / f"{table}.csv", dtype=str, keep_default_na=False) for one in folders)
    extracted = extracted[~extracted.iloc[:, 0].str.contains("excl")]
    if table == "retention":
        extracted = extracted[~extracted["source"].str.startswith("derived")]
    printed = extracted[PRINTED[table]].to_numpy().reshape(-1, order="F")
    assert list(ours["value" if table == "training" else "published"]) == list(printed)
    for key in {"parameter", "objective", "subtask"} & set(ours):
        assert list(ours[key]) == [*extracted[key]] * len(PRINTED[table])


def test_sub_tasks_and_backbones_go_by_names_that_our_tables_have():
    assert set(load("accuracy")["subtask"]) == set(PAPER_SUBTASKS)
    assert set(load("accuracy")["backbone"]) == set(paper_backbones().values())
    assert paper_backbones()["openai-community/gpt2"] == "gpt2-small"


def test_the_overlap_artefacts_of_gpt2_large_are_marked_and_the_means_corrected():
    # The harmless set is all N neurons: its Jaccard index with any 10 % set is 0.1 whatever the set is.
    for pair in (("helpful", "harmless"), ("harmless", "mixed")):
        row = only("overlap", "gpt2-large", *pair)
        assert (row["published"], row["artefact"], math.isnan(row["corrected"])) == (0.1, True, True)
    assert not only("overlap", "gpt2-large", "helpful", "mixed")["artefact"]
    # By hand: the five others' helpful-harmless indices, summed and divided by 5.
    five = (0.703197 + 0.664871 + 0.591082 + 0.411832 + 0.390818) / 5
    assert only("overlap", "mean", "helpful", "harmless")["corrected"] == pytest.approx(five, abs=1e-5)


def test_running_means_are_undone_and_means_of_seven_models_replaced():
    names = ("baseline", "helpful_only", "harmless_only", "shared")
    c1, c2, c3, c4 = (only("retention", "mean", condition, "combined", "Math") for condition in names)
    # A running mean over k conditions times k, less the one before times k − 1.
    assert c2["corrected"] == pytest.approx(2 * c2["published"] - c1["published"], abs=1e-5)
    assert c3["corrected"] == pytest.approx(3 * c3["published"] - 2 * c2["published"], abs=1e-5)
    assert c4["corrected"] == pytest.approx(4 * c4["published"] - 3 * c3["published"], abs=1e-5)
    # The mean over the six backbones, from their own rows.
    backbones = set(paper_backbones().values())
    six = [only("retention", one, "baseline", "combined", "Math")["published"] for one in backbones]
    assert (len(six), c1["corrected"]) == (6, pytest.approx(sum(six) / 6, abs=1e-6))
    row = only("ablation_partition", "mean", "baseline", "Math PRM")
    assert (row["published"], row["corrected"]) == (71.55, 78.93)
    # What cannot be corrected is marked as an artefact.
    change = only("ablation_partition", "mean", "shared", "Math PRM")
    assert (change["published"], change["artefact"], math.isnan(change["corrected"])) == (-12.87, True, True)
    one_model = load("retention").query("measure != 'combined'")
    assert set(one_model["backbone"]) == {"gpt2-large"}
    assert one_model["artefact"].all() and one_model["corrected"].isna().all()


def test_deviations_divide_by_one_less():
    # The published standard deviation over 3 seeds divides by n: its square times 3/2 is the one with n − 1.
    rows = pd.concat(pd.read_csv(FOLDER / f"{table}.csv") for table in ("accuracy", "retention"))
    divided_by_n, sd = (rows[name].to_numpy() for name in ("sd_as_printed", "sd"))
    assert sd**2 == pytest.approx(divided_by_n**2 * 1.5, nan_ok=True)


def score_rows(backbone, seeds, accuracies, *, condition="baseline", objective="helpful", subtask="Chat"):
    ablated = {"set": condition, "ablation": "zero"} if condition != "baseline" else {"set": "", "ablation": ""}
    about = {"objective": objective, "condition": condition, **ablated, "rule": "paper", "n": 129}
    rows = pd.DataFrame({"seed": [str(seed) for seed in seeds], "accuracy": accuracies})
    limits = {"low": rows["accuracy"] - 0.1, "high": rows["accuracy"] + 0.1}
    return rows.assign(backbone=backbone, subtask=subtask, **about, **limits)


def compared(table, ours, *key, **options):
    """The row that compares a published number with ours."""
    return compare_with_published(ours, table, **options).set_index(TABLES[table].keys).loc[key]


def test_one_seed_has_the_interval_over_its_items():
    ours = score_rows("openai-community/gpt2", [0], [0.6])
    row = compared("accuracy", ours, "gpt2-small", "helpful", "Chat")
    assert (row["ours"], row["low"], row["high"]) == pytest.approx((60, 50, 70))
    assert (row["interval"], row["gap"]) == ("over 129 items", "")
    assert row["published"] == only("accuracy", "gpt2-small", "helpful", "Chat")["published"]
    # One row per published number, and one per mean over the six backbones.
    rows = compare_with_published(ours, "accuracy")
    assert len(rows) == 450 + 75
    assert (rows["gap"] != "").sum() == rows["ours"].isna().sum() == 525 - 2
    # gpt2-large, another part of gpt2-small, a mean over nothing: each reason with its number of rows.
    assert rows.loc[rows["gap"] != "", "gap"].nunique() == len(gaps(rows)) == 7


def test_several_seeds_have_students_interval_over_them():
    ours = score_rows("gpt2-small", [0, 247, 932], [0.60, 0.62, 0.64])
    row = compared("accuracy", ours, "gpt2-small", "helpful", "Chat")
    # Mean 62, sd 2, n 3: 62 ± 4.303 · 2/√3.
    assert (row["ours"], row["high"] - 62) == (pytest.approx(62), pytest.approx(4.3027 * 2 / math.sqrt(3), abs=1e-3))
    assert row["interval"] == "over 3 seeds"
    # Two seeds give a mean without an interval, as in the figures.
    row = compared("accuracy", score_rows("gpt2-small", [0, 247], [0.60, 0.62]), "gpt2-small", "helpful", "Chat")
    assert (row["ours"], row["interval"]) == (pytest.approx(61), "") and math.isnan(row["low"])


def test_a_backbone_that_the_paper_lacks_is_compared_with_the_mean_of_the_six():
    ours = score_rows("gpt2-tiny", [0], [0.5])
    row = compared("accuracy", ours, "mean", "helpful", "Chat")
    theirs = [only("accuracy", one, "helpful", "Chat")["published"] for one in set(paper_backbones().values())]
    assert (row["ours"], row["published"]) == (pytest.approx(50), pytest.approx(sum(theirs) / 6))
    assert "gpt2-tiny" in row["caveat"]
    # The mean over two backbones has no interval.
    row = compared("accuracy", pd.concat([ours, score_rows("gpt2-small", [0], [0.7])]), "mean", "helpful", "Chat")
    assert (row["ours"], row["interval"], math.isnan(row["low"])) == (pytest.approx(60), "", True)


def test_changes_are_from_the_intact_model_in_points_with_the_paired_interval():
    cells = [(name, *cell) for name in ("Chat", "Math") for cell in (("baseline", 0.60), ("own", 0.55))]
    cells += [("Focus", "baseline", 0.80), ("Focus", "own", 0.70)]
    ours = pd.concat(score_rows("gpt2-small", [0], [one], condition=name, subtask=part) for part, name, one in cells)
    subtasks = [("reward-bench-2:all:test", "Focus"), ("rm-bench:all:test", "chat"), ("rm-bench:all:test", "math")]
    subtasks += [("reward-bench-2:all:test", "Math"), ("hh-rlhf:mixed:test", "helpful-base")]
    about = {"backbone": "gpt2-small", "seed": "0", "objective": "helpful", "condition": "own", "n": 495}
    paired = pd.DataFrame(subtasks, columns=["data", "subtask"]).assign(**about, low=-0.12, high=-0.08)
    key = ("gpt2-small", "helpful")
    for name, change in (("Focus", -10), ("Chat", -5)):
        row = compared("ablation_top10", ours, *key, name, paired=paired)
        assert (row["ours"], row["low"], row["high"]) == pytest.approx((change, -12, -8))
    # Math is the mean of two sub-tasks.
    math_ = compared("ablation_top10", ours, *key, "Math", paired=paired)
    assert (math_["ours"], math_["interval"], math.isnan(math_["low"])) == (pytest.approx(-5), "", True)


def test_retention_has_the_papers_names_and_math_needs_both_its_parts():
    about = {"backbone": "gpt2-small", "seed": "0", "objective": "mixed", "condition": "baseline"}
    about |= {"ablation": "", "measure": "combined", "low": 0.1, "high": 0.9, "items": 50}
    columns = ["data", "subtask", "share"]
    rows = [("reward-bench:all:filtered", "alpacaeval-easy", 0.5), ("rm-bench:all:test", "math", 0.2)]
    ours = pd.DataFrame([*rows, ("rm-bench:all:test", "all", 0.9)], columns=columns).assign(**about)
    key = ("gpt2-small", "baseline", "combined")
    easy = compared("retention", ours, *key, "Alpaca Eval (Easy)")
    assert (easy["ours"], easy["interval"]) == (0.5, "over 50 items")
    assert compared("retention", ours, *key, "Math")["gap"] != ""
    both = pd.concat([ours, ours.iloc[[1]].assign(data="reward-bench-2:all:test", subtask="Math", share=0.6)])
    row = compared("retention", both, *key, "Math")
    assert (row["ours"], row["interval"]) == (pytest.approx(0.4), "")


def test_averages_of_the_partition_need_every_sub_task():
    def average(subtasks):
        values = {"baseline": 0.5, "shared": 0.4}
        ours = [
            score_rows("gpt2-small", [0], [0.3 if (name, condition) == ("Chat", "shared") else value],
                       condition=condition, objective="mixed", subtask=name)
            for name in subtasks for condition, value in values.items()
        ]  # fmt: skip
        return compared("ablation_partition", pd.concat(ours), "mean", "shared", "Avg helpful")

    helpful = [name for name, kind in PAPER_SUBTASKS.items() if kind == "helpful"]
    # 16 sub-tasks lose 10 points and Chat 20.
    assert average(helpful)["ours"] == pytest.approx(-(16 * 10 + 20) / 17)
    assert average(helpful[1:])["gap"] != ""


def test_depth_is_compared_by_run_and_pooled_by_neurons(tmp_path):
    first = NeuronSet.of("helpful", "post", (3, 10), [(0, 0), (0, 1), (2, 0)])
    sets = {"gpt2-small-0": {"helpful": first}, "b": {"helpful": NeuronSet.of("helpful", "post", (3, 10), [(2, 0)])}}
    results = Results(None, dict.fromkeys(sets, RunFolder(tmp_path)), sets, NOTHING, NOTHING)
    tables = [depth_table([of_run["helpful"]]).assign(runs=run) for run, of_run in sets.items()]
    ours = with_backbones(pd.concat(tables), results)
    assert compared("depth", ours, "gpt2-small", "helpful", "early")["ours"] == pytest.approx(2 / 3)
    # Early holds 2 of the 4 neurons of both runs together.
    assert compared("depth", ours, "pooled", "helpful", "early")["ours"] == pytest.approx(2 / 4)
    assert compared("depth", ours, "gpt2-large", "harmless", "early")["artefact"]


def test_rmsd_is_the_papers_variant_and_names_its_statistic():
    about = {"backbone": "gpt2-small", "seed": "0", "objective": "helpful", "statistic": "mean_abs", "site": "post"}
    ours = pd.DataFrame({"layer": ["0", "layers averaged first"], "rmsd": [9.0, 0.5]}).assign(**about)
    row = compared("rmsd", ours, "gpt2-small", "helpful")
    assert (row["ours"], row["published"]) == (0.5, 0.001312522)
    assert "mean_abs" in row["caveat"] and "post" in row["caveat"]


def test_sweeps_are_compared_with_the_curves_by_the_papers_methods():
    rows = [("mean", 0, 0.5), ("mean_abs", 0, 0.9), ("random", 0, 0.6), ("random", 1, 0.64)]
    ours = pd.DataFrame(rows, columns=["selector", "draw", "accuracy"]).assign(top=10.0, low=0.4, high=0.7, n=100)
    ours = ours.assign(run="s", backbone="gpt2-small", seed=0, objective="mixed", data="hh-rlhf:mixed:test")
    assert compared("ablation_curve", ours, "gpt2-small", "mixed", "magnitude", 10.0)["ours"] == pytest.approx(50)
    random = compared("ablation_curve", ours, "gpt2-small", "mixed", "random", 10.0)
    assert (random["ours"], random["interval"]) == (pytest.approx(62), "")


def test_runs_are_named_by_their_training_or_their_folder(tmp_path):
    training = pd.DataFrame([{"run": "a/first", "backbone": "gpt2-tiny", "seed": 7, "objective": "mixed"}])
    folders = {name: RunFolder(tmp_path / name) for name in ("a/first", "gpt2-small-247", "other")}
    results = Results(None, folders, {}, training, NOTHING)
    found = with_backbones(pd.DataFrame({"runs": ["first", "a/first", "gpt2-small-247", "other"]}), results)
    assert list(found["backbone"]) == ["gpt2-tiny", "gpt2-tiny", "gpt2-small", "other"]
    assert list(found["seed"]) == ["7", "7", "247", ""]


@pytest.mark.parametrize("table", [name for name in TABLES if name != "training"])
def test_without_any_result_every_number_is_a_gap(table):
    rows = compare_with_published(NOTHING, table)
    assert (rows["gap"] != "").all()
    assert rows["published"].notna().all()


def test_only_the_papers_rule_is_compared():
    ours = score_rows("gpt2-small", [0], [0.6])
    assert len(paper_scores(ours)) == 1
    assert len(paper_scores(ours.assign(rule="RM-Bench average"))) == 0
