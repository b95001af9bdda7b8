"""When each population of a laid-out network runs its time steps, and how long spikes wait in between.

Two schedules. A population at depth d (spiking layers before it) runs time step t of T

* ``pipelined``: in tick d + t. All layers work at once, each one time step behind the one before it;
* ``layerwise``: in tick d T + t. A layer runs all its time steps before the next one starts.

A spike costs what it costs (packet, axon, synapses) in the tick in which it is fired; its weight is held in
an accumulator slot of the target compartment until the target runs that time step. A core goes from one
slot to the next at every tick, whether the layer waits or not, so what is held takes a synaptic delay of as
many ticks as lie between, less the one it takes to get there: with s layers from source to target s - 1
ticks when pipelined, s T - 1 when layerwise. Delays take delay slots and bits of every synapse; `partition`
counts both and refuses a path that must wait longer than the chip can.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nsim.errors import MappingError
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


def waits_too_long(population: str, delay: int, limit: int, times: Timetable) -> MappingError:
    """The refusal of a ``population`` that hears spikes after ``delay`` ticks, more than ``limit``."""
    layers = (delay + 1) // times.stride
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
