"""Cores and the routers of `cycle_noc` once more in SimPy, a process per core side and output: slow, and
easy to believe."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import simpy

from nsim.simulator.cycle_noc import LINKS, Delivery, Load, Routers, slots
from nsim.simulator.noc import EAST, NORTH, SOUTH, WEST
from nsim.simulator.reference_noc import STEPS, Phase, Process
from nsim.simulator.reference_tick import Step

FREE, ARRIVE, GRANT, LEAVE = range(-2, 2)
"""What happens at one edge, in this order of phases; SimPy's own events are ARRIVE."""


def steps_of(load: Load, cores: int) -> list[list[Step]]:
    """The steps of every core that make a load."""
    steps: list[list[Step]] = [[] for _ in range(cores)]
    now = [0] * cores
    for i, (ready, source) in enumerate(zip(load.ready_ps.tolist(), load.source.tolist(), strict=True)):
        steps[source].append(Step(ready - now[source], i, int(load.target[i]), int(load.work_ps[i])))
        now[source] = ready
    return steps


def deliver_one_by_one(
    routers: Routers, tile: np.ndarray, steps: list[list[Step]]
) -> tuple[Delivery, np.ndarray]:
    """`deliver`, and when each core's neuron side is done with its steps, int64 ps [cores]."""
    model = _Model(routers, tile, steps)
    model.env.run()
    inputs, outputs = model.inputs, model.held_ps
    delivery = Delivery(
        model.handed_ps,
        model.arrival_ps,
        model.last_ps,
        model.stalled_ps,
        outputs,
        model.served_ps,
        np.array([[buffer.peak for buffer in row] for row in inputs]).reshape(outputs.shape),
        np.array([buffer.peak for buffer in model.inbox], np.int64),
    )
    return delivery, model.done_ps


@dataclass
class _Buffer:
    """``room`` counts places that may be taken; ``since``: when the foremost packet came to the front."""

    room: simpy.Container
    packets: list[Step] = field(default_factory=list)
    since: int = 0
    peak: int = 0

    def take_place(self) -> Process:
        """Wait for a place, and take it."""
        yield self.room.get(1)
        self.peak = max(self.peak, int(self.room.capacity - self.room.level))


class _Model:
    def __init__(self, routers: Routers, tile: np.ndarray, steps: list[list[Step]]) -> None:
        self.env = simpy.Environment()
        self.routers, self.mesh, self.tile, self.slot = routers, routers.mesh, tile, slots(tile)
        tiles, cores = self.mesh.width * self.mesh.height, len(tile)
        self.ports = LINKS + int(self.slot.max(initial=-1)) + 1
        self.inputs = [[self._buffer() for _ in range(self.ports)] for _ in range(tiles)]
        self.inbox = [self._buffer() for _ in range(cores)]
        self.changed = [self.env.event() for _ in range(tiles)]  # something that a tile's outputs wait for
        self.came = [self.env.event() for _ in range(cores)]  # a packet to a core's input buffer
        packets = 1 + max((s.packet for own in steps for s in own if s.packet is not None), default=-1)
        self.handed_ps, self.arrival_ps = np.zeros((2, packets), np.int64)
        self.last_ps, self.stalled_ps, self.served_ps, self.done_ps = np.zeros((4, cores), np.int64)
        self.held_ps = np.zeros((tiles, self.ports), np.int64)
        for n in range(tiles):
            for o in range(self.ports):
                self.env.process(self.output(n, o))
        for core in range(cores):
            self.env.process(self.neuron_side(core, steps[core]))
            self.env.process(self.input_side(core))

    def _buffer(self) -> _Buffer:
        places = self.routers.buffer_packets
        return _Buffer(simpy.Container(self.env, capacity=places, init=places))

    @property
    def now(self) -> int:
        return int(self.env.now)

    def edge(self, time_ps: int) -> int:
        """The first edge from then on."""
        return time_ps + -time_ps % self.routers.cycle_ps

    def neuron_side(self, core: int, steps: list[Step]) -> Process:
        """Work through the steps; stand still where the router has no room for a packet."""
        buffer = self.inputs[self.tile[core]][LINKS + self.slot[core]]
        worked, last = 0, -self.routers.cycle_ps
        for step in steps:
            worked += step.takes_ps
            if step.packet is None:
                continue
            ready = worked + int(self.stalled_ps[core])
            yield self.env.timeout(max(self.edge(ready), last + self.routers.cycle_ps) - self.now)
            could = self.now
            yield from buffer.take_place()
            self.stalled_ps[core] += self.now - could
            self.put(buffer, step)
            self.wake(self.tile[core])
            self.handed_ps[step.packet] = self.last_ps[core] = last = self.now
        self.done_ps[core] = max(worked + self.stalled_ps[core], self.last_ps[core])

    def input_side(self, core: int) -> Process:
        """Take packets as they come, one after the other."""
        inbox = self.inbox[core]
        while True:
            if not inbox.packets:
                yield self.came[core]
            packet = inbox.packets.pop(0)
            self.env.process(self.give_place(inbox, self.edge(self.now) - self.now, self.tile[core]))
            yield self.env.timeout(packet.work_ps)
            self.served_ps[core] = self.now

    def output(self, n: int, o: int) -> Process:
        """Grant one output of a router, for ever."""
        turn, free = 0, 0
        while True:
            yield Phase(self.env, GRANT)
            asked = [p % self.ports for p in range(turn, turn + self.ports)]
            wanting = [p for p in asked if self.wants(n, p, o)]
            if not wanting or not self.ahead(n, o).room.level:
                yield self.changed[n]
                continue
            p = wanting[0]
            turn = p + 1
            buffer, ahead = self.inputs[n][p], self.ahead(n, o)
            yield from ahead.take_place()
            self.held_ps[n, o] += self.now - max(buffer.since, free)
            yield Phase(self.env, LEAVE)
            packet = buffer.packets.pop(0)
            buffer.since = self.now + self.routers.cycle_ps
            behind = n - self.step(p) if p < LINKS else n
            self.env.process(self.give_place(buffer, 0, behind, n))
            yield self.env.timeout(self.service(o, p))
            free = self.now
            self.put(ahead, packet)
            if o < LINKS:
                self.wake(n + self.step(o))
            else:
                assert packet.packet is not None
                self.arrival_ps[packet.packet] = self.now
                self.came[packet.target].succeed()
                self.came[packet.target] = self.env.event()

    def give_place(self, buffer: _Buffer, delay: int, *tiles: int) -> Process:
        """A place left ``delay`` from now is free a cycle later; wake the tiles that may wait for it."""
        yield Phase(self.env, FREE, delay + self.routers.cycle_ps)
        buffer.room.put(1)
        for n in tiles:
            self.wake(n)

    def wants(self, n: int, p: int, o: int) -> bool:
        """Whether the foremost packet of input ``p`` wants output ``o``."""
        if not self.inputs[n][p].packets:
            return False
        target = self.inputs[n][p].packets[0].target
        (y, x), (to_y, to_x) = divmod(n, self.mesh.width), divmod(int(self.tile[target]), self.mesh.width)
        if x != to_x:
            return o == (EAST if x < to_x else WEST)
        if y != to_y:
            return o == (NORTH if y < to_y else SOUTH)
        return bool(o == LINKS + self.slot[target])

    def ahead(self, n: int, o: int) -> _Buffer:
        """The buffer at the end of an output; outputs over the mesh's rim have none that anybody wants."""
        if o < LINKS:
            return self.inputs[n + self.step(o)][o]
        return self.inbox[np.flatnonzero((self.tile == n) & (self.slot == o - LINKS))[0]]

    def step(self, direction: int) -> int:
        """From one tile to the next."""
        y, x = STEPS[direction]
        return y * self.mesh.width + x

    def service(self, o: int, p: int) -> int:
        """How long an output is occupied by a packet from input ``p``: whole cycles, at least one."""
        if o < LINKS:
            time_ps = self.mesh.service_x_ps if o in (EAST, WEST) else self.mesh.service_y_ps
        else:
            time_ps = self.routers.tile_local_ps if p >= LINKS else 0
        return max(self.edge(time_ps), self.routers.cycle_ps)

    def put(self, buffer: _Buffer, packet: Step) -> None:
        """Let a packet arrive; its place has been taken before."""
        if not buffer.packets:
            buffer.since = max(buffer.since, self.now)
        buffer.packets.append(packet)

    def wake(self, n: int) -> None:
        """Let the outputs of a tile that wait look again."""
        self.changed[n].succeed()
        self.changed[n] = self.env.event()
