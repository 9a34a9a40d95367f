"""Memory of a process, measured on Linux."""

import ctypes
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tension_lens.errors import FailedError

PARENT_DEATH_SIGNAL = 1
"""prctl's number for the signal that a process gets when its parent dies."""


def memory_of(name: str) -> float:
    """MiB of this process by Linux' name for it: VmRSS in use, VmHWM at most since `start_measuring`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = [line.split()[1] for line in lines if line.startswith(name)]
    return int(kib) / 2**10


def start_measuring() -> float:
    """Give free memory back, reset the peak, and return the MiB in use."""
    ctypes.CDLL(None).malloc_trim(0)
    before = memory_of("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    return before


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a process of its own, which ends when this one is killed.

    Raises:
        FailedError: if that process dies.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, context, initializer=_end_with_parent) as pool:
            return pool.submit(work, *arguments).result()
    except BrokenProcessPool as error:
        raise FailedError(f"the process that runs {work.__name__} died") from error


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
