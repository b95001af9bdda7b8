"""Layers on crossbars (TrueNorth): weights over several axons, sums in parts, and all that goes with them.

A neuron hears an input over one axon for each of the levels that its weights are sums of (see
`nsim.hw_models.cores.truenorth`): ternary weights take two, so that it can hear 128 neurons of the 3,168 that
a layer of a Spiking U-Net has. Two ways:

``none``   every neuron gets its sum on one core, in one tick; a layer that hears more is refused.
``relay``  every neuron gets its sum in parts from several cores (`nsim.hw_models.cores.truenorth_relay`):
           exact, and as many ticks for a time step as the largest part of any sum can have units.

A constant current is a neuron's leak in the first way, a part of its own in the second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.frontends.quantize import quantize
from nsim.hw_models.cores.truenorth import fan_in_limit, level_code
from nsim.hw_models.cores.truenorth_relay import Gate, gate_for
from nsim.hw_models.mapping.axons import spiking_inputs
from nsim.hw_models.mapping.crossbar_blocks import TWINS, best_block
from nsim.hw_models.mapping.crossbar_layer import HeardLayer, LayerSums, fan_in
from nsim.hw_models.mapping.crossbar_ways import Beside, Times, ways
from nsim.hw_models.mapping.grid import CoreGrid, in_order, on_chip
from nsim.hw_models.mapping.place import check_room
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import CrossbarChip

PartialSums = Literal["none", "relay"]


@dataclass(frozen=True, eq=False)
class CrossbarCut:
    """A network on crossbars: ``grids`` of the cores that hear its spikes, and what stands ``beside`` them.

    ``sums``: what the parts of each layer's sums can come to; ``gate``: of final neurons, None without sums
    in parts; ``messengers``: relay neurons that fire whenever a neuron of a layer does, splitters and waits
    together, if all of its neurons do.
    """

    grids: dict[str, CoreGrid]
    beside: tuple[Beside, ...]
    sums: dict[str, LayerSums]
    times: Times
    gate: Gate | None
    messengers: int

    @property
    def core_count(self) -> int:
        """All cores in use."""
        return sum(grid.size for grid in self.grids.values()) + sum(b.cores for b in self.beside)


def partition_crossbar(
    network: Network,
    chip: CrossbarChip,
    schedule: Schedule = "pipelined",
    weight_bits: int | None = None,
    partial_sums: PartialSums = "none",
) -> CrossbarCut:
    """Cut a laid-out network into crossbar cores, and count all relay neurons that it takes beside them.

    Raises MappingError for weights that are not to be rounded, or to more bits than the chip holds, for
    neurons that it does not have, for a layer that hears too much (with the option that lets it fit), and
    for a network beyond the largest known system.
    """
    bits, relay = _check_weight_bits(network, chip, weight_bits), partial_sums == "relay"
    _check_neurons(network, chip, relay)
    if relay:
        _check_cells(network, chip)
    else:
        _check_whole_sums(network, chip, bits)
    rounded = quantize(network, bits, one_step_per_target=True)
    layers = {p.name: HeardLayer(rounded, p, chip.core) for p in on_chip(rounded)}
    _check_levels(layers.values(), chip, bits, relay)
    grids = in_order(rounded, {name: best_block(layer, chip.core, relay) for name, layer in layers.items()})
    check_room(sum(grid.size for grid in grids.values()), chip)
    sums = {name: layer.sums(grids[name]) for name, layer in layers.items()}
    gate = None
    if relay:
        parts, wholes = ([getattr(s, of) for s in sums.values()] for of in ("largest_part", "largest_sum"))
        gate = gate_for(max(parts), max(wholes), chip.core)
    beside, times, messengers = ways(rounded, layers, grids, chip, schedule, gate)
    return CrossbarCut(grids, beside, sums, times, gate, messengers)


def _check_weight_bits(network: Network, chip: CrossbarChip, weight_bits: int | None) -> int:
    most = chip.core.weight_bits.value
    if weight_bits is not None and weight_bits <= most:
        return weight_bits
    given = "real weights" if weight_bits is None else f"weights of {weight_bits} bits"
    raise MappingError(
        f"{network.name} on {chip.name}: {given}, a crossbar holds integers of at most {most} bits; use "
        f"--weight-bits 2 (ternary, {_inputs(2, chip)} inputs for a neuron) to {most} "
        f"({_inputs(most, chip)} inputs), and --partial-sums relay for neurons that hear more"
    )


def _inputs(weight_bits: int, chip: CrossbarChip) -> int:
    """Inputs that a neuron with weights of so many bits can have on one core."""
    largest = 2 ** (weight_bits - 1) - 1
    return fan_in_limit(level_code(-largest, largest, chip.core), chip.core)


def _check_neurons(network: Network, chip: CrossbarChip, relay: bool) -> None:
    """Refuse what no crossbar neuron does."""
    for name, neuron in ((p.name, p.neuron) for p in on_chip(network) if p.neuron is not None):
        if neuron.tau is not None:
            raise MappingError(
                f"{name}: a LIF neuron loses a share of its potential in every time step (tau = "
                f"{neuron.tau:g}), a {chip.name} neuron a constant: no layout plays it exactly; use a model "
                "of IF neurons or another chip"
            )
        if neuron.v_reset is None and relay:
            raise MappingError(
                f"{name}: a soft reset subtracts the threshold, and with sums in parts the gate with it; use "
                "a model with hard reset or another chip"
            )


def _check_whole_sums(network: Network, chip: CrossbarChip, bits: int) -> None:
    """Refuse neurons that hear more than one core's axons, and read-outs."""
    lines, limit = chip.core.axons.value // _inputs(bits, chip), _inputs(bits, chip)
    heard = {p.name: fan_in(network, p) for p in on_chip(network)}
    too_large = [name for name, need in heard.items() if need > limit]
    if too_large:
        worst = max(too_large, key=lambda name: heard[name])
        raise MappingError(
            f"{worst}: one neuron hears {heard[worst]:,} neurons, at most {limit} with {bits}-bit weights "
            f"({lines} of a core's {chip.core.axons.value} axons each). {len(too_large)} of {len(heard)} "
            "layers hear more. Use --partial-sums relay (exact, slow), a model with grouped filters of so "
            "few inputs, or another chip"
        )
    for population in on_chip(network):
        if population.neuron is None:
            raise MappingError(
                f"{population.name}: the host reads its sums, and nothing but spikes leaves a {chip.name} "
                "core; use --partial-sums relay, which sends them as trains of spikes"
            )


def _check_cells(network: Network, chip: CrossbarChip) -> None:
    """Refuse at once what has more synapses than the largest known system has cells for two neurons each."""
    synapses = 0
    for target in on_chip(network):
        for p in spiking_inputs(network, target.name):
            source = network.population_by_name[p.source].shape
            joined = [int((p.kernel.reach(a, source[1 + a], target.shape[1 + a]) > 0).sum()) for a in (0, 1)]
            synapses += joined[0] * joined[1] * p.kernel.c_out * p.kernel.c_in_per_group
    filled = -(-TWINS * synapses // (chip.core.axons.value * chip.core.neurons.value))
    if filled > chip.cores * chip.chips_max:
        raise MappingError(
            f"{network.name} on {chip.name}: sums in parts fill {filled:,} crossbars at the very least, the "
            f"largest system has {chip.cores * chip.chips_max:,} on {chip.chips_max} chips; use a smaller "
            "model or another chip"
        )


def _check_levels(layers: Iterable[HeardLayer], chip: CrossbarChip, bits: int, relay: bool) -> None:
    """Refuse weights that no axon holds; a twin has the negative of each, and the range is less above 0."""
    heaviest = (1 << (chip.core.weight_bits.value - 1)) - 1
    for layer in layers:
        largest = max(map(abs, layer.levels), default=0)
        if largest > heaviest + (not relay):
            raise MappingError(
                f"{layer.population.name}: weights of {bits} bits take axons of weight {largest}"
                f"{' and its negative' if relay else ''}, the most is {heaviest}; use fewer --weight-bits"
            )
