"""Cut every population into core blocks (rows x columns x channels) under every capacity of a core.

Layers are cut from the output back to the input, because what a source core needs in output axons depends
on how its consumers were cut. For each layer all block shapes are tried, fewest cores first, and the one
with the least cores + axon fill + memory fill is kept (the cost of the NxTF compiler, Rueckauer et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network, Population, Projection
from nsim.hw_models.cores import loihi
from nsim.hw_models.mapping.reach import SegmentReach, segment_reach, segments
from nsim.hw_models.spec import ChipSpec, Core

RESOURCES = ("compartments", "synaptic_words", "input_axons", "output_axons", "words_per_axon")


@dataclass(frozen=True, eq=False)
class CoreGrid:
    """The cores of one population: a grid of segments along height, width and channels.

    ``used``: resource name to what each core uses, int64 [rows, columns, channel blocks]; ``limits``: the
    most a core of this population may use. Core ids run from ``first_core`` in the grid's row-major order.
    """

    population: str
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    channels: tuple[tuple[int, int], ...]
    used: dict[str, np.ndarray]
    limits: dict[str, int]
    first_core: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of segments along height, width and channels."""
        return (len(self.rows), len(self.columns), len(self.channels))

    @property
    def size(self) -> int:
        """Number of cores."""
        return int(np.prod(self.shape))

    @cached_property
    def core_ids(self) -> np.ndarray:
        """Core id of every block [rows, columns, channel blocks]."""
        return self.first_core + np.arange(self.size).reshape(self.shape)

    @property
    def block(self) -> tuple[int, int, int]:
        """Rows, columns and channels of a full block."""
        return tuple(a[0][1] - a[0][0] for a in (self.rows, self.columns, self.channels))  # type: ignore[return-value]

    def block_sums(self, values: np.ndarray) -> np.ndarray:
        """Sum a [..., C, H, W] array over every block: [..., rows, columns, channel blocks]."""
        for axis, cuts in ((-3, self.channels), (-2, self.rows), (-1, self.columns)):
            values = np.add.reduceat(values, [a for a, _ in cuts], axis=axis)
        return np.moveaxis(values, -3, -1)


def spiking_inputs(network: Network, population: str) -> list[Projection]:
    """Projections that bring spikes; what comes from the image is worked out by the host instead."""
    kinds = network.population_by_name
    return [p for p in network.incoming(population) if kinds[p.source].kind == "neuron"]


def delay_of(network: Network, projection: Projection) -> int:
    """Ticks that a spike waits in its target beyond the one it takes to get there."""
    return network.depth[projection.target] - network.depth[projection.source] - 1


def partition(network: Network, chip: ChipSpec) -> dict[str, CoreGrid]:
    """Cut every population of a laid-out network into core blocks, in order of execution.

    When the result needs several chips, output axons are counted as if every destination lay on another
    chip (one entry more each), so that any placement is legal. Raises MappingError for a layer of which
    not even a single neuron fits a core.
    """
    grids = _partition(network, chip, chip_crossing=0)
    if sum(grid.size for grid in grids.values()) > cores_per_chip(chip):
        grids = _partition(network, chip, chip_crossing=1)
    first = 0
    placed = {}
    for population in on_chip(network):
        placed[population.name] = replace(grids[population.name], first_core=first)
        first += grids[population.name].size
    return placed


def cores_per_chip(chip: ChipSpec) -> int:
    """Cores on one chip."""
    s = chip.structure
    return s.tiles_x.value * s.tiles_y.value * s.cores_per_tile.value


def on_chip(network: Network) -> list[Population]:
    """Populations that live on cores: neurons, and the read-out elements of streams the host reads."""
    return [p for p in network.populations if p.kind != "source"]


def _partition(network: Network, chip: ChipSpec, chip_crossing: int) -> dict[str, CoreGrid]:
    entries = {p.name: np.zeros(p.shape, np.int64) for p in network.populations}
    grids: dict[str, CoreGrid] = {}
    for population in reversed(on_chip(network)):
        layer = _Layer(network, population, chip.core, entries[population.name])
        grid = layer.best()
        grids[population.name] = grid
        layer.charge_sources(grid, entries, chip_crossing)
    return grids


class _Layer:
    """One population being cut; caches what its axis segments see of each source."""

    def __init__(self, network: Network, population: Population, core: Core, entries: np.ndarray) -> None:
        self.population = population
        self.core = core
        self.entries = entries
        self.inputs = spiking_inputs(network, population.name)
        self.sources = [network.population_by_name[p.source] for p in self.inputs]
        self.delays = [delay_of(network, p) for p in self.inputs]
        longest = max(self.delays, default=0)
        if longest > core.max_delay.value:
            raise MappingError(
                f"{population.name}: a skip path must wait {longest} ticks, the limit is "
                f"{core.max_delay.value}; relay neurons are needed, which this version cannot place"
            )
        soft = population.neuron is not None and population.neuron.v_reset is None
        self.per_neuron = 2 if soft else 1
        self.limits = {
            "compartments": loihi.compartment_limit(longest, core),
            "synaptic_words": core.synaptic_words.value,
            "input_axons": core.input_axons.value,
            "output_axons": core.output_axons.value,
            "words_per_axon": core.max_words_per_axon.value,
        }
        self.bits = [loihi.synapse_bits(d, core) for d in self.delays]
        self._axis_cache: dict[tuple[int, int], list[tuple[SegmentReach, ...]]] = {}
        self._list_cache: dict[tuple[object, ...], tuple[int, int]] = {}

    def best(self) -> CoreGrid:
        """The cheapest grid that fits; MappingError when none does."""
        channels, height, width = self.population.shape
        shapes = [
            (-(-height // h) * -(-width // w) * -(-channels // c), -h * w, h, w, c)
            for h, w, c in product(_steps(height), _steps(width), _steps(channels))
            if h * w * c * self.per_neuron <= self.limits["compartments"]
        ]
        found: tuple[float, CoreGrid] | None = None
        for cores, _, h, w, c in sorted(shapes):
            if found is not None and cores >= found[0]:
                break
            grid = self.grid(h, w, c)
            if any(grid.used[r].max() > grid.limits[r] for r in RESOURCES):
                continue
            fill = sum(grid.used[r].sum() / grid.limits[r] for r in ("input_axons", "synaptic_words"))
            if found is None or cores + fill < found[0]:
                found = (cores + fill, grid)
        if found is None:
            raise self._does_not_fit()
        return found[1]

    def _does_not_fit(self) -> MappingError:
        single = self.grid(1, 1, 1)
        for resource in RESOURCES:
            need, limit = int(single.used[resource].max()), self.limits[resource]
            if need > limit:
                return MappingError(
                    f"{self.population.name}: one neuron alone needs {need:,} {resource.replace('_', ' ')}, "
                    f"a core has {limit:,}; use a chip with larger cores or a model with less fan-in"
                )
        raise AssertionError("a single neuron fits, so some block shape must")

    def grid(self, h: int, w: int, c: int) -> CoreGrid:
        """The grid of blocks of h x w positions and c channels, with what each core uses."""
        channels, height, width = self.population.shape
        rows, columns, blocks = segments(height, h), segments(width, w), segments(channels, c)
        sizes = [np.array([b - a for a, b in cuts]) for cuts in (rows, columns, blocks)]
        volume = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2]
        grid = CoreGrid(self.population.name, tuple(rows), tuple(columns), tuple(blocks), {}, self.limits)
        words, longest, axons = self._synapses(grid)
        grid.used.update(
            compartments=volume * self.per_neuron,
            synaptic_words=words,
            input_axons=axons,
            output_axons=grid.block_sums(self.entries),
            words_per_axon=longest,
        )
        return grid

    def _synapses(self, grid: CoreGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Synaptic words, longest list and input axons of every core of a grid."""
        words = np.zeros(grid.shape, np.int64)
        longest = np.zeros(grid.shape, np.int64)
        by_source: dict[str, np.ndarray] = {}
        row_reach, column_reach = self._axis(0, grid.block[0]), self._axis(1, grid.block[1])
        for i, (projection, source) in enumerate(zip(self.inputs, self.sources, strict=True)):
            kernel = projection.kernel
            halo = np.outer([r[i].halo for r in row_reach], [c[i].halo for c in column_reach])
            for k, cut in enumerate(grid.channels):
                source_channels, reached = channel_overlap(projection, cut)
                if not reached:
                    continue
                whole = kernel.groups == 1 and reached == cut[1] - cut[0]
                table = np.array(
                    [[self._lists(i, r[i], c[i], reached, whole) for c in column_reach] for r in row_reach]
                )
                words[:, :, k] += source_channels * table[:, :, 0]
                longest[:, :, k] = np.maximum(longest[:, :, k], table[:, :, 1])
                axons = by_source.setdefault(source.name, np.zeros(grid.shape, np.int64))
                axons[:, :, k] = np.maximum(axons[:, :, k], source_channels * halo)
        return words, longest, sum(by_source.values(), np.zeros(grid.shape, np.int64))

    def _axis(self, axis: int, step: int) -> list[tuple[SegmentReach, ...]]:
        """For each segment of an axis, what it sees of every input."""
        if (axis, step) not in self._axis_cache:
            size = self.population.shape[1 + axis]
            taps = [
                (p.kernel.reach(axis, s.shape[1 + axis], size), p.kernel.first_tap(axis, s.shape[1 + axis], size))
                for p, s in zip(self.inputs, self.sources, strict=True)
            ]
            self._axis_cache[axis, step] = [
                tuple(segment_reach(t, f, cut) for t, f in taps) for cut in segments(size, step)
            ]
        return self._axis_cache[axis, step]

    def _lists(
        self, i: int, rows: SegmentReach, columns: SegmentReach, channels: int, whole: bool
    ) -> tuple[int, int]:
        """Words of all distinct lists of one source channel in one block, and of the longest list.

        Targets in a core are ordered (row, column, channel): where the block holds no other channels,
        neighbouring columns run on without a break.
        """
        key = (self.bits[i], rows.patterns, columns.patterns, channels, whole)
        if key not in self._list_cache:
            pairs = list(product(rows.patterns, columns.patterns))
            across = [c.stretches if whole else c.targets for _, c in pairs]
            runs = np.array([r.targets * n for (r, _), n in zip(pairs, across, strict=True)])
            length = np.array(
                [-(-c.targets * channels // n) for (_, c), n in zip(pairs, across, strict=True)]
            )
            words = loihi.list_words(runs, length, self.bits[i], self.core)
            self._list_cache[key] = (int(words.sum()), int(words.max()))
        return self._list_cache[key]

    def charge_sources(self, grid: CoreGrid, entries: dict[str, np.ndarray], chip_crossing: int) -> None:
        """Add to ``entries`` what every source neuron needs in output axons to reach this grid.

        One entry per destination core, one more where the core shares synapse lists between positions, and
        ``chip_crossing`` more (NxTF's accounting).
        """
        row_reach, column_reach = self._axis(0, grid.block[0]), self._axis(1, grid.block[1])
        for source in dict.fromkeys(p.source for p in self.inputs):
            for k in range(len(grid.channels)):
                needed = np.zeros((len(grid.rows), len(grid.columns), *entries[source].shape), np.int64)
                for i, projection in enumerate(self.inputs):
                    if projection.source != source or not channel_overlap(projection, grid.channels[k])[1]:
                        continue
                    lists = np.outer(
                        [len(r[i].patterns) for r in row_reach], [len(c[i].patterns) for c in column_reach]
                    )
                    halo = np.outer([r[i].halo for r in row_reach], [c[i].halo for c in column_reach])
                    cost = np.where(lists < halo, 2, 1) + chip_crossing
                    reached = reached_positions(projection, grid, entries[source].shape, k)
                    needed = np.maximum(needed, reached * cost[:, :, None, None, None])
                entries[source] += needed.sum(axis=(0, 1))


def channel_overlap(projection: Projection, cut: tuple[int, int]) -> tuple[int, int]:
    """How a channel block meets a projection: (source channels that reach it, targets of each of them)."""
    first, last = projection.target_channels
    a, b = max(first, cut[0]) - first, min(last, cut[1]) - first
    if a >= b:
        return 0, 0
    kernel = projection.kernel
    if kernel.is_identity:
        return b - a, 1
    if kernel.groups == 1:
        return kernel.c_in, b - a
    per_group = kernel.c_out // kernel.groups
    groups = -(-b // per_group) - a // per_group
    return groups * kernel.c_in_per_group, min(per_group, b - a)


def reached_positions(
    projection: Projection, grid: CoreGrid, source: tuple[int, ...], channel_block: int
) -> np.ndarray:
    """Which source elements reach which blocks: bool [rows, columns, C, H, W] for one channel block."""
    kernel = projection.kernel
    height, width = grid.rows[-1][1], grid.columns[-1][1]
    across_rows = _segment_any(kernel.reach(0, source[1], height), grid.rows)
    across_columns = _segment_any(kernel.reach(1, source[2], width), grid.columns)
    channels = source_channels(projection, grid.channels[channel_block], source[0])
    return (
        across_rows[:, None, None, :, None]
        & across_columns[None, :, None, None, :]
        & channels[None, None, :, None, None]
    )


def source_channels(projection: Projection, cut: tuple[int, int], channels: int) -> np.ndarray:
    """Source channels [C] (bool) that reach the target channels ``cut``."""
    first, last = projection.target_channels
    a, b = max(first, cut[0]) - first, min(last, cut[1]) - first
    hit = np.zeros(channels, bool)
    if a >= b:
        return hit
    kernel = projection.kernel
    groups = kernel.channels if kernel.is_identity else kernel.groups
    out_per_group, in_per_group = kernel.c_out // groups, kernel.c_in // groups
    hit[a // out_per_group * in_per_group : -(-b // out_per_group) * in_per_group] = True
    return hit


def _segment_any(taps: np.ndarray, cuts: tuple[tuple[int, int], ...]) -> np.ndarray:
    return np.stack([(taps[a:b] > 0).any(axis=0) for a, b in cuts])


def _steps(size: int) -> list[int]:
    """Block sizes worth trying along an axis: for every number of blocks the most even one."""
    return sorted({-(-size // parts) for parts in range(1, size + 1)}, reverse=True)
