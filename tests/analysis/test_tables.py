"""Tables of a small study; every expected number was worked out by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from parts_figures import judged, neuron_scores
from parts_items import item_table, of_margins
from parts_study import DATA, INTACT, LAYER_0, SHARED, UNIFORM_0, UNIFORM_1, write_study
from scipy.stats import binom

from analysis.results.study import read_study
from analysis.tables import __main__ as tables
from analysis.tables.effects import condition_table, effects, seed_table
from analysis.tables.retention import flip_table, margin_table, retention_table
from tension_lens.artifacts.files import write_json
from tension_lens.errors import RequestError
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.sets import NeuronSet

CELLS = {
    ("tiny", 0, "helpful", INTACT): judged("11111100 1000"),
    ("tiny", 0, "harmless", INTACT): judged("11000000 1110"),
    ("tiny", 0, "mixed", INTACT): judged("11110010 1100"),
    ("tiny", 0, "mixed", SHARED): judged("00000010 1101"),
    ("tiny", 0, "mixed", UNIFORM_0): judged("11110010 1100"),
    ("tiny", 0, "mixed", UNIFORM_1): judged("11000010 1100"),
    ("tiny", 0, "mixed", LAYER_0): judged("11110000 1100"),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return read_study(write_study(tmp_path_factory.mktemp("study"), CELLS))


def test_effects_are_paired_differences_with_exact_tests(study):
    found = effects(study).set_index(["condition", "subtask"])
    # Controls have no row.
    assert list(found.index) == [("shared", "helpful-base"), ("shared", "harmless-base")]
    row = found.loc["shared", "helpful-base"]
    # Items 0 to 3 are lost and none is gained: 5 of 8 right become 1 of 8.
    assert (row["n"], row["lost"], row["gained"]) == (8, 4, 0)
    assert (row["before"], row["after"], row["difference"]) == (5 / 8, 1 / 8, -4 / 8)
    # McNemar: 2 · (1/2)⁴.
    assert row["p_value"] == pytest.approx(1 / 8)
    assert row["low"] < -0.5 < row["high"]
    gained = found.loc["shared", "harmless-base"]
    assert (gained["difference"], gained["lost"], gained["gained"], gained["p_value"]) == (1 / 4, 0, 1, 1)


def chat(*styles):
    """RM-Bench items that win these of their three pairs of one style, and are wrong by the strict rule."""
    return item_table([
        (f"chat/{n}", "chat", [10.0 * style + int(won) for style, won in enumerate(of_it)], [0.5, 10.5, 20.5])
        for n, of_it in enumerate(styles)
    ])  # fmt: skip


def test_rm_bench_is_judged_by_its_diagonal_where_the_strict_rule_sees_nothing(tmp_path):
    cells = {
        ("tiny", 0, "helpful", INTACT): chat("110", "000", "100", "000"),
        ("tiny", 0, "harmless", INTACT): chat("011", "000", "000", "010"),
        ("tiny", 0, "mixed", INTACT): chat("111", "111", "110", "000"),
        ("tiny", 0, "mixed", SHARED): chat("000", "100", "010", "100"),
        ("tiny", 0, "mixed", UNIFORM_0): chat("111", "111", "000", "000"),
    }
    study = read_study(write_study(tmp_path, cells, data="rm-bench:all:test"))
    scores = pd.DataFrame(study.scores).set_index(["objective", "condition", "rule"])["accuracy"]
    for condition, expected in (("baseline", 8 / 12), ("shared", 3 / 12)):
        assert scores["mixed", condition, "every chosen above every rejected"] == 0
        assert scores["mixed", condition, "RM-Bench diagonal"] == pytest.approx(expected)
    (row,) = condition_table(effects(study), study).to_dict("records")
    # Thirds lost: 3, 2 and 1; gained: 1. Of the 2⁴ choices of signs of 3, 2, 1, 1 six reach a sum of 5 or more:
    # ±(3 + 2 + 1 + 1) and ±(3 + 2 + 1 − 1) twice.
    assert (row["n"], row["lost"], row["gained"]) == (4, 2, pytest.approx(1 / 3))
    assert (row["before"], row["after"]) == pytest.approx((8 / 12, 3 / 12))
    assert (row["difference"], row["p_value"]) == pytest.approx((-5 / 12, 6 / 16))
    assert row["low"] < -5 / 12 < row["high"]
    assert (row["uniform_mean"], row["uniform_draws"]) == (pytest.approx(-2 / 12), 1)
    # Helpful or harmless win pairs 0, 1, 2 of item 0, 0 of item 2 and 1 of item 3; the mixed model all but the last.
    retained = retention_table(study).set_index(["condition", "subtask", "measure"])
    whole = retained[retained["task_type"] == "all"].loc["baseline", "all", "combined"]
    assert (whole["numerator"], whole["denominator"], whole["items"]) == (4, 5, 3)
    # Retained with helpful: pairs 0, 1 of item 0 and 0 of item 2, in margins of 0.5 under both models.
    margins = margin_table(study).set_index(["condition", "reference", "task_type", "units"])
    assert margins.loc["baseline", "helpful", "all", "raw"][["n", "reference_mean", "difference"]].tolist() == [
        2,
        0.5,
        0,
    ]
    flips = flip_table(study)
    flips = flips[flips["condition"] == "shared"].groupby("flip")["item"].agg(list).to_dict()
    assert flips == {"lost": ["chat/0", "chat/1", "chat/2"], "gained": ["chat/3"]}


def test_each_set_is_next_to_its_controls(study):
    found = condition_table(effects(study), study).set_index("subtask")
    assert list(found.index) == ["helpful-base", "harmless-base"]
    row = found.loc["helpful-base"]
    assert (row["condition"], row["neurons"], row["difference"]) == ("shared", 4, -0.5)
    # uniform-0 changes nothing, uniform-1 loses 2 of 8; layer-0 loses 1 of 8.
    uniform = [row[f"uniform_{name}"] for name in ("mean", "min", "max", "draws")]
    assert uniform == [-0.125, -0.25, 0, 2]
    assert [row["layer_mean"], row["layer_draws"]] == [-0.125, 1]
    assert "activation_mean" not in found


def test_retention_is_the_share_of_what_the_single_models_get_right(study):
    found = retention_table(study).set_index(["condition", "subtask", "task_type", "measure"])

    def share(*key):
        row = found.loc[key]
        return row["numerator"], row["denominator"]

    # Helpful or harmless right: items 0-5 and 8-10; the mixed model keeps 0-3, 8 and 9.
    assert share("baseline", "all", "all", "combined") == (6, 9)
    # Helpful right: 0-5 and 8, kept 0-3 and 8. Harmless right: 0, 1, 8, 9, 10, kept 0, 1, 8, 9.
    assert share("baseline", "all", "all", "helpful") == (5, 7)
    assert share("baseline", "all", "all", "harmless") == (4, 5)
    # Mixed right: 0-3, 6, 8, 9; with helpful's seven 5 in common, 9 in all.
    assert share("baseline", "all", "all", "jaccard_helpful") == (5, 9)
    assert share("baseline", "all", "harmless", "combined") == (2, 3)
    assert share("shared", "helpful-base", "helpful", "combined") == (0, 6)
    assert share("shared", "harmless-base", "harmless", "combined") == (2, 3)
    assert found.loc["baseline", "all", "all", "combined"]["share"] == pytest.approx(6 / 9)
    # Controls have no row.
    assert set(found.index.get_level_values("condition")) == {"baseline", "shared"}


def test_margins_are_those_of_items_both_get_right(tmp_path):
    cells = {
        ("tiny", 0, "helpful", INTACT): of_margins([1, 3, -1, 5]),
        ("tiny", 0, "mixed", INTACT): of_margins([2, -1, 4, 10]),
    }
    found = margin_table(read_study(write_study(tmp_path, cells))).set_index(["task_type", "units"])
    row = found.loc["all", "raw"]
    # Both right: items 0 and 3, margins 1 and 5 against 2 and 10; differences 1 and 5.
    names = ["reference", "n", "reference_mean", "mixed_mean", "difference"]
    assert row[names].tolist() == ["helpful", 2, 3, 6, 3]
    # sd of (1, 3, −1, 5) is √(20/3), of (2, −1, 4, 10) it is √(64.75/3).
    units = found.loc["all", "standardised"]
    assert units["reference_mean"] == pytest.approx(3 / math.sqrt(20 / 3))
    assert units["mixed_mean"] == pytest.approx(6 / math.sqrt(64.75 / 3))


def test_flips_name_the_items_that_change_sides(study):
    found = flip_table(study)

    def items(condition, reference, flip):
        rows = (found["condition"] == condition) & (found["reference"] == reference) & (found["flip"] == flip)
        return found[rows]["item"].tolist()

    assert items("shared", "intact", "lost") == ["item-0", "item-1", "item-2", "item-3"]
    assert items("shared", "intact", "gained") == ["item-11"]
    assert items("baseline", "helpful", "lost") == ["item-4", "item-5"]
    assert items("baseline", "helpful", "gained") == ["item-6", "item-9"]
    assert items("baseline", "harmless", "lost") == ["item-10"]
    assert not (found["condition"] == "shared.uniform-1").any()


def test_scores_come_with_interval_chance_and_length(study):
    found = pd.DataFrame(study.scores).set_index(["objective", "condition", "rule", "subtask"])
    row = found.loc["mixed", "baseline", "every chosen above every rejected", "helpful-base"]
    assert (row["accuracy"], row["n"], row["random_rate"], row["longest_wins"]) == (5 / 8, 8, 0.5, 0)
    # Wilson: centre (p + z²/2n)/(1 + z²/n) and half-width, z = 1.959964, p = 5/8, n = 8.
    z, p, n = 1.959964, 5 / 8, 8
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    assert (row["low"], row["high"]) == (pytest.approx(centre - half), pytest.approx(centre + half))


def test_distributions_compare_before_and_after(study):
    found = pd.DataFrame(study.distributions).set_index(["condition", "when", "side"])
    # Seven chosen rewards of 2 and five of −1; 4 of 12 right after.
    assert found.loc["shared", "before", "chosen"]["mean"] == pytest.approx((7 * 2 - 5) / 12)
    assert found.loc["shared", "after", "chosen"]["mean"] == pytest.approx((4 * 2 - 8) / 12)
    assert (found.loc["shared", "after", "rejected"]["sd"], found.loc["shared", "after", "rejected"]["n"]) == (0, 12)


def test_seeds_become_one_object_and_one_seed_has_no_deviation(tmp_path):
    cells = {
        ("tiny", 0, "mixed", INTACT): judged("11110000 1100"),
        ("tiny", 247, "mixed", INTACT): judged("11111100 1100"),
        ("tiny", 932, "mixed", SHARED): judged("11111111 1100"),
    }
    found = read_study(write_study(tmp_path, cells))
    keys = ["condition", "subtask"]
    table = seed_table(pd.DataFrame(found.scores), "accuracy", keys, ["0", "247", "932"]).set_index(keys)
    both = table.loc["baseline", "helpful-base"]
    # 4/8 and 6/8: mean 5/8, sd √(2 · (1/8)²).
    assert both[["mean", "seeds", "missing", "seed_0", "seed_247"]].tolist() == [5 / 8, 2, "932", 0.5, 0.75]
    assert both["sd"] == pytest.approx(math.sqrt(2) / 8)
    one = table.loc["shared", "helpful-base"]
    assert (one["mean"], one["missing"]) == (1, "0 247")
    assert pd.isna(one["sd"])
    gaps = {(gap["seed"], gap["condition"], gap["why"]) for gap in found.gaps if gap["objective"] == "mixed"}
    missing = "no table of this condition"
    assert gaps == {("0", "shared", missing), ("247", "shared", missing), ("932", "baseline", missing)}


def test_a_control_that_a_set_cannot_have_is_a_gap_with_its_reason(tmp_path):
    """Seed 0 has no layer-matched control and says so; seed 247 has two; seed 932 lacks them without a reason."""
    layer_1, why = replace(LAYER_0, draw=1), "set 'shared' has no control of kind 'layer'"
    cells = {("tiny", seed, "mixed", one): judged("1100 10") for seed in (0, 247, 932) for one in (INTACT, SHARED)}
    cells |= {("tiny", 247, "mixed", one): judged("1100 10") for one in (LAYER_0, layer_1)}
    folder = write_study(tmp_path, cells)
    record = next(folder.glob("tiny-0/mixed/*/run.json"))
    content = json.loads(record.read_text())
    entries = [{"set": "shared", "ablation": "zero", "control": kind, "why": why} for kind in ("layer", "activation")]
    write_json(record, {**content, "results": {"missing": [], "unavailable": entries}})
    gaps = [
        (gap["seed"], gap["condition"], gap["why"]) for gap in read_study(folder).gaps if gap["objective"] == "mixed"
    ]
    assert gaps == [
        ("0", "shared.layer", why),
        ("0", "shared.activation", why),
        ("932", "shared.layer", "no table of this condition"),
    ]


def test_subsets_of_the_larger_set_are_no_gap_where_another_set_is_larger(tmp_path):
    """In seed 0 `shared` is the smaller of the two sets, in seed 247 the other one."""
    part = Condition("helpful_only", "zero")
    subset_of = {0: Condition("shared", "zero", "helpful_only", 0), 247: Condition("helpful_only", "zero", "shared", 0)}
    cells = {
        ("tiny", seed, "mixed", one): judged("1100 10")
        for seed, subset in subset_of.items()
        for one in (INTACT, SHARED, part, subset)
    }
    assert [gap for gap in read_study(write_study(tmp_path, cells)).gaps if gap["objective"] == "mixed"] == []


def test_shuffled_labels_give_small_p_values_as_often_as_stated(tmp_path):
    random = np.random.default_rng(11)
    subtasks = [f"{kind}-{part}" for kind in ("helpful", "harmless") for part in range(10) for _ in range(100)]
    cells = {}
    sets = [Condition(name, "zero") for name in ("own", "helpful", "harmless", "helpful_only", "harmless_only")]
    for condition in (INTACT, *sets, SHARED, LAYER_0):
        # Rewards differ by condition, labels are coins: every difference of accuracy is chance.
        cells["tiny", 0, "mixed", condition] = of_margins(random.normal(size=2000), subtasks)
    found = effects(read_study(write_study(tmp_path, cells)))
    assert len(found) == 6 * 20
    expected = binom.ppf([0.0001, 0.9999], len(found), 0.05)
    assert expected[0] <= (found["p_value"] < 0.05).sum() <= expected[1]


def test_tables_about_neurons_and_the_files_of_the_command(study, tmp_path):
    runs = tmp_path / "tiny"
    neuron_scores([[1, 2, 3], [1, 1, 1]], [[1, 2, 0], [1, 1, 4]]).save(runs / "scores" / "helpful")
    NeuronSet.of("helpful", "post", (2, 3), [(0, 0), (0, 1)]).save(runs / "sets" / "helpful.json")
    NeuronSet.of("mixed", "post", (2, 3), [(0, 1), (1, 1), (1, 2)]).save(runs / "sets" / "mixed.json")
    folder = write_study(tmp_path / "study", CELLS)
    result = tables.run(tables.TablesConfig(study=folder, out=tmp_path / "out", runs=[runs]))
    of_study = {"conditions", "scores", "effects", "retention", "margins", "distributions", "seeds", "gaps", "flips"}
    of_runs = {"rmsd", "overlap", "overlap_baselines"}
    assert set(result["tables"]) == {"primary"} | of_study | of_runs
    rmsd = pd.read_csv(tmp_path / "out" / "rmsd.csv").set_index("layer")["rmsd"]
    # Differences 3 and −3 in one neuron of each layer: √(9/3) a layer and over all, and 0 once layers are averaged.
    assert rmsd.to_dict() == pytest.approx(
        {"0": math.sqrt(3), "1": math.sqrt(3), "all layers": math.sqrt(3), "layers averaged first": 0}
    )
    overlap = pd.read_csv(tmp_path / "out" / "overlap.csv")
    assert overlap[["left", "right", "intersection", "jaccard"]].to_numpy().tolist() == [["helpful", "mixed", 1, 0.25]]
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    tables.run(tables.TablesConfig(study=folder, out=tmp_path / "again", runs=[runs]))
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"tension_lens\.study"):
        read_study(tmp_path)
    with pytest.raises(RequestError, match="--runs"):
        tables.run(tables.TablesConfig(study=tmp_path, out=tmp_path / "out", runs=[tmp_path]))


def test_a_table_that_is_of_no_study_is_refused(tmp_path):
    folder = write_study(tmp_path, CELLS)
    target = folder / "tiny-0" / "mixed" / DATA.replace(":", "-") / "shared.parquet"
    judged("11110000 1100").save(target, {"condition": "shared"})
    with pytest.raises(RequestError, match="backbone"):
        read_study(folder)


def test_a_scorer_of_length_gets_rm_bench_easy_right_and_hard_wrong(tmp_path):
    # Concise, detailed and markdown responses are longer and longer on both sides; the reward is the length.
    random = np.random.default_rng(2)
    lengths = [np.sort(random.choice(np.arange(5, 400), 3, replace=False)).tolist() for _ in range(20)]
    rows = [
        (f"chat/{n}", "chat", *[[float(one) for one in of_it]] * 2, of_it, of_it) for n, of_it in enumerate(lengths)
    ]
    cells = {("tiny", 0, "mixed", INTACT): item_table(rows)}
    study = read_study(write_study(tmp_path, cells, data="rm-bench:all:test"))
    found = pd.DataFrame(study.scores).set_index(["rule", "subtask"])
    assert found.loc["RM-Bench easy", "chat"]["accuracy"] == 1
    assert found.loc["RM-Bench hard", "chat"]["accuracy"] == 0
    # Chosen and rejected of one style are equally long here: a tie, which is wrong; so is the strict rule.
    assert found.loc["RM-Bench normal", "chat"]["accuracy"] == found.loc["paper", "Chat"]["accuracy"] == 0
    assert found.loc["RM-Bench easy", "chat"]["longest_wins"] == 1
    assert (found.loc["paper", "Chat"]["n"], found.loc["RM-Bench easy", "chat"]["n"]) == (60, 20)
    assert found.loc["RM-Bench overall", "RM-Bench"]["missing"] == "code, math, safety-refuse, safety-response"


def test_ties_come_as_a_composite_without_an_interval(tmp_path):
    rows = [
        ("ref:1", "Ties", [5.0], [1.0]),
        ("tied:1", "Ties", [5.0, 4.0], [1.0]),
        ("f", "Factuality", [1.0], [0.0, 1.0, -1.0]),
    ]
    cells = {("tiny", 0, "mixed", INTACT): item_table(rows)}
    study = read_study(write_study(tmp_path, cells, data="reward-bench-2:all:test"))
    found = pd.DataFrame(study.scores).set_index(["rule", "subtask"])
    # spread 1; gaps 4 (ref) and 3 (tied), both above it: A = B = 1, M = tanh(3/1 − 1); both kinds right.
    row = found.loc["Ties composite", "Ties"]
    assert row["accuracy"] == pytest.approx(0.3 + 0.3 + 0.2 + 0.2 + 0.01 * math.tanh(2))
    assert pd.isna(row["low"])
    # The chosen response shares the highest reward with one other: half a credit, and wrong by the strict rule.
    assert found.loc["best of n", "Factuality"]["accuracy"] == 0.5
    assert found.loc["every chosen above every rejected", "Factuality"]["accuracy"] == 0


def test_two_parts_of_one_benchmark_are_refused(tmp_path):
    cells = {("tiny", 0, "mixed", INTACT): of_margins([1], ["donotanswer"])}
    first = read_study(write_study(tmp_path, cells, data="reward-bench:all:filtered"))
    assert {("RewardBench section", "Safety")} <= {(row["rule"], row["subtask"]) for row in first.scores}
    write_study(tmp_path, cells, data="reward-bench:harmless:filtered")
    with pytest.raises(RequestError, match="reward-bench"):
        read_study(tmp_path)


def test_models_that_do_not_say_their_seed_are_in_no_mean_over_seeds(tmp_path):
    folder = write_study(tmp_path / "study", {("tiny", "unknown", "mixed", INTACT): judged("11110000 1100")})
    tables.run(tables.TablesConfig(study=folder, out=tmp_path / "out"))
    assert pd.read_csv(tmp_path / "out" / "seeds.csv").empty
    assert set(pd.read_csv(tmp_path / "out" / "scores.csv")["seed"]) == {"unknown"}
