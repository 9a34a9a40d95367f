"""Real TRL training, tiny: what it writes, what it seeds, what it refuses, how it resumes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from parts import make_reward_model, save_checkpoint, write_pairs
from transformers import AutoModelForSequenceClassification

from tension_lens.errors import RequestError
from tension_lens.model.reward_model import HookedRewardModel
from train.__main__ import trainer_config
from train.settings import backbone_folder_or_id
from train.trainer import TrainConfig, run

N_PAIRS = 60


@pytest.fixture
def pairs(tmp_path):
    texts = [f"\n\nHuman: question {i}?\n\nAssistant:" for i in range(N_PAIRS)]
    return write_pairs(tmp_path / "pairs.jsonl", [(f"{text} good", f"{text} bad answer") for text in texts])


@pytest.fixture
def backbone(family, tmp_path):
    return str(save_checkpoint(make_reward_model(family, pad_token_id=None), tmp_path / f"{family}-backbone"))


def train(backbone, pairs, out, *flags, seed=0):
    config = TrainConfig(backbone=backbone, objective="helpful", out=out, seed=seed, data=str(pairs))
    return run(config, trainer_config(config, ["--per_device_train_batch_size", "8", *flags]))


def test_a_checkpoint_is_written_that_the_hooked_model_loads(backbone, pairs, tmp_path):
    result = train(backbone, pairs, tmp_path / "rm", "--max_steps", "3")
    card = json.loads((tmp_path / "rm" / "reward_model.json").read_text())
    record = json.loads((tmp_path / "rm" / "run.json").read_text())
    model = HookedRewardModel.from_pretrained(tmp_path / "rm")
    assert (card["objective"], card["seed"], card["eos_appended"], card["pad_token_id"]) == ("helpful", 0, True, 0)
    assert record["weights_sha256"] == model.weights_sha256
    assert record["results"]["held_out"] == result["held_out"]
    assert record["config"]["reward_config"]["max_steps"] == 3
    assert 0 < result["held_out"]["n"] < N_PAIRS / 3
    assert record["counts"]["kept"] + result["held_out"]["n"] == N_PAIRS
    # pad = eos: the appended EOS is passed over, and nothing is appended later either.
    assert not model.tokenizer.append_eos


def test_training_separates_pairs_that_are_easy(backbone, pairs, tmp_path):
    result = train(backbone, pairs, tmp_path / "rm", "--num_train_epochs", "6", "--learning_rate", "3e-3")
    assert result["held_out"]["accuracy"] == 1.0


def test_the_seed_decides_the_head_and_everything_else(backbone, pairs, tmp_path):
    # A backbone without a head, so that one has to be drawn.
    reference = AutoModelForSequenceClassification.from_pretrained(backbone)
    headless = tmp_path / "headless"
    reference.base_model.save_pretrained(headless)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (headless / file).write_text((tmp_path / backbone / file).read_text())
    heads = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(str(headless), pairs, tmp_path / name, "--max_steps", "1", seed=seed)
        heads[name] = HookedRewardModel.from_pretrained(tmp_path / name).hooked.W_U
    assert torch.equal(heads["a"], heads["b"])
    assert not torch.allclose(heads["a"], heads["c"], atol=1e-3)


def test_a_run_resumes_from_its_checkpoint_to_the_same_weights(backbone, pairs, tmp_path):
    train(backbone, pairs, tmp_path / "whole", "--max_steps", "6", "--save_steps", "3", "--save_total_limit", "5")
    resumed = tmp_path / "resumed"
    (tmp_path / "whole" / "checkpoints" / "checkpoint-6").rename(tmp_path / "aside")
    resumed.mkdir()
    (tmp_path / "whole" / "checkpoints").rename(resumed / "checkpoints")
    train(backbone, pairs, resumed, "--max_steps", "6", "--save_steps", "3", "--resume_from_checkpoint", "true")
    models = [HookedRewardModel.from_pretrained(tmp_path / name).hooked for name in ("whole", "resumed")]
    torch.testing.assert_close(models[0].W_out, models[1].W_out, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_training_stopped_midway_leaves_no_model_and_does_not_hinder_the_next(sent, pairs, tmp_path):
    backbone = save_checkpoint(make_reward_model("gpt2", pad_token_id=None), tmp_path / "backbone")
    out, written = tmp_path / "rm", tmp_path / "stderr"
    asked = {"backbone": backbone, "objective": "helpful", "data": pairs, "out": out}
    # So many steps take hours. The first checkpoint to resume from says that training is under way.
    asked |= {"max_steps": 1_000_000, "save_steps": 5, "per_device_train_batch_size": 8}
    flags = [part for name, value in asked.items() for part in (f"--{name}", str(value))]
    # A parent that ignores SIGINT (a job in the background) would have its children ignore it too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        with written.open("w") as stderr:
            running = subprocess.Popen(
                [sys.executable, "-m", "train", *flags], env=environment, stdout=subprocess.PIPE, stderr=stderr
            )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 300
        while not list(out.glob("checkpoints/checkpoint-*")):
            assert running.poll() is None, written.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(sent)
        printed, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert printed == b""
    if sent == signal.SIGINT:
        assert running.returncode == 130
        assert written.read_text().splitlines()[-1].startswith("train: interrupted")
    else:
        assert running.returncode == -signal.SIGKILL
    # No config.json, reward_model.json or run.json: nothing that a later run takes for a finished model.
    assert [path.name for path in out.iterdir()] == ["checkpoints"]
    with pytest.raises(RequestError, match=r"holds no config\.json"):
        HookedRewardModel.from_pretrained(out)
    train(str(backbone), pairs, out, "--max_steps", "2")
    record = json.loads((out / "run.json").read_text())
    assert record["results"]["steps"] == 2
    assert record["weights_sha256"] == HookedRewardModel.from_pretrained(out).weights_sha256


def test_the_shipped_backbones_load_and_are_small():
    for name in ("gpt2-tiny", "smollm2-tiny"):
        model = HookedRewardModel.from_pretrained(backbone_folder_or_id(name), headless=True)
        assert model.n_layers == 6
    config = model.hooked.cfg
    assert (config.rotary_base, config.n_key_value_heads, config.gated_mlp, config.act_fn) == (100000, 2, True, "silu")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backbone", "gpt5"], "unknown backbone 'gpt5'"),
        (["--objective", "funny"], "unknown objective 'funny'"),
        (["--data", "nothing"], "unknown data spec 'nothing'"),
        (["--learnin_rate", "1"], "--learnin_rate"),
        (["--output_dir", "elsewhere"], "--out"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(flags, message, tmp_path):
    base = {"--backbone": "gpt2-tiny", "--objective": "helpful", "--out": str(tmp_path / "rm")}
    base.update(dict([flags]))
    line = [part for pair in base.items() for part in pair]
    done = subprocess.run([sys.executable, "-m", "train", *line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "rm" / "config.json").exists()


def test_an_item_with_two_chosen_responses_cannot_be_trained_on(tmp_path):
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": ["a", "b"], "rejected": ["c"]}) + "\n")
    config = TrainConfig(
        backbone="gpt2-tiny", objective="helpful", out=tmp_path / "rm", data=str(path), held_out="sample:helpful:test"
    )
    with pytest.raises(RequestError, match="one chosen and one rejected"):
        run(config, trainer_config(config, []))
