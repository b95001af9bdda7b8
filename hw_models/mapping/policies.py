"""What becomes of analog streams (residual sums, skips) between spiking layers: one policy per run.

``expand``   every consumer gets its own synapses from the spikes behind the stream; see `expand`.
``host``     the stream stays on the processor beside the cores: what spikes add to it is read back from
             read-out elements in every time step, sums and 1x1 convolutions are done there, and every neuron
             that reads the stream is sent its current. Exact; transfers and host operations are counted.
             Weights with a factor for each time step are for this policy only, see `step_factors`.
``graded``   cores hold the stream: what adds to it arrives as spikes and values, and in every time step each
             element sends its value, as the payload of a packet, to all that read it; every delivery is a
             multiply-accumulate. A stream takes neurons and a tick of its own.
``colocate`` as ``graded``, but a stream lies beside the neurons that read it as it is, on the same cores, so
             that they have its value without a packet, a multiplication or a tick.

All of them compute what the traced network does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.hw_models.mapping.expand import expand
from nsim.hw_models.mapping.step_factors import factors_on_host, refuse_step_factors
from nsim.hw_models.spec import AnyChip, CrossbarChip, PoolChip

Policy = Literal["expand", "host", "graded", "colocate"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


def lay_out(network: Network, policy: Policy, chip: AnyChip) -> Network:
    """The network as cores and host hold it; MappingError with the reason for one it cannot have."""
    reason = why_unsupported(policy, chip)
    if reason is not None:
        others = [p for p in POLICIES if why_unsupported(p, chip) is None]
        raise MappingError(f"policy {policy!r} on {chip.name}: {reason}; use {' or '.join(others)}")
    return without_streams(network, policy)


def without_streams(network: Network, policy: Policy) -> Network:
    """The network by a policy, whatever the chip."""
    _refuse_halves(network)
    if policy == "host":
        return replace(factors_on_host(network), streams=policy)
    _refuse_host_between_layers(network, policy)
    refuse_step_factors(network)
    return expand(network) if policy == "expand" else replace(network, streams=policy)


def why_unsupported(policy: Policy, chip: AnyChip) -> str | None:
    """Why a chip cannot have a policy; None if it can."""
    if policy == "host" and isinstance(chip, CrossbarChip):
        return "nothing but spikes goes in and out, and a stream's values are neither read nor written"
    if policy in ("expand", "host"):
        return None
    programmable = isinstance(chip, PoolChip) and chip.core.programmable_neurons
    if policy == "colocate" and not programmable:
        return (
            "no source says that a compartment can hold a value for the ticks until the next layer reads it: "
            "compartments pass their sums on within one tick"
        )
    if not chip.graded_spikes:
        return "its spikes are binary and carry no value"
    if not isinstance(chip, PoolChip):
        return f"how a {chip.family} core stores what a payload is multiplied by is not modelled"
    return None


def _refuse_host_between_layers(network: Network, policy: Policy) -> None:
    """Raise MappingError for streams that the host must work on, where they do not go through it."""
    for population in network.populations:
        if population.neuron is not None and population.neuron.signed:
            raise MappingError(
                f"{population.name}: its spikes have a sign (ANN-SNN conversion), which no chip of this "
                "version sends. nsim.simulate plays and counts it"
            )
        fed = population.kind == "analog" and population.host_op is not None
        if population.gate is not None or fed:
            op = population.gate.host_op if population.gate is not None else population.host_op
            raise MappingError(
                f"{population.name}: the host's {op!r} {'feeds' if fed else 'switches'} it at every step, so "
                f"the streams have to go through the host, not {policy!r}; use --policy host"
            )


def _refuse_halves(network: Network) -> None:
    """Raise MappingError where spikes would reach neurons that are switched otherwise than their source."""
    kinds = network.population_by_name
    for p in network.projections:
        source, target = kinds[p.source], kinds[p.target]
        between = source.gate if target.gate is None else target.gate
        if source.kind == "neuron" and source.gate != target.gate and between is not None:
            raise MappingError(
                f"{p.name}: {p.target!r} hears {p.source!r}, but {between.host_op!r} does not switch the two "
                "together: cores would get what they must not add up. Put a stream between them, a sum that "
                "does not spike"
            )
