"""Work shared between threads: every piece once, whatever the number of threads; errors come through."""

from __future__ import annotations

from threading import Lock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.simulator.projector import Addition, Items, Projector
from nsim.simulator.tasks import Tasks


@settings(max_examples=40)
@given(count=st.integers(0, 60), threads=st.integers(1, 4), chunk=st.none() | st.integers(1, 9))
def test_every_piece_is_done_once(count: int, threads: int, chunk: int | None) -> None:
    done, lock = np.zeros(count, int), Lock()

    def work(first: int, last: int) -> None:
        with lock:
            done[first:last] += 1

    Tasks(threads).run(count, work, chunk)
    assert (done == 1).all()


def test_an_error_of_any_piece_comes_through() -> None:
    def work(first: int, last: int) -> None:
        if first >= 3:
            raise ValueError(f"piece {first}")

    with pytest.raises(ValueError, match="piece"):
        Tasks(3).run(8, work, chunk=1)


@settings(max_examples=40)
@given(
    channels=st.sampled_from([1, 3, 70, 300]),
    height=st.integers(1, 9),
    batch=st.integers(1, 3),
    threads=st.integers(1, 4),
    identity=st.booleans(),
)
def test_rows_are_handed_on_once_and_complete(
    channels: int, height: int, batch: int, threads: int, identity: bool
) -> None:
    """``after`` sees the sums of its rows as they are in the end: several target blocks, images, threads."""
    rng = np.random.default_rng(channels * height)
    c_in = channels if identity else 4
    spikes = (rng.random((2, batch, height, 3, c_in)) < 0.5).astype(np.uint8)
    weights = None if identity else rng.integers(1, 4, (channels, c_in, 3, 3)).astype(np.float32)
    kernel = Kernel(c_in, weights, padding=(0, 0) if identity else (1, 1))
    target = np.zeros((2, batch, height, 3, channels), np.float32)
    rows = target.reshape(2, batch * height, 3, channels)
    seen, times, lock = np.full_like(rows, np.nan), np.zeros(batch * height, int), Lock()

    def after(first: int, last: int) -> None:
        with lock:
            times[first:last] += 1
            seen[:, first:last] = rows[:, first:last]

    one, none = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    addition = Addition(kernel, Items(spikes, True), one, none, 0, np.empty((0, channels), np.float32))
    Projector(threads).apply(addition, target, Tasks(threads), after)
    assert (times == 1).all()
    np.testing.assert_array_equal(seen, rows)
    assert target.any() == spikes.any()


def test_after_an_error_no_chunk_is_begun_and_the_next_work_is_whole() -> None:
    tasks, begun, lock = Tasks(2), [], Lock()

    def fail(first: int, last: int) -> None:
        with lock:
            begun.append(first)
        raise ValueError(f"piece {first}")

    with pytest.raises(ValueError, match="piece"):
        tasks.run(1000, fail, chunk=1)
    assert len(begun) <= 2
    done = np.zeros(1000, int)

    def count(first: int, last: int) -> None:
        done[first:last] += 1

    tasks.run(1000, count, chunk=1)
    assert (done == 1).all()
