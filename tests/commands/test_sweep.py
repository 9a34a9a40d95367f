"""A sweep finds the planted neuron, agrees with select and evaluate, and refuses invalid input."""

import pandas as pd
import pytest
from parts_planted import save_other, write_planted

from tension_lens import evaluate, score, select, sweep
from tension_lens.errors import RequestError
from tension_lens.neurons.conditions import random_controls
from tension_lens.neurons.scores import NeuronScores

N = 60
TOPS = [1.0, 5.0, 20.0]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A planted model, its data and its scores."""
    folder = tmp_path_factory.mktemp("sweep")
    asked = write_planted(folder, count=N)
    score.run(score.ScoreConfig(**asked, out=folder / "scores", attribution=True))
    return folder, asked


def swept(scored, out, **changes):
    folder, asked = scored
    config = {**asked, "scores": folder / "scores", "out": out, "tops": TOPS, "draws": 2, **changes}
    sweep.run(sweep.SweepConfig(**config))
    return pd.read_csv(out / "sweep.csv")


@pytest.fixture(scope="module")
def table(scored, tmp_path_factory):
    return swept(scored, tmp_path_factory.mktemp("out"), statistics=["mean_abs", "mean", "contrast"])


def test_there_is_a_row_for_every_choice_and_one_for_the_intact_model(table):
    selected = [(name, top, 0) for name in ("mean_abs", "mean", "contrast") for top in TOPS]
    drawn = [("random", top, draw) for top in TOPS for draw in (0, 1)]
    found = list(zip(table["selector"], table["top"], table["draw"], strict=True))
    assert found == [("intact", 0, 0), *selected, *drawn]
    # Of 288 neurons: 1 % is 2.88, 5 % is 14.4, 20 % is 57.6.
    assert table["neurons"].tolist() == [0, *[3, 14, 58] * 3, 3, 3, 14, 14, 58, 58]
    assert (table["n"] == N).all()


def test_selected_sets_hold_the_planted_neuron_and_random_ones_of_their_size_do_not(table):
    assert table["accuracy"][0] == 1
    loudest = table[table["selector"] == "mean_abs"]
    assert (loudest["accuracy"] < 0.75).all()
    assert (loudest["difference_high"] < -0.1).all()
    assert (loudest["p_value"] < 1e-3).all()
    # Random sets share no neuron with the first selector's set, which holds the planted one.
    for draw in (0, 1):
        row = table[(table["selector"] == "random") & (table["top"] == 5) & (table["draw"] == draw)].iloc[0]
        assert (row["accuracy"], row["difference"], row["p_value"]) == (1, 0, 1)


def test_random_sets_are_seeded_by_the_models_weights_and_left_out_where_there_are_none(scored, capsys):
    scores = NeuronScores.load(scored[0] / "scores")
    # Half of the neurons leave one set of that size, and 60 % none; 0.1 % of 288 is no neuron.
    chosen = sweep.choices(scores, ["mean_abs"], [0.1, 20.0, 50.0, 60.0], 2)
    assert list(chosen) == [
        *(("mean_abs", top, 0) for top in (0.1, 20.0, 50.0, 60.0)),
        *(("random", 20.0, d) for d in (0, 1)),
    ]
    notes = capsys.readouterr().err.splitlines()
    assert ["no random sets of 0.1 %" in notes[0], "of 50 %" in notes[1], "of 60 %" in notes[2]] == [True] * 3
    assert "173 neurons outside the set, found 115" in notes[2]
    selected = chosen["mean_abs", 20.0, 0].neurons
    expected = random_controls(selected, 2, weights_sha256=scores.metadata["weights_sha256"])
    drawn = [chosen["random", 20.0, draw].neurons for draw in (0, 1)]
    assert drawn == [one.neurons for one in expected]
    assert drawn != [one.neurons for one in random_controls(selected, 2, weights_sha256="")]
    assert all(not len(selected & one) for one in drawn)


def test_a_row_is_what_select_and_evaluate_find(scored, table, tmp_path):
    folder, asked = scored
    off = tmp_path / "set.json"
    select.run(select.SelectConfig(scores=folder / "scores", statistic="contrast", top=20.0, out=off))
    found = evaluate.run(evaluate.EvaluateConfig(**asked, out=tmp_path / "off.parquet", ablate=off))
    row = table[(table["selector"] == "contrast") & (table["top"] == 20)].iloc[0]
    names = ["accuracy", "low", "high"]
    assert row[names].tolist() == pytest.approx([found[name] for name in names])
    items = pd.read_parquet(tmp_path / "off.parquet")
    margins = items["chosen_rewards"].str[0] - items["rejected_rewards"].str[0]
    assert row["mean_margin"] == pytest.approx(margins.mean(), abs=1e-6)


def test_the_change_of_the_mean_margin_stands_next_to_its_forecast(scored, table):
    scores = NeuronScores.load(scored[0] / "scores")
    assert table.loc[0, ["margin_change", "forecast"]].tolist() == [0, 0]
    assert table["margin_change"].to_numpy() == pytest.approx(table["mean_margin"] - table["mean_margin"][0])
    # The scores hold the attribution on the same items.
    attributed = scores.values["chosen/attribution"] - scores.values["rejected/attribution"]
    sets = sweep.choices(scores, ["contrast"], [20.0], 0)
    row = table[(table["selector"] == "contrast") & (table["top"] == 20)].iloc[0]
    forecast = -sum(attributed[neuron] for neuron in map(tuple, sets["contrast", 20.0, 0].neurons.neurons))
    assert row["forecast"] == pytest.approx(forecast, rel=1e-4)
    assert abs(row["forecast"]) > 1e-3


def test_attribution_sweeps_like_any_other_selector_and_two_runs_give_the_same_bytes(scored, tmp_path):
    first = swept(scored, tmp_path / "a", statistics=["attribution", "direct"], tops=[10.0], draws=1)
    swept(scored, tmp_path / "b", statistics=["attribution", "direct"], tops=[10.0], draws=1)
    assert first["selector"].tolist() == ["intact", "attribution", "direct", "random"]
    assert (tmp_path / "a" / "sweep.csv").read_bytes() == (tmp_path / "b" / "sweep.csv").read_bytes()


def test_the_default_takes_the_statistics_that_the_scores_hold_and_the_papers_shares(scored):
    config = sweep.SweepConfig(**scored[1], scores=scored[0] / "scores", out=scored[0] / "unused")
    chosen = sweep.choices(sweep.NeuronScores.load(config.scores), config.statistics, config.tops, config.draws)
    assert sorted({name for name, _, _ in chosen}) == ["mean", "mean_abs", "random"]
    assert sorted({top for _, top, _ in chosen}) == list(range(2, 31, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tops": [0.0]}, r"must lie in \(0, 100\]"),
        ({"tops": [10.0, 10.0]}, "--tops must name each value once"),
        ({"tops": []}, "at least one"),
        ({"statistics": ["loudness"]}, "unknown statistic 'loudness'"),
        ({"statistics": ["lape"]}, "needs scores on two kinds of data"),
        ({"statistics": ["change_rms"]}, "--base"),
        ({"draws": -1}, "--draws must be at least 0"),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_is_written(scored, changes, message, tmp_path):
    with pytest.raises(RequestError, match=message):
        swept(scored, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_scores_of_another_model_are_refused(scored, tmp_path):
    with pytest.raises(RequestError, match="holds scores of another model"):
        swept(scored, tmp_path / "out", model=str(save_other(tmp_path / "other")))
