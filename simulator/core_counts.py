"""What happens on every core in every tick of a call, counted exactly from spike maps.

No synapse is touched again: how many synapses a spike feeds on each core, how many packets it becomes and
how far they travel depend only on where it fired, so they are fixed maps, made once per mapping.

A population runs its T time steps in T ticks on end, when the mapping's timetable says (see
`nsim.hw_models.mapping.schedule`); what its spikes cost (packets, axons, synapses) falls in the tick in which
they are fired, what they add is used by later layers when their tick comes (synaptic delays). A call takes
T + (greatest depth) ticks when pipelined, T * (1 + greatest depth) when layerwise. Cores look at all their
neurons in every tick; outside its T ticks a layer's biases are switched off, so its neurons are idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nsim.frontends.network import Network, Projection
from nsim.hw_models.mapping.axons import Cuts, axon_channels, axon_groups, channel_targets, spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.listed import ListedMapping
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.rounds import Rounds
from nsim.simulator import attention
from nsim.simulator.count_kernels import count_by_unit, sum_by_core
from nsim.simulator.engine import Call, with_relays
from nsim.simulator.host_counts import calls_beside_cores
from nsim.simulator.memory import Memory
from nsim.simulator.turns import Turns

SENT_EVENTS = ("spike", "packet_out", "tile_local", "hop_x", "hop_y", "chip_crossing")
"""What a spike sets off on the core that fires it."""
CORE_EVENTS = (
    "synaptic_event_conv",
    "synaptic_event_dense",
    "packet_in",
    "update_idle",
    "update_active",
    *SENT_EVENTS,
)
_SENT = slice(-len(SENT_EVENTS), None)


@dataclass(frozen=True, eq=False)
class EventCounts:
    """Events of one call.

    ``per_core``: event to counts [B, ticks, cores] (int64; float64 for an expectation); ``beside``: (layer,
    event) to the count of all images, for what happens beside the cores. Layers of cores: ``mapping``.
    """

    mapping: Mapping | ListedMapping
    per_core: dict[str, np.ndarray]
    beside: dict[tuple[str, str], float]

    @property
    def rounds(self) -> Rounds | None:
        """Where chips are shared, the rounds; ticks are then counted within the round of the core."""
        mapping = self.mapping
        return mapping.rounds if isinstance(mapping, Mapping) and mapping.rounds.loads else None

    @property
    def ticks(self) -> int:
        """Ticks of one image's call, or of the longest of several rounds."""
        return self.per_core["spike"].shape[1]


class CoreCounter:
    """Counts the events of calls on one mapping; the fixed maps are made here, once."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.network = mapping.laid_out
        self.ticks = mapping.ticks
        self._attention = [op for op in self.network.host_ops if op.kind == "attention"]
        self._switched = [p.name for p in self.network.populations if p.gate is not None]
        self._memory = Memory(kept=2)
        paths: dict[str, list[_Path]] = {name: [] for name in mapping.grids}
        for name, grid in mapping.grids.items():
            for group in axon_groups(spiking_inputs(self.network, name)):
                for projection in group:
                    paths[projection.source].append(_path(self.network, projection, group, grid))
        shapes = {p.name: p.shape for p in self.network.populations}
        self._senders = {
            p.name: _sender(mapping, mapping.grids[p.name], shapes[p.name], paths[p.name])
            for p in self.network.neurons
        }

    def count(self, call: Call) -> EventCounts:
        """Events of a call of the traced or the laid-out network; exact integers."""
        call = with_relays(call, self.network)
        counts = self._blank(len(call.eps))
        events = dict(zip(CORE_EVENTS, counts, strict=True))
        for name, sender in self._senders.items():
            ticks, cores = self._window(name)
            active = events["update_active"][:, ticks, cores]
            sender.active(call.active[name], active)
            np.subtract(self._neurons(name), active, out=events["update_idle"][:, ticks, cores])
            spikes = sender.by_unit(call.spikes[name])
            sender.sent(spikes, counts[_SENT, :, ticks, cores])
            for path in sender.paths:
                events[path.event][:, ticks, path.cores] += path.fed.apply(spikes)
                if path.arrived is not None:
                    events["packet_in"][:, ticks, path.cores] += path.arrived.apply(spikes)
        for name in self._switched:  # neurons are done; read-out elements take part when they run
            if name in self._senders or name not in self.mapping.grids:
                continue
            ticks, cores = self._window(name)
            active = events["update_active"][:, ticks, cores]
            active[:] = self._neurons(name) * call.running[name].T[:, :, None]
            np.subtract(self._neurons(name), active, out=events["update_idle"][:, ticks, cores])
        return EventCounts(self.mapping, events, self._beside_played(call))

    def _blank(self, batch: int) -> np.ndarray:
        """Counts [events, B, ticks, cores] before a call: neurons idle, read-out elements updated.

        In memory that an earlier call has left, only what is added to is cleared, not what is written over.
        """
        shape = (len(CORE_EVENTS), batch, self.ticks, self.mapping.core_count)
        counts, fresh = self._memory.lend("counts", shape, np.dtype(np.int64))
        events = dict(zip(CORE_EVENTS, counts, strict=True))
        if fresh:
            for name in self.mapping.grids:
                ticks, cores = self._window(name)
                events["update_idle"][:, :, cores] = self._neurons(name)
                if name not in self._senders:
                    events["update_active"][:, ticks, cores] = self._neurons(name)
                    events["update_idle"][:, ticks, cores] = 0
            return counts
        for name, sender in self._senders.items():
            ticks, _ = self._window(name)
            for path in sender.paths:
                events[path.event][:, ticks, path.cores] = 0
                events["packet_in"][:, ticks, path.cores] = 0
        return counts

    def expect(self, rate: float) -> EventCounts:
        """Expected events of one image when every neuron fires with probability ``rate`` at every step.

        Every neuron is updated whatever the rate; all else grows with the spikes. What a router switches runs
        as often as candidates are selected, k of N.
        """
        shape = (self.network.time_steps, 1)
        ones = {p.name: np.ones((*shape, *p.shape), bool) for p in self.network.neurons}
        always = dict.fromkeys(self._switched, np.ones(shape, bool))
        full = self.count(Call(self.network, np.empty((1, 0)), ones, ones, {}, running=always)).per_core
        shares = [self.network.share(name) for name in self.mapping.grids]
        # spikes pass between populations that are switched together, so that one share holds for both ends
        share = np.repeat(shares, [grid.size for grid in self.mapping.grids.values()])
        expected = {
            event: counts * share * (1.0 if event.startswith("update") else rate)
            for event, counts in full.items()
        }
        expected["update_idle"] = full["update_idle"] + full["update_active"] - expected["update_active"]
        beside = self._beside(Turns.expected(self.network))
        for op in self._attention:
            products = self.network.time_steps * attention.expected_products(op, rate)
            beside[op.name, "host_spike_product"] = products
        return EventCounts(self.mapping, expected, beside)

    def _beside(self, turns: Turns) -> dict[tuple[str, str], float]:
        """What happens beside the cores, products of spikes apart."""
        return calls_beside_cores(self.mapping, turns)

    @cached_property
    def _beside_image(self) -> dict[tuple[str, str], float]:
        """What one image's call does beside the cores where no router switches anything."""
        return self._beside(Turns(self.network.time_steps, 1))

    def _beside_played(self, call: Call) -> dict[tuple[str, str], float]:
        """What a call did beside the cores."""
        if self._switched:
            beside = self._beside(Turns.played(call))
        else:
            beside = {cause: len(call.eps) * count for cause, count in self._beside_image.items()}
        for op in self._attention:
            products = attention.products(op, [call.spikes[name] for name in op.inputs])
            beside[op.name, "host_spike_product"] = int(products.sum())
        return beside

    def _window(self, name: str) -> tuple[slice, slice]:
        """Ticks in which a population runs, and its cores."""
        first, grid = self.mapping.times.first_tick[name], self.mapping.grids[name]
        return (
            slice(first, first + self.network.time_steps),
            slice(grid.first_core, grid.first_core + grid.size),
        )

    def _neurons(self, name: str) -> np.ndarray:
        """Neurons on each core of a population."""
        used: np.ndarray = self.mapping.grids[name].used["compartments"]
        return used.ravel()


@dataclass(frozen=True, eq=False)
class _Spread:
    """What one spike adds to every core of a grid: a product of a row, a column and a channel factor.

    ``rows`` [row segments, H], ``columns`` [column segments, W], ``channels`` [units, channel blocks], or
    [1, channel blocks] where all channels count alike. Whole numbers, as float64 for the sake of BLAS: no
    sum comes near 2**53.
    """

    rows: np.ndarray
    columns: np.ndarray
    channels: np.ndarray

    def apply(self, counts: np.ndarray) -> np.ndarray:
        """Counts [T, B, H, W, units] summed onto the cores of the grid: int64 [B, T, cores]."""
        steps, batch, height, width, _ = counts.shape
        if len(self.channels) == 1:
            counts = counts.sum(axis=-1, keepdims=True)
        by_row = self.rows @ counts.reshape(steps * batch, height, -1).astype(np.float64)
        by_column = self.columns @ by_row.reshape(steps * batch * len(self.rows), width, -1)
        sums = by_column @ self.channels
        return np.swapaxes(sums.astype(np.int64).reshape(steps, batch, -1), 0, 1)


@dataclass(frozen=True, eq=False)
class _Path:
    """One projection onto a grid: synapses that a spike feeds on every core, packets that it becomes there.

    ``reached`` (row_hit [row segments, H], column_hit [column segments, W], sending [channel blocks,
    channels], all bool): the cores that a spike is sent to, None but for the first of the projections that
    share packets; ``arrived`` is the same as numbers.
    """

    grid: CoreGrid
    fed: _Spread
    arrived: _Spread | None
    reached: tuple[np.ndarray, np.ndarray, np.ndarray] | None

    @property
    def event(self) -> str:
        """What a fed synapse counts as."""
        return "synaptic_event_conv" if self.grid.shared_lists else "synaptic_event_dense"

    @property
    def cores(self) -> slice:
        """The cores of the grid."""
        return slice(self.grid.first_core, self.grid.first_core + self.grid.size)

    @property
    def one_for_all(self) -> bool:
        """Whether it treats all source channels alike."""
        return len(self.fed.channels) == 1 and (self.arrived is None or len(self.arrived.channels) == 1)


def _path(network: Network, projection: Projection, group: list[Projection], grid: CoreGrid) -> _Path:
    source = network.population_by_name[projection.source].shape
    rows, columns = (
        _joined(projection, axis, source[1 + axis], cuts)
        for axis, cuts in ((0, grid.rows), (1, grid.columns))
    )
    fed = _spread(rows, columns, np.stack([channel_targets(projection, cut) for cut in grid.channels]))
    if projection is not group[0]:
        return _Path(grid, fed, None, None)
    row_hit, column_hit = rows > 0, columns > 0
    sending = np.stack([axon_channels(group, cut) for cut in grid.channels])
    return _Path(grid, fed, _spread(row_hit, column_hit, sending), (row_hit, column_hit, sending))


def _joined(projection: Projection, axis: int, size: int, cuts: Cuts) -> np.ndarray:
    """Targets in each segment that a source index along an axis feeds: [segments, size]."""
    joined = projection.kernel.reach(axis, size, cuts[-1][1]) > 0
    return np.stack([joined[a:b].sum(axis=0) for a, b in cuts])


def _spread(rows: np.ndarray, columns: np.ndarray, by_block: np.ndarray) -> _Spread:
    """``by_block`` [channel blocks, source channels]."""
    alike = (by_block == by_block[:, :1]).all()
    channels = by_block[:, :1] if alike else by_block
    return _Spread(*(np.ascontiguousarray(a, np.float64) for a in (rows, columns, channels.T)))


@dataclass(frozen=True, eq=False)
class _Sender:
    """A spiking population: what its spikes become, by channel unit and position.

    Channels that reach the same cores form a unit: the channel blocks of the population's own cores, or
    single channels where a projection tells them apart. ``edges`` int64 [units + 1]; ``core`` int32 [H * W,
    units]: own core, from the grid's first; ``weights`` int64 [H * W, units, events]: see `_spike_weights`.
    ``blocks``, ``block_core``: the same for the blocks of the grid.
    """

    grid: CoreGrid
    paths: list[_Path]
    edges: np.ndarray
    core: np.ndarray
    weights: np.ndarray
    blocks: np.ndarray
    block_core: np.ndarray

    def by_unit(self, spikes: np.ndarray) -> np.ndarray:
        """Spikes [T, B, C, H, W] summed over each unit: int32 [T, B, H, W, units]."""
        return _by_unit(spikes, self.edges)

    def sent(self, counts: np.ndarray, sums: np.ndarray) -> None:
        """Events of ``weights`` [events, B, T, cores] of spikes by unit, written to ``sums``."""
        sum_by_core(_flat(counts), self.core, self.weights, sums)

    def active(self, active: np.ndarray, sums: np.ndarray) -> None:
        """Updated neurons on every core, written to ``sums`` [B, T, cores]."""
        ones = np.ones((*self.block_core.shape, 1), np.int64)
        sum_by_core(_flat(_by_unit(active, self.blocks)), self.block_core, ones, sums[None])


def _flat(counts: np.ndarray) -> np.ndarray:
    """[T, B, H, W, units] as [T, B, H * W, units]."""
    steps, batch, height, width, units = counts.shape
    return counts.reshape(steps, batch, height * width, units)


def _by_unit(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    last = np.ascontiguousarray(np.moveaxis(values, 2, -1)).view(np.uint8)
    counts = np.empty((*last.shape[:-1], len(edges) - 1), np.int32)
    places = last.reshape(-1, last.shape[-1])
    count_by_unit(0, len(places), places, edges, counts.reshape(len(places), -1))
    return counts


def _sender(mapping: Mapping, grid: CoreGrid, shape: tuple[int, int, int], paths: list[_Path]) -> _Sender:
    """Packets and their hops for a spike at every position of a population."""
    blocks = np.array([0, *(b for _, b in grid.channels)])
    edges = blocks if all(path.one_for_all for path in paths) else np.arange(shape[0] + 1)
    block_of_unit = np.searchsorted(blocks, edges[:-1], side="right") - 1
    by_block = grid.core_ids[_owner(grid.rows)][:, _owner(grid.columns)]
    own = by_block[:, :, block_of_unit]
    weights = _spike_weights(mapping, own, edges, paths)
    flat = (len(edges) - 1, len(blocks) - 1)
    return _Sender(
        grid,
        paths,
        edges,
        (own - grid.first_core).astype(np.int32).reshape(-1, flat[0]),
        weights.reshape(-1, flat[0], weights.shape[-1]),
        blocks,
        (by_block - grid.first_core).astype(np.int32).reshape(-1, flat[1]),
    )


def _spike_weights(mapping: Mapping, own: np.ndarray, edges: np.ndarray, paths: list[_Path]) -> np.ndarray:
    """How often one spike is each of SENT_EVENTS on its core ``own`` [H, W, units]: int64, [..., events].

    Where chips are shared in rounds, one event more, last: whether the host keeps the spike for later rounds.
    """
    place, several, round_of = mapping.placement, mapping.rounds.loads > 0, mapping.rounds.of_core
    weights = np.zeros((*own.shape, len(SENT_EVENTS) + several), np.int64)
    weights[..., 0] = 1
    packets, kept = weights[..., 1 : len(SENT_EVENTS)], weights[..., -1]
    for path in paths:
        if path.reached is None:
            continue
        row_hit, column_hit, sending = path.reached
        for r, s, k in np.ndindex(path.grid.shape):
            units = np.flatnonzero(sending[k, edges[:-1]])
            if not len(units):
                continue
            target = path.grid.core_ids[r, s, k]
            window = np.ix_(np.flatnonzero(row_hit[r]), np.flatnonzero(column_hit[s]), units)
            source = own[window]
            hops_x = np.abs(place.mesh_x[source] - place.mesh_x[target])
            hops_y = np.abs(place.mesh_y[source] - place.mesh_y[target])
            local, crossing = (hops_x + hops_y) == 0, place.chip[source] != place.chip[target]
            sent = np.stack([np.ones_like(hops_x), local, hops_x, hops_y, crossing], axis=-1)
            if several:
                later = round_of[source] != round_of[target]
                sent[later] = 0
                kept[window] |= later
            packets[window] += sent
    if several:
        packets[..., 0] += kept  # it leaves its core once for the host, whoever needs it
    return weights


def _owner(cuts: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Segment that each index of an axis belongs to."""
    return np.repeat(np.arange(len(cuts)), [b - a for a, b in cuts])
