"""Weights with a factor for each time step (temporal-wise spiking), on cores whose synapses keep theirs.

What a factor multiplies is a sum over spikes, so cores can hold the weights without it and the host can
multiply: it reads the sum of each time step from read-out elements, as it does with residual streams, and
sends the neurons their currents. Exact; every factor is one more transfer either way and one operation.
"""

from __future__ import annotations

from dataclasses import replace

from nsim.errors import MappingError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, Population, Projection
from nsim.hw_models.mapping.axons import spiking_inputs


def refuse_step_factors(network: Network) -> None:
    """Raise MappingError for weights that change from time step to time step."""
    for projection in network.projections:
        if projection.step_factor is not None:
            raise MappingError(
                f"{projection.name}: its weights have a factor for each time step (temporal-wise spiking), "
                "synapses keep theirs; --policy host lets the processor beside the cores multiply, "
                "`nsim check` and nsim.simulate play it without a chip"
            )


def factors_on_host(network: Network) -> Network:
    """Give every sum over spikes or the image that has a factor a stream of its own, for the host to read.

    A sum that already is one stays as it is. Other networks are returned unchanged.
    """
    sums: dict[str, list[Population]] = {}
    projections: list[Projection] = []
    for p in network.projections:
        if p.step_factor is None or _is_read(network, p):
            projections.append(p)
            continue
        width = p.target_channels[1] - p.target_channels[0]
        size = network.population_by_name[p.target].shape[1:]
        own = Population(f"{p.name} sum", "analog", (width, *size))
        sums.setdefault(p.target, []).append(own)
        projections.append(replace(p, target=own.name, target_channels=(0, width)))
        projections.append(Projection(f"{p.name} in", own.name, p.target, Kernel(width), p.target_channels))
    if not sums:
        return network
    populations = [q for p in network.populations for q in (*sums.get(p.name, ()), p)]
    return replace(network, populations=tuple(populations), projections=tuple(projections))


def _is_read(network: Network, projection: Projection) -> bool:
    """Whether the host has the sum: worked it out, or reads it from elements that hold nothing else."""
    kinds = network.population_by_name
    if kinds[projection.source].kind == "analog":
        return True
    if kinds[projection.target].kind != "analog":
        return False
    return spiking_inputs(network, projection.target) in ([], [projection])
