"""One colour for each objective, set and control in every figure; safe for colour-blind readers (Okabe and Ito)."""

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
"""For sets that are none of the above, in the order they come."""
INK = "#333333"
"""Text and reference lines."""


def colours(names: list[str]) -> list[str]:
    """The colour of each name: its own where it has one, else the next of `OTHERS`."""
    others = [name for name in names if name not in COLOURS]
    return [COLOURS.get(name) or OTHERS[others.index(name) % len(OTHERS)] for name in names]
