"""Work for worker processes to import: tasks that fail, and tasks that take their process with them."""

from __future__ import annotations

import gc
import multiprocessing.queues
import os
import signal
import struct
import time
from pathlib import Path

from nsim.errors import RunError


def square(task: int, added: int | None) -> int:
    return task * task + (added or 0)


def odd_ones_fail(task: int, _: None) -> int:
    if task == 1:
        raise RunError("one is no good; take two")
    if task == 3:
        raise ZeroDivisionError("three")
    if task == 5:
        raise MemoryError
    return task


def deadly(task: tuple[int, Path | None], _: None) -> tuple[int, str]:
    """Kill the own process on the first call with a marker file, and always where there is no marker.

    ``task``: what to return, and the marker; a task that is odd is harmless.
    """
    value, marker = task
    if value % 2 == 0 and not (marker and marker.exists()):
        if marker is not None:
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value, os.environ["OMP_NUM_THREADS"]


def half_a_result(begun: Path) -> None:
    """Begin to send a result as a worker does, and never end."""
    queues = (o for o in gc.get_objects() if isinstance(o, multiprocessing.queues.SimpleQueue))
    os.write(next(queues)._writer.fileno(), struct.pack("!i", 1000) + b"half")  # 1000 bytes, it says
    begun.touch()
    time.sleep(600)
