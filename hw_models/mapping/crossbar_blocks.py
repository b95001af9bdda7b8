"""Which outputs and which inputs of a layer lie on one crossbar: blocks, and parts of what they hear."""

from __future__ import annotations

from itertools import product

import numpy as np

from nsim.errors import MappingError
from nsim.hw_models.mapping.axons import Cuts, axon_channels
from nsim.hw_models.mapping.crossbar_layer import HeardLayer
from nsim.hw_models.mapping.grid import CoreGrid, Part, block_sizes
from nsim.hw_models.mapping.reach import segments
from nsim.hw_models.spec import CrossbarCore

TWINS = 2


def best_block(layer: HeardLayer, core: CrossbarCore, relay: bool) -> CoreGrid:
    """The grid of fewest cores, with those of the splitters that its axons ask for and of final neurons.

    With ``relay`` an output is two neurons on each of the cores over which its inputs are spread, and one
    core more holds its constant; else all its inputs come to one core. MappingError where one neuron alone
    has no room.
    """
    search = _Search(layer, core, relay)
    c, h, w = layer.population.shape
    shapes = product(block_sizes(h), block_sizes(w), block_sizes(c))
    fitting = [shape for shape in shapes if np.prod(shape) <= search.most]
    best = min(fitting, key=search.cost)
    if search.cost(best) == np.inf:
        what, way_out = "", "use --partial-sums relay, fewer --weight-bits"
        if relay:
            what, way_out = " of a channel, which is not spread over cores,", "use fewer --weight-bits"
        raise MappingError(
            f"{layer.population.name}: what one neuron hears{what} takes more than the {core.axons.value} "
            f"axons of a core, {len(layer.levels)} for each input; {way_out} or another chip"
        )
    return search.grid(best)


class _Search:
    """The blocks of one layer; caches what segments of an axis and channel blocks see of every source."""

    def __init__(self, layer: HeardLayer, core: CrossbarCore, relay: bool) -> None:
        self.layer, self.core, self.relay = layer, core, relay
        self.spikes = layer.population.kind == "neuron"
        self.most = core.neurons.value // (TWINS if relay else 1)
        self._cache: dict[tuple[int, int], tuple[Cuts, np.ndarray]] = {}

    def _axis(self, axis: int, step: int) -> tuple[Cuts, np.ndarray]:
        """Segments of an axis (0 rows, 1 columns, 2 channels), and sources in reach [groups, segments]."""
        if (axis, step) not in self._cache:
            layer, shape = self.layer, self.layer.population.shape
            cuts = tuple(segments(shape[0] if axis == 2 else shape[1 + axis], step))
            seen = []
            for group in layer.groups:
                if axis == 2:
                    seen.append([int(axon_channels(group, cut).sum()) for cut in cuts])
                else:
                    taps = group[0].kernel.reach(axis, layer.source(group[0])[1 + axis], shape[1 + axis]) > 0
                    seen.append([int(taps[a:b].any(axis=0).sum()) for a, b in cuts])
            self._cache[axis, step] = cuts, np.array(seen, np.int64).reshape(len(layer.groups), len(cuts))
        return self._cache[axis, step]

    def _parts(self, rows: np.ndarray, columns: np.ndarray, channels: np.ndarray) -> tuple[Part, ...] | None:
        """Ranges of channels in reach, group by group, that fill one core's axons after the other.

        None where a single channel is too much for a core, or all of them for the only one.
        """
        room = self.core.axons.value
        parts: list[dict[int, tuple[int, int]]] = [{}]
        free = room
        for g in range(len(rows)):
            each = len(self.layer.levels) * int(rows[g].max() * columns[g].max())
            start, end = 0, int(channels[g].max())
            if each > room:
                return None
            while start < end:
                if free < each:
                    parts.append({})
                    free = room
                stop = min(end, start + free // max(1, each))
                parts[-1][g] = start, stop
                free -= (stop - start) * each
                start = stop
        if not self.relay:
            return (_filled(parts[0], len(rows)),) if len(parts) == 1 else None
        found = [_filled(part, len(rows)) for part in parts if part]
        return (*found, ()) if self.spikes else tuple(found)

    def cost(self, shape: tuple[int, int, int]) -> float:
        """Cores, and shares of cores for splitters and final neurons; infinite where it does not fit."""
        (rows, by_row), (columns, by_column), (cuts, by_cut) = (self._axis(i, n) for i, n in enumerate(shape))
        parts = self._parts(by_row, by_column, by_cut)
        if parts is None:
            return np.inf
        blocks = len(rows) * len(columns) * len(cuts)
        axons = len(self.layer.levels) * int((by_row.sum(1) * by_column.sum(1) * by_cut.sum(1)).sum())
        cost = blocks * len(parts) + axons / self.core.neurons.value
        if self.relay and self.spikes:
            cost += self.layer.population.size * TWINS * len(parts) / self.core.axons.value
        return float(cost)

    def grid(self, shape: tuple[int, int, int]) -> CoreGrid:
        """The grid of blocks of (rows, columns, channels): [rows, columns, channel blocks, parts]."""
        (rows, by_row), (columns, by_column), (cuts, by_cut) = (self._axis(i, n) for i, n in enumerate(shape))
        parts = self._parts(by_row, by_column, by_cut)
        assert parts is not None
        sizes = [np.array([b - a for a, b in axis]) for axis in (rows, columns, cuts)]
        volume = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2]
        axons = np.zeros((*volume.shape, len(parts)), np.int64)
        for k, part in enumerate(parts):
            for g, (start, stop) in enumerate(part):
                channels = np.clip(by_cut[g], start, stop) - start
                axons[..., k] += len(self.layer.levels) * np.einsum(
                    "y,x,c->yxc", by_row[g], by_column[g], channels
                )
            if not part and self.relay:
                axons[..., k] = self.layer.constant_axons
        neurons = np.repeat(volume[..., None] * (TWINS if self.relay else 1), len(parts), axis=-1)
        limits = {"neurons": self.core.neurons.value, "axons": self.core.axons.value}
        used = {"neurons": neurons, "axons": axons}
        return CoreGrid(self.layer.population.name, rows, columns, cuts, used, limits, parts=parts)


def _filled(part: dict[int, tuple[int, int]], groups: int) -> Part:
    return tuple(part.get(g, (0, 0)) for g in range(groups))
