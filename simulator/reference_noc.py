"""The mesh of `noc` once more in SimPy, a process per packet: slow, and easy to believe. For the tests."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import simpy
from simpy.events import EventPriority

from nsim.simulator.noc import (
    EAST,
    FROM_EAST,
    FROM_WEST,
    LOCAL,
    NORTH,
    SOUTH,
    STRAIGHT,
    WEST,
    Arrivals,
    Mesh,
)

Process = Generator[simpy.Event, object, None]
Link = tuple[int, int, int]
"""Direction, y, x of the tile it leaves."""
STEPS = {EAST: (0, 1), WEST: (0, -1), NORTH: (1, 0), SOUTH: (-1, 0)}


def route_one_by_one(
    mesh: Mesh, departures_ps: np.ndarray, source: np.ndarray, target: np.ndarray
) -> Arrivals:
    """`route_packets`, each packet a process that asks for each link of its way in turn."""
    env, packets = simpy.Environment(), len(departures_ps)
    links = FifoLinks(env, mesh, packets)
    arrivals = np.zeros(packets, np.int64)

    def send(packet: int) -> Process:
        yield env.timeout(int(departures_ps[packet]))
        yield from links.travel(packet, int(source[packet]), int(target[packet]))
        arrivals[packet] = env.now

    for packet in range(packets):
        env.process(send(packet))
    env.run()
    return Arrivals(arrivals, links.packets_over, links.first_ps, links.last_ps)


class FifoLinks:
    """The links of a mesh, on which up to ``packets`` travel, numbered from 0.

    What happens in one instant is in the order of the tie rule. First all departures, by packet id; then
    packets ask for links, those first that others depend on, so that even where a link takes no time all
    packets that reach a link in this instant are there before the first of them asks for it; each link's by
    port. `arrive` comes after all of them, by packet id.
    """

    def __init__(self, env: simpy.Environment, mesh: Mesh, packets: int) -> None:
        self.env, self.mesh, self.packets = env, mesh, packets
        self.links = {link: simpy.Resource(env) for link in np.ndindex(4, mesh.height, mesh.width)}
        shape = (4, mesh.height, mesh.width)
        self.packets_over, self.first_ps, self.last_ps = (np.zeros(shape, np.int64) for _ in range(3))

    def travel(self, packet: int, source: int, target: int) -> Process:
        """The way of a packet that departs now; it ends with its arrival."""
        yield Phase(self.env, packet)
        for link, port in way(self.mesh, source, target):
            yield Phase(self.env, self.packets + 4 * self._rank(link) + port)
            with self.links[link].request() as granted:
                yield granted
                if not self.packets_over[link]:
                    self.first_ps[link] = self.env.now
                service = self.mesh.service_x_ps if link[0] in (EAST, WEST) else self.mesh.service_y_ps
                yield self.env.timeout(service)
                self.last_ps[link] = self.env.now
                self.packets_over[link] += 1

    def arrive(self, packet: int) -> Phase:
        """The turn of a packet among all that arrive somewhere now."""
        return Phase(self.env, self.packets + 4 * (self.mesh.width + self.mesh.height) + packet)

    def _rank(self, link: Link) -> int:
        """How far along a packet's way a link is: rows before columns, each in the direction of travel."""
        mesh, (direction, y, x) = self.mesh, link
        if direction in (EAST, WEST):
            return x if direction == EAST else mesh.width - 1 - x
        return mesh.width + (y if direction == NORTH else mesh.height - 1 - y)


class Phase(simpy.Event):
    """An event ``delay`` from now, among what happens then in the order of ``phase``, equals as they came.

    SimPy's own events of that instant come before phase 0, in phase -1.
    """

    def __init__(self, env: simpy.Environment, phase: int, delay: int = 0) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, priority=EventPriority(2 + phase), delay=delay)  # 0 and 1 are SimPy's own


def way(mesh: Mesh, source: int, target: int) -> Iterator[tuple[Link, int]]:
    """The links of a packet's way, each with the port by which it comes to the link."""
    y, x = divmod(source, mesh.width)
    to_y, to_x = divmod(target, mesh.width)
    before = None
    while (y, x) != (to_y, to_x):
        if x != to_x:
            direction = EAST if x < to_x else WEST
        else:
            direction = NORTH if y < to_y else SOUTH
        turned = FROM_WEST if before == EAST else FROM_EAST
        yield (direction, y, x), LOCAL if before is None else STRAIGHT if before == direction else turned
        y, x = y + STEPS[direction][0], x + STEPS[direction][1]
        before = direction
