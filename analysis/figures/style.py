"""Colours and symbols of objectives, sets, controls and selectors; safe for colour-blind readers (Okabe and Ito)."""

COLOURS = {
    "helpful": "#0072B2",
    "harmless": "#D55E00",
    "mixed": "#009E73",
    "helpful_only": "#56B4E9",
    "harmless_only": "#E69F00",
    "shared": "#CC79A7",
    "random": "#7F7F7F",
}
OTHERS = ("#F0E442", "#332288", "#117733", "#882255", "#44AA99")
"""Other sets, in order of appearance."""
INK = "#333333"
"""Text and reference lines."""
GREY = "#8A8A8A"
"""Reference lines and outlines, visible on light and on dark pages."""
CLEAR = "rgba(0,0,0,0)"
"""Transparent background of figures."""
SIDE_COLOURS = {"chosen": "#4477AA", "rejected": "#D6478F"}
"""Chosen and rejected responses."""
SELECTOR_LOOKS = {
    "mean_abs": ("#7570B3", "solid", "circle"),
    "mean": ("#A6761D", "dash", "square"),
    "rms": ("#AA4499", "dot", "diamond"),
    "frequency": ("#999933", "dashdot", "cross"),
    "max": ("#6699CC", "longdash", "x"),
    "change_rms": ("#E7298A", "dash", "triangle-up"),
    "contrast": ("#66A61E", "dot", "triangle-down"),
    "lape": ("#4D9DA8", "dashdot", "star"),
    "attribution": ("#228833", "longdash", "pentagon"),
    "direct": ("#EE6677", "longdashdot", "hexagon"),
}
"""Colour, dash and symbol of each selector; no colour is that of an objective or a set."""
CONTROL_SYMBOLS = {"uniform": "circle-open", "layer": "square-open", "activation": "triangle-up-open"}
"""Symbol of each kind of random control; all are grey."""


def colours(names: list[str]) -> list[str]:
    """The colour of each name, or the next of `OTHERS`."""
    others = [name for name in names if name not in COLOURS]
    return [COLOURS.get(name) or OTHERS[others.index(name) % len(OTHERS)] for name in names]


def translucent(colour: str, opacity: float) -> str:
    """A `#RRGGBB` colour with an opacity between 0 and 1, as CSS."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


PLOT_CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": ""}
"""Plotly's settings on every page; no plot can be sent to Plotly's cloud."""
