"""When each population of a laid-out network runs its time steps, and how long spikes wait in between.

Two schedules. A population at depth d (spiking layers before it) runs time step t of T

* ``pipelined``: in tick d + t. All layers work at once, each one time step behind the one before it;
* ``layerwise``: in tick d T + t. A layer runs all its time steps before the next one starts.

A spike costs what it costs (packet, axon, synapses) in the tick in which it is fired; its weight is held in
an accumulator slot of the target compartment until the target runs that time step. A core goes from one
slot to the next at every tick, whether the layer waits or not, so what is held takes a synaptic delay of as
many ticks as lie between, less the one it takes to get there: with s layers from source to target s - 1
ticks when pipelined, s T - 1 when layerwise. Delays take delay slots and bits of every synapse, which
`partition` counts; a path that must wait longer than the chip can is led over relay neurons (`retime`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nsim.frontends.network import Network, Projection

Schedule = Literal["pipelined", "layerwise"]


@dataclass(frozen=True, eq=False)
class Timetable:
    """``first_tick`` of each population, which runs its ``time_steps`` from there on, one per tick.

    ``stride``: ticks from the start of a layer to that of the next.
    """

    schedule: Schedule
    stride: int
    first_tick: dict[str, int]
    time_steps: int

    def ticks(self, populations: Iterable[str]) -> int:
        """Ticks until the last of ``populations`` has run its last time step."""
        return self.time_steps + max(self.first_tick[name] for name in populations)

    def delay(self, projection: Projection) -> int:
        """Ticks that a spike waits in its target beyond the one it takes to get there."""
        return self.first_tick[projection.target] - self.first_tick[projection.source] - 1


def timetable(network: Network, schedule: Schedule) -> Timetable:
    """The times of a laid-out network's populations under a schedule."""
    stride = network.time_steps if schedule == "layerwise" else 1
    first_tick = {name: depth * stride for name, depth in network.depth.items()}
    return Timetable(schedule, stride, first_tick, network.time_steps)
