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

Link = tuple[int, int, int]
"""Direction, y, x of the tile it leaves."""
STEPS = {EAST: (0, 1), WEST: (0, -1), NORTH: (1, 0), SOUTH: (-1, 0)}


def route_one_by_one(
    mesh: Mesh, departures_ps: np.ndarray, source: np.ndarray, target: np.ndarray
) -> Arrivals:
    """`route_packets`, each packet a process that asks for each link of its way in turn."""
    env = simpy.Environment()
    links = {link: simpy.Resource(env) for link in np.ndindex(4, mesh.height, mesh.width)}
    arrivals = np.zeros(len(departures_ps), np.int64)
    link_packets = np.zeros((4, mesh.height, mesh.width), np.int64)

    def travel(packet: int) -> Generator[simpy.Event, object, None]:
        yield env.timeout(int(departures_ps[packet]))
        for link, port in way(mesh, int(source[packet]), int(target[packet])):
            yield Turn(env, mesh, link, port)
            with links[link].request() as granted:
                yield granted
                yield env.timeout(mesh.service_x_ps if link[0] in (EAST, WEST) else mesh.service_y_ps)
            link_packets[link] += 1
        arrivals[packet] = env.now

    for packet in range(len(departures_ps)):
        env.process(travel(packet))
    env.run()
    return Arrivals(arrivals, link_packets)


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


class Turn(simpy.Event):
    """An event of this very instant, after all that is already due, in the order of the tie rule.

    Packets that are at several links come to those first that others depend on: even where a link takes no
    time, all packets that reach a link in this instant are there before the first of them asks for it.
    Equal ones keep the order in which they came; packets depart in order of packet id.
    """

    def __init__(self, env: simpy.Environment, mesh: Mesh, link: Link, port: int) -> None:
        super().__init__(env)
        direction, y, x = link
        travelled = {EAST: x, WEST: mesh.width - 1 - x, NORTH: y, SOUTH: mesh.height - 1 - y}[direction]
        rank = travelled + (mesh.width if direction in (NORTH, SOUTH) else 0)
        self._ok, self._value = True, None
        env.schedule(self, priority=EventPriority(2 + 4 * rank + port))  # 0 and 1 are SimPy's own priorities
