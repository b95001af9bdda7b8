"""One layer on each core, with its whole kernel (Speck): which layers fit, and why the others do not."""

from __future__ import annotations

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network, Population
from nsim.hw_models.mapping.axons import spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid, in_order, on_chip
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import ConvChip


def partition_conv(network: Network, chip: ConvChip, schedule: Schedule = "pipelined") -> dict[str, CoreGrid]:
    """Give every population of a laid-out network a core, in order of execution.

    Raises MappingError for more layers or neurons than the chip holds, and for a layer that its core cannot
    have. What the two memories of a core hold is not known (see the chip file), so a layer that passes may
    still be too large.
    """
    layers = on_chip(network)
    if len(layers) > chip.cores * chip.chips_max:
        raise MappingError(
            f"{network.name}: {len(layers)} layers take a core each, {chip.name} has "
            f"{chip.cores * chip.chips_max}; use a model of fewer layers or another chip"
        )
    neurons = sum(p.size for p in layers)
    if neurons > chip.neurons.value:
        raise MappingError(
            f"{network.name}: {neurons:,} neurons, {chip.name} has {chip.neurons.value:,}; "
            "use a smaller model or another chip"
        )
    return in_order(network, {p.name: _one_core(network, p, chip) for p in layers})


def _one_core(network: Network, population: Population, chip: ConvChip) -> CoreGrid:
    core, inputs = chip.core, spiking_inputs(network, population.name)
    readers = {p.target for p in network.projections if p.source == population.name}
    sides = [max(network.population_by_name[p.source].shape[1:]) for p in inputs]
    needs = (
        ("kernels", len(inputs), 1),
        ("input rows or columns", max(sides, default=0), core.input_side.value),
        ("output rows or columns", max(population.shape[1:]), core.output_side.value),
        ("channels", max(p.kernel.c_in for p in inputs) if inputs else 0, core.channels.value),
        ("output channels", population.shape[0], core.channels.value),
        (
            "kernel rows or columns",
            max((max(p.kernel.size) for p in inputs), default=0),
            core.kernel_side.value,
        ),
        ("layers that hear it", len(readers), core.destinations.value),
    )
    for what, need, limit in needs:
        if need > limit:
            raise MappingError(
                f"{population.name}: needs {need} {what}, a {chip.name} core has at most {limit}; "
                "use a simpler model or another chip"
            )
    for p in inputs:
        if not set(p.kernel.stride) <= set(core.strides.values):
            strides = ", ".join(map(str, core.strides.values))
            raise MappingError(
                f"{p.name}: stride {max(p.kernel.stride)}, a {chip.name} core has {strides}; "
                "use a model of other strides or another chip"
            )
    channels, height, width = population.shape
    used = {"neurons": np.full((1, 1, 1), population.size)}
    whole = ((0, height),), ((0, width),), ((0, channels),)
    return CoreGrid(population.name, *whole, used, {"neurons": chip.neurons.value})
