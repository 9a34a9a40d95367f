"""Training of reward models with TRL's RewardTrainer, producing checkpoints that tension_lens loads."""
