"""How long each tick takes with finite buffers and back-pressure: the ``cycle`` level.

As the ``event`` level (`event_timing`), but packets cross the routers of `cycle_noc`. A core whose router
has no room for the packet it is about to send stands still with all neurons that are still to come; a core
that cannot keep up with what it receives fills its own input buffer, then those of the routers on the way.
Where that happened is part of the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsim.errors import ChipFileError
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration
from nsim.simulator.core_counts import EventCounts
from nsim.simulator.cycle_noc import Delivery, Load, Routers, deliver
from nsim.simulator.engine import Call
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.timing import TickTimes, slowest_core
from nsim.simulator.traffic import Packets
from nsim.units import PS_PER_NS


@dataclass(frozen=True, eq=False)
class BufferUse:
    """How full the buffers got in every tick, [B, ticks] each.

    ``router_peak`` and ``core_peak``: most packets in one input buffer of a router, of a core; ``tile`` and
    ``core``: which one (the first of equals). ``stalled_ns``: how long neuron sides stood still, all cores
    together; ``stalled_core_ns``: the one that did longest. ``held_ns``: how long free outputs were without
    room ahead for a packet there, all together. ``places``: packets that a buffer holds.
    """

    places: int
    router_peak: np.ndarray
    tile: np.ndarray
    core_peak: np.ndarray
    core: np.ndarray
    stalled_ns: np.ndarray
    stalled_core_ns: np.ndarray
    held_ns: np.ndarray


class CycleTimer(EventTimer):
    """Times calls on one mapping by its chip's routers; `EventTimer` otherwise.

    Raises ChipFileError for a chip file without a figure for its buffers. Without one for the clock, routers
    act at once.
    """

    def __init__(self, mapping: Mapping, calibration: Calibration) -> None:
        super().__init__(mapping, calibration)
        noc = mapping.chip.noc
        if noc is None or noc.buffer_packets.value is None:
            raise ChipFileError(
                f"chip {mapping.chip.name!r} has no value for noc.buffer_packets, which --timing cycle needs: "
                "add one to the chip file, with its source, or use --timing event"
            )
        cycle_ps = round((noc.cycle_ns.value or 0) * PS_PER_NS) or 1
        self.routers = Routers(self.mesh, self.cost_ps["tile_local"], int(noc.buffer_packets.value), cycle_ps)

    def times(self, call: Call, counts: EventCounts) -> TickTimes:
        """Tick times of a call; ``counts``: its events."""
        return self.times_and_buffers(call, counts)[0]

    def times_and_buffers(self, call: Call, counts: EventCounts) -> tuple[TickTimes, BufferUse]:
        """Tick times of a call, and how full buffers got."""
        shape = counts.per_core["spike"].shape
        busy_ps = np.empty(shape, np.int64)
        peaks = np.empty((4, *shape[:2]), np.int64)
        waits = np.empty((3, *shape[:2]))
        for image, tick in np.ndindex(shape[:2]):
            neurons_ps, packets = self.sent(call, image, tick)
            delivery = self.delivered(packets)
            neurons_ps = np.maximum(neurons_ps + delivery.stalled_ps, delivery.last_handed_ps)
            busy_ps[image, tick] = np.maximum(neurons_ps, delivery.served_ps)
            tiles, cores = delivery.router_peak.max(axis=1), delivery.core_peak
            peaks[:, image, tick] = tiles.max(), tiles.argmax(), cores.max(), cores.argmax()
            stalled = delivery.stalled_ps
            waits[:, image, tick] = stalled.sum(), stalled.max(), delivery.held_ps.sum()
        use = BufferUse(self.routers.buffer_packets, *peaks, *waits / PS_PER_NS)
        return slowest_core(busy_ps / PS_PER_NS, counts, self.calibration), use

    def delivered(self, packets: Packets) -> Delivery:
        """What became of the packets of one tick."""
        load = Load(packets.departure_ps, packets.source, packets.target, self.work_ps(packets))
        return deliver(self.routers, self.tile, load)
