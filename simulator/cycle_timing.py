"""How long each tick takes with finite buffers and back-pressure: the ``cycle`` level.

As the ``event`` level (`event_timing`), but packets cross the routers of `cycle_noc`. A core whose router
has no room for the packet it is about to send stands still with all neurons that are still to come; a core
that cannot keep up with what it receives fills its own input buffer, then those of the routers on the way.
Where that happened is part of the result.
"""

from __future__ import annotations

import numpy as np

from nsim.errors import ChipFileError
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration
from nsim.simulator.call import Call
from nsim.simulator.core_counts import EventCounts
from nsim.simulator.cycle_noc import Delivery, Load, Routers, deliver
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.timing import BufferUse, TickTimes, slowest_core
from nsim.simulator.traffic import Packets
from nsim.units import PS_PER_NS


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
                f"chip {mapping.chip.name!r} has no value for noc.buffer_packets, which --timing cycle "
                "needs: add one to the chip file, with its source, or use --timing event"
            )
        cycle_ps = round((noc.cycle_ns.value or 0) * PS_PER_NS) or 1
        self.routers = Routers(self.mesh, self.cost_ps["tile_local"], int(noc.buffer_packets.value), cycle_ps)

    def times(self, call: Call, counts: EventCounts) -> TickTimes:
        """Tick times of a call, and how full buffers got; ``counts``: its events."""
        shape = counts.per_core["spike"].shape
        busy_ps, stalled_ps = np.empty((2, *shape), np.int64)
        full, peaks = np.empty((2, 2, *shape[:2]), np.int64)
        held_ps = np.empty(shape[:2], np.int64)
        places = self.routers.buffer_packets
        for image, tick in np.ndindex(shape[:2]):
            worked_ps, packets = self.sent(call, image, tick)
            delivery = self.delivered(packets)
            neurons_ps = delivery.neurons_done(worked_ps)
            busy_ps[image, tick] = np.maximum(neurons_ps, delivery.served_ps)
            stalled_ps[image, tick] = delivery.stalled_ps
            held_ps[image, tick] = delivery.held_ps.sum()
            for i, buffers in enumerate((delivery.router_peak, delivery.core_peak)):
                peaks[i, image, tick], full[i, image, tick] = buffers.max(), (buffers == places).sum()
        use = BufferUse(
            places,
            peaks[0],
            peaks[1],
            full[0],
            full[1],
            stalled_ps.sum(axis=2) / PS_PER_NS,
            stalled_ps.argmax(axis=2),
            held_ps / PS_PER_NS,
        )
        return slowest_core(busy_ps / PS_PER_NS, counts, self.calibration, use)

    def delivered(self, packets: Packets) -> Delivery:
        """What became of the packets of one tick."""
        load = Load(packets.departure_ps, packets.source, packets.target, self.work_ps(packets))
        return deliver(self.routers, self.tile, load)
