"""What a call costs beside the cores: host ops, transfers, register writes, streams that the host carries."""

from __future__ import annotations

from nsim.frontends.network import Network
from nsim.hw_models.mapping.axons import spiking_inputs
from nsim.hw_models.mapping.grid import residents
from nsim.hw_models.mapping.layout import Layout
from nsim.hw_models.mapping.mapping import Mapping


def calls_beside_cores(mapping: Layout) -> dict[tuple[str, str], int]:
    """What one image's call costs beside the cores: (layer, event) to count.

    Host ops; the image's convolution, done once by the host because the image is the same at every time
    step; values sent to the cores (one per channel of a time embedding, one per neuron fed by the image);
    bias registers, each switched on before its layer's first tick and off after its last; read-out values
    of every time step; the state reset of every chip, or what `taking_turns` on chips costs.
    """
    network = mapping.laid_out
    counts: dict[tuple[str, str], int] = {}
    if network.streams_via_host:
        counts.update(streams_on_host(network))

    def add(layer: str, event: str, count: int) -> None:
        if count:
            counts[layer, event] = counts.get((layer, event), 0) + count

    for op in network.host_ops:
        times = network.time_steps if op.every_step else 1
        add(op.name, "host_mac", times * op.macs)
        add(op.name, "host_elementwise", times * op.elementwise)
        for name in op.inputs:
            if name in mapping.grids and not network.streams_via_host:
                add(op.name, "host_read", network.time_steps * network.population_by_name[name].size)
    for name in (held for grid in mapping.grids for held in residents(network, grid)):
        population = network.population_by_name[name]
        from_host = [b for b in network.biases if b.target == name]
        from_image = [
            p for p in network.incoming(name) if network.population_by_name[p.source].kind == "source"
        ]
        written: set[tuple[int, int]] = set()
        for projection in from_image:
            source = network.population_by_name[projection.source].shape
            add(projection.name, "host_mac", projection.kernel.taps(source[1:], population.shape[1:]))
            # a second source into the same channels is added up by the host before it writes
            again = projection.target_channels in written
            written.add(projection.target_channels)
            add(
                projection.name,
                "host_elementwise" if again else "host_write",
                projection.kernel.c_out * population.size // population.shape[0],
            )
        for bias in from_host:
            add(bias.host_op, "host_write", population.shape[0])
        if network.streams_via_host and any(
            network.population_by_name[p.source].kind == "analog" for p in network.incoming(name)
        ):
            if population.kind == "neuron":  # a new current at every time step, and none after the last
                add(name, "bias_write", (network.time_steps + 1) * population.size)
        elif from_host or from_image or population.bias is not None or _has_bias(network, name):
            add(name, "bias_write", 2 * population.size)
    if isinstance(mapping, Mapping) and mapping.rounds.loads:
        for (layer, event), count in taking_turns(mapping).items():
            add(layer, event, count)
    else:
        add("chip", "state_reset", mapping.chips)
    return counts


def taking_turns(mapping: Mapping) -> dict[tuple[str, str], int]:
    """What it costs that chips are shared in rounds, beside the spikes kept: (layer, event) to count.

    A chip is loaded for each round; cores that keep their places look at their neurons in the ticks of the
    other rounds too. What is loaded is clear, so only chips that keep their cores are reset.
    """
    elsewhere = sum(mapping.rounds.ticks[1:])
    counts = {("chip", "config_load"): mapping.rounds.loads, ("chip", "state_reset"): mapping.chips - 1}
    for name, grid in mapping.grids.items():
        waiting = grid.used["compartments"].ravel() * mapping.resident[grid.core_ids.ravel()]
        counts[name, "update_idle"] = int(waiting.sum()) * elsewhere
    return counts


def streams_on_host(network: Network) -> dict[tuple[str, str], int]:
    """What carrying analog streams beside the cores costs in one image's call: (layer, event) to count.

    In every time step: what spikes added is read from the read-out elements; contributions meet (an addition
    per element and contribution beyond the first); 1x1 convolutions of a stream multiply, a BatchNorm behind
    one is an operation per element, and so is a factor of the time step, with the BatchNorm or without; and
    every neuron that reads a stream is sent its current.
    """
    kinds = network.population_by_name
    counts: dict[tuple[str, str], int] = {}
    for population in network.populations:
        name, positions = population.name, population.size // population.shape[0]
        streams = [p for p in network.incoming(name) if kinds[p.source].kind == "analog"]
        spiking = spiking_inputs(network, name)
        elements = elementwise = 0
        if population.kind == "analog":
            from_image = [p for p in network.incoming(name) if kinds[p.source].kind == "source"]
            elementwise += sum(
                p.kernel.c_out * positions for p in (*from_image, *spiking) if p.step_factor is not None
            )
            for p in from_image:
                counts[p.name, "host_mac"] = p.kernel.taps(kinds[p.source].shape[1:], population.shape[1:])
                elements += p.kernel.c_out * positions
        for p in streams:
            elements += p.kernel.c_out * positions
            if p.scale is not None or p.bias is not None or p.step_factor is not None:
                elementwise += p.kernel.c_out * positions
            if not p.kernel.is_identity:
                counts[p.name, "host_mac"] = network.time_steps * p.kernel.taps(
                    kinds[p.source].shape[1:], population.shape[1:]
                )
        if population.kind == "analog" and spiking:
            counts[name, "host_read"] = network.time_steps * population.size
            elements += len({c for p in spiking for c in range(*p.target_channels)}) * positions
        if population.kind == "neuron" and streams:
            counts[name, "host_write"] = network.time_steps * population.size
        elementwise += max(0, elements - population.size)
        if elementwise:
            counts[name, "host_elementwise"] = network.time_steps * elementwise
    return counts


def _has_bias(network: Network, name: str) -> bool:
    """Whether its neurons or elements hold a bias; one that comes with a time step's factor the host adds."""
    return any(p.bias is not None and p.step_factor is None for p in network.incoming(name))
