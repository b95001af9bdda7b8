"""Relay neurons: spikes that must wait longer than a synapse can hold them are fired again on the way.

A path over s layers waits s x stride - 1 ticks in its target (`schedule`). Where that is more than the
chip's longest delay, the source gets a chain of relay populations; each repeats its spikes, one to one, and
a reader that cannot hear the source itself hears the last of them that fires before it. One chain serves all
readers of a source: as few relays as reach the farthest, as early as they can be, since a relay that waits
less has room for more neurons in its cores. Relays are neurons like any other from here on: they take cores,
axons and synapses, are updated, and send packets.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise

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
    chains = {p.name: _chain(network, p, reach) for p in network.neurons}
    populations: list[Population] = []
    projections: list[Projection] = []
    for population in network.populations:
        chain = chains.get(population.name, [])
        populations += [population, *chain]
        kernel = Kernel(population.shape[0])
        projections += [
            Projection(f"{a} -> {b}", a, b, kernel, (0, kernel.c_out))
            for a, b in pairwise([population.name, *(relay.name for relay in chain)])
        ]
    if len(populations) == len(network.populations):
        return network
    projections += [_heard_in_time(network, p, chains.get(p.source, []), reach) for p in network.projections]
    return replace(network, populations=tuple(populations), projections=tuple(projections))


def _chain(network: Network, source: Population, reach: int) -> list[Population]:
    """The relays of a population: the first as near as can be, the others ``reach`` layers apart."""
    farthest = max((_layers(network, p) for p in network.projections if p.source == source.name), default=0)
    count = -(-farthest // reach) - 1
    layers = [farthest - count * reach, *[reach] * (count - 1)] if count > 0 else []
    return [
        # a spike brings the neuron to its threshold at once
        Population(
            _relay(source.name, i),
            "neuron",
            source.shape,
            NeuronModel(),
            gate=source.gate,
            relay=Relay(source.name, between),
        )
        for i, between in enumerate(layers, start=1)
    ]


def _layers(network: Network, projection: Projection) -> int:
    """Layers from the source of a projection to its target."""
    return network.depth[projection.target] - network.depth[projection.source]


def _heard_in_time(
    network: Network, projection: Projection, chain: list[Population], reach: int
) -> Projection:
    """The projection from its source if ``reach`` layers do, from the last relay before its target if not."""
    layers = _layers(network, projection)
    if not chain or layers <= reach:
        return projection
    after = accumulate(relay.relay.layers for relay in chain if relay.relay is not None)
    heard = [relay.name for relay, at in zip(chain, after, strict=True) if at < layers]
    return replace(projection, source=heard[-1])


def _relay(source: str, number: int) -> str:
    return f"{source}.relay{number}"
