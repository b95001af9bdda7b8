"""Run tasks somewhere else: processes of this machine, or a Dask cluster. What fails, fails alone.

A worker computes on one thread unless told otherwise: tasks are independent, so one thread each on every
core beats many threads on one task; BLAS and numba are held to the same number, or they would fight over
the cores. Results depend neither on where a task ran nor on the number of threads.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsim.errors import NsimError, SweepError

if TYPE_CHECKING:
    from distributed import Client

Work = Callable[[Any, Any], Any]
"""A function of a module, of a task (plain values and arrays) and of what all tasks share."""

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
START_DASK_S = 20
"""How long a scheduler may take to answer."""


@dataclass(frozen=True)
class Outcome:
    """What became of one task: its value, or the error; ``trace`` is a traceback where the fault is ours."""

    value: Any = None
    error: str | None = None
    trace: str | None = None


@dataclass(frozen=True)
class Workers:
    """``processes`` of this machine (1: this very process), or a Dask cluster.

    ``dask``: a scheduler's address such as tcp://host:8786, or "local" for a cluster of ``processes``
    workers on this machine.
    """

    processes: int = 1
    dask: str | None = None

    @property
    def threads(self) -> int | None:
        """Threads of one task; None for all cores, where tasks come one after the other."""
        return 1 if self.dask is not None or self.processes > 1 else None

    def run(self, work: Work, tasks: Sequence[Any], shared: Any = None) -> Iterator[tuple[int, Outcome]]:
        """Yield (index of the task, its outcome) as tasks end, each exactly once.

        ``shared`` goes to each worker once, not with every task.

        A worker that dies takes no other task with it: what it held is done again elsewhere, and a task
        whose workers keep dying becomes an error.
        """
        if not tasks:
            return iter(())
        if self.dask is not None:
            return _on_dask(work, tasks, shared, self.dask, self.processes)
        if self.processes == 1:
            return ((i, attempt(work, task, shared)) for i, task in enumerate(tasks))
        return _in_processes(work, tasks, shared, min(self.processes, len(tasks)))


def attempt(work: Work, task: Any, shared: Any) -> Outcome:
    """Do a task; any error becomes its outcome."""
    try:
        return Outcome(work(task, shared))
    except NsimError as error:
        return Outcome(error=str(error))
    except MemoryError:
        return Outcome(error="out of memory; fewer workers leave more for each")
    except Exception as error:
        return Outcome(error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


def _in_processes(
    work: Work, tasks: Sequence[Any], shared: Any, processes: int
) -> Iterator[tuple[int, Outcome]]:
    """As many tasks at a time as processes. Those in flight when a process dies are tried again, alone."""
    waiting = list(enumerate(tasks))[::-1]
    with tempfile.TemporaryDirectory(prefix="nsim-shared-") as folder:
        file = Path(folder) / "shared"
        file.write_bytes(pickle.dumps(shared, pickle.HIGHEST_PROTOCOL))
        while waiting:
            running: dict[Future[Outcome], int] = {}
            with _pool(processes) as pool:
                try:
                    while waiting or running:
                        while waiting and len(running) < processes:
                            i, task = waiting[-1]
                            running[pool.submit(_attempt_with, file, work, task)] = i
                            waiting.pop()
                        for done in wait(running, return_when=FIRST_COMPLETED).done:
                            outcome = done.result()
                            yield running.pop(done), outcome
                except BrokenProcessPool:
                    pass
            for i in running.values():
                yield i, _alone(file, work, tasks[i])


def _alone(file: Path, work: Work, task: Any) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(_attempt_with, file, work, task).result()
        except BrokenProcessPool:
            return Outcome(error="its process died twice (killed, or out of memory)")


def _attempt_with(file: Path, work: Work, task: Any) -> Outcome:
    return attempt(work, task, _unpickled(file))


@lru_cache(maxsize=1)
def _unpickled(file: Path) -> Any:
    return pickle.loads(file.read_bytes())  # written by the parent process, for this one


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes, each on one thread; gone at the end, however it comes."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    others = set(multiprocessing.active_children())
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))  # children read it before they import anything
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_stay_with_parent)
    try:
        yield pool
        pool.shutdown()
    finally:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        _expect_no_more(pool)
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _expect_no_more(pool: ProcessPoolExecutor) -> None:
    """Let the pool's reader end, whose processes are gone.

    One that was ended while it sent a result has left half a message, and the reader would wait for the rest
    for as long as anyone holds the other end of the pipe, as this process does. The pool has no public way.
    """
    results = getattr(pool, "_result_queue", None)
    if results is not None:
        results._writer.close()


def _stay_with_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent has ended, even by kill -9."""
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _on_dask(
    work: Work, tasks: Sequence[Any], shared: Any, where: str, processes: int
) -> Iterator[tuple[int, Outcome]]:
    """The scheduler runs a task again when its worker dies; killed three times over, it is an error."""
    with _client(where, processes) as client:
        from distributed import as_completed

        name = uuid.uuid4().hex
        client.wait_for_workers(1)  # a queue may take its time
        everywhere = client.scatter(shared, broadcast=True, hash=False) if shared is not None else None
        futures = [
            client.submit(attempt, work, task, everywhere, key=f"nsim-{name}-{i}", priority=-i)
            for i, task in enumerate(tasks)
        ]
        index = {future.key: i for i, future in enumerate(futures)}
        for future in as_completed(futures):
            error = future.exception()
            outcome = future.result() if error is None else Outcome(error=_cause(error))
            yield index[future.key], outcome


def _cause(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return "its worker died again and again (killed, or out of memory)"
    return f"{type(error).__name__}: {error}"


@contextmanager
def _client(where: str, processes: int) -> Iterator[Client]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise SweepError("--dask takes the extra 'cluster': pip install 'nsim[cluster]'") from None
    if where == "local":
        # one thread: the thread limits of a worker are then 1 by dask's own settings
        with (
            LocalCluster(
                n_workers=processes, threads_per_worker=1, dashboard_address=None, memory_limit=None
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(where, timeout=START_DASK_S)
    except (OSError, ValueError) as error:
        raise SweepError(f"--dask {where}: no scheduler answers there ({error})") from None
    with client:
        yield client
