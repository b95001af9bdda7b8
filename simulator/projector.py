"""Applies projections' kernels: tiles kept from call to call, lists of spikes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
from nsim.simulator.taps import Folded, tap_runs
from nsim.simulator.tasks import Chunk, Tasks
from nsim.simulator.tiles import Sent, Tiles, tile_weights

TASK_BYTES = 512 * 1024
"""Accumulators of one task: small enough to stay in a core's own cache."""
TASKS_PER_THREAD = 2
"""At least so many, where there are rows enough."""
ANALOG_PLACES = 4
"""Neighbouring places that share each row of weights: all of them have analog values, not all have spikes."""
FOLDED_FROM = 64
"""Source places of a map from which it pays to fold a kernel: there are more weights to read then."""
LARGEST_NARROW, LARGEST_SUM = 2**15 - 1, 2**31 - 1
"""In 16 bits and in 32."""
RowWork = Chunk
"""Work on rows ``first .. last`` of the maps of all images, counted through: [images x height]."""


class Items:
    """What a population sends: ``values`` [T, B, H, W, C], spikes (uint8) or analog, listed when asked.

    ``largest``: the largest magnitude among them, if it is known; ``narrow``: the values in 16 bits, if there
    are such and they fit.
    """

    def __init__(
        self,
        values: np.ndarray,
        are_spikes: bool,
        largest: float | None = None,
        narrow: np.ndarray | None = None,
    ) -> None:
        self.values = values
        self.are_spikes = are_spikes
        self._largest = largest
        self._narrow = narrow
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
                values = self.values
                if sent == "pairs":
                    values = values.astype(np.int16) if self._narrow is None else self._narrow
                self._lists[key] = block_values(values.reshape(-1, *values.shape[2:]), block)
        return self._lists[key]

    def listing(self, block: int) -> RowWork:
        """What lists the spikes of some rows for source blocks of ``block`` channels.

        The lists are there for `listed` when it has been called for all rows.
        """
        steps, batch, *place = self.values.shape
        self._lists[block, False] = spike_lists((steps * batch, *place), block)
        spikes = rows_of(self.values)
        index, begin = (a.reshape(len(a), *spikes.shape[:2], -1) for a in self._lists[block, False])
        return lambda first, last: list_spikes(first, last, spikes, index, begin)


def rows_of(maps: np.ndarray) -> np.ndarray:
    """[T, B, H, W, C] as [T, B * H, W, C]."""
    steps, batch, height, *rest = maps.shape
    return maps.reshape(steps, batch * height, *rest)


def in_turn(works: Sequence[RowWork]) -> RowWork:
    """All of ``works`` on some rows, one after the other."""

    def done(first: int, last: int) -> None:
        for work in works:
            work(first, last)

    return done


@dataclass(frozen=True, eq=False)
class Addition:
    """``target[..., first:] += scale * (kernel applied to source) + bias`` for a target [T, B, H, W, C].

    ``scale`` [C_out], or for integers a shift. ``initial`` [B, C_out]: what stands there at first, when the
    target holds nothing yet; else [0, C_out].
    """

    kernel: Kernel
    source: Items
    scale: np.ndarray | int
    bias: np.ndarray
    first: int
    initial: np.ndarray

    def by_rows(self, target: np.ndarray) -> RowWork:
        """The same as work on rows, of an elementwise kernel."""
        values, current = np.ascontiguousarray(rows_of(self.source.values)), rows_of(target)
        return lambda a, b: add_values(a, b, values, self.scale, self.bias, self.initial, current, self.first)


class Projector:
    """Applies kernels to items; ``threads`` only cut the work, never change a sum."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._tiles: dict[tuple[object, ...], tuple[Kernel, Kernel | Folded, Tiles]] = {}
        self._cuts: dict[tuple[object, ...], _Cut] = {}

    def apply(
        self, addition: Addition, target: np.ndarray, tasks: Tasks, after: RowWork | None = None
    ) -> None:
        """Add to ``target`` [T, B, H, W, C]: float32, float64, or int32 (integer kernels); see `project`.

        ``after`` is called once for all rows, some at a time, each when its sums are complete: by the thread
        that completes them, which has them in its cache, and without waking another one.
        """
        kernel, source, first = addition.kernel, addition.source, addition.first
        if kernel.is_elementwise:
            add = addition.by_rows(target)
            tasks.run(rows_of(target).shape[1], add if after is None else in_turn([add, after]))
            return
        flat = target.reshape(-1, *target.shape[2:])
        sent = _sent(kernel, flat.dtype, source)
        taps, tiles = self._tiled(kernel, flat.dtype, sent)
        items, begin = source.listed(tiles.block, sent, tasks)
        cut = self._cut(taps, tiles, source.values.shape[2:4], flat.shape)
        places = (0,) if source.are_spikes else (0,) * ANALOG_PLACES
        rows, groups, height = cut.rows, cut.groups, flat.shape[1]
        # next() of these is atomic: who finds one at its end has completed the last channels of its rows
        others = [iter(range(tiles.target_blocks - 1)) for _ in range(groups)]

        def work(a: int, b: int) -> None:
            project(
                a,
                b,
                rows,
                items,
                begin,
                tiles.weights,
                cut.register,
                cut.sums,
                tiles.vectors,
                places,
                tiles.most,
                cut.source_y,
                cut.runs,
                addition.scale,
                addition.bias,
                addition.initial,
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
        return self._tiled(kernel, sums, _sent(kernel, sums, source))[1].block

    def _tiled(self, kernel: Kernel, sums: np.dtype, sent: Sent) -> tuple[Kernel | Folded, Tiles]:
        """The kernel's taps and weights, tiled for what it is applied to; kept for the next call."""
        key = (id(kernel), sums, sent)
        if key not in self._tiles:
            groups = kernel.channels if kernel.is_identity else kernel.groups
            taps = Folded(kernel) if sent == "folded" else kernel
            # the kernel is kept beside its tiles: an id is only good for as long as its object lives
            self._tiles[key] = kernel, taps, tile_weights(taps.array, groups, sums, sent)
        return self._tiles[key][1:]

    @property
    def weight_bytes(self) -> int:
        """Memory that the tiles take."""
        return sum(tiles.weights.nbytes for *_, tiles in self._tiles.values())

    def _cut(
        self, taps: Kernel | Folded, tiles: Tiles, source: tuple[int, ...], target: tuple[int, ...]
    ) -> _Cut:
        """How the work on maps of these sizes ([H, W], [N, H, W, C]) is cut; kept for the next call."""
        key = (id(tiles), source, target)
        if key not in self._cuts:
            n, height, width, _ = target
            row_bytes = n * width * tiles.weights.shape[5] * tiles.sums.itemsize
            pieces = -(-TASKS_PER_THREAD * self.threads // tiles.target_blocks)  # each reads all weights
            self._cuts[key] = _Cut(
                max(1, min(-(-height // pieces), TASK_BYTES // row_bytes)),
                height,
                taps.tap_sources(0, source[0], height),
                tap_runs(taps.tap_sources(1, source[1], width), tiles.block, tiles.joined),
                np.empty(0, tiles.register),
                np.empty(0, tiles.sums),
            )
        return self._cuts[key]


@dataclass(frozen=True, eq=False)
class _Cut:
    """Work in groups of ``rows`` of the target's ``height``, and what else `project` takes for it."""

    rows: int
    height: int
    source_y: np.ndarray
    runs: np.ndarray
    register: np.ndarray
    sums: np.ndarray

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return -(-self.height // self.rows)


def _sent(kernel: Kernel, sums: np.dtype, source: Items) -> Sent:
    """How the kernel takes what ``source`` sends."""
    if sums.kind == "i":
        if largest_sum(kernel) * source.largest > LARGEST_SUM:
            return "wide"
        narrow = max(source.largest, largest_weight(kernel)) <= LARGEST_NARROW
        if narrow and not source.are_spikes:
            return "pairs"
        places = math.prod(source.values.shape[1:4])
        if source.are_spikes and places >= FOLDED_FROM and Folded.fits(kernel):
            return "folded"
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
