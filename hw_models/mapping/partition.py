"""Cut every population into core blocks (rows x columns x channels) under every capacity of a core.

Layers are cut from the output back to the input, because what a source core needs in output axons depends
on how its consumers were cut. For each layer all block shapes are tried, fewest cores first, and the one
with the least cores + axon fill + memory fill is kept (the cost of the NxTF compiler, Rueckauer et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

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
    most a core of this population may use. ``shared_lists``: source positions with the same relative
    targets share one synapse list. Core ids run from ``first_core`` in the grid's row-major order.
    """

    population: str
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    channels: tuple[tuple[int, int], ...]
    used: dict[str, np.ndarray]
    limits: dict[str, int]
    shared_lists: bool = False
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
        layer = _Layer(network, population, chip.core, entries[population.name], chip_crossing)
        grids[population.name] = layer.best()
        layer.charge_sources(grids[population.name], entries)
    return grids


class _Layer:
    """One population being cut; caches what its axis segments see of each source."""

    def __init__(
        self, network: Network, population: Population, core: Core, entries: np.ndarray, chip_crossing: int
    ) -> None:
        self.chip_crossing = chip_crossing
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
        self.shared = [[self.inputs.index(p) for p in group] for group in axon_groups(self.inputs)]
        size = population.shape
        self._taps = [
            [
                (
                    p.kernel.reach(a, s.shape[1 + a], size[1 + a]),
                    p.kernel.first_tap(a, s.shape[1 + a], size[1 + a]),
                )
                for p, s in zip(self.inputs, self.sources, strict=True)
            ]
            for a in (0, 1)
        ]
        self._axis_cache: dict[tuple[int, int], _Distinct] = {}
        self._list_cache: dict[tuple[object, ...], tuple[int, np.ndarray]] = {}
        self._reaches: list[SegmentReach] = []
        self._reach_index: dict[SegmentReach, int] = {}

    def best(self) -> CoreGrid:
        """The cheapest grid that fits; MappingError when none does.

        Cost, in cores: the cores themselves, their share of synaptic memory and input axons in use, and
        the output axons that this cut asks of the sources.
        """
        channels, height, width = self.population.shape
        shapes = [
            (-(-height // h) * -(-width // w) * -(-channels // c), h, w, c)
            for h, w, c in product(_steps(height), _steps(width), _steps(channels))
            if h * w * c * self.per_neuron <= self.limits["compartments"]
        ]
        best, cost = None, float("inf")
        for cores, h, w, c in sorted(shapes, key=lambda shape: (shape[0], -shape[1], -shape[2])):
            if cores >= cost:
                break
            bare = self.bare_grid(h, w, c)
            for shared in (False, True):
                grid = replace(bare, shared_lists=shared)
                axons = grid.used["input_axons"].sum()
                asked = axons * self.entry_cost(grid) / self.limits["output_axons"]
                so_far = cores + asked + axons / self.limits["input_axons"]
                if so_far >= cost or not _fits(grid):
                    continue
                grid = self.with_synapses(grid)
                total = so_far + grid.used["synaptic_words"].sum() / self.limits["synaptic_words"]
                if total < cost and _fits(grid):
                    best, cost = grid, total
        if best is None:
            raise self._does_not_fit()
        return best

    def entry_cost(self, grid: CoreGrid) -> int:
        """Output-axon entries of one source neuron for one destination core (NxTF's accounting)."""
        return (2 if grid.shared_lists else 1) + self.chip_crossing

    def _does_not_fit(self) -> MappingError:
        single = self.with_synapses(self.bare_grid(1, 1, 1))
        for resource in RESOURCES:
            need, limit = int(single.used[resource].max()), self.limits[resource]
            if need > limit:
                less = "fan-out" if resource == "output_axons" else "fan-in"
                return MappingError(
                    f"{self.population.name}: one neuron alone needs {need:,} {resource.replace('_', ' ')}, "
                    f"a core has {limit:,}; use a chip with larger cores or a model with less {less} "
                    "(expanded residual streams count)"
                )
        raise AssertionError("a single neuron fits, so some block shape must")

    def bare_grid(self, h: int, w: int, c: int) -> CoreGrid:
        """The grid of blocks of h x w positions and c channels: compartments and axons of every core."""
        channels, height, width = self.population.shape
        rows, columns, blocks = segments(height, h), segments(width, w), segments(channels, c)
        sizes = [np.array([b - a for a, b in cuts]) for cuts in (rows, columns, blocks)]
        volume = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2]
        grid = CoreGrid(self.population.name, tuple(rows), tuple(columns), tuple(blocks), {}, self.limits)
        by_row, by_column, by_channel = self._axis(0, h), self._axis(1, w), self._channels(c)
        axons = np.einsum("yi,xi,ki->yxk", by_row.size, by_column.size, by_channel.size)
        grid.used["compartments"] = volume * self.per_neuron
        grid.used["input_axons"] = axons[np.ix_(by_row.kind, by_column.kind, by_channel.kind)]
        grid.used["output_axons"] = grid.block_sums(self.entries)
        return grid

    def with_synapses(self, grid: CoreGrid) -> CoreGrid:
        """The grid with the synaptic words and the longest list of every core added."""
        h, w, c = grid.block
        by_row, by_column, by_channel = self._axis(0, h), self._axis(1, w), self._channels(c)
        words = np.zeros((len(by_row.seen), len(by_column.seen), len(by_channel.seen)), np.int64)
        longest = np.zeros_like(words)
        for k, (size, overlaps) in enumerate(by_channel.seen):
            for paths, overlap in zip(self.shared, overlaps, strict=True):
                for (reached, source_channels), (y, rows), (x, columns) in product(
                    overlap, enumerate(by_row.seen), enumerate(by_column.seen)
                ):
                    lists = [
                        self._lists(self.bits[i], rows[i], columns[i], n, n == size, grid.shared_lists)
                        for i, n in zip(paths, reached, strict=True)
                        if n
                    ]
                    words[y, x, k] += source_channels * sum(total for total, _ in lists)
                    axon = np.sum([each for _, each in lists], axis=0).max(initial=0)
                    longest[y, x, k] = max(longest[y, x, k], axon)
        spread = np.ix_(by_row.kind, by_column.kind, by_channel.kind)
        used = {**grid.used, "synaptic_words": words[spread], "words_per_axon": longest[spread]}
        return replace(grid, used=used)

    def _channels(self, step: int) -> _Distinct:
        """How channel blocks meet the inputs: (channels, overlap of each of ``shared``).

        ``size``: source channels that need axons of their own, at the first input of each of ``shared``.
        """
        if (2, step) not in self._axis_cache:
            groups = [[self.inputs[i] for i in paths] for paths in self.shared]
            distinct = _distinct(
                [
                    (cut[1] - cut[0], tuple(channel_overlap(group, cut) for group in groups))
                    for cut in segments(self.population.shape[0], step)
                ]
            )
            size = np.zeros((len(distinct.seen), len(self.inputs)), np.int64)
            for k, (_, overlaps) in enumerate(distinct.seen):
                for paths, overlap in zip(self.shared, overlaps, strict=True):
                    size[k, paths[0]] = sum(source_channels for _, source_channels in overlap)
            self._axis_cache[2, step] = replace(distinct, size=size)
        return self._axis_cache[2, step]

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

    def _lists(
        self, bits: int, row: int, column: int, channels: int, whole: bool, shared: bool
    ) -> tuple[int, np.ndarray]:
        """Words of all lists of one source channel in one block, and of each distinct one.

        ``shared``: positions with the same relative targets and weights use one list. Targets in a core are
        ordered (row, column, channel): where the block holds no other channels (``whole``), neighbouring
        columns run on without a break.
        """
        key = (bits, row, column, channels, whole, shared)
        if key not in self._list_cache:
            pairs = list(product(self._reaches[row].patterns, self._reaches[column].patterns))
            words = np.zeros(len(pairs), np.int64)
            for i, (r, c) in enumerate(pairs):
                across = tuple(n * channels for n in c.stretches) if whole else (channels,) * c.targets
                words[i] = loihi.list_words(across * r.targets, bits, self.core)
            times = 1 if shared else np.array([r.sources * c.sources for r, c in pairs], np.int64)
            self._list_cache[key] = (int((words * times).sum()), words)
        return self._list_cache[key]

    def charge_sources(self, grid: CoreGrid, entries: dict[str, np.ndarray]) -> None:
        """Add to ``entries`` the output axons that every source neuron needs to reach this grid."""
        for cut in grid.channels:
            for group in axon_groups(self.inputs):
                source = entries[group[0].source]
                rows, columns = segment_reached(group[0], grid, source.shape)
                cores = np.outer(rows.sum(axis=0), columns.sum(axis=0))
                source[axon_channels(group, cut)] += cores * self.entry_cost(grid)


@dataclass(frozen=True, eq=False)
class _Distinct:
    """The distinct among a row of things, which of them each one is, and a size [distinct, inputs]."""

    seen: list[Any]
    kind: np.ndarray
    size: np.ndarray


def _distinct(things: list[Any]) -> _Distinct:
    seen: dict[Any, int] = {}
    kind = [seen.setdefault(thing, len(seen)) for thing in things]
    return _Distinct(list(seen), np.array(kind), np.empty(0))


def _fits(grid: CoreGrid) -> bool:
    return all(used.max() <= grid.limits[resource] for resource, used in grid.used.items())


def axon_groups(projections: list[Projection]) -> list[list[Projection]]:
    """Projections into one population, together where they share packets and axons.

    Paths from one source with one geometry reach the same positions of the same cores.
    """
    groups: dict[tuple[object, ...], list[Projection]] = {}
    for p in projections:
        groups.setdefault((p.source, p.kernel.geometry), []).append(p)
    return list(groups.values())


def axon_channels(group: list[Projection], cut: tuple[int, int]) -> np.ndarray:
    """Source channels that reach the channel block ``cut`` through any of ``group``: bool [C_source]."""
    return np.any([channel_targets(p, cut) > 0 for p in group], axis=0)


def channel_overlap(group: list[Projection], cut: tuple[int, int]) -> tuple[tuple[tuple[int, ...], int], ...]:
    """How a channel block meets projections that share axons.

    (targets of a source channel through each of ``group``, number of source channels that have just these).
    """
    reach = np.stack([channel_targets(p, cut) for p in group])
    if (reach == reach[:, :1]).all():
        return ((tuple(reach[:, 0].tolist()), reach.shape[1]),) if reach[:, 0].any() else ()
    kinds, times = np.unique(reach[:, reach.any(axis=0)], axis=1, return_counts=True)
    return tuple((tuple(kind), n) for kind, n in zip(kinds.T.tolist(), times.tolist(), strict=True))


@lru_cache(maxsize=4096)
def channel_targets(projection: Projection, cut: tuple[int, int]) -> np.ndarray:
    """For every source channel, how many target channels of the block ``cut`` it reaches (int64)."""
    kernel = projection.kernel
    first, last = projection.target_channels
    inside = np.zeros(kernel.c_out, np.int64)
    inside[max(first, cut[0]) - first : max(0, min(last, cut[1]) - first)] = 1
    groups = kernel.channels if kernel.is_identity else kernel.groups
    return np.repeat(inside.reshape(groups, -1).sum(axis=1), kernel.c_in // groups)


def segment_reached(
    projection: Projection, grid: CoreGrid, source: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Which source rows reach which row segments, and columns which column segments (bool).

    Returns [row segments, H] and [column segments, W]; a source position reaches a block when its row and
    its column do.
    """
    kernel = projection.kernel
    taps = (
        kernel.reach(0, source[1], grid.rows[-1][1]) > 0,
        kernel.reach(1, source[2], grid.columns[-1][1]) > 0,
    )
    return tuple(  # type: ignore[return-value]
        np.stack([t[a:b].any(axis=0) for a, b in cuts])
        for t, cuts in zip(taps, (grid.rows, grid.columns), strict=True)
    )


def _steps(size: int) -> list[int]:
    """Block sizes worth trying along an axis: for every number of blocks the most even one."""
    return sorted({-(-size // parts) for parts in range(1, size + 1)}, reverse=True)
