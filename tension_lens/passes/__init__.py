"""A model run over data: statistics, attribution, ablation, rewards."""
