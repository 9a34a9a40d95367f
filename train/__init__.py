"""Training of reward models with TRL's RewardTrainer, into checkpoints that tension_lens loads."""
