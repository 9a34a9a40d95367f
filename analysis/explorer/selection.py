"""Which neurons a question is about: sets of the map, what lies inside a selection, what is to be switched off."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from analysis.explorer.runs import Run
from analysis.explorer.state import Question
from tension_lens.errors import RequestError
from tension_lens.neurons.controls import control_set
from tension_lens.neurons.depth import bucket_of
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.selectors import importance
from tension_lens.neurons.sets import NeuronSet, partition, top_percent

AXES = ("helpful", "harmless")
"""The models whose importances are the map's two axes."""
MAX_CORNERS = 2000


def map_scores(run: Run, site: str) -> tuple[NeuronScores, NeuronScores]:
    """The scores of the map's two models at a site.

    Raises:
        RequestError: if one is missing or they are of networks of different shapes.
    """
    found = run.sites().get(site, {})
    for name in AXES:
        if name not in found:
            raise RequestError(
                f"run {run.name} has no scores of {name} read at site {site}; "
                f"python -m tension_lens.score --site {site} makes them"
            )
    helpful, harmless = (run.scores_of(found[name]) for name in AXES)
    if helpful.shape != harmless.shape:
        raise RequestError(f"the helpful scores are of shape {helpful.shape}, the harmless ones of {harmless.shape}")
    return helpful, harmless


def map_importances(run: Run, question: Question) -> tuple[Float[np.ndarray, "layer neuron"], ...]:
    """Helpful and harmless importance of every neuron by the question's statistic, [layer, neuron] each.

    Raises:
        RequestError: if the scores do not hold it.
    """
    return tuple(importance(question.statistic, scores) for scores in map_scores(run, question.site))


def map_sets(run: Run, question: Question) -> dict[str, NeuronSet]:
    """The top p % of either model, and their partition."""
    helpful, harmless = (
        top_percent(values, question.top, name, question.site, model=name, statistic=question.statistic)
        for name, values in zip(AXES, map_importances(run, question), strict=True)
    )
    return {"helpful": helpful, "harmless": harmless, **partition(helpful, harmless)}


def axes_of(question: Question) -> str:
    """What a selection's coordinates are of; in other axes they mean nothing."""
    return "/".join((question.run, question.site, question.statistic))


def selected(run: Run, question: Question) -> NeuronSet | None:
    """The neurons inside the question's region of the map; None where nothing is selected in these axes.

    Raises:
        RequestError: if the region is no polygon or box.
    """
    corners = region_corners(question)
    if corners is None:
        return None
    x, y = (values.astype(np.float32).reshape(-1) for values in map_importances(run, question))
    if question.scale == "log":
        shown = (x > 0) & (y > 0)
        # Straight lines of a lasso are straight on the screen, so the test is made in the screen's scale.
        x, y = (np.log10(np.where(shown, one, 1.0)) for one in (x, y))
        corners = np.log10(np.maximum(corners, 1e-30))
        mask = shown & inside(x, y, corners)
    else:
        mask = inside(x, y, corners)
    shape = map_scores(run, question.site)[0].shape
    origin = {"selected_in": axes_of(question), "scale": question.scale, "corners": corners.T.tolist()}
    return NeuronSet.from_mask("selection", question.site, mask.reshape(shape), **origin)


def region_corners(question: Question) -> Float[np.ndarray, "corner 2"] | None:
    """The corners of the question's region; None where it has none in these axes.

    Raises:
        RequestError: if it is no polygon or box.
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
        # Two corners are a box.
        x, y = np.array([x[0], x[1], x[1], x[0]]), np.array([y[0], y[0], y[1], y[1]])
    return np.stack([x, y], axis=1)


def inside(
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], corners: Float[np.ndarray, "corner 2"]
) -> Bool[np.ndarray, " point"]:
    """Which points lie inside a polygon, by the even-odd rule: a ray to the right meets an odd number of edges."""
    result = np.zeros(len(x), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        result ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return result


def off_set(run: Run, question: Question, shape: tuple[int, int]) -> NeuronSet:
    """What is to be switched off in networks of a shape.

    Raises:
        RequestError: if there is no such neuron or set, nothing is selected, or nothing is left of it.
    """
    if question.off == "neuron":
        place = (question.layer, question.neuron)
        return NeuronSet.of(f"neuron {place[0]}/{place[1]}", question.site, shape, [place])
    if question.off == "selection":
        found = selected(run, question)
        if found is None:
            raise RequestError(
                "no neurons are selected: draw a lasso or a box in the neuron map, "
                f"with statistic {question.statistic} and site {question.site}"
            )
    else:
        found = run.neuron_set(question.set)
    if question.off == "bucket":
        held = found.mask()
        held[[bucket_of(layer, found.n_layers) != question.bucket for layer in range(found.n_layers)]] = False
        found = NeuronSet.from_mask(f"{found.name}, {question.bucket} layers", found.site, held)
    elif question.off == "random":
        drawn = control_set(found, "uniform", question.draw)
        found = drawn.renamed(f"random, as many as {question.set}, draw {question.draw}")
    if not len(found):
        raise RequestError(f"{found.name} holds no neuron: switching it off changes nothing")
    return found
