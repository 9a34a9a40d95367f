"""Messages and progress bars on stderr."""

import sys
from collections.abc import Iterator
from typing import TypeVar

from tqdm import tqdm

Seen = TypeVar("Seen")


def tell(message: str) -> None:
    """Print one line for people on stderr."""
    tqdm.write(message, file=sys.stderr)


def progress(total: int, what: str, unit: str = "tok") -> tqdm:
    """A progress bar on stderr with rate and time left; silent when stderr is not a terminal."""
    return tqdm(total=total, desc=what, unit=unit, unit_scale=True, disable=None, file=sys.stderr, dynamic_ncols=True)


def run_through(stream: Iterator[tuple[int, Seen]], tokens: int, what: str) -> Seen:
    """Exhaust a stream of (tokens done, state) under a progress bar and return its last state."""
    with progress(tokens, what) as bar:
        for done, state in stream:
            bar.update(done)
            last = state
    return last
