"""Checking reports the parity with Hugging Face."""

import hashlib
from pathlib import Path

from parts import PAIRS

from tension_lens import check
from tension_lens.check import CheckConfig


def test_check_gives_the_parity_with_hugging_face(checkpoints, pairs):
    printed = check.run(CheckConfig(model=checkpoints["llama"], data=pairs))
    assert 0 <= printed["parity"] < 1e-5
    assert printed["parity"] == max(printed["batch_1"], printed["batch_16"])
    lengths = [len(text.encode()) for pair in PAIRS for text in pair]
    assert (printed["tokens_shortest"], printed["tokens_longest"]) == (min(lengths), max(lengths))
    assert printed["pairs"] == 5
    weights = Path(checkpoints["llama"], "model.safetensors").read_bytes()
    assert printed["weights_sha256"] == hashlib.sha256(weights).hexdigest()
