"""Cut every population into core blocks (rows x columns x channels) under every capacity of a core.

Layers are cut from the output back to the input, because what a source core needs in output axons depends
on how its consumers were cut. For each layer all block shapes are tried, fewest cores first, and the one
with the least cores + axon fill + memory fill is kept (the cost of the NxTF compiler, Rueckauer et al. 2021).
The channel cut of a source also decides how many axons its consumers need: they are first cut as if every
source had its largest channel blocks, and a source is cut no finer than their input axons allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network, Population, Projection
from nsim.hw_models.cores import loihi
from nsim.hw_models.mapping.axons import (
    AxonUse,
    Cuts,
    axon_channels,
    axon_groups,
    bundles,
    channel_overlap,
    spiking_inputs,
    use_by_block,
)
from nsim.hw_models.mapping.reach import SegmentReach, segment_reach, segments
from nsim.hw_models.mapping.schedule import Schedule, Timetable, timetable
from nsim.hw_models.spec import ChipSpec, Core

RESOURCES = ("compartments", "synaptic_words", "input_axons", "output_axons", "words_per_axon")


@dataclass(frozen=True, eq=False)
class CoreGrid:
    """The cores of one population: a grid of segments along height, width and channels.

    ``used``: resource name to what each core uses, int64 [rows, columns, channel blocks]; ``limits``: the
    most a core of this population may use. ``shared_lists``: some synapse list serves several source
    positions, those with the same relative targets. Core ids run from ``first_core`` in the grid's row-major
    order.
    """

    population: str
    rows: Cuts
    columns: Cuts
    channels: Cuts
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


def partition(
    network: Network, chip: ChipSpec, schedule: Schedule = "pipelined", weight_bits: int | None = None
) -> dict[str, CoreGrid]:
    """Cut every population of a laid-out network into core blocks, in order of execution.

    The schedule decides how long spikes are delayed, which takes compartments and synaptic memory;
    ``weight_bits`` how many bits of memory a weight takes, the most a core stores by default. When the
    result needs several chips, output axons are counted as if every destination lay on another chip (one
    entry more each), so that any placement is legal. Raises MappingError for a layer of which not even a
    single neuron fits a core, and for spikes that would have to wait longer than a core can hold them.
    """
    times = timetable(network, schedule)
    plan = _Plan(network, chip.core, times, weight_bits, chip_crossing=0)
    grids = _cut(plan) if plan.fewest_cores() <= cores_per_chip(chip) else None
    if grids is None or sum(grid.size for grid in grids.values()) > cores_per_chip(chip):
        grids = _cut(_Plan(network, chip.core, times, weight_bits, chip_crossing=1))
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
    """Populations that live on cores: neurons, and the read-out elements of streams the host reads.

    A stream that no spike reaches directly is summed beside the cores and needs none.
    """
    return [
        p
        for p in network.populations
        if p.kind == "neuron" or (p.kind == "analog" and spiking_inputs(network, p.name))
    ]


def _cut(plan: _Plan) -> dict[str, CoreGrid]:
    finer: dict[str, int] = {}
    plan.start_over(finer)
    for layer in reversed(plan.layers.values()):
        layer.check_single_neuron()
    while True:
        plan.start_over(finer)
        for population in reversed(on_chip(plan.network)):
            layer = plan.layers[population.name]
            grid = layer.best()
            if grid is None:  # its consumers leave too few input axons: cut them for finer sources
                finer[population.name] = layer.coarsest()
                break
            layer.settle(grid)
        else:
            return {name: replace(layer.grid, used=layer.used()) for name, layer in plan.layers.items()}


class _Plan:
    """All layers of a network while they are being cut, and the channel blocks of each so far.

    ``step``: channels per block, to begin with the most that a core holds. ``fanout``: for each source, cores
    that each position [H, W] reaches, by the channels that reach them (bool [C] as bytes).
    """

    def __init__(
        self, network: Network, core: Core, times: Timetable, weight_bits: int | None, chip_crossing: int
    ) -> None:
        self.network = network
        self.core = core
        self.times = times
        self.weight_bits = weight_bits
        self.chip_crossing = chip_crossing
        self.bundles = bundles(network)
        self.step: dict[str, int] = {}
        self.fanout: dict[str, dict[bytes, np.ndarray]] = {}
        self._use_cache: dict[tuple[str, bytes, int], list[AxonUse]] = {}
        self.layers = {p.name: _Layer(self, p) for p in on_chip(network)}

    def fewest_cores(self) -> int:
        """Cores that the compartments alone ask for."""
        return sum(
            -(-layer.population.size * layer.per_neuron // layer.limits["compartments"])
            for layer in self.layers.values()
        )

    def start_over(self, finer: dict[str, int]) -> None:
        """Forget all cuts; ``finer``: sources to be read in smaller channel blocks than a core could hold."""
        self.fanout = {p.name: {} for p in self.network.populations}
        self.step = {name: layer.largest_channel_block() for name, layer in self.layers.items()} | finer

    def consumers(self, source: str) -> list[_Layer]:
        """Layers that read a population's spikes."""
        targets = {p.target for p in self.network.projections if p.source == source}
        return [layer for name, layer in self.layers.items() if name in targets]

    def use(self, source: str, reached: np.ndarray, step: int) -> list[AxonUse]:
        """`use_by_block` for blocks of ``step`` channels, remembered."""
        key = (source, reached.tobytes(), step)
        if key not in self._use_cache:
            bundle = self.bundles[source]
            cuts = tuple(segments(len(bundle), step))
            self._use_cache[key] = use_by_block(bundle, reached, cuts, self.core)
        return self._use_cache[key]


class _Layer:
    """One population being cut; caches what its axis segments see of each source."""

    grid: CoreGrid

    def __init__(self, plan: _Plan, population: Population) -> None:
        network, core = plan.network, plan.core
        self.plan = plan
        self.population = population
        self.core = core
        self.inputs = spiking_inputs(network, population.name)
        self.sources = [network.population_by_name[p.source] for p in self.inputs]
        self.delays = [plan.times.delay(p) for p in self.inputs]
        longest = max(self.delays, default=0)
        if longest > core.max_delay.value:
            raise _waits_too_long(population.name, longest, core, plan.times)
        soft = population.neuron is not None and population.neuron.v_reset is None
        self.per_neuron = 2 if soft else 1
        self.limits = {
            "compartments": loihi.compartment_limit(longest, core),
            "synaptic_words": core.synaptic_words.value,
            "input_axons": core.input_axons.value,
            "output_axons": core.output_axons.value,
            "words_per_axon": core.max_words_per_axon.value,
        }
        self.bits = [loihi.synapse_bits(d, core, plan.weight_bits) for d in self.delays]
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
        self._channel_cache: dict[int, _Distinct] = {}
        self._list_cache: dict[tuple[object, ...], tuple[int, np.ndarray]] = {}
        self._use_cache: dict[tuple[int, int, int], np.ndarray] = {}
        self._reaches: list[SegmentReach] = []
        self._reach_index: dict[SegmentReach, int] = {}

    def best(self) -> CoreGrid | None:
        """The cheapest grid that fits; None when its consumers have too few input axons left for any.

        Cost, in cores: the cores themselves, their share of synaptic memory and input axons in use, and
        the axons that this cut asks of the sources and, by its channel blocks, of the consumers. Raises
        MappingError when not even one neuron fits a core.
        """
        asked = {c: self.asked_of_consumers(c) for c in _steps(self.population.shape[0])}
        return self._cheapest({c: cost for c, cost in asked.items() if cost is not None})

    def coarsest(self) -> int:
        """The most channels per block with which some grid fits, were consumers to take any number of axons.

        MappingError when there is none; then the cores that consume its spikes are too many or too full.
        """
        for step in _steps(self.population.shape[0]):
            if self._cheapest({step: 0.0}) is not None:
                return step
        self.check_single_neuron()
        raise AssertionError("a single neuron fits, so some block shape must")

    def _cheapest(self, asked_by_blocks: dict[int, float]) -> CoreGrid | None:
        """The cheapest grid over block shapes; ``asked_by_blocks``: cost beside it, by channels per block."""
        channels, height, width = self.population.shape
        shapes = [
            (-(-height // h) * -(-width // w) * -(-channels // c), h, w, c)
            for h, w, c in product(_steps(height), _steps(width), asked_by_blocks)
            if h * w * c * self.per_neuron <= self.limits["compartments"]
        ]
        best, cost = None, float("inf")
        for cores, h, w, c in sorted(shapes, key=lambda shape: (shape[0], -shape[1], -shape[2])):
            if cores >= cost:
                break
            so_far = cores + asked_by_blocks[c]
            if so_far >= cost:
                continue
            grid = self.bare_grid(h, w, c)
            axons = grid.used["input_axons"].sum() / self.limits["input_axons"]
            so_far += axons + self.entries_asked(grid) / self.limits["output_axons"]
            if so_far >= cost or not _fits(grid):
                continue
            grid = self.with_synapses(grid)
            total = so_far + grid.used["synaptic_words"].sum() / self.limits["synaptic_words"]
            if total < cost and _fits(grid):
                best, cost = grid, total
        return best

    def settle(self, grid: CoreGrid) -> None:
        """Keep a grid: its channel cut and the cores that each source position reaches."""
        self.grid = grid
        self.plan.step[self.population.name] = grid.block[2]
        for cut in grid.channels:
            for group in axon_groups(self.inputs):
                fanout = self.plan.fanout[group[0].source]
                rows, columns = segment_reached(
                    group[0], grid, self.plan.network.population_by_name[group[0].source].shape
                )
                reached = axon_channels(group, cut)
                cores = np.outer(rows.sum(axis=0), columns.sum(axis=0))
                if reached.any():
                    fanout[reached.tobytes()] = fanout.get(reached.tobytes(), 0) + cores

    def used(self) -> dict[str, np.ndarray]:
        """What the cores of the settled grid use, now that every source is cut too."""
        return {**self.grid.used, "input_axons": self._input_axons(self.grid, self.plan.step)}

    def largest_channel_block(self) -> int:
        """The most channels of one position that the compartments of a core hold, in even blocks."""
        steps = _steps(self.population.shape[0])
        return next((c for c in steps if c * self.per_neuron <= self.limits["compartments"]), 1)

    def asked_of_consumers(self, step: int) -> float | None:
        """Cost in cores of the input axons that blocks of ``step`` channels add to the consumers.

        None if some core of theirs has too few.
        """
        added = 0
        steps = self.plan.step | {self.population.name: step}
        for consumer in self.plan.consumers(self.population.name):
            axons = consumer._input_axons(consumer.grid, steps)
            if axons.max() > consumer.limits["input_axons"]:
                return None
            added += int(axons.sum() - consumer._input_axons(consumer.grid, self.plan.step).sum())
        return added / self.limits["input_axons"]

    def entries_asked(self, grid: CoreGrid) -> int:
        """Output entries that all sources need for this grid, as they are cut so far."""
        entries = self._by_core(grid, self._axons(grid.block[2], self.plan.step)[1])
        return int(entries.sum() + self.plan.chip_crossing * grid.used["input_axons"].sum())

    def check_single_neuron(self) -> None:
        """MappingError when one neuron alone takes more of something than a core has."""
        single = self.with_synapses(self.bare_grid(1, 1, 1))
        for resource in RESOURCES:
            need, limit = int(single.used[resource].max()), self.limits[resource]
            if need > limit:
                less = "fan-out" if resource == "output_axons" else "fan-in"
                host = (
                    ""
                    if self.plan.network.streams_via_host
                    else ", or --policy host if streams were expanded"
                )
                raise MappingError(
                    f"{self.population.name}: one neuron alone needs {need:,} {resource.replace('_', ' ')}, "
                    f"a core has {limit:,}; use a chip with larger cores or a model with less {less}{host}"
                )

    def bare_grid(self, h: int, w: int, c: int) -> CoreGrid:
        """The grid of blocks of h x w positions and c channels: compartments and axons of every core."""
        channels, height, width = self.population.shape
        rows, columns, blocks = segments(height, h), segments(width, w), segments(channels, c)
        sizes = [np.array([b - a for a, b in cuts]) for cuts in (rows, columns, blocks)]
        volume = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2]
        grid = CoreGrid(self.population.name, tuple(rows), tuple(columns), tuple(blocks), {}, self.limits)
        grid.used["compartments"] = volume * self.per_neuron
        grid.used["input_axons"] = self._input_axons(grid, self.plan.step)
        grid.used["output_axons"] = self._output_axons(grid)
        return grid

    def _output_axons(self, grid: CoreGrid) -> np.ndarray:
        """Output entries of every core of a grid, int64 [rows, columns, channel blocks]."""
        total = np.zeros(grid.shape, np.int64)
        for reached, cores in self.plan.fanout[self.population.name].items():
            use = self.plan.use(self.population.name, np.frombuffer(reached, bool), grid.block[2])
            each = np.array([u.entries + self.plan.chip_crossing * u.axons for u in use])
            for axis, cuts in ((0, grid.rows), (1, grid.columns)):
                cores = np.add.reduceat(cores, [a for a, _ in cuts], axis=axis)
            total += cores[:, :, None] * each
        return total

    def _input_axons(self, grid: CoreGrid, steps: dict[str, int]) -> np.ndarray:
        """Input axons of every core of a grid when the sources have blocks of ``steps`` channels."""
        return self._by_core(grid, self._axons(grid.block[2], steps)[0])

    def _axons(self, step: int, steps: dict[str, int]) -> np.ndarray:
        """Per source position and block of ``step`` channels: int64 [axons and entries, blocks, inputs].

        At the first input of each of ``shared``; 0 at the others.
        """
        cuts = segments(self.population.shape[0], step)
        found = np.zeros((2, len(cuts), len(self.inputs)), np.int64)
        for paths in self.shared:
            first = paths[0]
            source = self.inputs[first].source
            key = (first, step, steps[source])
            if key not in self._use_cache:
                group = [self.inputs[i] for i in paths]
                seen: dict[bytes, tuple[int, int]] = {}
                for cut in cuts:
                    reached = axon_channels(group, cut)
                    if reached.tobytes() not in seen:
                        use = self.plan.use(source, reached, steps[source])
                        seen[reached.tobytes()] = sum(u.axons for u in use), sum(u.entries for u in use)
                each = [seen[axon_channels(group, cut).tobytes()] for cut in cuts]
                self._use_cache[key] = np.array(each, np.int64).T
            found[:, :, first] = self._use_cache[key]
        return found

    def _by_core(self, grid: CoreGrid, per_position: np.ndarray) -> np.ndarray:
        """Sum over the halo of every core of what each source position takes [blocks, inputs]."""
        h, w, _ = grid.block
        by_row, by_column = self._axis(0, h), self._axis(1, w)
        found = np.einsum("yi,xi,ki->yxk", by_row.size, by_column.size, per_position)
        return found[by_row.kind][:, by_column.kind]

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
                        self._lists(self.bits[i], rows[i], columns[i], n, n == size)
                        for i, n in zip(paths, reached, strict=True)
                        if n
                    ]
                    words[y, x, k] += source_channels * sum(total for total, _ in lists)
                    axon = np.sum([each for _, each in lists], axis=0).max(initial=0)
                    longest[y, x, k] = max(longest[y, x, k], axon)
        spread = np.ix_(by_row.kind, by_column.kind, by_channel.kind)
        used = {**grid.used, "synaptic_words": words[spread], "words_per_axon": longest[spread]}
        shared = any(
            pattern.sources > 1
            for axis in (by_row, by_column)
            for reaches in axis.seen
            for i in reaches
            for pattern in self._reaches[i].patterns
        )
        return replace(grid, used=used, shared_lists=shared)

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


def _waits_too_long(population: str, delay: int, core: Core, times: Timetable) -> MappingError:
    limit, layers = core.max_delay.value, (delay + 1) // times.stride
    if layers - 1 > limit or times.schedule == "pipelined":
        return MappingError(
            f"{population}: a skip path must wait {delay} ticks, the limit is {limit}; "
            "relay neurons are needed, which this version cannot place"
        )
    return MappingError(
        f"{population}: layer by layer, spikes from {layers} layers back wait {layers} x {times.time_steps} "
        f"time steps, a delay of {delay} ticks; the limit is {limit}. Use --schedule pipelined, where it is "
        f"{layers - 1}, or at most {(limit + 1) // layers} time steps"
    )


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


def _fits(grid: CoreGrid) -> bool:
    return all(used.max() <= grid.limits[resource] for resource, used in grid.used.items())


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
