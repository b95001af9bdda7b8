"""Accumulates per second of the event kernels, against what the first-level cache could deliver."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numba import njit

from nsim.frontends.kernel import Kernel
from nsim.reports.bench.measure import Measurement
from nsim.simulator.projector import Addition, Items, Projector
from nsim.simulator.tasks import Tasks
from nsim.simulator.tiles import tile_weights
from nsim.simulator.vector_code import add_rows

LAYERS = ((32, 128, 128), (16, 256, 256), (8, 512, 256), (4, 512, 256))
"""Side, source and target channels: 3x3 layers on the four resolutions of SDDPM's U-Net."""
DENSITIES = (0.05, 0.15, 0.30)
TIME_STEPS = 4
INPUTS = 8
"""Different spikes that take turns: the processor would learn the lengths of one map's lists."""
REPEATS = 15
ROOFLINE_ROWS, ROOFLINE_REPEATS = 96, 20_000


def accumulate_rates(kind: str) -> Iterator[Measurement]:
    """Accumulates per second on one core, by layer and density (float32 or int: 8-bit weights); the rival is
    the rate at which rows of weights in the first-level cache can be added, so the ratio is the share of it
    that is reached."""
    roof = _roofline(kind)
    for side, c_in, c_out in LAYERS:
        for density in DENSITIES:
            rate = _rate(kind, side, c_in, c_out, density)
            name = f"ac_{kind}_{side}x{side}_{100 * density:.0f}"
            yield Measurement(name, rate / 1e9, "GAC/s", "l1_roofline", roof / 1e9, less_is_better=False)


def _weights(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(-127, 128, shape) if kind == "int" else rng.standard_normal(shape)


def _sums(kind: str) -> np.dtype:
    return np.dtype(np.int32 if kind == "int" else np.float32)


def _rate(kind: str, side: int, c_in: int, c_out: int, density: float) -> float:
    rng = np.random.default_rng(1)
    spikes = (rng.random((INPUTS, TIME_STEPS, 1, side, side, c_in)) < density).astype(np.uint8)
    kernel = Kernel(c_out, _weights(kind, (c_out, c_in, 3, 3)), padding=(1, 1))
    current = np.zeros((TIME_STEPS, 1, side, side, c_out), _sums(kind))
    scale = 0 if kind == "int" else np.ones(c_out, np.float32)
    bias, nothing = np.zeros(c_out, current.dtype), np.empty((0, c_out), current.dtype)
    additions = [Addition(kernel, Items(one, True), scale, bias, 0, nothing) for one in spikes]
    projector, tasks = Projector(1), Tasks(1)
    times = []
    for _ in range(REPEATS):
        start = time.thread_time()
        for addition in additions:
            projector.apply(addition, current, tasks)
        times.append(time.thread_time() - start)
    reach = kernel.reach(0, side, side).sum(axis=0)
    taps = np.einsum("itbyx,y,x->", spikes.sum(axis=5, dtype=np.int64), reach, reach)
    return float(taps) * c_out / min(times)


def _roofline(kind: str) -> float:
    """Additions per second of one core over rows that stay in the first-level cache, in register width."""
    tiles = tile_weights(_weights(kind, (128, ROOFLINE_ROWS, 1, 1)), 1, _sums(kind), "spikes")
    rows = np.arange(ROOFLINE_ROWS, dtype=np.uint16)
    total, register = np.zeros(tiles.weights.shape[5], tiles.sums), np.empty(0, tiles.register)
    times = []
    for _ in range(REPEATS):
        start = time.thread_time()
        _add_repeatedly(tiles.weights, rows, total, register, tiles.vectors, ROOFLINE_REPEATS)
        times.append(time.thread_time() - start)
    return ROOFLINE_REPEATS * ROOFLINE_ROWS * tiles.weights.shape[5] / min(times)


@njit
def _add_repeatedly(weights, rows, total, register, vectors, repeats):  # type: ignore[no-untyped-def]
    """Add all ``rows`` of one tile, again and again."""
    tile = weights[0, 0, 0, 0].ctypes.data
    for _ in range(repeats):
        first, count = rows.ctypes.data, np.int64(rows.size)
        sums = total.ctypes.data
        add_rows(weights, rows, total, register, vectors, (0,), sums, tile, first, (0, 0), count)
