"""What the synapse lists of core blocks take of memory, for every block shape of one population.

Everything is a product of facts of one axis (see `reach`), which are worked out once per block size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from nsim.frontends.network import Population, Projection
from nsim.hw_models.cores import loihi
from nsim.hw_models.mapping.axons import axon_groups, channel_overlap
from nsim.hw_models.mapping.reach import SegmentReach, segment_reach, segments
from nsim.hw_models.spec import Core


class Words(NamedTuple):
    """Synaptic words and the longest list of every core, int64 [rows, columns, channel blocks].

    ``shared``: some list serves several source positions.
    """

    used: np.ndarray
    longest: np.ndarray
    shared: bool


class SynapseStorage:
    """The synapse lists of one population; caches what its axis segments see of each source.

    ``inputs``: its spiking projections, from ``sources``, each with a delay in ticks. ``shared``: indices of
    the inputs that share axons, together.
    """

    def __init__(
        self,
        population: Population,
        inputs: Sequence[Projection],
        sources: Sequence[Population],
        delays: Sequence[int],
        core: Core,
    ) -> None:
        self.population = population
        self.inputs = inputs
        self.core = core
        self.bits = [loihi.synapse_bits(d, core) for d in delays]
        self.shared = [[inputs.index(p) for p in group] for group in axon_groups(list(inputs))]
        size = population.shape
        self._taps = [
            [
                (
                    p.kernel.reach(a, s.shape[1 + a], size[1 + a]),
                    p.kernel.first_tap(a, s.shape[1 + a], size[1 + a]),
                )
                for p, s in zip(inputs, sources, strict=True)
            ]
            for a in (0, 1)
        ]
        self._axis_cache: dict[tuple[int, int], _Distinct] = {}
        self._channel_cache: dict[int, _Distinct] = {}
        self._list_cache: dict[tuple[object, ...], tuple[int, np.ndarray]] = {}
        self._reaches: list[SegmentReach] = []
        self._reach_index: dict[SegmentReach, int] = {}

    def halo_sums(self, block: tuple[int, int, int], per_position: np.ndarray) -> np.ndarray:
        """Sum over the halo of every core of what each source position takes, [channel blocks, inputs]."""
        h, w, _ = block
        by_row, by_column = self._axis(0, h), self._axis(1, w)
        found = np.einsum("yi,xi,ki->yxk", by_row.size, by_column.size, per_position)
        return found[by_row.kind][:, by_column.kind]

    def words(self, block: tuple[int, int, int]) -> Words:
        """Words of every core of a grid of blocks of so many (rows, columns, channels)."""
        h, w, c = block
        by_row, by_column, by_channel = self._axis(0, h), self._axis(1, w), self._channels(c)
        words = np.zeros((len(by_row.seen), len(by_column.seen), len(by_channel.seen)), np.int64)
        longest = np.zeros_like(words)
        for k, (size, overlaps) in enumerate(by_channel.seen):
            for paths, overlap in zip(self.shared, overlaps, strict=True):
                for (reached, source_channels), (y, rows), (x, columns) in product(
                    overlap, enumerate(by_row.seen), enumerate(by_column.seen)
                ):
                    lists = [
                        self._lists(self.bits[i], rows[i], columns[i], n, n == size)
                        for i, n in zip(paths, reached, strict=True)
                        if n
                    ]
                    words[y, x, k] += source_channels * sum(total for total, _ in lists)
                    axon = np.sum([each for _, each in lists], axis=0).max(initial=0)
                    longest[y, x, k] = max(longest[y, x, k], axon)
        spread = np.ix_(by_row.kind, by_column.kind, by_channel.kind)
        shared = any(
            pattern.sources > 1
            for axis in (by_row, by_column)
            for reaches in axis.seen
            for i in reaches
            for pattern in self._reaches[i].patterns
        )
        return Words(words[spread], longest[spread], shared)

    def _channels(self, step: int) -> _Distinct:
        """How channel blocks meet the inputs: (channels, overlap of each of ``shared``)."""
        if step not in self._channel_cache:
            groups = [[self.inputs[i] for i in paths] for paths in self.shared]
            self._channel_cache[step] = _distinct(
                [
                    (cut[1] - cut[0], tuple(channel_overlap(group, cut) for group in groups))
                    for cut in segments(self.population.shape[0], step)
                ]
            )
        return self._channel_cache[step]

    def _axis(self, axis: int, step: int) -> _Distinct:
        """What the segments of an axis see of every input, as indices into ``_reaches``; ``size``: halos."""
        if (axis, step) not in self._axis_cache:
            cuts = segments(self.population.shape[1 + axis], step)
            seen = [[segment_reach(taps, first, cut) for taps, first in self._taps[axis]] for cut in cuts]
            distinct = _distinct([tuple(self._index(reach) for reach in row) for row in seen])
            size = np.array([[self._reaches[i].halo for i in row] for row in distinct.seen], np.int64)
            self._axis_cache[axis, step] = replace(
                distinct, size=size.reshape(len(distinct.seen), len(self.inputs))
            )
        return self._axis_cache[axis, step]

    def _index(self, reach: SegmentReach) -> int:
        index = self._reach_index.setdefault(reach, len(self._reaches))
        if index == len(self._reaches):
            self._reaches.append(reach)
        return index

    def _lists(self, bits: int, row: int, column: int, channels: int, whole: bool) -> tuple[int, np.ndarray]:
        """Words of all lists of one source channel in one block, and of each distinct one.

        Positions with the same relative targets and weights use one list. Targets in a core are ordered (row,
        column, channel): where the block holds no other channels (``whole``), neighbouring columns run on
        without a break.
        """
        key = (bits, row, column, channels, whole)
        if key not in self._list_cache:
            pairs = product(self._reaches[row].patterns, self._reaches[column].patterns)
            words = [
                loihi.list_words(
                    (tuple(n * channels for n in c.stretches) if whole else (channels,) * c.targets)
                    * r.targets,
                    bits,
                    self.core,
                )
                for r, c in pairs
            ]
            self._list_cache[key] = (sum(words), np.array(words, np.int64))
        return self._list_cache[key]


@dataclass(frozen=True, eq=False)
class _Distinct:
    """The distinct among a row of things, which of them each one is, and a size [distinct, inputs]."""

    seen: list[Any]
    kind: np.ndarray
    size: np.ndarray


def _distinct(things: Sequence[Any]) -> _Distinct:
    seen: dict[Any, int] = {}
    kind = [seen.setdefault(thing, len(seen)) for thing in things]
    return _Distinct(list(seen), np.array(kind), np.empty(0))
