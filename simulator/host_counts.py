"""What calls cost beside the cores: host ops, transfers, register writes, streams that the host carries."""

from __future__ import annotations

from collections.abc import Sequence

from nsim.frontends.network import Network, Population, PopulationKind, Projection
from nsim.hw_models.mapping.axons import spiking_inputs
from nsim.hw_models.mapping.grid import residents
from nsim.hw_models.mapping.layout import Layout
from nsim.simulator.turns import Turns


def calls_beside_cores(mapping: Layout, turns: Turns | None = None) -> dict[tuple[str, str], float]:
    """What calls cost beside the cores: (layer, event) to count, all images together.

    Host ops; the image's convolution, done once by the host because the image is the same at every time
    step; values sent to the cores (one per channel of a time embedding, one per neuron fed by the image);
    bias registers, each switched on before its layer's first tick and off after its last; spikes and
    read-out values of every time step that the host works with; the state reset of every chip.
    ``turns``: how often what a router switches has run; the expectation for one image by default. Not among
    it: products of spikes with spikes, which depend on the spikes.
    """
    network = mapping.laid_out
    turns = turns or Turns.expected(network)
    counts: dict[tuple[str, str], float] = {}
    if network.streams_via_host:
        counts.update(streams_on_host(network, turns))

    def add(layer: str, event: str, count: float) -> None:
        if count:
            counts[layer, event] = counts.get((layer, event), 0) + count

    for op in network.host_ops:
        times = turns.images * (network.time_steps if op.every_step else 1)
        add(op.name, "host_mac", times * op.macs)
        add(op.name, "host_elementwise", times * op.elementwise)
        for name in op.inputs:
            if name in mapping.grids and not _is_carried(network, name):
                add(op.name, "host_read", turns.steps(name) * network.population_by_name[name].size)
    for name in (held for grid in mapping.grids for held in residents(network, grid)):
        population = network.population_by_name[name]
        from_image = [] if _is_carried(network, name) else _inputs_of_kind(network, name, "source")
        from_host = [b for b in network.biases if b.target == name]
        written: set[tuple[int, int]] = set()
        for projection in from_image:
            add(projection.name, "host_mac", turns.images * _multiplications(network, projection))
            # a second source into the same channels is added up by the host before it writes
            again = projection.target_channels in written
            written.add(projection.target_channels)
            add(
                projection.name,
                "host_elementwise" if again else "host_write",
                turns.images * _elements(network, projection),
            )
        if network.streams_via_host and _inputs_of_kind(network, name, "analog"):
            if population.kind == "neuron":  # a new current at every time step, and none after the last
                add(name, "bias_write", (turns.steps(name) + turns.stretches(name)) * population.size)
            continue  # what the host works out for it is in that current
        for bias in from_host:
            add(bias.host_op, "host_write", turns.images * population.shape[0])
        if from_host or from_image or population.bias is not None or _has_bias(network, name):
            add(name, "bias_write", 2 * turns.stretches(name) * population.size)
    add("chip", "state_reset", turns.images * mapping.chips)
    return counts


def streams_on_host(network: Network, turns: Turns) -> dict[tuple[str, str], float]:
    """What carrying analog streams beside the cores costs: (layer, event) to count, all images together.

    In every time step: what spikes added is read from the read-out elements; contributions meet (an addition
    per element and contribution beyond the first); 1x1 convolutions of a stream multiply, a BatchNorm behind
    one is an operation per element, and so is a factor of the time step, with the BatchNorm or without, and a
    router's weight; and every neuron that reads a stream is sent its current. What a router keeps from
    running is not read, added or sent.
    """
    counts: dict[tuple[str, str], float] = {}

    def add(layer: str, event: str, count: float) -> None:
        if count:
            counts[layer, event] = counts.get((layer, event), 0) + count

    for population in network.populations:
        name, steps = population.name, turns.steps(population.name)
        streams = _inputs_of_kind(network, name, "analog")
        if population.kind == "analog":
            image = _inputs_of_kind(network, name, "source")
            for p in image:
                add(p.name, "host_mac", turns.images * _multiplications(network, p))
            met = sum(_elements(network, p) for p in image) - _covered(network, image)
            add(name, "host_elementwise", turns.images * met)
            if spiking_inputs(network, name):
                add(name, "host_read", steps * population.size)
            for p in (*image, *spiking_inputs(network, name)):
                if p.step_factor is not None:
                    add(name, "host_elementwise", steps * _elements(network, p))
            if population.gate is not None:
                add(name, "host_elementwise", steps * population.size)
        elif streams:
            add(name, "host_write", steps * population.size)
        for p in streams:
            both = turns.steps(p.source, p.target)
            if not p.kernel.is_identity:
                add(p.name, "host_mac", both * _multiplications(network, p))
            if p.scale is not None or p.bias is not None or p.step_factor is not None:
                add(name, "host_elementwise", both * _elements(network, p))
        if population.kind == "analog" or streams:
            add(name, "host_elementwise", _additions(network, population, turns))
    return counts


def _additions(network: Network, population: Population, turns: Turns) -> float:
    """Additions by which the host makes a stream, or the current of a neuron that reads one."""
    name, steps = population.name, turns.steps(population.name)
    streams = _inputs_of_kind(network, name, "analog")
    met = sum(turns.steps(p.source, p.target) * _elements(network, p) for p in streams)
    met += steps * population.size * sum(bias.target == name for bias in network.biases)
    if population.kind == "analog":  # of what spikes add, and of what the image adds, the sum is there
        met += steps * _covered(network, spiking_inputs(network, name))
        met += steps * _covered(network, _inputs_of_kind(network, name, "source"))
    return max(0, met - steps * population.size)


def _inputs_of_kind(network: Network, population: str, kind: PopulationKind) -> list[Projection]:
    kinds = network.population_by_name
    return [p for p in network.incoming(population) if kinds[p.source].kind == kind]


def _elements(network: Network, projection: Projection) -> int:
    """Elements of its target that a projection adds to."""
    _, height, width = network.population_by_name[projection.target].shape
    return projection.kernel.c_out * height * width


def _covered(network: Network, projections: Sequence[Projection]) -> int:
    """Elements of their target that any of ``projections`` adds to."""
    if not projections:
        return 0
    _, height, width = network.population_by_name[projections[0].target].shape
    return len({c for p in projections for c in range(*p.target_channels)}) * height * width


def _multiplications(network: Network, projection: Projection) -> int:
    """Weight uses of one dense evaluation; an identity without a scale has none."""
    source, target = (network.population_by_name[n].shape for n in (projection.source, projection.target))
    passed_on = projection.kernel.is_identity and projection.scale is None
    return 0 if passed_on else projection.kernel.taps(source[1:], target[1:])


def _is_carried(network: Network, population: str) -> bool:
    """Whether the host sums a population itself, so that `streams_on_host` counts what it reads of it."""
    return network.streams_via_host and network.population_by_name[population].kind == "analog"


def _has_bias(network: Network, name: str) -> bool:
    """Whether its neurons or elements hold a bias; one that comes with a time step's factor the host adds."""
    return any(p.bias is not None and p.step_factor is None for p in network.incoming(name))
