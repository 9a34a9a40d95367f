"""The published facts, their caveats, and our numbers beside them."""

import math

import pandas as pd
import pytest

from analysis.paper.beside import TABLES, beside, depth_of_runs, gaps, load, with_backbones
from analysis.paper.published import FOLDER, paper_backbones
from analysis.paper.subtasks import paper_scores
from analysis.results.folder import Results
from tension_lens.artifacts.layout import RunFolder
from tension_lens.data.benchmarks import PAPER_SUBTASKS
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

NOTHING = pd.DataFrame()


def rows_of(table, **which):
    rows = load(table)
    for name, value in which.items():
        rows = rows[rows[name] == value]
    return rows


def only(table, **which):
    rows = rows_of(table, **which)
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.parametrize(
    ("table", "count"),
    [
        # Counts of the README's table, less the derived rows that became corrected values: retention 400 − 75
        # de-accumulated − 25 six-model means, overlap 26 − 4, depth (24 − 3) × 3 thirds, partition 27 × 4 numbers.
        ("accuracy", 450), ("retention", 300), ("ablation_top10", 525), ("ablation_partition", 108), ("rmsd", 18),
        ("overlap", 22), ("depth", 63), ("ablation_curve", 207), ("training", 43),
    ],
)  # fmt: skip
def test_every_published_number_is_loaded_once(table, count):
    rows = load(table)
    assert len(rows) == count
    assert not rows.duplicated(list(TABLES[table].keys)).any()
    if table != "training":
        assert rows["published"].notna().all()
        assert (rows["source"] != "").all()
        # What is marked has a reason, and a correction stands only where something is marked.
        assert (rows.loc[rows["artefact"], "caveat"] != "").all()
        assert rows.loc[~rows["artefact"], "corrected"].isna().all()


def test_the_files_are_those_that_were_extracted(shared_data):
    for name in TABLES:
        assert (FOLDER / f"{name}.csv").read_bytes() == (shared_data.parent / "published" / f"{name}.csv").read_bytes()


def test_sub_tasks_and_backbones_go_by_names_that_our_tables_have():
    assert set(load("accuracy")["subtask"]) == set(PAPER_SUBTASKS)
    assert set(load("accuracy")["backbone"]) == set(paper_backbones().values())
    assert paper_backbones()["openai-community/gpt2"] == "gpt2-small"


def test_the_overlap_artefacts_of_gpt2_large_are_marked_and_the_means_corrected():
    # The harmless set is all N neurons: its Jaccard index with any 10 % set is 0.1 whatever the set is.
    for left, right in (("helpful", "harmless"), ("harmless", "mixed")):
        row = only("overlap", backbone="gpt2-large", left=left, right=right)
        assert (row["published"], row["artefact"]) == (0.1, True)
        assert math.isnan(row["corrected"])
    assert not only("overlap", backbone="gpt2-large", left="helpful", right="mixed")["artefact"]
    # By hand: the five others' helpful-harmless indices, summed and divided by 5.
    five = (0.703197 + 0.664871 + 0.591082 + 0.411832 + 0.390818) / 5
    assert only("overlap", backbone="mean", left="helpful", right="harmless")["corrected"] == pytest.approx(
        five, abs=1e-5
    )


def test_running_means_are_undone_and_seven_models_named():
    def published(condition):
        return only("retention", backbone="mean", condition=condition, measure="combined", subtask="Math")

    c1, c2, c3, c4 = (published(one) for one in ("baseline", "helpful_only", "harmless_only", "shared"))
    # A running mean over k conditions times k, less the one before times k − 1.
    assert c2["corrected"] == pytest.approx(2 * c2["published"] - c1["published"], abs=1e-5)
    assert c3["corrected"] == pytest.approx(3 * c3["published"] - 2 * c2["published"], abs=1e-5)
    assert c4["corrected"] == pytest.approx(4 * c4["published"] - 3 * c3["published"], abs=1e-5)
    # The mean over the six backbones, from their own rows.
    six = rows_of("retention", condition="baseline", measure="combined", subtask="Math")
    six = six[six["backbone"] != "mean"]["published"]
    assert (len(six), c1["corrected"]) == (6, pytest.approx(six.mean(), abs=1e-6))
    assert "seven" in c1["caveat"]
    assert "running mean" in c4["caveat"]


def test_tables_11_and_12_are_marked_as_one_model_without_a_correction():
    rows = load("retention")
    rows = rows[rows["measure"] != "combined"]
    assert set(rows["backbone"]) == {"gpt2-large"}
    assert rows["artefact"].all()
    assert rows["corrected"].isna().all()
    assert rows["caveat"].str.contains("gpt2-large alone").all()


def test_partition_changes_are_of_seven_models_and_their_baseline_is_corrected_to_six():
    row = only("ablation_partition", condition="baseline", subtask="Math PRM")
    assert (row["published"], row["corrected"]) == (71.55, 78.93)
    change = only("ablation_partition", condition="shared", subtask="Math PRM")
    assert (change["published"], change["artefact"]) == (-12.87, True)
    assert math.isnan(change["corrected"])


def test_deviations_divide_by_one_less():
    # The file's standard deviation over 3 seeds divides by n: its square times 3/2 is the one with n − 1.
    raw = pd.read_csv(FOLDER / "accuracy.csv")
    assert load("accuracy")["sd"].to_numpy() ** 2 == pytest.approx(raw["std"].to_numpy() ** 2 * 1.5)


def test_an_unknown_table_is_refused_by_name():
    with pytest.raises(RequestError, match="unknown published table 'tables'; known are accuracy, retention"):
        load("tables")


def score_rows(backbone, seed, accuracies, *, condition="baseline", objective="helpful", subtask="Chat"):
    return [
        {
            "backbone": backbone, "seed": str(one), "objective": objective, "condition": condition, "control": "",
            "set": "" if condition == "baseline" else condition, "rule": "paper", "subtask": subtask, "accuracy": value,
            "ablation": "" if condition == "baseline" else "zero", "low": value - 0.1, "high": value + 0.1, "n": 129,
        }
        for one, value in zip(seed, accuracies, strict=True)
    ]  # fmt: skip


def test_one_seed_stands_beside_the_paper_with_the_interval_over_its_items():
    ours = pd.DataFrame(score_rows("openai-community/gpt2", [0], [0.6]))
    rows = beside(ours, "accuracy")
    row = rows[
        (rows["backbone"] == "gpt2-small") & (rows["objective"] == "helpful") & (rows["subtask"] == "Chat")
    ].iloc[0]
    assert (row["ours"], row["low"], row["high"]) == pytest.approx((60, 50, 70))
    assert row["interval"] == "over 129 items"
    assert row["published"] == only("accuracy", backbone="gpt2-small", objective="helpful", subtask="Chat")["published"]
    assert row["gap"] == ""
    # One row for each published number, and one for each mean over the six backbones.
    assert len(rows) == 450 + 75
    missing = {reason.rpartition(" (")[0] for reason in gaps(rows)}
    assert {
        "no result of gpt2-large",
        "no result of this part of gpt2-small",
        "no result to take this mean of",
    } <= missing
    assert rows.loc[rows["gap"] != "", "ours"].isna().all()


def test_several_seeds_stand_there_with_students_interval_over_them():
    ours = pd.DataFrame(score_rows("gpt2-small", [0, 247, 932], [0.60, 0.62, 0.64]))
    rows = beside(ours, "accuracy").set_index(["backbone", "objective", "subtask"])
    row = rows.loc["gpt2-small", "helpful", "Chat"]
    # Mean 62, sd 2, n 3: 62 ± 4.303 · 2/√3.
    assert (row["ours"], row["high"] - 62) == (pytest.approx(62), pytest.approx(4.3027 * 2 / math.sqrt(3), abs=1e-3))
    assert row["interval"] == "over 3 seeds"


def test_a_backbone_that_the_paper_lacks_stands_beside_the_mean_of_the_six():
    row = beside(pd.DataFrame(score_rows("gpt2-tiny", [0], [0.5])), "accuracy")
    row = row.set_index(["backbone", "objective", "subtask"]).loc["mean", "helpful", "Chat"]
    theirs = rows_of("accuracy", objective="helpful", subtask="Chat")["published"]
    assert (row["ours"], row["published"]) == (pytest.approx(50), pytest.approx(theirs.mean()))
    assert "gpt2-tiny alone" in row["caveat"]
    assert "derived" in row["caveat"]


def test_the_mean_over_two_backbones_has_no_interval():
    ours = score_rows("gpt2-small", [0], [0.5]) + score_rows("gpt2-tiny", [0], [0.7])
    row = beside(pd.DataFrame(ours), "accuracy").set_index(["backbone", "objective", "subtask"])
    row = row.loc["mean", "helpful", "Chat"]
    assert (row["ours"], row["interval"]) == (pytest.approx(60), "")
    assert math.isnan(row["low"])


def test_changes_are_from_the_intact_model_in_points_with_the_paired_interval_where_the_rule_is_one():
    ours = [
        *score_rows("gpt2-small", [0], [0.60]),
        *score_rows("gpt2-small", [0], [0.55], condition="own"),
        *score_rows("gpt2-small", [0], [0.80], subtask="Focus"),
        *score_rows("gpt2-small", [0], [0.70], condition="own", subtask="Focus"),
    ]  # fmt: skip
    about = {"backbone": "gpt2-small", "seed": "0", "objective": "helpful", "condition": "own", "n": 495}
    limits = {"low": -0.12, "high": -0.08}
    paired = pd.DataFrame(
        [
            {**about, **limits, "data": "reward-bench-2:all:test", "subtask": "Focus"},
            {**about, **limits, "data": "rm-bench:all:test", "subtask": "chat"},
            {**about, **limits, "data": "hh-rlhf:mixed:test", "subtask": "helpful-base"},
        ]
    )
    rows = beside(pd.DataFrame(ours), "ablation_top10", paired).set_index(["backbone", "objective", "subtask"])
    focus, chat = (rows.loc["gpt2-small", "helpful", name] for name in ("Focus", "Chat"))
    assert (focus["ours"], focus["low"], focus["high"]) == pytest.approx((-10, -12, -8))
    # Chat is RM-Bench's, which the paired tests judge by another rule.
    assert (chat["ours"], chat["interval"]) == (pytest.approx(-5), "")
    assert math.isnan(chat["low"])


def test_retention_counts_by_the_papers_names_and_math_needs_both_its_parts():
    about = {
        "backbone": "gpt2-small",
        "seed": "0",
        "objective": "mixed",
        "condition": "baseline",
        "control": "",
        "ablation": "",
    }
    about |= {"measure": "combined", "low": 0.1, "high": 0.9, "denominator": 50}
    ours = pd.DataFrame(
        [
            {**about, "data": "reward-bench:all:filtered", "subtask": "alpacaeval-easy", "share": 0.5},
            {**about, "data": "rm-bench:all:test", "subtask": "math", "share": 0.2},
            {**about, "data": "rm-bench:all:test", "subtask": "all", "share": 0.9},
        ]
    )
    keys = ["backbone", "condition", "measure", "subtask"]
    rows = beside(ours, "retention").set_index(keys)
    easy = rows.loc["gpt2-small", "baseline", "combined", "Alpaca Eval (Easy)"]
    assert (easy["ours"], easy["interval"]) == (0.5, "over 50 items")
    assert rows.loc["gpt2-small", "baseline", "combined", "Math"]["gap"] == "no result of this part of gpt2-small"
    both = pd.concat([ours, ours.iloc[[1]].assign(data="reward-bench-2:all:test", subtask="Math", share=0.6)])
    math_row = beside(both, "retention").set_index(keys).loc["gpt2-small", "baseline", "combined", "Math"]
    assert math_row["ours"] == pytest.approx(0.4)
    assert "every chosen response wins" in math_row["caveat"]


def test_averages_of_the_partition_need_every_sub_task():
    def ours(subtasks):
        found = []
        for name in subtasks:
            for condition, value in (("baseline", 0.5), ("shared", 0.4 if name != "Chat" else 0.3)):
                found += score_rows("gpt2-small", [0], [value], condition=condition, objective="mixed", subtask=name)
        return pd.DataFrame(found)

    helpful = [name for name, kind in PAPER_SUBTASKS.items() if kind == "helpful"]
    keys = ["backbone", "condition", "subtask"]
    row = beside(ours(helpful), "ablation_partition").set_index(keys).loc["mean", "shared", "Avg helpful"]
    # 16 sub-tasks lose 10 points and Chat 20.
    assert row["ours"] == pytest.approx(-(16 * 10 + 20) / 17)
    row = beside(ours(helpful[1:]), "ablation_partition").set_index(keys).loc["mean", "shared", "Avg helpful"]
    assert row["gap"] == "no result to take this mean of"


def test_sets_of_runs_stand_beside_the_papers_depth_pooled_by_neurons(tmp_path):
    def a_set(layers):
        return NeuronSet.of("helpful", "post", (3, 10), layers)

    results = Results(
        None, {"gpt2-small-0": tmp_path, "b": tmp_path}, {
            "gpt2-small-0": {"helpful": a_set([(0, 0), (0, 1), (2, 0)])}, "b": {"helpful": a_set([(2, 0)])}
        }, NOTHING, NOTHING,
    )  # fmt: skip
    rows = beside(depth_of_runs(results), "depth").set_index(["backbone", "objective", "bucket"])
    assert rows.loc["gpt2-small", "helpful", "early"]["ours"] == pytest.approx(2 / 3)
    # Early holds 2 of the 4 neurons of both runs together.
    assert rows.loc["pooled", "helpful", "early"]["ours"] == pytest.approx(2 / 4)
    assert rows.loc["gpt2-large", "harmless", "early"]["artefact"]


def test_rmsd_is_the_papers_variant_and_says_of_what():
    about = {"runs": "gpt2-small", "objective": "helpful", "statistic": "mean_abs", "site": "post"}
    ours = pd.DataFrame(
        [{**about, "layer": "0", "rmsd": 9.0}, {**about, "layer": "layers averaged first", "rmsd": 0.5}]
    )
    row = beside(ours, "rmsd").set_index(["backbone", "objective"]).loc["gpt2-small", "helpful"]
    assert (row["ours"], row["published"]) == (0.5, 0.001312522)
    assert "mean_abs at site post" in row["caveat"]


def test_sweeps_stand_beside_the_curves_by_the_papers_methods():
    about = {
        "run": "s",
        "backbone": "gpt2-small",
        "seed": 0,
        "objective": "mixed",
        "data": "hh-rlhf:mixed:test",
        "n": 100,
    }
    rows = [
        {**about, "selector": selector, "top": 10.0, "draw": draw, "accuracy": accuracy, "low": 0.4, "high": 0.7}
        for selector, draw, accuracy in (
            ("mean", 0, 0.5),
            ("mean_abs", 0, 0.9),
            ("random", 0, 0.6),
            ("random", 1, 0.64),
        )
    ]
    found = beside(pd.DataFrame(rows), "ablation_curve").set_index(["backbone", "objective", "method", "top"])
    assert found.loc["gpt2-small", "mixed", "magnitude", 10.0]["ours"] == pytest.approx(50)
    random = found.loc["gpt2-small", "mixed", "random", 10.0]
    assert (random["ours"], random["interval"]) == (pytest.approx(62), "")


def test_runs_are_named_by_their_training_or_their_folder(tmp_path):
    training = pd.DataFrame([{"run": "a/first", "backbone": "gpt2-tiny", "seed": 7, "objective": "mixed"}])
    folders = {
        "a/first": tmp_path / "first",
        "gpt2-small-247": tmp_path / "gpt2-small-247",
        "other": tmp_path / "other",
    }
    folders = {name: RunFolder(path) for name, path in folders.items()}
    results = Results(None, folders, {}, training, NOTHING)
    found = with_backbones(pd.DataFrame({"runs": ["first", "a/first", "gpt2-small-247", "other"]}), results)
    assert list(found["backbone"]) == ["gpt2-tiny", "gpt2-tiny", "gpt2-small", "other"]
    assert list(found["seed"]) == ["7", "7", "247", ""]


def test_without_any_result_every_number_is_a_named_gap():
    for table in TABLES:
        if table != "training":
            rows = beside(NOTHING, table)
            assert (rows["gap"] != "").all(), table
            assert rows["published"].notna().all(), table


def test_only_the_papers_rule_is_read():
    ours = pd.DataFrame(score_rows("gpt2-small", [0], [0.6]))
    assert len(paper_scores(ours.assign(rule="RM-Bench average"))) == 0
    assert len(paper_scores(ours.assign(control="uniform"))) == 0
