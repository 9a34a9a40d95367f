"""Plotly figures of neuron sets and result tables. The docstring of each says which table or neuron sets it takes.

Names are imported on first use.
"""

from importlib import import_module
from typing import Any

_FUNCTIONS = {
    "depth": ("layers", "depth_figure"),
    "depth_by_model": ("neurons", "depth_by_model_figure"),
    "effects": ("ablation", "effects_figure"),
    "forecast": ("forecast", "forecast_figure"),
    "margins": ("tension", "margins_figure"),
    "densities": ("rewards", "density_figure"),
    "overlap_baselines": ("overlap_baselines", "baselines_figure"),
    "overlaps": ("overlap", "overlap_figure"),
    "partition": ("overlap", "partition_figure"),
    "primary": ("primary", "primary_figure"),
    "retention": ("tension", "retention_figure"),
    "rmsd": ("neurons", "rmsd_figure"),
    "sub_tasks": ("accuracy", "subtask_figure"),
    "sweep": ("sweeps", "sweep_figure"),
    "training": ("accuracy", "training_figure"),
    "variants": ("variants", "variants_figure"),
}

__all__ = list(_FUNCTIONS)


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _FUNCTIONS[name]
    return getattr(import_module(f"analysis.figures.{module}"), function)
