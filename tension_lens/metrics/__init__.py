"""Measures of rewards, on arrays alone."""
