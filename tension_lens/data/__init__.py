"""Preference data: records, datasets, benchmarks, comparisons."""
