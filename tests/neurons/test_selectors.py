"""Every selector follows its formula and refuses scores that it cannot be computed from."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from parts import neuron_pairs, save_checkpoint, write_pairs
from parts_planted import PLANTED, planted_comparisons, planted_reward_model
from scipy.stats import entropy

from tension_lens import score, select
from tension_lens.constants import CHANGE_STATISTIC, CONTRIBUTIONS, SIDES, STATISTICS
from tension_lens.errors import RequestError
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.selectors import SELECTORS, importance, select_neurons
from tension_lens.neurons.sets import NeuronSet
from tension_lens.score import ScoreConfig
from tension_lens.select import SelectConfig

ALL = (*STATISTICS, CHANGE_STATISTIC, *CONTRIBUTIONS)


def scores_with(site="post", scope="all", shape=(2, 3), seed=0, weights="a" * 64, **given):
    """Random scores, except for the statistics given as (chosen, rejected)."""
    draw = np.random.default_rng(seed)
    values = {f"{side}/{name}": draw.uniform(size=shape).astype(np.float32) for side in SIDES for name in ALL}
    for name, both in given.items():
        values.update({f"{side}/{name}": np.array(one, np.float32) for side, one in zip(SIDES, both, strict=True)})
    metadata = {"model": "m", "weights_sha256": weights, "attribution_scope": "all", "direct_scope": "last"}
    return NeuronScores(values, site, scope, metadata)


def frequencies(values, **more):
    """Scores whose frequency is the same on both sides."""
    return scores_with(shape=np.shape(values), frequency=(values, values), **more)


def refusal(*arguments, **more):
    """The error message of a refused importance."""
    with pytest.raises(RequestError) as refused:
        importance(*arguments, **more)
    return str(refused.value)


# Statistics


@pytest.mark.parametrize("statistic", [*STATISTICS, CHANGE_STATISTIC])
def test_a_statistic_is_ranked_by_its_mean_over_both_sides(statistic):
    scores = scores_with(shape=(1, 3), **{statistic: ([[3, 1, -2]], [[1, 2, -6]])})
    assert importance(statistic, scores).tolist() == [[2, 1.5, -4]]


@pytest.mark.parametrize("contribution", CONTRIBUTIONS)
def test_contributions_are_ranked_by_their_difference_with_its_sign(contribution):
    scores = scores_with(shape=(1, 3), **{contribution: ([[3, 1, -2]], [[1, 2, -6]])})
    assert importance(contribution, scores).tolist() == [[2, -1, 4]]


# Contrast


def test_contrast_by_hand():
    # Layer 0: chosen + rejected are 4, 2 and 0, their mean 2, a tenth of it 0.2: 2/4.2, −1/2.2, 0/0.2.
    # Layer 1: 400, 800 and 0 with mean 400, so 40 is added: 200/440, −400/840, 0. Layer 2 is inactive.
    chosen, rejected = [[3, 0.5, 0], [300, 200, 0], [0, 0, 0]], [[1, 1.5, 0], [100, 600, 0], [0, 0, 0]]
    scores = scores_with(shape=(3, 3), mean_abs=(chosen, rejected))
    expected = [[2 / 4.2, -1 / 2.2, 0], [200 / 440, -400 / 840, 0], [0, 0, 0]]
    np.testing.assert_allclose(importance("contrast", scores), expected, rtol=1e-12)


def test_an_almost_inactive_neuron_does_not_win_by_contrast():
    # Its quotient without a floor is (2 − 1)/(2 + 1) = 0.33, above the 0.2 of the active neurons.
    chosen, rejected = [[0.6, 0.6, 2e-6]], [[0.4, 0.4, 1e-6]]
    found = importance("contrast", scores_with(shape=(1, 3), mean_abs=(chosen, rejected)))
    assert found[0, :2].min() > 0.18
    assert 0 < found[0, 2] < 1e-4


activity = arrays(np.float32, (2, 4), elements=st.floats(0, 1000, width=32, allow_subnormal=False))


@settings(max_examples=100, deadline=None)
@given(activity, activity, st.integers(-8, 8))
def test_contrast_is_bounded_turns_with_the_sides_and_knows_no_unit(chosen, rejected, power):
    found = importance("contrast", scores_with(shape=(2, 4), mean_abs=(chosen, rejected)))
    assert np.abs(found).max() < 1
    turned = importance("contrast", scores_with(shape=(2, 4), mean_abs=(rejected, chosen)))
    np.testing.assert_array_equal(turned, -found)
    # Another unit in the first layer: a power of two, so that nothing is rounded.
    unit = np.array([[2.0**power], [1.0]], np.float32)
    rescaled = importance("contrast", scores_with(shape=(2, 4), mean_abs=(chosen * unit, rejected * unit)))
    np.testing.assert_allclose(rescaled, found, rtol=1e-6, atol=1e-12)


# LAPE


def test_lape_by_hand():
    # (0.3, 0.1): shares ¾ and ¼, H = 0.75 ln(4/3) + 0.25 ln 4 = 0.215762 + 0.346574 = 0.562335, ln 2 − H = 0.130812.
    # (0.2, 0): H = 0. (0, 0.4): H = 0, negative. (0.2, 0.2): H = ln 2. Both sides count alike: ½ (0.5 + 0.1) = 0.3.
    first = scores_with(frequency=([[0.5, 0.2, 0], [0.2, 0, 0.1]], [[0.1, 0.2, 0], [0.2, 0, 0.1]]))
    second = frequencies([[0.1, 0, 0.4], [0.2, 0, 0.3]], seed=1)
    expected = [[0.130812, math.log(2), -math.log(2)], [0, 0, -0.130812]]
    np.testing.assert_allclose(importance("lape", first, second), expected, atol=1e-6)


shares = arrays(np.float32, (2, 4), elements=st.floats(0, 1, width=32))


@settings(max_examples=100, deadline=None)
@given(shares, shares)
def test_lape_is_the_entropy_that_scipy_computes_and_turns_with_the_data(a, b):
    first, second = frequencies(a), frequencies(b)
    if np.array_equal(a, b):
        assert "same frequencies" in refusal("lape", first, second)
        return
    found = importance("lape", first, second)
    for place in np.ndindex(a.shape):
        p, q = float(a[place]), float(b[place])
        specific = math.log(2) - entropy([p, q]) if p + q > 0 else 0
        assert abs(found[place]) == pytest.approx(specific, abs=1e-12)
        assert found[place] * (p - q) >= -1e-15
    np.testing.assert_allclose(importance("lape", second, first), -found, atol=1e-15)


# Refusals


def test_every_selector_ranks_every_neuron_of_scores_that_hold_all():
    first, second = scores_with(), scores_with(seed=1)
    for name, selector in SELECTORS.items():
        found = importance(name, first, second if selector.compares else None)
        assert (found.shape, found.dtype) == ((2, 3), np.float64)
        assert np.isfinite(found).all()
        assert selector.meaning


def test_an_unknown_selector_is_refused_with_all_known():
    assert ", ".join(SELECTORS) in refusal("median", scores_with())


@pytest.mark.parametrize(
    ("name", "flag"), [(CHANGE_STATISTIC, "--base"), *((name, "--attribution") for name in CONTRIBUTIONS)]
)
def test_missing_statistics_are_refused_with_the_flag_that_adds_them(name, flag):
    scores = scores_with()
    for side in SIDES:
        del scores.values[f"{side}/{name}"]
    assert name in refusal(name, scores)
    assert flag in refusal(name, scores)


@pytest.mark.parametrize("name", SELECTORS)
def test_other_scores_are_needed_by_lape_only(name):
    others = () if SELECTORS[name].compares else (scores_with(seed=1),)
    message = refusal(name, scores_with(), *others)
    assert "--against" in message
    assert "statistic lape" in message and name in message


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"weights": "b" * 64}, "aaaaaaaaaaaa and bbbbbbbbbbbb"),
        ({"shape": (2, 4)}, "one model"),
        ({"site": "gate"}, "post and gate"),
        ({"scope": "last"}, "all and last"),
    ],
)
def test_lape_of_scores_that_are_not_comparable_is_refused(other, message):
    assert message in refusal("lape", scores_with(), scores_with(seed=1, **other))
    unknown = replace(scores_with(), metadata={})
    assert "unknown and unknown" in refusal("lape", unknown, unknown)


# Sets


@pytest.mark.parametrize(
    ("statistic", "scope"), [("rms", "response"), ("contrast", "response"), ("attribution", "all"), ("direct", "last")]
)
def test_a_set_says_what_selected_it(statistic, scope):
    scores = scores_with("gate", "response")
    found = select_neurons(scores, statistic, 50.0, "half")
    assert (found.name, found.site, len(found)) == ("half", "gate", 3)
    assert found.origin == {**scores.metadata, "statistic": statistic, "scope": scope, "top_percent": 50}
    ranked = sorted(np.ndindex(2, 3), key=lambda neuron: -importance(statistic, scores)[neuron])
    assert neuron_pairs(found) == tuple(sorted(ranked[:3]))


# Commands


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Of each family the planted model scored with attribution on its pairs, and on other texts."""
    folder = tmp_path_factory.mktemp("planted")
    pairs = [(one.chosen[0], one.rejected[0]) for one in planted_comparisons(40)]
    data = write_pairs(folder / "pairs.jsonl", pairs)
    # The same texts, all with the bad character last: where the planted neuron reads, it reads otherwise.
    other = write_pairs(folder / "other.jsonl", [(f"{rejected} ", f"{rejected}.") for _, rejected in pairs])
    for family in ("gpt2", "llama"):
        reference = planted_reward_model(family)
        # Where one neuron makes up most of the stream, the norm's division hides from the gradient how much that is.
        with torch.no_grad():
            for name, parameter in reference.named_parameters():
                if "mlp.c_proj" in name or "down_proj" in name:
                    parameter *= 0.02
        model = str(save_checkpoint(reference, folder / family / "model"))
        score.run(ScoreConfig(model=model, data=str(data), out=folder / family / "scores", attribution=True))
        score.run(ScoreConfig(model=model, data=str(other), out=folder / family / "other"))
    return folder


@pytest.mark.parametrize("statistic", CONTRIBUTIONS)
def test_the_neuron_that_carries_the_reward_is_found_by_its_contribution(planted, family, statistic, tmp_path):
    scores = NeuronScores.load(planted / family / "scores")
    config = SelectConfig(
        scores=planted / family / "scores",
        statistic=statistic,
        top=100 / math.prod(scores.shape),
        out=tmp_path / "one.json",
    )
    assert select.run(config) == {"set": str(tmp_path / "one.json"), "neurons": 1, "of": math.prod(scores.shape)}
    found = NeuronSet.load(tmp_path / "one.json")
    assert neuron_pairs(found) == (PLANTED,)
    assert found.origin["statistic"] == statistic
    # Every other neuron writes nothing into the residual stream.
    values = importance(statistic, scores)
    assert values[PLANTED] > 0.03
    values[PLANTED] = 0
    assert np.abs(values).max() < 1e-6


def test_lape_goes_through_the_same_command(planted, family, tmp_path):
    folders = {"scores": planted / family / "scores", "against": planted / family / "other"}
    select.run(SelectConfig(**folders, statistic="lape", top=5.0, out=tmp_path / "set.json"))
    stored = json.loads((tmp_path / "set.json").read_text("utf-8"))
    first, second = (NeuronScores.load(folder) for folder in folders.values())
    ranked = importance("lape", first, second)
    assert ranked.max() > 0
    inside = {tuple(neuron) for neuron in stored["neurons"]}
    outside = {tuple(map(int, neuron)) for neuron in np.ndindex(*ranked.shape)} - inside
    assert min(ranked[neuron] for neuron in inside) >= max(ranked[neuron] for neuron in outside)
    assert stored["origin"]["against"] == second.metadata
    assert stored["origin"]["data_sha256"] == first.metadata["data_sha256"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"statistic": "lape"}, "--against"),
        ({"statistic": "lape", "against": "gpt2/scores"}, "same frequencies"),
        ({"against": "gpt2/other"}, "--against .* lape"),
        ({"statistic": "lape", "against": "gpt2/nowhere"}, "nowhere"),
        ({"statistic": "lape", "against": "llama/other"}, "one model"),
    ],
)
def test_the_command_refuses_unsuitable_other_scores(planted, settings, message, tmp_path):
    if "against" in settings:
        settings = {**settings, "against": planted / settings["against"]}
    with pytest.raises(RequestError, match=message):
        select.run(SelectConfig(scores=planted / "gpt2" / "scores", out=tmp_path / "set.json", **settings))
    assert not list(tmp_path.iterdir())
