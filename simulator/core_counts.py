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

import numpy as np

from nsim.frontends.network import Network, Projection
from nsim.hw_models.mapping.axons import axon_channels, axon_groups, channel_targets, spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid, segment_reached
from nsim.hw_models.mapping.listed import ListedMapping
from nsim.hw_models.mapping.mapping import Mapping
from nsim.simulator.engine import Call

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
PACKET_MAPS = ("packet_out", "tile_local", "hop_x", "hop_y", "chip_crossing")


@dataclass(frozen=True, eq=False)
class EventCounts:
    """Events of one call.

    ``per_core``: event to counts [B, ticks, cores] (int64; float64 for an expectation); ``per_call``: (layer,
    event) to the count for one image, for what happens beside the cores. Layers of cores: ``mapping``.
    """

    mapping: Mapping | ListedMapping
    per_core: dict[str, np.ndarray]
    per_call: dict[tuple[str, str], int]

    @property
    def ticks(self) -> int:
        """Ticks of one image's call."""
        return self.per_core["spike"].shape[1]


class CoreCounter:
    """Counts the events of calls on one mapping; the fixed maps are made here, once."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.network = mapping.laid_out
        self.ticks = mapping.ticks
        self.per_call = calls_beside_cores(mapping)
        self._paths: dict[str, list[_Path]] = {name: [] for name in mapping.grids}
        for name, grid in mapping.grids.items():
            for group in axon_groups(spiking_inputs(self.network, name)):
                for projection in group:
                    self._paths[projection.source].append(_path(self.network, projection, group, grid))
        self._packets = {
            name: _packet_maps(
                mapping, mapping.grids[name], self.network.population_by_name[name].shape, paths
            )
            for name, paths in self._paths.items()
        }

    def count(self, call: Call) -> EventCounts:
        """Events of a call of the traced or the laid-out network; exact integers."""
        return self._events(call.spikes, call.active, np.dtype(np.int64), len(call.eps))

    def expect(self, rate: float) -> EventCounts:
        """Expected events of one image when every neuron fires with probability ``rate`` at every step."""
        shape = (self.network.time_steps, 1)
        spikes = {p.name: np.full((*shape, *p.shape), rate) for p in self.network.neurons}
        active = {name: np.ones_like(s) for name, s in spikes.items()}
        return self._events(spikes, active, np.dtype(np.float64), 1)

    def _events(
        self, spikes: dict[str, np.ndarray], active: dict[str, np.ndarray], dtype: np.dtype, batch: int
    ) -> EventCounts:
        steps = self.network.time_steps
        events = {e: np.zeros((batch, self.ticks, self.mapping.core_count), dtype) for e in CORE_EVENTS}
        for name, grid in self.mapping.grids.items():
            first = self.mapping.times.first_tick[name]
            ticks, cores = slice(first, first + steps), slice(grid.first_core, grid.first_core + grid.size)
            events["update_idle"][:, :, cores] = grid.used["compartments"].ravel()
            if name in spikes:
                updated = _per_core(grid, active[name], dtype)
                self._sent(name, spikes[name], dtype, ticks, cores, events)
            else:  # read-out elements take part in every step
                updated = np.broadcast_to(grid.used["compartments"].ravel(), (batch, steps, grid.size))
            events["update_active"][:, ticks, cores] += updated
            events["update_idle"][:, ticks, cores] -= updated.astype(dtype)
        return EventCounts(self.mapping, events, self.per_call)

    def _sent(
        self,
        name: str,
        spikes: np.ndarray,
        dtype: np.dtype,
        ticks: slice,
        cores: slice,
        events: dict[str, np.ndarray],
    ) -> None:
        """Everything that the spikes [T, B, C, H, W] of one population set off."""
        grid, packets = self.mapping.grids[name], self._packets[name]
        events["spike"][:, ticks, cores] = _per_core(grid, spikes, dtype)
        by_unit = np.add.reduceat(spikes, [a for a, _ in packets.units], axis=2, dtype=dtype)
        for event in PACKET_MAPS:
            leaving = by_unit * packets.maps[event]
            events[event][:, ticks, cores] = _sum_units(grid, leaving, packets.units)
        total = spikes.sum(axis=2, dtype=dtype)
        for path in self._paths[name]:
            kind = "synaptic_event_conv" if path.grid.shared_lists else "synaptic_event_dense"
            for k, (targets, sending) in enumerate(zip(path.channel_targets, path.sending, strict=True)):
                ids = path.grid.core_ids[:, :, k].ravel()
                if targets.any():
                    uniform = targets.min() == targets.max()
                    weighted = total * targets[0] if uniform else np.einsum("tbcyx,c->tbyx", spikes, targets)
                    fed = np.einsum(
                        "ry,tbyx,sx->btrs", path.row_targets, weighted, path.column_targets, optimize=True
                    )
                    events[kind][:, ticks, ids] += fed.reshape(*fed.shape[:2], -1)
                if sending.any():
                    firing = total if sending.all() else spikes[:, :, sending].sum(axis=2, dtype=dtype)
                    arrived = np.einsum(
                        "ry,tbyx,sx->btrs", path.row_hit, firing, path.column_hit, optimize=True
                    )
                    events["packet_in"][:, ticks, ids] += arrived.reshape(*arrived.shape[:2], -1)


@dataclass(frozen=True, eq=False)
class _Path:
    """One projection onto a grid, as the maps that counting needs.

    ``row_targets`` [row segments, H]: target rows of the segment that a source row feeds (columns alike);
    ``channel_targets``: for each channel block, targets per source channel. ``sending``: for each channel
    block, the source channels whose packets count here; all are False but for the first of the projections
    that share packets.
    """

    grid: CoreGrid
    row_targets: np.ndarray
    column_targets: np.ndarray
    row_hit: np.ndarray
    column_hit: np.ndarray
    channel_targets: list[np.ndarray]
    sending: list[np.ndarray]


def _path(network: Network, projection: Projection, group: list[Projection], grid: CoreGrid) -> _Path:
    source = network.population_by_name[projection.source].shape
    rows, columns = segment_reached(projection, grid, source)
    targets = []
    for axis, cuts in ((0, grid.rows), (1, grid.columns)):
        joined = projection.kernel.reach(axis, source[1 + axis], cuts[-1][1]) > 0
        targets.append(np.stack([joined[a:b].sum(axis=0) for a, b in cuts]))
    reach = [channel_targets(projection, cut) for cut in grid.channels]
    sending = [axon_channels(group, cut) & (projection is group[0]) for cut in grid.channels]
    return _Path(
        grid, targets[0], targets[1], rows.astype(np.int64), columns.astype(np.int64), reach, sending
    )


@dataclass(frozen=True, eq=False)
class _PacketMaps:
    """What one spike sends, by channel unit and position: event to int64 [units, H, W]."""

    units: list[tuple[int, int]]
    maps: dict[str, np.ndarray]


def _packet_maps(
    mapping: Mapping, grid: CoreGrid, shape: tuple[int, int, int], paths: list[_Path]
) -> _PacketMaps:
    """Packets and their hops for a spike at every position of a population.

    Channels that reach the same cores form a unit: the channel blocks of the population's own cores, or
    single channels where a grouped projection tells them apart.
    """
    uniform = all(t.min() == t.max() for path in paths for t in path.channel_targets)
    units = list(grid.channels) if uniform else [(c, c + 1) for c in range(shape[0])]
    block_of_unit = [next(i for i, (a, b) in enumerate(grid.channels) if a <= u < b) for u, _ in units]
    row_of, column_of = _owner(grid.rows), _owner(grid.columns)
    own = grid.core_ids[row_of][:, column_of][:, :, block_of_unit].transpose(2, 0, 1)
    place = mapping.placement
    maps = {event: np.zeros((len(units), *shape[1:]), np.int64) for event in PACKET_MAPS}
    for path in paths:
        for k, sending in enumerate(path.sending):
            hit = np.flatnonzero(sending[[a for a, _ in units]])
            if not len(hit):
                continue
            for r, s in np.ndindex(path.grid.shape[:2]):
                target = path.grid.core_ids[r, s, k]
                window = np.ix_(hit, np.flatnonzero(path.row_hit[r]), np.flatnonzero(path.column_hit[s]))
                source = own[window]
                hops_x = np.abs(place.mesh_x[source] - place.mesh_x[target])
                hops_y = np.abs(place.mesh_y[source] - place.mesh_y[target])
                maps["packet_out"][window] += 1
                maps["tile_local"][window] += (hops_x + hops_y) == 0
                maps["hop_x"][window] += hops_x
                maps["hop_y"][window] += hops_y
                maps["chip_crossing"][window] += place.chip[source] != place.chip[target]
    return _PacketMaps(units, maps)


def _owner(cuts: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Segment that each index of an axis belongs to."""
    return np.repeat(np.arange(len(cuts)), [b - a for a, b in cuts])


def _per_core(grid: CoreGrid, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Sum [T, B, C, H, W] over every core of a grid: [B, T, cores]."""
    sums = grid.block_sums(values.view(np.uint8).astype(dtype) if values.dtype == bool else values)
    return np.swapaxes(sums.reshape(*sums.shape[:2], -1), 0, 1)


def _sum_units(grid: CoreGrid, values: np.ndarray, units: list[tuple[int, int]]) -> np.ndarray:
    """Sum [T, B, units, H, W] over every core of a grid: [B, T, cores]."""
    starts = {a: i for i, (a, _) in enumerate(units)}
    values = np.add.reduceat(values, [starts[a] for a, _ in grid.channels], axis=2)
    for axis, cuts in ((3, grid.rows), (4, grid.columns)):
        values = np.add.reduceat(values, [a for a, _ in cuts], axis=axis)
    values = np.moveaxis(values, 2, -1)
    return np.swapaxes(values.reshape(*values.shape[:2], -1), 0, 1)


def calls_beside_cores(mapping: Mapping) -> dict[tuple[str, str], int]:
    """What one image's call costs beside the cores: (layer, event) to count.

    Host ops; the image's convolution, done once by the host because the image is the same at every time
    step; values sent to the cores (one per channel of a time embedding, one per neuron fed by the image);
    bias registers, each switched on before its layer's first tick and off after its last; read-out values
    of every time step; the state reset of every chip.
    """
    network = mapping.laid_out
    counts: dict[tuple[str, str], int] = {}
    if network.streams_via_host:
        counts.update(streams_on_host(network))

    def add(layer: str, event: str, count: int) -> None:
        if count:
            counts[layer, event] = counts.get((layer, event), 0) + count

    for op in network.host_ops:
        times = network.time_steps if op.every_step else 1
        add(op.name, "host_mac", times * op.macs)
        add(op.name, "host_elementwise", times * op.elementwise)
        for name in op.inputs:
            if name in mapping.grids and not network.streams_via_host:
                add(op.name, "host_read", network.time_steps * network.population_by_name[name].size)
    for name in mapping.grids:
        population = network.population_by_name[name]
        from_host = [b for b in network.biases if b.target == name]
        from_image = [
            p for p in network.incoming(name) if network.population_by_name[p.source].kind == "source"
        ]
        written: set[tuple[int, int]] = set()
        for projection in from_image:
            source = network.population_by_name[projection.source].shape
            add(projection.name, "host_mac", projection.kernel.taps(source[1:], population.shape[1:]))
            # a second source into the same channels is added up by the host before it writes
            again = projection.target_channels in written
            written.add(projection.target_channels)
            add(
                projection.name,
                "host_elementwise" if again else "host_write",
                projection.kernel.c_out * population.size // population.shape[0],
            )
        for bias in from_host:
            add(bias.host_op, "host_write", population.shape[0])
        if any(network.population_by_name[p.source].kind == "analog" for p in network.incoming(name)):
            if population.kind == "neuron":  # a new current at every time step, and none after the last
                add(name, "bias_write", (network.time_steps + 1) * population.size)
        elif from_host or from_image or population.bias is not None or _has_bias(network, name):
            add(name, "bias_write", 2 * population.size)
    add("chip", "state_reset", mapping.chips)
    return counts


def streams_on_host(network: Network) -> dict[tuple[str, str], int]:
    """What carrying analog streams beside the cores costs in one image's call: (layer, event) to count.

    In every time step: what spikes added is read from the read-out elements; contributions meet (an addition
    per element and contribution beyond the first); 1x1 convolutions of a stream multiply, a BatchNorm behind
    one is an operation per element; and every neuron that reads a stream is sent its current.
    """
    kinds = network.population_by_name
    counts: dict[tuple[str, str], int] = {}
    for population in network.populations:
        name, positions = population.name, population.size // population.shape[0]
        streams = [p for p in network.incoming(name) if kinds[p.source].kind == "analog"]
        spiking = spiking_inputs(network, name)
        elements = elementwise = 0
        if population.kind == "analog":
            from_image = [p for p in network.incoming(name) if kinds[p.source].kind == "source"]
            for p in from_image:
                counts[p.name, "host_mac"] = p.kernel.taps(kinds[p.source].shape[1:], population.shape[1:])
                elements += p.kernel.c_out * positions
        for p in streams:
            elements += p.kernel.c_out * positions
            if p.scale is not None or p.bias is not None:
                elementwise += p.kernel.c_out * positions
            if not p.kernel.is_identity:
                counts[p.name, "host_mac"] = network.time_steps * p.kernel.taps(
                    kinds[p.source].shape[1:], population.shape[1:]
                )
        if population.kind == "analog" and spiking:
            counts[name, "host_read"] = network.time_steps * population.size
            elements += len({c for p in spiking for c in range(*p.target_channels)}) * positions
        if population.kind == "neuron" and streams:
            counts[name, "host_write"] = network.time_steps * population.size
        elementwise += max(0, elements - population.size)
        if elementwise:
            counts[name, "host_elementwise"] = network.time_steps * elementwise
    return counts


def _has_bias(network: Network, name: str) -> bool:
    return any(p.bias is not None for p in network.incoming(name))
