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
from nsim.simulator.call import Call, with_relays
from nsim.simulator.count_kernels import count_on_cores
from nsim.simulator.host_counts import calls_beside_cores
from nsim.simulator.memory import Memory
from nsim.simulator.tasks import Tasks
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

    def __init__(self, mapping: Mapping, threads: int | None = None) -> None:
        self.mapping = mapping
        self.network = mapping.laid_out
        self.ticks = mapping.ticks
        self._attention = [op for op in self.network.host_ops if op.kind == "attention"]
        self._switched = [p.name for p in self.network.populations if p.gate is not None]
        self._memory = Memory(kept=2)
        self._tasks = Tasks(threads)
        paths: dict[str, list[_Path]] = {name: [] for name in mapping.grids}
        self._hearing: dict[str, list[tuple[str, _Path]]] = {}
        for name, grid in mapping.grids.items():
            for group in axon_groups(spiking_inputs(self.network, name)):
                for projection in group:
                    path = _path(self.network, projection, group, grid)
                    paths[projection.source].append(path)
                    self._hearing.setdefault(name, []).append((projection.source, path))
        steps, first_tick = self.network.time_steps, mapping.times.first_tick
        # ticks in which a population runs, and its cores
        self._window = {
            name: (slice(first_tick[name], first_tick[name] + steps), grid.cores)
            for name, grid in mapping.grids.items()
        }
        self._senders = {
            p.name: _sender(mapping, mapping.grids[p.name], p.shape, paths[p.name])
            # the largest first: at the end threads wait for each other
            for p in sorted(self.network.neurons, key=lambda population: -population.size)
        }

    def count(self, call: Call) -> EventCounts:
        """Events of a call of the traced or the laid-out network; exact integers."""
        call = with_relays(call, self.network)
        counts = self._blank(len(call.eps))
        events = dict(zip(CORE_EVENTS, counts, strict=True))
        senders = list(self._senders)
        spikes: dict[str, np.ndarray] = {}

        def fire(first: int, last: int) -> None:
            for name in senders[first:last]:
                spikes[name] = self._fire(name, call, counts)

        self._tasks.run(len(senders), fire, chunk=1)
        for name in self._hearing:  # not worth a thread: small arrays, and numpy holds the GIL for those
            self._hear(name, spikes, events)
        for name in self._switched:  # neurons are done; read-out elements take part when they run
            if name in self._senders or name not in self.mapping.grids:
                continue
            ticks, cores = self._window[name]
            active = events["update_active"][:, ticks, cores]
            active[:] = self._neurons(name) * call.running[name].T[:, :, None]
            np.subtract(self._neurons(name), active, out=events["update_idle"][:, ticks, cores])
        return EventCounts(self.mapping, events, self._beside_played(call))

    def _fire(self, name: str, call: Call, counts: np.ndarray) -> np.ndarray:
        """Count what a population's neurons do on their own cores; returns its spikes as `_hear` takes them:
        by unit, or all together where none that hears them tells channels apart."""
        own = counts[:, :, *self._window[name]]
        idle, active = own[CORE_EVENTS.index("update_idle")], own[CORE_EVENTS.index("update_active")]
        sender = self._senders[name]
        sender.updated(call.active[name], active)
        np.subtract(self._neurons(name), active, out=idle)
        spikes = sender.fired(call.spikes[name], own[_SENT]).astype(np.float64)
        return spikes.sum(axis=-1, keepdims=True) if sender.one_for_all else spikes

    def _hear(self, name: str, spikes: dict[str, np.ndarray], events: dict[str, np.ndarray]) -> None:
        """Count what all spikes that a population gets are to its cores."""
        for source, path in self._hearing[name]:
            for event in (path.event, "packet_in"):
                events[event][:, self._window[source][0], path.grid.cores] = 0
        for source, path in self._hearing[name]:
            ticks, _ = self._window[source]
            events[path.event][:, ticks, path.grid.cores] += path.fed.apply(spikes[source])
            if path.arrived is not None:
                events["packet_in"][:, ticks, path.grid.cores] += path.arrived.apply(spikes[source])

    def _blank(self, batch: int) -> np.ndarray:
        """Counts [events, B, ticks, cores] before a call: neurons idle, read-out elements updated.

        In memory that an earlier call has left, all that is not written over stands as it should.
        """
        shape = (len(CORE_EVENTS), batch, self.ticks, self.mapping.core_count)
        counts, fresh = self._memory.lend("counts", shape, np.dtype(np.int64))
        events = dict(zip(CORE_EVENTS, counts, strict=True))
        for name in self.mapping.grids if fresh else ():
            ticks, cores = self._window[name]
            events["update_idle"][:, :, cores] = self._neurons(name)
            if name not in self._senders:
                events["update_active"][:, ticks, cores] = self._neurons(name)
                events["update_idle"][:, ticks, cores] = 0
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
        """Counts float64 [T, B, H, W, units] summed onto the cores of the grid: int64 [B, T, cores]."""
        steps, batch, height, width, _ = counts.shape
        if len(self.channels) < counts.shape[-1]:
            counts = counts.sum(axis=-1, keepdims=True)
        by_row = self.rows @ counts.reshape(steps * batch, height, -1)
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
    ``blocks``, ``block_core``, ``block_weights``: the same for the blocks of the grid, where a neuron is one.
    """

    grid: CoreGrid
    paths: list[_Path]
    edges: np.ndarray
    core: np.ndarray
    weights: np.ndarray
    blocks: np.ndarray
    block_core: np.ndarray
    block_weights: np.ndarray

    @property
    def one_for_all(self) -> bool:
        """Whether all that hear its spikes treat its channels alike."""
        return all(path.one_for_all for path in self.paths)

    def fired(self, spikes: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Events of ``weights`` [events, B, T, cores] of spikes [T, B, C, H, W], written to ``sums``.

        Returns the spikes summed over each unit: int32 [T, B, H, W, units].
        """
        return _on_cores(spikes, self.edges, self.core, self.weights, sums)

    def updated(self, active: np.ndarray, sums: np.ndarray) -> None:
        """Updated neurons on every core, written to ``sums`` [B, T, cores]."""
        _on_cores(active, self.blocks, self.block_core, self.block_weights, sums[None])


def _on_cores(
    values: np.ndarray, edges: np.ndarray, core: np.ndarray, weights: np.ndarray, sums: np.ndarray
) -> np.ndarray:
    last = np.ascontiguousarray(values.transpose(0, 1, 3, 4, 2)).view(np.uint8)
    steps, images, height, width, channels = last.shape
    counts = np.empty((steps, images, height * width, len(edges) - 1), np.int32)
    places = last.reshape(steps, images, height * width, channels)
    count_on_cores(places, edges, core, weights, counts, sums)
    return counts.reshape(steps, images, height, width, -1)


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
        np.ones((by_block[..., 0].size, flat[1], 1), np.int64),
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
