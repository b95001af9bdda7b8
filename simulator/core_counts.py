"""What happens on every core in every tick of a call, counted exactly from spike maps.

No synapse is touched again: how many synapses a spike feeds on each core, how many packets it becomes and
how far they travel depend only on where it fired, so they are fixed maps, made once per mapping.

A population runs its T time steps in T ticks on end, when the mapping's timetable says (see
`nsim.hw_models.mapping.schedule`); what its spikes cost (packets, axons, synapses) falls in the tick in which
they are fired, what they add is used by later layers when their tick comes (synaptic delays). A call takes
T + (greatest depth) ticks when pipelined, T * (1 + greatest depth) when layerwise. Cores look at all their
neurons in every tick; outside its T ticks a layer's biases are switched off, so its neurons are idle.

Where chips are shared in rounds (see `nsim.hw_models.mapping.rounds`), a spike that later rounds need leaves
its core once, for the host (a packet whose way is not known, so no hop, and a read-out value); the host sends
it to every core that holds a target when its round comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsim.frontends.network import Network, Projection
from nsim.hw_models.mapping.axons import Cuts, axon_channels, axon_groups, channel_targets, spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.listed import ListedMapping
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.rounds import Piece, Rounds
from nsim.simulator.count_kernels import count_by_unit, sum_by_core
from nsim.simulator.engine import Call, with_relays
from nsim.simulator.host_counts import calls_beside_cores

CORE_EVENTS = (
    "synaptic_event_conv",
    "synaptic_event_dense",
    "update_idle",
    "update_active",
    "spike",
    "packet_out",
    "packet_in",
    "tile_local",
    "hop_x",
    "hop_y",
    "chip_crossing",
)
HOST_EVENTS = ("host_read", "host_write")
"""What happens on cores besides, where spikes of one round are kept for others."""
PACKET_MAPS = ("packet_out", "tile_local", "hop_x", "hop_y", "chip_crossing")


@dataclass(frozen=True, eq=False)
class EventCounts:
    """Events of one call.

    ``per_core``: event to counts [B, ticks, cores] (int64; float64 for an expectation), ticks counted within
    the round of the core; ``per_call``: (layer, event) to the count for one image, for what happens beside
    the cores. Layers of cores: ``mapping``. ``rounds``: where there are several.
    """

    mapping: Mapping | ListedMapping
    per_core: dict[str, np.ndarray]
    per_call: dict[tuple[str, str], int]
    rounds: Rounds | None = None

    @property
    def ticks(self) -> int:
        """Ticks of one image's call, or of the longest of several rounds."""
        return self.per_core["spike"].shape[1]


class CoreCounter:
    """Counts the events of calls on one mapping; the fixed maps are made here, once."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.network = mapping.laid_out
        self.rounds = mapping.rounds if mapping.rounds.loads else None
        self.ticks = max(mapping.rounds.ticks)
        self.per_call = calls_beside_cores(mapping)
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
        shape = (len(call.eps), self.ticks, self.mapping.core_count)
        kinds = CORE_EVENTS if self.rounds is None else CORE_EVENTS + HOST_EVENTS
        events = {event: np.zeros(shape, np.int64) for event in kinds}
        for name, grid in self.mapping.grids.items():
            compartments = updated = np.asarray(grid.used["compartments"].ravel())
            if name in self._senders:
                sender = self._senders[name]
                updated = sender.active(call.active[name])
                self._sent(sender, call.spikes[name], events)
            for piece in self._pieces(name):
                idle, active = events["update_idle"], events["update_active"]
                idle[:, : self.mapping.rounds.ticks[piece.round], piece.cores] = compartments[piece.own]
                # read-out elements take part in every step
                active[:, piece.ticks, piece.cores] += updated[..., piece.own]
                idle[:, piece.ticks, piece.cores] -= updated[..., piece.own]
        return EventCounts(self.mapping, events, self.per_call, self.rounds)

    def expect(self, rate: float) -> EventCounts:
        """Expected events of one image when every neuron fires with probability ``rate`` at every step.

        Every neuron is updated whatever the rate; all else grows with the spikes.
        """
        shape = (self.network.time_steps, 1)
        ones = {p.name: np.ones((*shape, *p.shape), bool) for p in self.network.neurons}
        full = self.count(Call(self.network, np.empty((1, 0)), ones, ones, {}))
        expected = {
            event: counts * (1.0 if event.startswith("update") else rate)
            for event, counts in full.per_core.items()
        }
        return EventCounts(self.mapping, expected, self.per_call, self.rounds)

    def _pieces(self, name: str) -> tuple[Piece, ...]:
        """Cores and ticks of a population, in every round that it takes part in."""
        return self.mapping.rounds.pieces[name]

    def _sent(self, sender: _Sender, spikes: np.ndarray, events: dict[str, np.ndarray]) -> None:
        """Everything that the spikes [T, B, C, H, W] of one population set off."""
        counts, pieces = sender.by_unit(spikes), self._pieces(sender.grid.population)
        for event, sums in sender.own(counts).items():
            for piece in pieces:
                events[event][:, piece.ticks, piece.cores] = sums[..., piece.own]
        for piece in pieces:
            fired = counts if len(pieces) == 1 else sender.on_cores(counts, piece.own)
            for path in sender.paths:
                self._received(path, fired, piece, events)

    def _received(
        self, path: _Path, counts: np.ndarray, source: Piece, events: dict[str, np.ndarray]
    ) -> None:
        """What the spikes of ``source`` are to the cores of a path: at once, or when their round comes."""
        kind = "synaptic_event_conv" if path.grid.shared_lists else "synaptic_event_dense"
        fed = path.fed.apply(counts)
        arrived = None if path.arrived is None else path.arrived.apply(counts)
        for piece in self._pieces(path.grid.population):
            kept = piece.round != source.round
            # the host's spikes come in the tick before the one in which they are needed
            ticks = slice(piece.ticks.start - 1, piece.ticks.stop - 1) if kept else source.ticks
            events[kind][:, ticks, piece.cores] += fed[..., piece.own]
            if arrived is not None:
                for event in ("packet_in", "host_write") if kept else ("packet_in",):
                    events[event][:, ticks, piece.cores] += arrived[..., piece.own]


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
    units]: own core, from the grid's first; ``weights`` int64 [H * W, units, events]: how often one spike is
    each of ``events``. ``blocks``, ``block_core``: the same for the blocks of the grid.
    """

    grid: CoreGrid
    paths: list[_Path]
    edges: np.ndarray
    core: np.ndarray
    events: tuple[str, ...]
    weights: np.ndarray
    blocks: np.ndarray
    block_core: np.ndarray

    def by_unit(self, spikes: np.ndarray) -> np.ndarray:
        """Spikes [T, B, C, H, W] summed over each unit: int32 [T, B, H, W, units]."""
        return _by_unit(spikes, self.edges)

    def own(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Events on the cores that send, each [B, T, cores], of spikes by unit."""
        sums = self._by_core(counts, self.core, self.weights)
        return dict(zip(self.events, sums, strict=True))

    def on_cores(self, counts: np.ndarray, own: slice) -> np.ndarray:
        """The spikes by unit of some of the cores that send; 0 for the others."""
        here = (self.core >= own.start) & (self.core < own.stop)
        return counts * here.reshape(counts.shape[2:])

    def active(self, active: np.ndarray) -> np.ndarray:
        """Updated neurons on every core [B, T, cores]."""
        ones = np.ones((*self.block_core.shape, 1), np.int64)
        return self._by_core(_by_unit(active, self.blocks), self.block_core, ones)[0]

    def _by_core(self, counts: np.ndarray, core: np.ndarray, weights: np.ndarray) -> np.ndarray:
        steps, batch, *_ = counts.shape
        sums = np.zeros((steps * batch, self.grid.size, weights.shape[2]), np.int64)
        sum_by_core(counts.reshape(steps * batch, -1, counts.shape[-1]), core, weights, sums)
        return sums.reshape(steps, batch, *sums.shape[1:]).transpose(3, 1, 0, 2)


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
    events, weights = _spike_events(mapping, own, edges, paths)
    flat = (len(edges) - 1, len(blocks) - 1)
    return _Sender(
        grid,
        paths,
        edges,
        (own - grid.first_core).astype(np.int32).reshape(-1, flat[0]),
        events,
        weights.reshape(-1, flat[0], weights.shape[-1]),
        blocks,
        (by_block - grid.first_core).astype(np.int32).reshape(-1, flat[1]),
    )


def _spike_events(
    mapping: Mapping, own: np.ndarray, edges: np.ndarray, paths: list[_Path]
) -> tuple[tuple[str, ...], np.ndarray]:
    """What one spike is on its core ``own`` [H, W, units]: events, and int64 [H, W, units, events]."""
    place, round_of_core, several = mapping.placement, mapping.rounds.of_core, bool(mapping.rounds.loads)
    packets = np.zeros((*own.shape, len(PACKET_MAPS)), np.int64)
    kept = np.zeros((*own.shape, 1), np.int64)
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
                later = round_of_core[source] != round_of_core[target]
                sent[later] = 0
                kept[window] |= later[..., None]
            packets[window] += sent
    packets[..., :1] += kept  # it leaves its core once for the host, whoever needs it
    spike = np.ones_like(kept)
    if not several:
        return ("spike", *PACKET_MAPS), np.concatenate([spike, packets], axis=-1)
    return ("spike", *PACKET_MAPS, "host_read"), np.concatenate([spike, packets, kept], axis=-1)


def _owner(cuts: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Segment that each index of an axis belongs to."""
    return np.repeat(np.arange(len(cuts)), [b - a for a, b in cuts])
