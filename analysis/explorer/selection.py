"""The neurons behind the page: sets of the map, neurons inside a selection, and neurons to ablate."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from analysis.explorer.runs import Run
from analysis.explorer.state import Question
from tension_lens.errors import RequestError
from tension_lens.neurons.controls import control_set
from tension_lens.neurons.depth import bucket_of
from tension_lens.neurons.selectors import importance
from tension_lens.neurons.sets import NeuronSet, partition, top_percent

AXES = ("helpful", "harmless")
"""The models whose importances are the axes of the map."""
MAX_CORNERS = 2000


def map_importances(run: Run, question: Question) -> list[Float[np.ndarray, "layer neuron"]]:
    """Helpful and harmless importance of every neuron by the chosen statistic.

    Raises:
        RequestError: if scores are missing, lack the statistic, or belong to networks of different shapes.
    """
    helpful, harmless = (importance(question.statistic, run.scores_at(question.site, name)) for name in AXES)
    if helpful.shape != harmless.shape:
        raise RequestError(f"the helpful scores have shape {helpful.shape}, the harmless scores {harmless.shape}")
    return [helpful, harmless]


def map_sets(run: Run, question: Question) -> dict[str, NeuronSet]:
    """The top p % of either model, and their partition."""
    helpful, harmless = (
        top_percent(values, question.top, name, question.site, model=name, statistic=question.statistic)
        for name, values in zip(AXES, map_importances(run, question), strict=True)
    )
    return {"helpful": helpful, "harmless": harmless, **partition(helpful, harmless)}


def axes_of(question: Question) -> str:
    """The axes to which the coordinates of a selection belong, as in assets/explorer.js."""
    return "/".join((question.run, question.site, question.statistic))


def selected(run: Run, question: Question) -> NeuronSet | None:
    """The neurons inside the selected region of the map; None if nothing is selected in these axes.

    Raises:
        RequestError: if the region is neither a polygon nor a box.
    """
    corners = region_corners(question)
    if corners is None:
        return None
    # The browser draws float32 coordinates.
    x, y = (values.astype(np.float32) for values in map_importances(run, question))
    origin = {"selected_in": axes_of(question), "scale": question.scale, "corners": corners.T.tolist()}
    shown = np.ones(x.shape, dtype=bool)
    if question.scale == "log":
        # The edges of a lasso are straight on the screen, hence in log coordinates.
        shown = (x > 0) & (y > 0)
        x, y = (np.log10(np.where(shown, one, 1.0)) for one in (x, y))
        corners = np.log10(np.maximum(corners, 1e-30))
    mask = shown & inside(x.reshape(-1), y.reshape(-1), corners).reshape(x.shape)
    return NeuronSet.from_mask("selection", question.site, mask, **origin)


def region_corners(question: Question) -> Float[np.ndarray, "corner 2"] | None:
    """The corners of the selected region; None if nothing is selected in these axes.

    Raises:
        RequestError: if the region is neither a polygon nor a box.
    """
    region: Any = question.region
    if not region or not isinstance(region, dict) or region.get("axes") != axes_of(question):
        return None
    try:
        x, y = (np.array([float(number) for number in region[axis]]) for axis in ("x", "y"))
        if len(x) != len(y) or not 2 <= len(x) <= MAX_CORNERS or not np.isfinite([x, y]).all():
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise RequestError("the selection in this link is damaged; select again in the neuron map") from None
    if len(x) == 2:
        # Two opposite corners of a box.
        x, y = x[[0, 1, 1, 0]], y[[0, 0, 1, 1]]
    return np.stack([x, y], axis=1)


def inside(
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], corners: Float[np.ndarray, "corner 2"]
) -> Bool[np.ndarray, " point"]:
    """Which points lie inside a polygon, by the even-odd rule: a ray to the right crosses an odd number of edges."""
    result = np.zeros(len(x), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            result ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return result


def ablated_set(run: Run, question: Question, shape: tuple[int, int], weights_sha256: str) -> NeuronSet:
    """The neurons to ablate in the model with these weights, a network of this shape.

    Raises:
        RequestError: if the neuron or set does not exist, nothing is selected, the result is empty, or the set has no
            random control.
    """
    if question.off == "neuron":
        name = f"neuron {question.layer}/{question.neuron}"
        return NeuronSet.of(name, question.site, shape, [(question.layer, question.neuron)])
    found = selected(run, question) if question.off == "selection" else run.neuron_set(question.set)
    if found is None:
        raise RequestError(
            "no neurons are selected: draw a lasso or a box in the neuron map, "
            f"with statistic {question.statistic} and site {question.site}"
        )
    if question.off == "bucket":
        mask = found.mask()
        mask[[bucket_of(layer, found.n_layers) != question.bucket for layer in range(found.n_layers)]] = False
        found = NeuronSet.from_mask(f"{found.name}, {question.bucket} layers", found.site, mask)
    elif question.off == "random":
        found = control_set(found, "uniform", question.draw, weights_sha256=weights_sha256)
        found = found.renamed(f"random control of {question.set}, draw {question.draw}")
    if not len(found):
        raise RequestError(f"{found.name} has no neurons: there is nothing to ablate")
    return found
