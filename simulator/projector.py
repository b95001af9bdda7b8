"""Applies projections' kernels: tiles kept from call to call, lists of spikes."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from nsim.frontends.kernel import Kernel
from nsim.simulator.event_kernels import (
    add_values,
    block_values,
    list_spikes,
    project,
    spike_lists,
)
from nsim.simulator.tasks import Chunk, Tasks
from nsim.simulator.tiles import Sent, Tiles, tile_weights

TASK_BYTES = 256 * 1024
"""Accumulators of one task: small enough to stay in a core's own cache."""
TASKS_PER_THREAD = 2
"""At least so many, where there are rows enough."""
ANALOG_PLACES = 4
"""Neighbouring places that share each row of weights: all of them have analog values, not all have spikes."""
LARGEST_NARROW = np.iinfo(np.int16).max
RowWork = Chunk
"""Work on rows ``first .. last`` of the maps of all images, counted through: [images x height]."""


class Items:
    """What a population sends: ``values`` [T, B, H, W, C], spikes (uint8) or analog, listed when asked.

    ``largest``: the largest magnitude among them, if it is known.
    """

    def __init__(self, values: np.ndarray, are_spikes: bool, largest: float | None = None) -> None:
        self.values = values
        self.are_spikes = are_spikes
        self._largest = largest
        self._lists: dict[tuple[int, bool], tuple[np.ndarray, np.ndarray]] = {}

    @cached_property
    def largest(self) -> float:
        """Largest magnitude that is sent: 1 for spikes."""
        if self.are_spikes:
            return 1
        if self._largest is not None:
            return self._largest
        return max(self.values.max().item(), -self.values.min().item())

    def listed(self, block: int, sent: Sent, tasks: Tasks) -> tuple[np.ndarray, np.ndarray]:
        """Items and counts for `project`, for source blocks of ``block`` channels."""
        key = (block, sent == "pairs")
        if key not in self._lists:
            if self.are_spikes:
                tasks.run(rows_of(self.values).shape[1], self.listing(block))
            else:
                flat = self.values.reshape(-1, *self.values.shape[2:])
                self._lists[key] = block_values(_narrowed(flat, tasks) if sent == "pairs" else flat, block)
        return self._lists[key]

    def listing(self, block: int) -> RowWork:
        """What lists the spikes of some rows for source blocks of ``block`` channels.

        The lists are there for `listed` when it has been called for all rows.
        """
        steps, batch, *place = self.values.shape
        index, count = spike_lists((steps * batch, *place), block)
        self._lists[block, False] = index, count
        spikes = rows_of(self.values)
        by_row = index.reshape(len(index), *spikes.shape[:3], block)
        counts = count.reshape(by_row.shape[:-1])
        return lambda first, last: list_spikes(first, last, spikes, by_row, counts)


def rows_of(maps: np.ndarray) -> np.ndarray:
    """[T, B, H, W, C] as [T, B * H, W, C]."""
    steps, batch, height, *rest = maps.shape
    return maps.reshape(steps, batch * height, *rest)


def _narrowed(values: np.ndarray, tasks: Tasks) -> np.ndarray:
    """Integers [N, ...] that fit 16 bits, in 16 bits."""
    narrow = np.empty(values.shape, np.int16)
    tasks.run(len(values), lambda a, b: np.copyto(narrow[a:b], values[a:b], casting="unsafe"))
    return narrow


class Projector:
    """Applies kernels to items; ``threads`` only cut the work, never change a sum."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._tiles: dict[tuple[object, ...], tuple[Kernel, Tiles]] = {}
        self._taps: dict[tuple[object, ...], tuple[np.ndarray, np.ndarray]] = {}

    def apply(
        self,
        kernel: Kernel,
        source: Items,
        scale: np.ndarray | int,
        bias: np.ndarray,
        target: np.ndarray,
        first: int,
        tasks: Tasks,
        initial: np.ndarray | None = None,
        after: RowWork | None = None,
    ) -> None:
        """``target[..., first:] += scale * (kernel applied to source) + bias``, see `project`.

        ``target`` [T, B, H, W, C]: float32, float64, or int32 (integer kernels; ``scale`` is a shift).
        ``initial`` [T * B, C_out]: what stands there at first, when ``target`` holds nothing yet.
        ``after`` is called once for all rows, some at a time, each when its sums are complete: by the thread
        that completes them, which has them in its cache, and without waking another one.
        """
        initial = np.empty((0, kernel.c_out), target.dtype) if initial is None else initial
        if kernel.is_elementwise:
            values, current = rows_of(source.values), rows_of(target)

            def add(a: int, b: int) -> None:
                add_values(a, b, values, scale, bias, initial, current, first)
                if after is not None:
                    after(a, b)

            tasks.run(current.shape[1], add)
            return
        flat = target.reshape(-1, *target.shape[2:])
        sent = _sent(kernel, flat.dtype, source)
        tiles = self.tiles(kernel, flat.dtype, sent)
        items, count = source.listed(tiles.block, sent, tasks)
        height, width = flat.shape[1:3]
        row_bytes = len(flat) * width * tiles.weights.shape[5] * tiles.sums.itemsize
        pieces = -(
            -TASKS_PER_THREAD * self.threads // tiles.target_blocks
        )  # not more: each reads all weights
        rows = max(1, min(-(-height // pieces), TASK_BYTES // row_bytes))
        source_y, source_x = self._sources(kernel, source.values.shape[2:4], (height, width))
        register, sums = np.empty(0, tiles.register), np.empty(0, tiles.sums)
        places = (0,) if source.are_spikes else (0,) * ANALOG_PLACES
        groups = -(-height // rows)
        # next() of these is atomic: who finds one at its end has completed the last channels of its rows
        others = [iter(range(tiles.target_blocks - 1)) for _ in range(groups)]

        def work(a: int, b: int) -> None:
            project(
                a,
                b,
                rows,
                items,
                count,
                tiles.weights,
                register,
                sums,
                tiles.vectors,
                places,
                source_y,
                source_x,
                scale,
                bias,
                initial,
                flat,
                first,
            )
            for group in (task % groups for task in range(a, b)):
                if after is not None and next(others[group], None) is None:
                    for top in range(0, target.shape[1] * height, height):
                        after(top + group * rows, top + min(height, (group + 1) * rows))

        tasks.run(tiles.target_blocks * groups, work)

    def spike_block(self, kernel: Kernel, sums: np.dtype, source: Items) -> int | None:
        """Channels of the source blocks in which ``kernel`` wants spikes listed; None for no lists."""
        if kernel.is_elementwise:
            return None
        return self.tiles(kernel, sums, _sent(kernel, sums, source)).block

    def tiles(self, kernel: Kernel, sums: np.dtype, sent: Sent) -> Tiles:
        """The kernel's weights, tiled for what it is applied to; kept for the next call."""
        key = (id(kernel), sums, sent)
        if key not in self._tiles:
            groups = kernel.channels if kernel.is_identity else kernel.groups
            # the kernel is kept beside its tiles: an id is only good for as long as its object lives
            self._tiles[key] = kernel, tile_weights(kernel.array, groups, sums, sent)
        return self._tiles[key][1]

    @property
    def weight_bytes(self) -> int:
        """Memory that the tiles take."""
        return sum(tiles.weights.nbytes for _, tiles in self._tiles.values())

    def _sources(
        self, kernel: Kernel, source: tuple[int, ...], target: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        key = (kernel.geometry, source, target)
        if key not in self._taps:
            self._taps[key] = (
                kernel.tap_sources(0, source[0], target[0]),
                kernel.tap_sources(1, source[1], target[1]),
            )
        return self._taps[key]


def _sent(kernel: Kernel, sums: np.dtype, source: Items) -> Sent:
    """How the kernel takes what ``source`` sends."""
    if sums.kind == "i":
        if largest_sum(kernel) * source.largest > np.iinfo(sums).max:
            return "wide"
        narrow = max(source.largest, largest_weight(kernel)) <= LARGEST_NARROW
        if narrow and not source.are_spikes:
            return "pairs"
    return "spikes" if source.are_spikes else "values"


@lru_cache(maxsize=4096)
def largest_weight(kernel: Kernel) -> float:
    """Largest magnitude of a weight."""
    return float(np.abs(kernel.array).max(initial=0))


@lru_cache(maxsize=4096)
def largest_sum(kernel: Kernel) -> float:
    """Largest magnitude that a target's sum can have when every source sends at most 1."""
    magnitudes = np.abs(kernel.array.astype(np.float64)).sum(axis=(1, 2, 3))
    return float(magnitudes.max(initial=0.0))
