"""How long each tick takes, packet by packet: the ``event`` level.

In every tick each core goes through its neurons, one packet leaves per destination core of a spike (see
`traffic.send`), crosses the mesh (`noc`), and is served by the destination's input side, first come, first
served: its ``packet_in`` time and its synaptic events. The two sides of a core work side by side. The tick
ends when every core is done with its neurons and its packets; the barrier follows. Chips in a row make one
mesh: for want of a published figure, a link between chips is taken to be like any other.

What differs from the ``analytic`` level: that one adds up each side's work as if every packet were there
from the start, so it has no links, no waiting for a packet to be sent or to come, and is a lower bound.
Both have the same events, figures and barrier, so energy differs only by what is paid per time.
"""

from __future__ import annotations

import numpy as np

from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.place import Placement
from nsim.hw_models.spec import Calibration
from nsim.simulator.call import Call, with_relays
from nsim.simulator.core_counts import EventCounts
from nsim.simulator.noc import Arrivals, Mesh, route_packets, serve_in_order
from nsim.simulator.timing import INPUT_EVENTS, NEURON_EVENTS, TickTimes, slowest_core
from nsim.simulator.traffic import Packets, fanouts, send
from nsim.units import PS_PER_NS

LINK_EVENTS = ("tile_local", "hop_x", "hop_y")


class EventTimer:
    """Times calls on one mapping with one calibration's figures, in integer picoseconds.

    Events without a published time take none, and are listed in what is left out. A packet within its tile
    takes the ``tile_local`` time and no link.
    """

    def __init__(self, mapping: Mapping, calibration: Calibration) -> None:
        self.mapping = mapping
        self.set_costs(mapping.placement, calibration)
        self.fanouts = fanouts(mapping)
        kinds = [grid.shared_lists for grid in mapping.grids.values()]
        shared = np.repeat(kinds, [grid.size for grid in mapping.grids.values()])
        self.synapse_ps = np.where(
            shared, self.cost_ps["synaptic_event_conv"], self.cost_ps["synaptic_event_dense"]
        )

    def set_costs(self, place: Placement, calibration: Calibration) -> None:
        """What events take, and the mesh that the cores stand on."""
        self.calibration = calibration
        events = (*NEURON_EVENTS, *INPUT_EVENTS, *LINK_EVENTS)
        self.cost_ps = {event: round((calibration.time_ns(event) or 0) * PS_PER_NS) for event in events}
        width = int(place.mesh_x.max()) + 1
        self.mesh = Mesh(width, int(place.mesh_y.max()) + 1, self.cost_ps["hop_x"], self.cost_ps["hop_y"])
        self.tile = place.mesh_y * width + place.mesh_x

    def times(self, call: Call, counts: EventCounts) -> TickTimes:
        """Tick times of a call; ``counts``: its events."""
        busy_ps = np.empty(counts.per_core["spike"].shape, np.int64)
        for image, tick in np.ndindex(busy_ps.shape[:2]):
            neurons_ps, packets = self.sent(call, image, tick)
            busy_ps[image, tick] = np.maximum(neurons_ps, self.received(packets))
        return slowest_core(busy_ps / PS_PER_NS, counts, self.calibration)

    def sent(self, call: Call, image: int, tick: int) -> tuple[np.ndarray, Packets]:
        """The neuron side of one tick: when each core is done, int64 ps [cores], and what it sent."""
        network = self.mapping.laid_out
        call = with_relays(call, network)
        done, packets = [], []
        for name, grid in self.mapping.grids.items():
            compartments = grid.used["compartments"].ravel()
            step = tick - self.mapping.times.first_tick[name]
            running = call.running.get(name)
            if not 0 <= step < network.time_steps or not (running is None or running[step, image]):
                done.append(compartments * self.cost_ps["update_idle"])
            elif name not in call.spikes:  # read-out elements take part in every step and send nothing
                done.append(compartments * self.cost_ps["update_active"])
            else:
                spikes, active = call.spikes[name][step, image], call.active[name][step, image]
                at, leaving = send(grid, self.fanouts[name], spikes, active, self.cost_ps)
                done.append(at)
                packets.append(leaving)
        return np.concatenate(done), _joined(packets)

    def received(self, packets: Packets) -> np.ndarray:
        """When the input side of each core has served the packets of one tick, int64 ps [cores]."""
        return self.served(packets, self.arrivals(packets))

    def arrivals(self, packets: Packets) -> Arrivals:
        """When the packets of one tick reach their cores, and what the links had to do."""
        source, target = self.tile[packets.source], self.tile[packets.target]
        arrivals = route_packets(self.mesh, packets.departure_ps, source, target)
        arrivals.time_ps[source == target] += self.cost_ps["tile_local"]
        return arrivals

    def served(self, packets: Packets, arrivals: Arrivals) -> np.ndarray:
        """When the input side of each core is done with what arrives, int64 ps [cores]."""
        work_ps = self.work_ps(packets)
        return serve_in_order(arrivals.time_ps, packets.target, work_ps, self.mapping.core_count)

    def work_ps(self, packets: Packets) -> np.ndarray:
        """How long each packet keeps the input side of its target."""
        return self.cost_ps["packet_in"] + packets.synapses * self.synapse_ps[packets.target]


def _joined(packets: list[Packets]) -> Packets:
    none = Packets(*(np.empty(0, np.int64) for _ in range(4)))
    fields = ("departure_ps", "source", "target", "synapses")
    return Packets(*(np.concatenate([getattr(p, field) for p in (none, *packets)]) for field in fields))
