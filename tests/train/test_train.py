"""Tiny trainings with TRL: files, seeds, invalid input, resuming."""

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
from train.__main__ import main
from train.settings import backbone_folder_or_id, reward_config
from train.trainer import train_reward_model

N_PAIRS = 60


@pytest.fixture
def pairs(tmp_path):
    texts = [f"\n\nHuman: question {i}?\n\nAssistant:" for i in range(N_PAIRS)]
    return write_pairs(tmp_path / "pairs.jsonl", [(f"{text} good", f"{text} bad answer") for text in texts])


@pytest.fixture
def backbone(family, tmp_path):
    return str(save_checkpoint(make_reward_model(family, pad_token_id=None), tmp_path / f"{family}-backbone"))


def train(backbone, pairs, out, *flags, seed=0, held_out=None):
    flags = ["--per_device_train_batch_size", "8", *flags]
    config = reward_config(backbone, "helpful", out, seed, flags)
    return train_reward_model(backbone, "helpful", out, config, seed=seed, data=str(pairs), held_out=held_out)


@pytest.mark.training
def test_a_checkpoint_is_written_that_the_hooked_model_loads(backbone, pairs, tmp_path):
    steps = ("--max_steps", "48", "--learning_rate", "3e-3")
    result = train(backbone, pairs, tmp_path / "rm", *steps)
    assert result["held_out"]["accuracy"] == 1.0  # the pairs are easy
    card = json.loads((tmp_path / "rm" / "reward_model.json").read_text())
    record = json.loads((tmp_path / "rm" / "run.json").read_text())
    model = HookedRewardModel.from_pretrained(tmp_path / "rm")
    assert (card["objective"], card["seed"], card["eos_appended"], card["pad_token_id"]) == ("helpful", 0, True, 0)
    assert record["weights_sha256"] == model.weights_sha256
    assert record["results"]["held_out"] == result["held_out"]
    assert record["config"]["reward_config"]["max_steps"] == 48
    assert 0 < result["held_out"]["n"] < N_PAIRS / 3
    assert record["counts"]["kept"] + result["held_out"]["n"] == N_PAIRS
    # pad = eos: the pooled token precedes the appended EOS, so no EOS is appended after training.
    assert not model.tokenizer.append_eos


@pytest.mark.training
def test_the_seed_determines_the_value_head(backbone, pairs, tmp_path):
    # A backbone without a value head: training draws one.
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


@pytest.mark.training
def test_a_run_resumes_from_its_checkpoint_to_the_same_weights(backbone, pairs, tmp_path):
    steps = ("--max_steps", "6", "--save_steps", "3", "--save_total_limit", "5")
    train(backbone, pairs, tmp_path / "whole", *steps)
    resumed = tmp_path / "resumed"
    (tmp_path / "whole" / "checkpoints" / "checkpoint-6").rename(tmp_path / "aside")
    resumed.mkdir()
    (tmp_path / "whole" / "checkpoints").rename(resumed / "checkpoints")
    halfway = resumed / "checkpoints" / "checkpoint-3" / "model.safetensors"
    saved = halfway.stat().st_mtime_ns
    train(backbone, pairs, resumed, *steps, "--resume_from_checkpoint", "true")
    assert halfway.stat().st_mtime_ns == saved, "the run started over"
    models = [HookedRewardModel.from_pretrained(tmp_path / name).hooked for name in ("whole", "resumed")]
    torch.testing.assert_close(models[0].W_out, models[1].W_out, atol=1e-6, rtol=0)


@pytest.mark.training
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_an_interrupted_training_leaves_no_model_and_does_not_hinder_the_next(sent, code, pairs, tmp_path):
    backbone = save_checkpoint(make_reward_model("gpt2", pad_token_id=None), tmp_path / "backbone")
    out = tmp_path / "rm"
    command = [sys.executable, "-m", "train", "--backbone", backbone, "--objective", "helpful", "--data", pairs]
    # Far more steps than the test waits for. The first checkpoint shows that training has begun.
    command += ["--out", out, "--max_steps", "1000000", "--save_steps", "5"]
    # Children inherit an ignored SIGINT, as a background job has it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 300
        while not list(out.glob("checkpoints/checkpoint-*")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(sent)
        printed, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert (printed, running.returncode) == (b"", code)
    assert [path.name for path in out.iterdir()] == ["checkpoints"]
    with pytest.raises(RequestError, match=r"config\.json"):
        HookedRewardModel.from_pretrained(out)
    train(str(backbone), pairs, out, "--max_steps", "2")
    record = json.loads((out / "run.json").read_text())
    assert record["results"]["steps"] == 2
    assert record["weights_sha256"] == HookedRewardModel.from_pretrained(out).weights_sha256


def test_the_included_backbones_have_their_familys_architecture():
    gpt2, llama = (
        HookedRewardModel.from_pretrained(backbone_folder_or_id(name), headless=True).hooked.cfg
        for name in ("gpt2-tiny", "smollm2-tiny")
    )
    assert (gpt2.n_layers, llama.n_layers, gpt2.gated_mlp) == (6, 6, False)
    assert (llama.rotary_base, llama.n_key_value_heads, llama.gated_mlp, llama.act_fn) == (100000, 2, True, "silu")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--backbone", "gpt5"], "gpt5"),
        (["--objective", "funny"], "funny"),
        (["--data", "nothing"], "nothing"),
        (["--learnin_rate", "1"], "--learnin_rate"),
        (["--output_dir", "elsewhere"], "--out"),
    ],
)
def test_invalid_input_is_one_line_and_exit_2(flags, named, tmp_path, monkeypatch, capsys):
    given = {"--backbone": "gpt2-tiny", "--objective": "helpful", "--out": str(tmp_path / "rm"), **dict([flags])}
    monkeypatch.setattr("sys.argv", ["train", *(part for pair in given.items() for part in pair)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert named in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "rm" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "slow"), [("--help", False), ("--help-all", True)])
def test_only_help_all_waits_for_trl_and_lists_its_flags(flag, slow):
    code = "import sys, train.__main__ as it\ntry: it.main()\nfinally: print('trl' in sys.modules)"
    text = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=True).stdout
    assert "--backbone" in text
    assert ("--weight_decay" in text) == slow
    assert text.splitlines()[-1] == str(slow)


def test_an_item_with_two_chosen_responses_cannot_be_trained_on(tmp_path):
    path = tmp_path / "lists.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": ["a", "b"], "rejected": ["c"]}) + "\n")
    with pytest.raises(RequestError, match="has 2 and 1"):
        train("gpt2-tiny", path, tmp_path / "rm", held_out="sample:helpful:test")
