"""One writer at a time for the folder of a run or a sweep.

The lock is the operating system's, on an empty file of the folder: it ends with the process that holds it,
however that ends, so a run that was killed is gone on with at once. Who holds it stands in a file beside it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from nsim.errors import RunError

LOCK, HOLDER = "run.lock", "run.holder"


@contextmanager
def sole_writer(folder: Path, kind: Literal["run", "sweep"] = "run") -> Iterator[None]:
    """Be the only one that writes to ``folder``, which is made if there is none.

    RunError, naming the process, when another one writes to it, and when the folder cannot be locked.
    """
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise RunError(
            f"{folder}: {_named(holder)} is writing this {kind}; wait until it ends, or stop it and "
            f"go on with the {kind}: nsim {kind} --resume {folder}"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise RunError(
            f"{folder}: cannot be written to by one process alone ({error}); choose a folder that is yours, "
            "on a disk whose files can be locked"
        ) from None
    try:
        holder.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def sole_writer_around(path: Path) -> Iterator[None]:
    """`sole_writer` of the run folder that ``path`` is or lies in; a path outside of any needs no lock."""
    whole = path.resolve()
    run = next((folder for folder in (whole, *whole.parents) if (folder / LOCK).exists()), None)
    with nullcontext() if run is None else sole_writer(run):
        yield


def is_left_over(path: Path) -> bool:
    """Whether a file of a folder is all that a process killed at its very start may have left."""
    return path.suffix == ".part" or path.name in (LOCK, HOLDER)


def _named(holder: Path) -> str:
    """The process that holds a lock, as it wrote itself down; it may be just about to."""
    try:
        wrote = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {wrote['pid']} on {wrote['host']}"
    except (OSError, ValueError):
        return "another process"
