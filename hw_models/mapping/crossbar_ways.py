"""What stands beside the layers on crossbars, so that every spike gets to all that hear it, when they run.

A neuron has one destination, an axon of one core. *Splitters* send its spike on to several. A skip path must
wait: a packet can up to 15 ticks, beyond that a chain of *waiting* neurons passes the spike on. With sums in
parts there are *final* neurons, and the *gate*: spikes that come by the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.hw_models.cores.truenorth import splitting
from nsim.hw_models.cores.truenorth_relay import Gate
from nsim.hw_models.mapping.axons import axon_channels
from nsim.hw_models.mapping.crossbar_blocks import TWINS
from nsim.hw_models.mapping.crossbar_layer import HeardLayer
from nsim.hw_models.mapping.grid import CoreGrid, segment_reached
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import CrossbarChip

CLOCK = "clock"
"""In the place of a layer: what comes by the clock, not from neurons."""


@dataclass(frozen=True)
class Beside:
    """Cores and neurons with one ``task`` for one ``layer``: final, splitters, waiting, gate."""

    layer: str
    task: str
    cores: int
    neurons: int


@dataclass(frozen=True)
class Times:
    """Ticks from a time step to the next (``step``), and from a layer to the next (``stride``).

    With the layers one after the other a stride takes all ``time_steps`` of a layer.
    """

    step: int
    stride: int
    time_steps: int
    schedule: Schedule

    def wait(self, layers: int) -> int:
        """Ticks that a spike to the ``layers``-th layer after its own waits beyond one that does not."""
        held = (self.time_steps - 1) * self.step if self.schedule == "layerwise" else 0
        return layers * (self.stride + held) - self.stride

    def ticks(self, depth: int) -> int:
        """Ticks of a call through layers of depth 0 to ``depth``."""
        return self.wait(depth) + self.stride + self.time_steps * self.step


def ways(
    network: Network,
    layers: dict[str, HeardLayer],
    grids: dict[str, CoreGrid],
    chip: CrossbarChip,
    schedule: Schedule,
    gate: Gate | None,
) -> tuple[tuple[Beside, ...], Times, int]:
    """What stands beside the layers, the times, and the relay neurons that fire if every neuron does.

    Raises MappingError where one final neuron's axons are more than a core has.
    """
    core = chip.core
    beside = [] if gate is None else _final(grids, layers, gate, chip)
    reached = {name: _destinations(network, name, layers, grids) for name in grids}
    # a neuron that waits is one destination more; no stage of a chain has more than all stages together
    may_wait = schedule == "layerwise"
    most = [np.sum([*d.values()], axis=0) + (may_wait or len(d) > 1) for d in reached.values() if d]
    levels = max((splitting(destinations, core).ticks for destinations in most), default=0)
    stride = 1 + levels + (0 if gate is None else gate.ticks)
    times = Times(1 if gate is None else stride, stride, network.time_steps, schedule)
    messengers, holding = 0, 0
    for name, by_distance in reached.items():
        stages, chain = _stages(by_distance, times, levels, core.max_delay.value, gate is not None)
        if not stages:
            continue
        split = splitting(np.stack(stages), core)
        waiting = chain * network.population_by_name[name].size
        messengers += split.neurons + waiting
        if split.neurons:
            beside.append(Beside(name, "splitters", split.cores, split.neurons))
        if waiting:  # with sums in parts by the clock: an axon opens, one clears
            held = -(-waiting // (core.axons.value - TWINS))
            holding += held
            beside.append(Beside(name, "waiting", held, waiting))
    if gate is not None:
        axons = gate.axons * sum(b.cores for b in beside if b.task == "final") + holding
        with_constants = [grid for grid in grids.values() if () in grid.parts]
        constants = [grid.used["axons"][..., grid.parts.index(())] for grid in with_constants]
        clock = splitting(np.array([axons, axons, sum(int(used.sum()) for used in constants)]), core)
        beside.append(Beside(CLOCK, "gate", clock.cores, clock.neurons))
    return tuple(beside), times, messengers


def _final(
    grids: dict[str, CoreGrid], layers: dict[str, HeardLayer], gate: Gate, chip: CrossbarChip
) -> list[Beside]:
    """The final neurons of every spiking layer: an axon from each twin of a part, and those of the gate."""
    found = []
    room = chip.core.axons.value - TWINS * gate.axons
    for name, grid in grids.items():
        population = layers[name].population
        if population.kind != "neuron":
            continue
        each = room // (TWINS * len(grid.parts))
        if each < 1:
            need = TWINS * (len(grid.parts) + gate.axons)
            raise MappingError(
                f"{name}: a sum in {len(grid.parts)} parts takes {need} axons of one core, "
                f"{TWINS * gate.axons} of them for a gate of {gate.height:,}; a core has "
                f"{chip.core.axons.value}: use fewer --weight-bits or a model with less fan-in"
            )
        found.append(Beside(name, "final", -(-population.size // each), population.size))
    return found


def _destinations(
    network: Network, source: str, layers: dict[str, HeardLayer], grids: dict[str, CoreGrid]
) -> dict[int, np.ndarray]:
    """Axons that each neuron of a population reaches [C, H, W], by how many layers away they are."""
    shape = network.population_by_name[source].shape
    found: dict[int, np.ndarray] = {}
    for target, grid in grids.items():
        layer = layers[target]
        away = network.depth[target] - network.depth[source]
        for group in layer.groups:
            if group[0].source != source:
                continue
            rows, columns = (seen.sum(axis=0) for seen in segment_reached(group[0], grid, shape))
            channels = np.sum([axon_channels(group, cut) for cut in grid.channels], axis=0)
            axons = len(layer.levels) * np.einsum("c,y,x->cyx", channels, rows, columns)
            found[away] = found.get(away, 0) + axons
    return found


def _stages(
    by_distance: dict[int, np.ndarray], times: Times, levels: int, longest: int, clocked: bool
) -> tuple[list[np.ndarray], int]:
    """Destinations of a neuron and of each that waits for it in a chain, and how many these are.

    A spike makes ``levels`` + 1 hops anyway and can stay ``longest`` ticks in each; a neuron that waits adds
    a hop. By the clock it holds a spike for a time step instead, if that takes fewer.
    """
    if not by_distance:
        return [], 0
    after: dict[int, np.ndarray] = {}
    for away, axons in by_distance.items():
        wait = times.wait(away)
        hops = max(0, -(-(wait + 1 + levels) // longest) - 1 - levels)
        stage = min(hops, wait // times.step) if clocked else hops
        after[stage] = after.get(stage, 0) + axons
    chain = max(after)
    nothing = np.zeros_like(next(iter(after.values())))
    return [after.get(stage, nothing) + (stage < chain) for stage in range(chain + 1)], chain
