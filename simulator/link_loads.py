"""Packets over every link of the mesh, from spike maps: no packet is followed.

Routes are fixed (x first, then y), so where the packets of a neuron go is worked out once per mapping, as
pairs of a source and a destination core; a call only says how often each pair was used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsim.hw_models.mapping.mapping import Mapping
from nsim.simulator.call import Call, with_relays
from nsim.simulator.traffic import Fanout, fanouts

DIRECTIONS = ("east", "west", "north", "south")
"""Where a link leads: to mesh_x + 1, mesh_x - 1, mesh_y - 1, mesh_y + 1."""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of cores that packets of one population travel between.

    Pair i is used by every spike of channel block ``block[i]``, kind ``kind[i]``, position ``position[i]``.
    """

    block: np.ndarray
    kind: np.ndarray
    position: np.ndarray
    source: np.ndarray
    target: np.ndarray


class LinkCounter:
    """Counts packets over links for calls on one mapping."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        place = mapping.placement
        self.shape = (int(place.mesh_y.max()) + 1, int(place.mesh_x.max()) + 1)
        self._fanouts = fanouts(mapping)
        self._pairs = {name: _pairs(mapping, name, fanout) for name, fanout in self._fanouts.items()}

    def count(self, call: Call) -> dict[str, np.ndarray]:
        """Direction to packets int64 [rows, columns] that leave each tile that way, all images together."""
        call = with_relays(call, self.mapping.laid_out)
        place, rows, columns = self.mapping.placement, *self.shape
        x_steps = np.zeros((2, rows, columns + 1), np.int64)
        y_steps = np.zeros((2, rows + 1, columns), np.int64)
        for name, pairs in self._pairs.items():
            if name not in call.spikes or not len(pairs.source):
                continue
            used = self._used(name, call.spikes[name], pairs)
            x0, x1 = place.mesh_x[pairs.source], place.mesh_x[pairs.target]
            y0, y1 = place.mesh_y[pairs.source], place.mesh_y[pairs.target]
            _route(x_steps, y0, x0, x1, used, along=1)
            _route(y_steps, x1, y0, y1, used, along=0)
        east, west = np.cumsum(x_steps, axis=2)[:, :, :-1]
        south, north = np.cumsum(y_steps, axis=1)[:, :-1]
        # A westward packet crosses the link from x + 1 to x: counted at x, it leaves the tile at x + 1.
        return {
            "east": east,
            "west": np.roll(west, 1, axis=1),
            "north": np.roll(north, 1, axis=0),
            "south": south,
        }

    def _used(self, name: str, spikes: np.ndarray, pairs: _Pairs) -> np.ndarray:
        """How often each pair was used."""
        grid, fanout = self.mapping.grids[name], self._fanouts[name]
        fired = spikes.sum(axis=(0, 1), dtype=np.int64).reshape(spikes.shape[2], -1)
        kinds = int(fanout.kind.max()) + 1
        table = np.zeros((len(grid.channels), kinds, fired.shape[1]), np.int64)
        for k, (a, b) in enumerate(grid.channels):
            np.add.at(table[k], fanout.kind[a:b], fired[a:b])
        return table[pairs.block, pairs.kind, pairs.position]


def _pairs(mapping: Mapping, name: str, fanout: Fanout) -> _Pairs:
    grid = mapping.grids[name]
    _, height, width = mapping.laid_out.population_by_name[name].shape
    sent = np.diff(fanout.first)
    neuron = np.repeat(np.arange(len(sent)), sent)
    kind, position = neuron // (height * width), neuron % (height * width)
    row = np.searchsorted([b for _, b in grid.rows], position // width, side="right")
    column = np.searchsorted([b for _, b in grid.columns], position % width, side="right")
    parts = []
    for k, (a, b) in enumerate(grid.channels):
        here = np.isin(kind, fanout.kind[a:b])
        source = grid.core_ids[row[here], column[here], k]
        block = np.full(len(source), k)
        parts.append((block, kind[here], position[here], source, fanout.core[here]))
    return _Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _route(
    steps: np.ndarray, line: np.ndarray, start: np.ndarray, end: np.ndarray, used: np.ndarray, along: int
) -> None:
    """Add packets to the links between ``start`` and ``end`` on their line, as where they begin and stop."""
    for way, forward in enumerate((True, False)):
        moves = end > start if forward else end < start
        low, high = np.minimum(start, end)[moves], np.maximum(start, end)[moves]
        for at, sign in ((low, 1), (high, -1)):
            index = (line[moves], at) if along else (at, line[moves])
            np.add.at(steps[way], index, sign * used[moves])
