"""One or more numbers per item, as one array."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Num

from tension_lens.errors import RequestError


@dataclass(frozen=True, eq=False)
class Ragged:
    """One or more finite numbers per item: item i holds values[offsets[i]:offsets[i + 1]]."""

    values: Num[np.ndarray, " response"]
    offsets: Int[np.ndarray, " item_plus_1"]
    """From 0 to the number of values."""

    def __post_init__(self) -> None:
        if len(empty := np.flatnonzero(self.counts < 1)):
            raise RequestError(f"every item must have a response, row {empty[0]} has none")
        if len(odd := np.flatnonzero(~np.isfinite(self.values))):
            row = np.searchsorted(self.offsets, odd[0], side="right") - 1
            raise RequestError(f"every value must be a finite number, row {row} holds {self.values[odd[0]]}")

    @classmethod
    def of(cls, rows: Iterable[Sequence[float | int]]) -> "Ragged":
        """From one list of numbers per item; integers stay integers.

        Raises:
            RequestError: if a list is empty or a number is not finite.
        """
        lists = [np.asarray(row) for row in rows]
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(np.concatenate(lists) if lists else np.empty(0), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int[np.ndarray, " item"]:
        """Number of values of each item."""
        return np.diff(self.offsets)

    def minimum(self) -> Num[np.ndarray, " item"]:
        """The smallest value of each item."""
        return np.minimum.reduceat(self.values, self.offsets[:-1])

    def maximum(self) -> Num[np.ndarray, " item"]:
        """The largest value of each item."""
        return np.maximum.reduceat(self.values, self.offsets[:-1])

    def count_equal(self, value: Num[np.ndarray, " item"]) -> Int[np.ndarray, " item"]:
        """How many values of each item equal `value` of that item."""
        equal = self.values == np.repeat(value, self.counts)
        return np.add.reduceat(equal.astype(np.int64), self.offsets[:-1])

    def matrix(self, width: int) -> Num[np.ndarray, "item width"]:
        """The values as a matrix with one row per item.

        Raises:
            RequestError: if an item does not hold `width` values.
        """
        if len(odd := np.flatnonzero(self.counts != width)):
            raise RequestError(f"every item must have {width} responses here, row {odd[0]} has {self.counts[odd[0]]}")
        return self.values.reshape(len(self), width)

    def take(self, rows: Int[np.ndarray, " some"] | Bool[np.ndarray, " item"]) -> "Ragged":
        """The items at these indices, or where a mask is true."""
        counts, starts = self.counts[rows], self.offsets[:-1][rows]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return Ragged(self.values[places], offsets)


def strictly_above(chosen: Ragged, rejected: Ragged) -> Bool[np.ndarray, " item"]:
    """min(chosen) > max(rejected) for each item."""
    above: Bool[np.ndarray, " item"] = chosen.minimum() > rejected.maximum()
    return above
