"""Relay neurons: spikes that must wait longer than a synapse can hold them are fired again on the way.

A path over s layers waits s x stride - 1 ticks in its target (`schedule`). Where that is more than the
chip's longest delay, the source gets a chain of relay populations, each as many layers after the one before
as the delay allows; each repeats its spikes, one to one, and a reader hears the last of them that fires
before it. One chain serves all readers of a source, so no shorter one would do. Relays are neurons like any
other from here on: they take cores, axons and synapses, are updated, and send packets.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from nsim.errors import MappingError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection, Relay
from nsim.hw_models.mapping.schedule import Schedule, timetable


def retime(network: Network, longest_delay: int, schedule: Schedule) -> Network:
    """The network with relays wherever spikes would wait more than ``longest_delay`` ticks; exact.

    Raises MappingError where not even spikes from one layer to the next can be held.
    """
    times = timetable(network, schedule)
    reach = (longest_delay + 1) // times.stride
    if reach < 1:
        raise MappingError(
            f"{network.name}: layer by layer, spikes wait {times.stride - 1} ticks for the next layer, the "
            f"limit is {longest_delay}; use --schedule pipelined, or at most {longest_delay + 1} time steps"
        )
    neurons = {p.name for p in network.neurons}
    hops = {
        id(p): -(-(times.delay(p) + 1) // (reach * times.stride)) - 1
        for p in network.projections
        if p.source in neurons
    }
    longest = {name: 0 for name in neurons}
    for p in network.projections:
        if p.source in neurons:
            longest[p.source] = max(longest[p.source], hops[id(p)])
    if not any(longest.values()):
        return network
    populations: list[Population] = []
    projections: list[Projection] = []
    for population in network.populations:
        populations.append(population)
        chain = _chain(population, longest.get(population.name, 0), reach)
        populations.extend(chain)
        heard = [population.name, *(relay.name for relay in chain)]
        kernel = Kernel(population.shape[0])
        projections.extend(
            Projection(f"{before} -> {after}", before, after, kernel, (0, kernel.c_out))
            for before, after in pairwise(heard)
        )
    projections.extend(
        replace(p, source=_relay(p.source, hops[id(p)])) if hops.get(id(p)) else p
        for p in network.projections
    )
    return replace(network, populations=tuple(populations), projections=tuple(projections))


def _chain(population: Population, relays: int, layers: int) -> list[Population]:
    return [
        Population(
            _relay(population.name, i + 1),
            "neuron",
            population.shape,
            NeuronModel(),  # a spike brings it to its threshold at once
            relay=Relay(population.name, layers),
        )
        for i in range(relays)
    ]


def _relay(source: str, number: int) -> str:
    return f"{source}.relay{number}"
