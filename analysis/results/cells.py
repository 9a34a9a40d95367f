"""What a study keeps of one model on one data spec: under one condition, or with each of many random sets ablated."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from tension_lens.neurons.conditions import Condition

IDENTITY = ("backbone", "seed", "objective")
ABOUT_SET = ("condition", "set", "ablation", "neurons")
"""What identifies a condition that is no control."""


@dataclass(frozen=True)
class Items:
    """The items of one data spec, the same for every model and condition."""

    item: Shaped[np.ndarray, " item"]
    subtask: Shaped[np.ndarray, " item"]
    task_type: Shaped[np.ndarray, " item"]
    prompt: Shaped[np.ndarray, " item"]
    """Key of each item's prompt."""
    sha256: str

    def at(self, rows: Int[np.ndarray, " row"]) -> "Items":
        """The items of these rows."""
        parts = {name: getattr(self, name)[rows] for name in ("item", "subtask", "task_type", "prompt")}
        return Items(**parts, sha256=self.sha256)


@dataclass(frozen=True, eq=False)
class Measured:
    """One model on one data spec, and what was ablated in it."""

    backbone: str
    seed: str
    objective: str
    data: str
    condition: Condition
    """The condition; of random sets the control without its draw."""
    neurons: int
    """Number of ablated neurons; of random sets the size of each."""

    @property
    def model(self) -> tuple[str, str, str]:
        """Backbone, seed, objective."""
        return self.backbone, self.seed, self.objective

    def labels(self) -> dict[str, Any]:
        """The first columns of a row: the model, the data and the condition."""
        model = {name: getattr(self, name) for name in (*IDENTITY, "data")}
        about = {**self.condition.columns(), "neurons": self.neurons}
        return {**model, **{name: about[name] for name in ABOUT_SET}}


@dataclass(frozen=True, eq=False)
class Cell(Measured):
    """One model under one condition on one data spec."""

    right: Bool[np.ndarray, "item pair"]
    """Which pairs are judged correctly, see `pairs_won`."""
    margin: Float[np.ndarray, "item pair"]
    """Margins of the pairs in units of reward, float32."""
    credit: Float[np.ndarray, " item"]
    """Credit by the benchmark's rule, see `item_credit`."""


@dataclass(frozen=True, eq=False)
class Draws(Measured):
    """The random sets of one kind that belong to one set, in one model on one data spec."""

    rows: Int[np.ndarray, " row"]
    """The rows of the data's items that were run."""
    right: Bool[np.ndarray, "draw row pair"]
    """As in `Cell`, for each random set."""
    margin: Float[np.ndarray, "draw row pair"]
    credit: Float[np.ndarray, "draw row"]
