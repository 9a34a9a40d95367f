"""Wall-clock and CPU time of a block of code."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Spent:
    """The time that a block took, in seconds; zero until it ends."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Spent]:
    """Measure the time of a `with` block."""
    spent = Spent()
    started, used = time.perf_counter(), time.process_time()
    yield spent
    spent.seconds, spent.cpu_seconds = time.perf_counter() - started, time.process_time() - used
