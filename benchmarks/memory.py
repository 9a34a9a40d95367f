"""Memory of a process, measured on Linux."""

import ctypes
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
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
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_run, args=(work, arguments, sender))
    worker.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError as error:
        raise FailedError(f"the process that runs {work.__name__} died") from error
    finally:
        worker.kill()
        worker.join()


def _run(work: Callable[..., Any], arguments: tuple[Any, ...], sender: Connection) -> None:
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    sender.send(work(*arguments))
