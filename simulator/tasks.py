"""Work shared between the threads of one process; numba's kernels and numpy's loops drop the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

CHUNKS_PER_THREAD = 4
Chunk = Callable[[int, int], object]
"""Does the pieces ``first .. last`` of some work."""


class Tasks:
    """Shares work between the calling thread and helpers; ``threads`` defaults to the cores there are.

    Everyone takes the next chunk when free. A helper is asked once for all chunks of a piece of work: asking
    costs tens of microseconds, as much as many a chunk. Helpers live on: a thread that does is woken on the
    core where it last ran, a new one often starts on a busy one.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1
        self._helpers = ThreadPoolExecutor(max(1, self.threads - 1), thread_name_prefix="nsim")

    def run(self, count: int, work: Chunk, chunk: int | None = None) -> None:
        """Call ``work(first, last)`` over all of range(count), ``chunk`` at a time."""
        if self.threads == 1 or count <= 1:
            work(0, count)
            return
        size = chunk or max(1, count // (CHUNKS_PER_THREAD * self.threads))
        firsts = iter(range(0, count, size))  # next() of it is atomic

        def take() -> None:
            for first in firsts:
                work(first, min(count, first + size))

        helpers = [self._helpers.submit(take) for _ in range(self.threads - 1)]
        try:
            take()
            for helper in helpers:
                helper.result()
        except BaseException:
            for _ in firsts:  # after an error or Ctrl-C nobody begins another chunk, and none is left going
                pass
            wait(helpers)
            raise
