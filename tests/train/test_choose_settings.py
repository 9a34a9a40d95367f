"""The rule that chooses the settings of the tiny backbones, on tables whose answer is known by hand."""

import importlib.util
import math
from pathlib import Path

import pytest

from tension_lens.metrics.item_table import ItemTable
from tension_lens.metrics.ragged import Ragged

SCRIPT = Path(__file__).parents[2] / "scripts" / "choose_settings.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("choose_settings", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_highest_mean_over_the_models_is_chosen(script):
    # The first has the best single model, the second the best mean.
    found = {"1e-4": [0.9, 0.5, 0.5], "3e-4": [0.7, 0.7, 0.7], "1e-3": [0.6, 0.7, 0.7]}
    assert script.choose(found) == "3e-4"


def test_ties_go_to_the_lower_learning_rate(script):
    # 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1 in floating point.
    assert script.choose({"1e-3": [0.1, 0.2, 0.3], "3e-4": [0.3, 0.2, 0.1]}) == "3e-4"


def test_the_loss_is_that_of_bradley_and_terry(script):
    names, tokens = [("a", "x", "helpful"), ("b", "x", "helpful")], Ragged.of([[3], [3]])
    table = ItemTable.judge(names, Ragged.of([[1.0], [0.0]]), Ragged.of([[0.0], [2.0]]), tokens, tokens)
    by_hand = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert script.loss_of(table) == pytest.approx(by_hand)


def test_rates_are_compared_on_validation_alone(script, monkeypatch, tmp_path):
    rates, read = [], set()

    def train(*_, held_out, **__):
        read.add(held_out)

    def evaluate(model, data, conditions):
        read.add(data.spec)
        rates.append(model.parent.name.removeprefix("rate-"))
        right = {"1e-4": 0.5, "3e-4": 0.6, "1e-3": 0.4}[rates[-1]]
        margins = [[1.0 if i < 10 * right else -1.0] for i in range(10)]
        tokens, zeros = Ragged.of([[3]] * 10), Ragged.of([[0.0]] * 10)
        names = [(str(i), "x", "helpful") for i in range(10)]
        return {conditions[0]: ItemTable.judge(names, Ragged.of(margins), zeros, tokens, tokens)}

    monkeypatch.setattr(script, "train_reward_model", train)
    monkeypatch.setattr(script.HookedRewardModel, "from_pretrained", lambda folder: folder)
    monkeypatch.setattr(script, "evaluate_conditions", evaluate)
    table = script.run(script.ChoiceConfig(out=tmp_path))
    assert "Chosen: learning rate 3e-4." in table
    # Half right with margins of 1: the mean of log(1 + e^-1) and log(1 + e).
    assert "| mean | - | 50.00; 0.813 | 60.00; 0.713 | 40.00; 0.913 |" in table
    assert (list(dict.fromkeys(rates)), len(rates)) == (["1e-4", "3e-4", "1e-3"], 18)
    assert read == {f"sample:{objective}:validation" for objective in ("helpful", "harmless", "mixed")}
