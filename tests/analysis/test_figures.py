"""Figures show the numbers of their tables, checked by hand; areas are checked against an integral."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts_figures import (
    SWEEP,
    choices,
    judged,
    neuron_scores,
    points,
    require_well_made,
    rows_of,
    score_rows,
    variant_rows,
)
from parts_study import DATA, INTACT, SHARED, UNIFORM_0, UNIFORM_1, write_study

from analysis.figures import style
from analysis.figures.ablation import effects_caption, effects_figure
from analysis.figures.accuracy import subtask_caption, subtask_figure, training_caption, training_figure
from analysis.figures.frame import meta_of
from analysis.figures.neurons import depth_by_model_figure, depth_caption, rmsd_figure
from analysis.figures.overlap import (
    circles_of,
    lens_area,
    overlap_caption,
    overlap_figure,
    partition_caption,
    partition_figure,
)
from analysis.figures.pooling import interval_words, pool
from analysis.figures.rewards import density_caption, density_figure, merged
from analysis.figures.sweeps import sweep_caption, sweep_figure
from analysis.figures.tension import margins_caption, margins_figure, retention_caption, retention_figure
from analysis.figures.variants import variants_caption, variants_figure
from analysis.results.scores import STRICT
from analysis.results.study import read_study
from analysis.tables.effects import condition_table, effects
from analysis.tables.neurons import rmsd_table
from analysis.tables.retention import margin_table, retention_table
from tension_lens.artifacts.layout import RunFolder
from tension_lens.errors import RequestError
from tension_lens.neurons.overlap import overlap
from tension_lens.neurons.selectors import SELECTORS
from tension_lens.neurons.sets import NeuronSet, partition

WHO = {"backbone": "tiny", "seed": "0"}
CELLS = {
    ("helpful", INTACT): judged("11111100 100011110000"),
    ("harmless", INTACT): judged("11000000 111011110000"),
    ("mixed", INTACT): judged("11110010 111111111110"),
    ("mixed", SHARED): judged("11110000 000000000000"),
    ("mixed", UNIFORM_0): judged("11110010 111111111000"),
    ("mixed", UNIFORM_1): judged("11000010 111111111110"),
}


def read(folder, backbones):
    """A study of the same cells for every backbone and seed, but for seed 1, whose mixed model gets item 0 wrong."""
    cells = {}
    for backbone, seeds in backbones.items():
        for seed in seeds:
            for (objective, condition), table in CELLS.items():
                cells[backbone, seed, objective, condition] = table
            if seed == 1:
                cells[backbone, seed, "mixed", INTACT] = judged("01110010 111111111110")
    return read_study(write_study(folder, cells))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return read(tmp_path_factory.mktemp("one"), {"tiny": [0]})


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return read(tmp_path_factory.mktemp("many"), {"tiny": [0, 1], "small": [0]})


def percents(row, *names):
    """Fractions of a table's row as the figure shows them, with four significant digits."""
    return pytest.approx([100 * row[name] for name in names], rel=1e-3, abs=0.02)


# --- means over models


def models(values):
    """Rows of a table from (backbone, seed): value."""
    return pd.DataFrame(
        [{"backbone": b, "seed": s, "m": v, "low": v - 0.1, "high": v + 0.2, "k": "a"} for (b, s), v in values.items()]
    )


def test_one_model_keeps_its_own_interval():
    (row,) = pool(models({("x", "0"): 0.5}), "m", ["k"]).to_dict("records")
    assert (row["value"], row["low"], row["high"], row["over"]) == (0.5, 0.4, 0.7, "items")
    assert (row["backbone"], row["seed"], row["models"]) == ("x", "0", 1)


def test_seeds_of_one_backbone_have_students_interval():
    (row,) = pool(models({("x", "0"): 0.4, ("x", "1"): 0.5, ("x", "2"): 0.6}), "m", ["k"]).to_dict("records")
    # sd 0.1, t(2 df, 97.5 %) = 4.302653: half-width 4.302653 · 0.1/√3.
    assert row["value"] == pytest.approx(0.5)
    assert row["high"] - row["value"] == row["value"] - row["low"] == pytest.approx(0.430265 / math.sqrt(3), rel=1e-5)
    assert (row["over"], row["backbone"], row["seed"]) == ("seeds", "x", "")


def test_a_backbone_with_more_seeds_counts_no_more_than_another():
    values = {("x", "0"): 0.1, ("x", "1"): 0.3, ("x", "2"): 0.2, ("y", "0"): 0.6, ("z", "0"): 0.7}
    (row,) = pool(models(values), "m", ["k"]).to_dict("records")
    # Backbones have 0.2, 0.6 and 0.7: mean 0.5, variance (0.09 + 0.01 + 0.04)/2, t(2 df) = 4.302653.
    assert row["value"] == pytest.approx(0.5)
    assert row["high"] - row["value"] == pytest.approx(4.302653 * math.sqrt(0.07 / 3), rel=1e-5)
    assert (row["over"], row["backbones"], row["models"], row["backbone"]) == ("backbones", 3, 5, "")


@pytest.mark.parametrize("other", [("x", "1"), ("y", "0")])
def test_a_mean_of_two_has_no_interval(other):
    found = pool(models({("x", "0"): 0.4, other: 0.5}), "m", ["k"])
    (row,) = found.to_dict("records")
    assert row["value"] == pytest.approx(0.45)
    assert found[["low", "high"]].isna().all(axis=None)
    assert (row["over"], interval_words(found.iloc[0])) == ("", "45 %, no interval")


def test_what_has_no_value_is_left_out_and_not_zero():
    rows = models({("x", "0"): 0.5, ("y", "0"): float("nan")})
    (row,) = pool(rows, "m", ["k"]).to_dict("records")
    assert (row["value"], row["models"]) == (0.5, 1)
    assert pool(rows[rows["backbone"] == "y"], "m", ["k"]).empty


def test_a_mean_says_of_whom_it_is():
    values = {("x", "0"): 0.1, ("x", "1"): 0.3, ("y", "0"): 0.6, ("z", "7"): float("nan")}
    found = pool(models(values), "m", ["k"])
    # z has no value, so the mean is not over it.
    assert meta_of(found) == {"over": {"backbone": ["x", "y"], "seed": ["0", "1"]}}
    assert meta_of(found, ["data"]) == {}
    each = pool(models(values), "m", ["k", "backbone"])
    assert each["value"].tolist() == pytest.approx([0.2, 0.6])
    assert [meta_of(row) for _, row in each.groupby("backbone")] == [
        {"backbone": "x", "over": {"seed": ["0", "1"]}},
        {"backbone": "y", "seed": "0"},
    ]
    same_seed = pool(models({("x", "0"): 0.1, ("y", "0"): 0.6}), "m", ["k"])
    assert meta_of(same_seed) == {"seed": "0", "over": {"backbone": ["x", "y"]}}


# --- accuracy

AXES = ("Chat", "Focus", "Math")


def test_the_radar_has_the_accuracies_of_the_table_and_gaps_where_it_has_none():
    cells = {("tiny", "0", "helpful", axis): (0.5 + number / 10, 0.4, 0.9) for number, axis in enumerate(AXES)}
    cells |= {("tiny", "0", "mixed", axis): (0.3, 0.2, 0.4) for axis in AXES[:2]}
    figure = subtask_figure(score_rows(cells, chance=0.25), "helpful")
    require_well_made(figure, titles=False)
    drawn = {trace.name: trace for trace in figure.data}
    assert list(drawn["helpful"].theta) == [*AXES, AXES[0]]
    assert list(drawn["helpful"].r) == [50, 60, 70, 50]
    assert list(drawn["mixed"].r) == [30, 30, None, 30]
    assert list(drawn["helpful interval"].r) == [90] * 4 + [40] * 4
    assert list(drawn["random rewards"].r) == [25] * 4
    assert drawn["helpful"].meta == drawn["helpful interval"].meta == WHO
    assert drawn["random rewards"].meta is None
    assert "harmless" not in drawn
    assert not figure.layout.updatemenus


def test_the_radars_menu_holds_everyone_families_and_backbones():
    values = {"gpt2-small": (0.5, 0.6), "gpt2-large": (0.7, 0.7), "smollm2-135m": (0.9, 0.9)}
    models = [(name, str(seed), value) for name, seeds in values.items() for seed, value in enumerate(seeds)]
    cells = {(name, seed, "mixed", axis): (value, 0.1, 1.0) for name, seed, value in models for axis in AXES}
    figure = subtask_figure(score_rows(cells), "helpful")
    shown = {label: {one.name: one for one in traces}["mixed"] for label, traces in choices(figure).items()}
    # The family of one backbone would say what the backbone does.
    assert list(shown) == ["all 3 backbones", "family gpt2", *values]
    # Backbones have 0.55, 0.7 and 0.9.
    means = {label: trace.r[0] for label, trace in shown.items()}
    assert means == pytest.approx(
        {"all 3 backbones": 71.67, "family gpt2": 62.5, "gpt2-small": 55, "gpt2-large": 70, "smollm2-135m": 90}
    )
    assert [trace.name for trace in figure.data if trace.visible and trace.name == "mixed"] == ["mixed"]
    seeds = ["0", "1"]
    assert shown["all 3 backbones"].meta == {"over": {"backbone": list(values), "seed": seeds}}
    assert shown["family gpt2"].meta == {"over": {"backbone": ["gpt2-small", "gpt2-large"], "seed": seeds}}
    assert shown["gpt2-small"].meta == {"backbone": "gpt2-small", "over": {"seed": seeds}}


def test_two_sub_tasks_are_dots_of_intact_models_under_the_papers_rule_if_it_has_any():
    cells = {("tiny", "0", "helpful", axis): (0.5, 0.4, 0.7) for axis in AXES[:2]}
    paper, strict = score_rows(cells), score_rows(cells, rule=STRICT).assign(subtask="helpful-base")
    ablated = paper.assign(condition="shared", set="shared", accuracy=0.1)
    figure = subtask_figure(pd.concat([ablated, paper, strict]), "helpful")
    require_well_made(figure)
    assert points(figure, name="helpful") == {axis: (50, pytest.approx(40), pytest.approx(70)) for axis in AXES[:2]}
    assert {place: x for place, (x, *_) in points(figure, name="random rewards").items()} == {"Chat": 50, "Focus": 50}
    of_data = subtask_figure(strict.drop_duplicates("subtask"), "helpful")
    assert set(points(of_data, name="helpful")) == {"helpful-base"}
    assert subtask_caption(paper, "helpful") != subtask_caption(strict, "helpful")
    with pytest.raises(RequestError, match="harmless"):
        subtask_figure(paper, "harmless")


def test_held_out_accuracies_have_their_intervals_and_the_line_of_chance():
    rows = [(0, "helpful", 0.6, 0.55, 0.64), (1, "helpful", 0.52, 0.47, 0.57), (1, "mixed", 0.55, 0.51, 0.59)]
    training = pd.DataFrame(rows, columns=["seed", "objective", "accuracy", "low", "high"])
    training = training.assign(run="a", backbone="tiny", data="sample", n=400)
    figure = training_figure(training)
    require_well_made(figure)
    place = "tiny, seed\N{NO-BREAK SPACE}{}"
    found = points(figure, name="helpful")
    assert found[place.format(0)] == pytest.approx((60, 55, 64))
    assert found[place.format(1)] == pytest.approx((52, 47, 57))
    assert set(points(figure, name="mixed")) == {place.format(1)}
    assert figure.layout.shapes[0].x0 == figure.layout.shapes[0].x1 == 50
    assert [trace.meta for trace in figure.data if trace.name == "mixed"] == [{"backbone": "tiny", "seed": "1"}]
    assert "n = 400 pairs" in training_caption(training) and "1 of 3 intervals" in training_caption(training)


# --- tension


def test_retention_shows_shares_and_intervals_of_the_table_and_no_control(one):
    table = retention_table(one)
    figure = retention_figure(table)
    require_well_made(figure)
    found = table[(table["subtask"] == "all") & (table["task_type"] == "all")].set_index(["measure", "condition"])
    for measure in ("combined", "helpful", "harmless"):
        drawn = points(figure, name=measure)
        assert list(drawn) == ["intact", "shared ablated"]
        for condition, place in (("baseline", "intact"), ("shared", "shared ablated")):
            assert drawn[place] == percents(found.loc[measure, condition], "share", "low", "high")
    # Helpful right: items 0-5 and 8, 12-15; of these eleven the intact mixed model keeps 0-3, 8 and 12-15: nine.
    assert points(figure, name="helpful")["intact"][0] == pytest.approx(100 * 9 / 11, rel=1e-3)
    assert {trace.name for trace in figure.data} == {"combined", "helpful", "harmless"}


def test_retention_that_has_no_denominator_is_absent(one):
    table = retention_table(one)
    empty = (table["measure"] == "helpful") & (table["condition"] == "shared")
    table.loc[empty, ["share", "low", "high"]] = None
    assert list(points(retention_figure(table), name="helpful")) == ["intact"]


def test_retention_of_many_models_is_a_mean_with_its_backbones(many):
    figure = retention_figure(retention_table(many))
    intact = [trace for trace in figure.data if trace.name == "helpful" and rows_of(figure, trace) == ["intact"]]
    by_backbone = {trace.meta.get("backbone"): trace for trace in intact}
    # Seed 1 of tiny keeps eight of eleven: tiny has 8.5/11, small 9/11.
    assert by_backbone["tiny"].x[0] == pytest.approx(100 * 8.5 / 11, rel=1e-3)
    assert by_backbone["small"].x[0] == pytest.approx(100 * 9 / 11, rel=1e-3)
    assert by_backbone["small"].meta == {"backbone": "small", "seed": "0", "condition": "baseline", "data": DATA}
    where = {"condition": "baseline", "data": DATA}
    assert by_backbone["tiny"].meta == {"backbone": "tiny", **where, "over": {"seed": ["0", "1"]}}
    mean = by_backbone[None]
    assert mean.meta == {**where, "over": {"backbone": ["small", "tiny"], "seed": ["0", "1"]}}
    assert mean.x[0] == pytest.approx(100 * 8.75 / 11, rel=1e-3)
    # Of two, seeds or backbones, a mean has no interval; the one model of small has Wilson's.
    assert mean.error_x.array is None and by_backbone["tiny"].error_x.array is None
    table = retention_table(many).set_index(["backbone", "measure", "condition", "subtask", "task_type"])
    row = table.loc["small", "helpful", "baseline", "all", "all"]
    assert row["high"] - row["share"] == pytest.approx(by_backbone["small"].error_x.array[0] / 100, rel=1e-3)
    # Above and below their mean, and still in its row.
    assert sorted([by_backbone["tiny"].y[0], by_backbone["small"].y[0]])[0] < mean.y[0]
    assert by_backbone["tiny"].y[0] + by_backbone["small"].y[0] == pytest.approx(2 * mean.y[0], abs=1e-3)


def test_margins_show_the_differences_of_the_table(one):
    table = margin_table(one)
    for units in ("standardised", "raw"):
        figure = margins_figure(table, units)
        require_well_made(figure)
        found = table[(table["task_type"] == "all") & (table["units"] == units)].set_index(["reference", "condition"])
        for reference in ("helpful", "harmless"):
            row = found.loc[reference, "baseline"]
            drawn = points(figure, name=f"against {reference}")["intact"]
            assert drawn == pytest.approx([row["difference"], row["low"], row["high"]], rel=1e-3, abs=1e-4)


# --- ablation


def test_effects_show_differences_p_values_and_controls_of_the_table(one):
    table = condition_table(effects(one), one)
    figure = effects_figure(table)
    require_well_made(figure)
    (drawn,) = (trace for trace in figure.data if trace.name == "shared set")
    rows = table.set_index("subtask")
    found = points(figure, name="shared set")
    for subtask in ("helpful-base", "harmless-base"):
        assert found[subtask] == percents(rows.loc[subtask], "difference", "low", "high")
    # Of helpful items one is lost: p = 1. Of harmless ones eleven are: 2 · (1/2)¹¹.
    texts = dict(zip(rows_of(figure, drawn), drawn.text, strict=True))
    assert texts["helpful-base"].endswith("lost 1, gained 0, p = 1")
    assert texts["harmless-base"].endswith("lost 11, gained 0, p = 0.000977")
    assert drawn.marker.symbol is None
    assert drawn.meta == {**WHO, "condition": "shared", "data": DATA}
    # uniform-0 loses two of twelve harmless items, uniform-1 two of eight helpful ones.
    assert points(figure, name="random, uniform") == {
        "helpful-base": pytest.approx((-12.5, -25, 0), abs=0.01),
        "harmless-base": pytest.approx((-8.333, -16.67, 0), abs=0.01),
    }


def test_effects_of_many_models_are_a_mean_without_a_p_value(many):
    table = condition_table(effects(many), many)
    figure = effects_figure(table)
    require_well_made(figure)
    (mean,) = (t for t in figure.data if t.name == "shared set" and "backbone" not in t.meta)
    assert not any("p =" in text for text in mean.text)
    everyone = {"backbone": ["small", "tiny"], "seed": ["0", "1"]}
    assert mean.meta == {"condition": "shared", "data": DATA, "over": everyone}
    assert [t.meta["over"] for t in figure.data if t.name == "random, uniform"] == [everyone]
    assert {trace.meta["backbone"] for trace in figure.data if "backbone" in trace.meta} == {"tiny", "small"}


def test_the_menu_of_effects_holds_sets_of_the_mixed_model_first(one):
    table = condition_table(effects(one), one)
    own = table.assign(objective="helpful", condition="own.mean", set="own", ablation="mean")
    figure = effects_figure(pd.concat([own, table], ignore_index=True))
    shown = choices(figure)
    assert list(shown) == ["mixed model, shared ablated", "helpful model, own at mean"]
    assert {trace.meta["condition"] for trace in shown["helpful model, own at mean"]} == {"own.mean"}
    colours = {trace.name: trace.marker.color for trace in figure.data if trace.name.endswith("set")}
    assert colours == {"shared set": style.COLOURS["shared"], "own set": style.COLOURS["helpful"]}


def test_the_sweep_shows_each_selector_the_random_draws_and_the_intact_model():
    figure = sweep_figure(SWEEP)
    require_well_made(figure)
    drawn = {trace.name: trace for trace in figure.data if trace.name != "intact"}
    assert (list(drawn["mean_abs"].x), list(drawn["mean_abs"].y)) == ([5, 10], [65, 60])
    band = drawn["mean_abs interval"]
    assert (list(band.x), list(band.y)) == ([5, 10, 10, 5], [70, 70, 50, 60])
    # The random draws: mean 0.68 at 5 %, from 0.66 to 0.7.
    assert list(drawn["random"].y) == pytest.approx([68, 60])
    assert list(drawn["random interval"].y) == pytest.approx([70, 60, 60, 66])
    intact = [(trace.line.dash, *trace.y) for trace in figure.data if trace.name == "intact"]
    assert intact == [("solid", 70, 70), ("dot", 65, 65), ("dot", 75, 75)]
    assert all(trace.meta == {**WHO, "data": "sample:mixed:test"} for trace in figure.data)


def test_the_menu_of_sweeps_names_models_by_what_differs():
    other = SWEEP.assign(objective="helpful")
    assert list(choices(sweep_figure(pd.concat([SWEEP, other])))) == ["tiny, mixed", "tiny, helpful"]
    again = SWEEP.assign(run="other/sweep")
    assert list(choices(sweep_figure(pd.concat([SWEEP, again])))) == ["tiny (run/sweep)", "tiny (other/sweep)"]


# --- rewards


def test_variants_show_differences_of_the_table_and_the_span_of_random_sets():
    figure = variants_figure(variant_rows())
    require_well_made(figure)
    helpful = points(figure, name="helpful model")
    expected = [(-3.0, -6.0, 0.0), (1.0, -2.0, 4.0), (0.0, -1.0, 1.0), (2.0, -2.0, 6.0)]
    assert list(helpful.values()) == [pytest.approx(one) for one in expected]
    texts = {trace.name: trace.text[0] for trace in figure.data if "model" in trace.name}
    assert "p = 0.4," in texts["helpful model"] and "p = 0.01," in texts["harmless model"]
    random = [trace for trace in figure.data if trace.name == "random neurons"]
    assert [trace.x[0] for trace in random] == pytest.approx([0.5, 1.0])
    assert random[0].error_x.array[0] == pytest.approx(1.5) and random[0].error_x.arrayminus[0] == pytest.approx(1.5)


def test_densities_are_those_of_the_study_before_and_after(one):
    table = pd.DataFrame(one.distributions)
    figure = density_figure(table)
    require_well_made(figure, titles=False)
    found = table.set_index(["when", "side"])
    for trace in figure.data:
        side, when = trace.name.split(", ")
        row = found.loc["before" if when == "intact" else "after", side]
        # 20 items: 2·√20 = 8.9, so 60 bins become 6 of ten each, wide as ten.
        assert len(trace.y) == 7
        assert trace.x0 == pytest.approx(row["edges"][0], rel=1e-3)
        assert trace.dx == pytest.approx((row["edges"][-1] - row["edges"][0]) / 6, rel=1e-3)
        assert list(trace.y[:-1]) == pytest.approx(
            [row["density"][k : k + 10].mean() for k in range(0, 60, 10)], rel=1e-3
        )
        assert sum(trace.y) * trace.dx == pytest.approx(1, rel=1e-3)
        assert trace.y[-1] == 0
        assert trace.meta == {**WHO, "condition": "shared", "data": DATA}


@given(st.lists(st.floats(0, 10), min_size=60, max_size=60), st.integers(1, 10_000))
def test_merged_bins_keep_the_area(density, n):
    found = merged(np.array(density), n)
    assert len(found) <= max(1, min(30, 2 * math.sqrt(n)))
    assert found.sum() / len(found) == pytest.approx(sum(density) / 60)


def test_densities_of_single_objective_models_are_of_their_own_set(many):
    table = pd.DataFrame(many.distributions)
    helpful = [table.assign(objective="helpful", condition=name, set=name) for name in ("own", "shared")]
    figure = density_figure(pd.concat([*helpful, table]))
    assert [note.text for note in figure.layout.annotations] == [
        "mixed model, shared ablated",
        "helpful model, own ablated",
    ]
    assert {trace.meta["seed"] for trace in figure.data} == {"0"}
    assert list(choices(figure)) == [f"small, {DATA}", f"tiny, {DATA}"]


# --- neurons


def test_rmsd_by_layer_is_the_tables(tmp_path):
    scores = neuron_scores([[1, 1, 1], [1, 1, 1]], [[1, 2, 1], [1, 1, 1]])
    scores.save(tmp_path / "tiny" / "scores" / "helpful")
    table = rmsd_table({"tiny": RunFolder(tmp_path / "tiny")}, "mean_abs")
    figure = rmsd_figure(table)
    require_well_made(figure)
    (drawn,) = figure.data
    # One of three neurons of layer 0 differs by 1: √(1/3).
    assert (list(drawn.x), list(drawn.y)) == ([0, 1], [0.5774, 0])
    named = pd.concat([table.assign(backbone="a", seed="0"), table.assign(runs="other", backbone="b", seed="0")])
    shown = choices(rmsd_figure(named))
    assert {name: traces[0].meta for name, traces in shown.items()} == {
        "tiny": {"backbone": "a", "seed": "0"},
        "other": {"backbone": "b", "seed": "0"},
    }


SHAPE = (6, 10)
HELPFUL = NeuronSet.of("helpful", "post", SHAPE, [(0, 1), (0, 2), (2, 3), (5, 4)])
HARMLESS = NeuronSet.of("harmless", "post", SHAPE, [(0, 1), (3, 2), (5, 4), (5, 5), (5, 6)])
PARTED = {"helpful": HELPFUL, "harmless": HARMLESS, **partition(HELPFUL, HARMLESS)}


def test_depth_of_several_models_is_a_mean_beside_each_and_the_uniform_share():
    other = NeuronSet.of("helpful", "post", (3, 4), [(0, 0), (2, 1)])
    about = {"a": {"backbone": "x", "seed": "0"}, "b": {"backbone": "y", "seed": "0"}}
    figure = depth_by_model_figure({"a": PARTED, "b": {"helpful": other}}, about)
    require_well_made(figure)
    bars = {trace.name: trace for trace in figure.data if trace.type == "bar"}
    # Early: 2 of 4 and 1 of 2; middle 1 of 4 and none; late 1 of 4 and 1 of 2.
    assert list(bars["helpful"].y) == [50, 12.5, 37.5]
    # Two models are too few for an interval of their mean.
    assert bars["helpful"].error_y.array is None
    third = NeuronSet.of("helpful", "post", (3, 4), [(0, 0), (0, 1)])
    of_three = depth_by_model_figure({"a": PARTED, "b": {"helpful": other}, "c": {"helpful": third}})
    # Middle: 0.25, 0 and 0, sd 0.25/√3; t(2 df) = 4.302653.
    assert of_three.data[0].error_y.array[1] == pytest.approx(100 * 4.302653 * 0.25 / 3, rel=1e-3)
    assert list(bars["uniform"].y) == pytest.approx([33.33] * 3)
    # Six layers and three have the same thirds: no mean over models.
    assert bars["uniform"].meta is None
    assert bars["helpful"].meta == {"seed": "0", "over": {"backbone": ["x", "y"]}}
    assert list(bars["harmless"].y) == [20, 20, 60]
    assert bars["harmless"].error_y.array is None
    dots = {trace.meta["backbone"]: list(trace.y) for trace in figure.data if trace.type == "scatter"}
    assert dots == {"x": [50, 25, 25], "y": [50, 0, 50]}
    assert "mixed" not in bars
    with pytest.raises(RequestError):
        depth_by_model_figure({"a": {}})


def test_empty_sets_have_no_depth_and_no_circle():
    figure = depth_by_model_figure({"a": {"helpful": NeuronSet.of("helpful", "post", SHAPE, [])}})
    assert list(figure.data[0].y) == [None] * 3
    empty = {"left_neurons": 0, "right_neurons": 0, "intersection": 0, "union": 0, "jaccard": float("nan")}
    assert len(overlap_figure(overlaps(**empty)).data) == 3


def overlaps(**more):
    row = {"left": "helpful", "right": "harmless", "left_neurons": len(HELPFUL), "right_neurons": len(HARMLESS)}
    return pd.DataFrame([{"runs": "tiny", **row, **dataclasses.asdict(overlap(HELPFUL, HARMLESS)), **more}])


def common_area(r, s, d):
    """Of circles with radii r and s, d apart: the integral over x of the height that both have there."""
    x = np.linspace(max(-r, d - s), min(r, d + s), 40_001)
    heights = np.minimum(np.sqrt(np.maximum(r**2 - x**2, 0)), np.sqrt(np.maximum(s**2 - (x - d) ** 2, 0)))
    return 2 * np.trapezoid(heights, x) if len(x) and x[-1] > x[0] else 0.0


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0, 1))
def test_circles_have_the_areas_of_the_counts(left, right, share):
    intersection = round(share * min(left, right))
    circles = circles_of(left, right, intersection)
    assert math.pi * circles.left**2 == pytest.approx(left)
    assert math.pi * circles.right**2 == pytest.approx(right)
    found = common_area(circles.left, circles.right, circles.distance)
    assert found == pytest.approx(intersection, rel=1e-3, abs=1e-3 * min(left, right))


def test_the_lens_of_unit_circles_one_apart():
    # 2π/3 − √3/2, from the textbook.
    assert lens_area(1, 1, 1) == pytest.approx(2 * math.pi / 3 - math.sqrt(3) / 2)
    assert lens_area(1, 2, 3) == 0
    assert lens_area(1, 2, 0.5) == pytest.approx(math.pi)


def polygon_area(trace):
    x, y = np.array(trace.x), np.array(trace.y)
    return abs(float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())) / 2


def test_the_drawn_circles_are_to_scale_and_leave_room_for_the_numbers():
    disjoint = {"left_neurons": 4000, "right_neurons": 500, "intersection": 0, "union": 4500, "jaccard": 0.0}
    table = pd.concat([overlaps(left_neurons=3000, right_neurons=2000, intersection=700), overlaps(**disjoint)])
    figure = overlap_figure(table)
    require_well_made(figure, titles=False)
    drawn = [trace for trace in figure.data if trace.fill == "toself"]
    areas = [polygon_area(trace) for trace in drawn]
    assert [area / areas[0] for area in areas] == pytest.approx([1, 2 / 3, 4 / 3, 1 / 6], rel=0.01)
    text = [trace.x[0] for trace in figure.data if trace.mode == "text"]
    assert all(min(trace.x) >= 0 and max(trace.x) < min(text) for trace in drawn)
    # Pairs lie below each other, a unit apart, and do not touch.
    assert max(*drawn[2].y, *drawn[3].y) < min(*drawn[0].y, *drawn[1].y)
    assert figure.layout.yaxis.scaleanchor == "x"


def test_the_overlap_is_written_with_jaccard_and_chance():
    table = overlaps()
    figure = overlap_figure(table)
    (words,) = next(trace.text for trace in figure.data if trace.mode == "text")
    # Shared: (0, 1) and (5, 4) of seven.
    assert "2 shared of 7" in words
    assert "Jaccard 0.286" in words
    assert f"by chance {table['expected_jaccard'].iloc[0]:.3f}" in words
    assert [trace.showlegend for trace in figure.data] == [True, True, False]


def test_the_partition_is_to_scale_beside_chance():
    figure = partition_figure({"tiny": PARTED, "half": {"helpful": HELPFUL}}, {"tiny": WHO})
    require_well_made(figure)
    bars = {trace.name: trace for trace in figure.data if trace.type == "bar"}
    assert {name: (trace.x[0], trace.text[0]) for name, trace in bars.items()} == {
        "helpful only": (pytest.approx(100 * 2 / 60, rel=1e-3), "2"),
        "shared": (pytest.approx(100 * 2 / 60, rel=1e-3), "2"),
        "harmless only": (5, "3"),
    }
    (chance,) = (trace for trace in figure.data if trace.type == "scatter")
    # 4 · 5/60 shared by chance, after the two of helpful alone.
    assert chance.x[0] == pytest.approx(100 * (2 + 4 * 5 / 60) / 60, rel=1e-3)
    assert all(trace.meta == WHO for trace in figure.data)
    assert list(figure.layout.yaxis.ticktext) == ["tiny"]


# --- looks


def luminance(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """WCAG's ratio of luminances."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_selectors_differ_in_colour_and_look_and_show_on_light_and_dark_pages():
    looks = style.SELECTOR_LOOKS
    assert set(looks) == set(SELECTORS)
    colours = {colour for colour, *_ in looks.values()}
    assert len(colours) == len({symbol for *_, symbol in looks.values()}) == len(looks)
    assert not colours & set(style.COLOURS.values())
    lines = colours | set(style.SIDE_COLOURS.values()) | {style.GREY}
    for colour in lines | {style.COLOURS[name] for name in ("helpful", "harmless", "mixed", "shared")}:
        assert contrast(colour, "#ffffff") >= 2.9
        assert contrast(colour, "#16181b") >= 2.9


# --- captions


def test_captions_have_n_and_say_when_controls_are_missing(one):
    conditions = condition_table(effects(one), one)
    without = {
        effects_caption: conditions.drop(columns=[name for name in conditions if "uniform" in name]),
        sweep_caption: SWEEP[SWEEP["selector"] != "random"],
    }
    with_controls = {effects_caption: conditions, sweep_caption: SWEEP}
    for caption, table in with_controls.items():
        assert "Grey" in caption(table) and "Grey" not in caption(without[caption])
    distributions = pd.DataFrame(one.distributions)
    counts = {
        effects_caption(conditions): "n = 8 to 12",
        sweep_caption(SWEEP): "n = 200 items",
        retention_caption(retention_table(one)): "n = 9 to 13 items with such a pair",
        variants_caption(variant_rows()): "n = 400 items",
        density_caption(distributions): "n = 20 responses",
        overlap_caption(overlaps()): "n = 4 to 5 neurons",
        partition_caption({"tiny": PARTED}): "n = 2 to 3 neurons",
        depth_caption({"tiny": PARTED}): "n = 4 to 5 neurons",
    }
    assert all(n in caption for caption, n in counts.items())
    assert margins_caption(margin_table(one)) != margins_caption(margin_table(one), "raw")
