"""One tick of cores and mesh in SimPy, a process per core side and packet: slow, and easy to believe.

For the tests. What a core does is a list of steps. This is the ``event`` level, with the mesh of `noc`; the
``cycle`` level is `reference_cycle_noc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import simpy

from nsim.simulator.noc import Mesh
from nsim.simulator.reference_noc import FifoLinks, Process


@dataclass(frozen=True)
class Step:
    """A stretch of work of a core's neuron side, and the packet that it ends with, if any: the packet's id,
    target core, and the work that it makes there."""

    takes_ps: int
    packet: int | None = None
    target: int = 0
    work_ps: int = 0


def tick_one_by_one(
    mesh: Mesh, tile: np.ndarray, tile_local_ps: int, steps: list[list[Step]]
) -> tuple[np.ndarray, np.ndarray]:
    """When each core is done with its steps and with the packets it gets, both int64 ps [cores].

    ``tile`` [cores]: where each stands; ``tile_local_ps``: the way of a packet within its tile; ``steps``: of
    each core.
    """
    env = simpy.Environment()
    links = FifoLinks(env, mesh, 1 + max((s.packet or 0 for own in steps for s in own), default=0))
    input_side = [simpy.Resource(env) for _ in tile]
    done_ps, served_ps = np.zeros((2, len(tile)), np.int64)

    def neuron_side(core: int) -> Process:
        for step in steps[core]:
            yield env.timeout(step.takes_ps)
            if step.packet is not None:
                env.process(send(core, step, step.packet))
        done_ps[core] = env.now

    def send(core: int, step: Step, packet: int) -> Process:
        source, target = int(tile[core]), int(tile[step.target])
        yield from links.travel(packet, source, target)
        if source == target:
            yield env.timeout(tile_local_ps)
        yield links.arrive(packet)
        with input_side[step.target].request() as turn:
            yield turn
            yield env.timeout(step.work_ps)
        served_ps[step.target] = env.now

    for core in range(len(tile)):
        env.process(neuron_side(core))
    env.run()
    return done_ps, served_ps
