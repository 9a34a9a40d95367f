"""The hooked reward model computes Hugging Face's rewards, and refuses what is no reward model."""

import pytest
import torch
from parts import PAIRS, make_reward_model, save_checkpoint

from tension_lens.reward_model import HookedRewardModel

TEXTS = [text for pair in PAIRS for text in pair]


@pytest.mark.parametrize("pad_token_id", [0, 1, None])
def test_rewards_equal_hugging_face_one_text_at_a_time(family, pad_token_id, tmp_path):
    reference = make_reward_model(family, pad_token_id=pad_token_id)
    model = HookedRewardModel.from_pretrained(save_checkpoint(reference, tmp_path / "model"))
    ids = model.encode(TEXTS)
    with torch.no_grad():
        expected = torch.stack([reference(input_ids=torch.tensor([row])).logits[0, 0] for row in ids])
    for token_budget in (1, 64, 100_000):
        torch.testing.assert_close(model.rewards(TEXTS, token_budget), expected, atol=1e-5, rtol=0)
