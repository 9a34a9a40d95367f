"""Figures of result tables: functions from tables to plotly figures, each with the caption that belongs under it."""

from analysis.figures.ablation import effects_caption, effects_figure
from analysis.figures.accuracy import subtask_caption, subtask_figure, training_caption, training_figure
from analysis.figures.neurons import depth_by_model_figure, depth_caption, rmsd_caption, rmsd_figure
from analysis.figures.overlap import overlap_caption, overlap_figure, partition_caption, partition_figure
from analysis.figures.rewards import density_caption, density_figure
from analysis.figures.sweeps import sweep_caption, sweep_figure
from analysis.figures.tension import margins_caption, margins_figure, retention_caption, retention_figure
from analysis.figures.variants import variants_caption, variants_figure

__all__ = [
    "density_caption",
    "density_figure",
    "depth_by_model_figure",
    "depth_caption",
    "effects_caption",
    "effects_figure",
    "margins_caption",
    "margins_figure",
    "overlap_caption",
    "overlap_figure",
    "partition_caption",
    "partition_figure",
    "retention_caption",
    "retention_figure",
    "rmsd_caption",
    "rmsd_figure",
    "subtask_caption",
    "subtask_figure",
    "sweep_caption",
    "sweep_figure",
    "training_caption",
    "training_figure",
    "variants_caption",
    "variants_figure",
]
