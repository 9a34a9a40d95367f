"""Fixtures: checkpoints, pairs and scores that no test changes."""

import pytest
from parts import PAIRS, make_reward_model, save_checkpoint, write_pairs
from parts_commands import SHAPE, neuron_set

from tension_lens import score
from tension_lens.score import ScoreConfig


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Checkpoints by family; `other` and `wide` are GPT-2s of other weights, of another shape."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {family: make_reward_model(family) for family in SHAPE}
    made["other"] = make_reward_model("gpt2", seed=1)
    made["wide"] = make_reward_model("gpt2", n_inner=50)
    return {name: str(save_checkpoint(model, folder / name)) for name, model in made.items()}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    return str(write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl", PAIRS))


@pytest.fixture(scope="session")
def gpt2(checkpoints, pairs):
    """The settings of a command that name the GPT-2 model and the pairs."""
    return {"model": checkpoints["gpt2"], "data": pairs}


@pytest.fixture(scope="session")
def scored(gpt2, tmp_path_factory):
    """A folder of scores of the GPT-2 model on the pairs."""
    folder = tmp_path_factory.mktemp("scored")
    score.run(ScoreConfig(**gpt2, out=folder))
    return folder


@pytest.fixture
def valid_flags(gpt2, tmp_path):
    """Flags with which a score command works."""
    return ["--model", gpt2["model"], "--data", gpt2["data"], "--out", tmp_path / "out"]


@pytest.fixture
def two_sets(tmp_path):
    """Flags of a partition: two empty sets."""
    return [f for name in ("helpful", "harmless") for f in (f"--{name}", neuron_set(tmp_path / f"{name}.json", []))]
