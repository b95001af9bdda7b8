"""Cut every population into core blocks (rows x columns x channels) under every capacity of a core.

Layers are cut from the output back to the input, because what a source core needs in output axons depends
on how its consumers were cut. For each layer all block shapes are tried, fewest cores first, and the one
with the least cores + axon fill + memory fill is kept (the cost of the NxTF compiler, Rueckauer et al. 2021).
The channel cut of a source also decides how many axons its consumers need: they are first cut as if every
source had its largest channel blocks, and a source is cut no finer than their input axons allow.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network, Population
from nsim.hw_models.cores import loihi
from nsim.hw_models.mapping.axons import (
    AxonUse,
    axon_channels,
    axon_groups,
    bundles,
    spiking_inputs,
    use_by_block,
)
from nsim.hw_models.mapping.grid import RESOURCES, CoreGrid, block_sizes, in_order, on_chip, segment_reached
from nsim.hw_models.mapping.reach import segments
from nsim.hw_models.mapping.schedule import Schedule, Timetable, timetable
from nsim.hw_models.mapping.storage import SynapseStorage
from nsim.hw_models.spec import ChipSpec, Core


def partition(
    network: Network, chip: ChipSpec, schedule: Schedule = "pipelined", weight_bits: int | None = None
) -> dict[str, CoreGrid]:
    """Cut every population of a laid-out network into core blocks, in order of execution.

    The schedule decides how long spikes are delayed, which takes compartments and synaptic memory;
    ``weight_bits`` how many bits of memory a weight takes, the most a core stores by default. When the
    result needs several chips, output axons are counted as if every destination lay on another chip (one
    entry more each), so that any placement is legal. Raises MappingError for a layer of which not even a
    single neuron fits a core, and for spikes that wait longer than a core can hold them: `retime` first.
    """
    times = timetable(network, schedule)
    plan = _Plan(network, chip.core, times, weight_bits, chip_crossing=0)
    grids = _cut(plan) if plan.fewest_cores() <= chip.cores else None
    if grids is None or sum(grid.size for grid in grids.values()) > chip.cores:
        grids = _cut(_Plan(network, chip.core, times, weight_bits, chip_crossing=1))
    return in_order(network, grids)


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
            raise MappingError(
                f"{population.name}: spikes wait {longest} ticks, the limit is {core.max_delay.value}; "
                "relay neurons are needed (see nsim.hw_models.mapping.retime)"
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
        bits = [loihi.synapse_bits(delay, core, plan.weight_bits) for delay in self.delays]
        self.storage = SynapseStorage(population, self.inputs, self.sources, bits, core)
        self._use_cache: dict[tuple[int, int, int], np.ndarray] = {}

    def best(self) -> CoreGrid | None:
        """The cheapest grid that fits; None when its consumers have too few input axons left for any.

        Cost, in cores: the cores themselves, their share of synaptic memory and input axons in use, and
        the axons that this cut asks of the sources and, by its channel blocks, of the consumers. Raises
        MappingError when not even one neuron fits a core.
        """
        asked = {c: self.asked_of_consumers(c) for c in block_sizes(self.population.shape[0])}
        return self._cheapest({c: cost for c, cost in asked.items() if cost is not None})

    def coarsest(self) -> int:
        """The most channels per block with which some grid fits, were consumers to take any number of axons.

        MappingError when there is none, so not even for blocks of one neuron: their spikes go to more cores
        than a core has output axons for.
        """
        for step in block_sizes(self.population.shape[0]):
            if self._cheapest({step: 0.0}) is not None:
                return step
        raise self.too_large()

    def _cheapest(self, asked_by_blocks: dict[int, float]) -> CoreGrid | None:
        """The cheapest grid over block shapes; ``asked_by_blocks``: cost beside it, by channels per block."""
        channels, height, width = self.population.shape
        shapes = [
            (-(-height // h) * -(-width // w) * -(-channels // c), h, w, c)
            for h, w, c in product(block_sizes(height), block_sizes(width), asked_by_blocks)
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
        steps = block_sizes(self.population.shape[0])
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
        entries = self.storage.halo_sums(grid.block, self._axons(grid.block[2], self.plan.step)[1])
        return int(entries.sum() + self.plan.chip_crossing * grid.used["input_axons"].sum())

    def check_single_neuron(self) -> None:
        """MappingError when one neuron alone takes more of something than a core has."""
        if not _fits(self._single_neurons()):
            raise self.too_large()

    def too_large(self) -> MappingError:
        """The refusal of a layer of which not even blocks of one neuron fit: what they need most of."""
        used = self._single_neurons().used
        resource = max(RESOURCES, key=lambda r: used[r].max() / self.limits[r])
        less = "fan-out" if resource == "output_axons" else "fan-in"
        host = "" if self.plan.network.streams_via_host else ", or --policy host if streams were expanded"
        return MappingError(
            f"{self.population.name}: one neuron alone needs {int(used[resource].max()):,} "
            f"{resource.replace('_', ' ')}, a core has {self.limits[resource]:,}; "
            f"use a chip with larger cores or a model with less {less}{host}"
        )

    def _single_neurons(self) -> CoreGrid:
        return self.with_synapses(self.bare_grid(1, 1, 1))

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
        return self.storage.halo_sums(grid.block, self._axons(grid.block[2], steps)[0])

    def _axons(self, step: int, steps: dict[str, int]) -> np.ndarray:
        """Per source position and block of ``step`` channels: int64 [axons and entries, blocks, inputs].

        At the first input of each of ``shared``; 0 at the others.
        """
        cuts = segments(self.population.shape[0], step)
        found = np.zeros((2, len(cuts), len(self.inputs)), np.int64)
        for paths in self.storage.shared:
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

    def with_synapses(self, grid: CoreGrid) -> CoreGrid:
        """The grid with the synaptic words and the longest list of every core added."""
        words = self.storage.words(grid.block)
        used = {**grid.used, "synaptic_words": words.used, "words_per_axon": words.longest}
        return replace(grid, used=used, shared_lists=words.shared)


def _fits(grid: CoreGrid) -> bool:
    return all(used.max() <= grid.limits[resource] for resource, used in grid.used.items())
