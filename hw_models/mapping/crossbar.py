"""Which rule of a crossbar (TrueNorth) a network breaks.

A neuron hears an input over one axon for each of the levels that its weights are sums of (see
`nsim.hw_models.cores.truenorth`): ternary weights take two, so that it can hear 128 neurons, binary-coded
ones of 4 bits take four. The layers of a Spiking U-Net hear many times as many. Their sums would have to be
made in parts, by relays that send a part as a train of spikes, exactly and slowly; that is not modelled.
"""

from __future__ import annotations

from typing import NoReturn

from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.hw_models.cores.truenorth import fan_in_limit
from nsim.hw_models.mapping.axons import carried_inputs
from nsim.hw_models.mapping.grid import on_chip
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import CrossbarChip

TERNARY = (-1, 1)
FOUR_BIT = (-8, 1, 2, 4)


def partition_crossbar(network: Network, chip: CrossbarChip, schedule: Schedule = "pipelined") -> NoReturn:
    """Refuse a network with the layer that breaks a rule by most, or because its splitters have no place.

    Raises MappingError in any case: fan-in beyond the axons of a core, or a network that does fit core by
    core and would need relay neurons to reach several cores, which are not placed.
    """
    fan_in = {p.name: fan_in_of(network, p.name) for p in on_chip(network)}
    limit = fan_in_limit(TERNARY, chip.core)
    layer, need = max(fan_in.items(), key=lambda item: item[1])
    too_large = sum(n > limit for n in fan_in.values())
    if too_large:
        raise MappingError(
            f"{layer}: one neuron hears {need:,} neurons over {len(TERNARY)} axons each (ternary weights) "
            f"and needs {need * len(TERNARY):,} axons, a core has {chip.core.axons.value}: at most {limit} "
            f"inputs, {fan_in_limit(FOUR_BIT, chip.core)} with 4-bit weights. {too_large} of {len(fan_in)} "
            "layers hear more. Train it with grouped filters of so few inputs, or use another chip; sums in "
            "parts over several cores are not modelled"
        )
    raise MappingError(
        f"{chip.name}: every layer fits the axons of a core (at most {need} of {limit} inputs with ternary "
        "weights), but a neuron has one destination, and the relay neurons that reach several cores are not "
        "placed in this version; use another chip"
    )


def fan_in_of(network: Network, population: str) -> int:
    """Neurons that one neuron hears, at the position where these are most."""
    shape, total = network.population_by_name[population].shape, 0
    for p in carried_inputs(network, population):
        source = network.population_by_name[p.source].shape
        rows, columns = (
            int((p.kernel.reach(axis, source[1 + axis], shape[1 + axis]) > 0).sum(axis=1).max())
            for axis in (0, 1)
        )
        groups = p.kernel.channels if p.kernel.is_identity else p.kernel.groups
        total += rows * columns * (p.kernel.c_in // groups)
    return total
