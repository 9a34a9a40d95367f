"""Metrics of rewards, on NumPy arrays."""
