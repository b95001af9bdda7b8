"""A Network in integers: weights of a few bits, one power of two per population and per projection.

Every current and potential of a population is an integer times its ``unit``, a power of two. A projection's
weights are integers of at most ``weight_bits`` bits with sign, times two to its ``shift``, as chips hold
them (a mantissa per synapse, an exponent per list). BatchNorm's scale and a leak's input factor 1 / tau go
into the weights. Because all steps are powers of two, the quantised network's weights are exactly
representable numbers: float32 and float64 play it to the same spikes as integers do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nsim.errors import QuantizeError
from nsim.frontends.network import Network, Population, Projection

DEFAULT_WEIGHT_BITS = 8
WEIGHT_BITS = range(2, 17)


def quantize(
    network: Network, weight_bits: int = DEFAULT_WEIGHT_BITS, one_step_per_target: bool = False
) -> Network:
    """Quantise every projection that brings spikes or an analog stream; what the host computes stays real.

    A projection's step is the smallest power of two at which its largest weight keeps to ``weight_bits``
    bits; a population's unit is the smallest step into it. Populations that pass an analog stream on
    unchanged share one unit. ``one_step_per_target``, for cores whose neurons have one set of a few weights
    for all inputs (TrueNorth): all weights into a population share a step, the power of two that leaves the
    least squared error, and what is beyond ``weight_bits`` bits is cut off. Weights and biases are rounded to
    the nearest integer, halves to even. Raises
    QuantizeError for a network that is quantised already, and for weight bits beyond 2 to 16.
    """
    check_weight_bits(weight_bits)
    if any(p.step_factor is not None for p in network.projections):
        raise QuantizeError(f"{network.name} has weights that change with the time step; they stay real")
    for p in network.neurons:
        if p.neuron is not None and p.neuron.signed:
            raise QuantizeError(f"{p.name} of {network.name} sends spikes of its own height; they stay real")
    if any(p.unit is not None for p in network.populations):
        raise QuantizeError(f"{network.name} is quantised already")
    steps = {id(p): _step(network, p, weight_bits) for p in network.projections if _is_weighted(network, p)}
    if one_step_per_target:
        steps = _step_by_target(network, steps, weight_bits)
    units = _units(network, steps, weight_bits)
    populations = []
    for population in network.populations:
        if population.kind == "source":
            populations.append(population)
            continue
        unit = units[population.name]
        bias = _bias(network, population)
        whole = np.rint(bias / unit).astype(np.int64) if bias.any() else None
        populations.append(replace(population, bias=whole, unit=unit))
    projections = tuple(
        p
        if network.population_by_name[p.source].kind == "source"
        else _quantised(network, p, steps.get(id(p)), units, weight_bits)
        for p in network.projections
    )
    return replace(network, populations=tuple(populations), projections=projections)


def check_weight_bits(weight_bits: int | None) -> None:
    """Raise QuantizeError for bits that weights cannot have; None: they stay real."""
    if weight_bits is not None and weight_bits not in WEIGHT_BITS:
        raise QuantizeError(
            f"weights of {weight_bits} bits; {WEIGHT_BITS[0]} to {WEIGHT_BITS[-1]} can be had"
        )


def dequantize(network: Network) -> Network:
    """The same network in real numbers, for float32 or float64: every weight is its integer times its step.

    Real arithmetic does not round where a negative shift does (1x1 convolutions of analog streams), nor
    saturate; where neither happens, spikes are equal.
    """
    populations = tuple(
        p
        if p.unit is None
        else replace(p, unit=None, bias=None if p.bias is None else p.bias * p.current_unit)
        for p in network.populations
    )
    projections = tuple(p if p.shift is None else _real(network, p, p.shift) for p in network.projections)
    return replace(network, populations=populations, projections=projections)


def _is_weighted(network: Network, projection: Projection) -> bool:
    """True for what needs integer weights: not from the image, and more than values passed on."""
    if network.population_by_name[projection.source].kind == "source":
        return False
    target = network.population_by_name[projection.target]
    return not projection.kernel.is_identity or projection.scale is not None or target.input_factor != 1.0


def _weights(network: Network, projection: Projection) -> np.ndarray:
    """Real weights [Cout, Cin / groups, kh, kw] with BatchNorm's scale and the neuron's 1 / tau in them."""
    weights = projection.kernel.array.astype(np.float64)
    if projection.scale is not None:
        weights = weights * projection.scale[:, None, None, None]
    return weights * network.population_by_name[projection.target].input_factor


def _step(network: Network, projection: Projection, weight_bits: int) -> float:
    """What an integer 1 of the weights is worth: a power of two."""
    largest = float(np.abs(_weights(network, projection)).max(initial=0.0))
    return 1.0 if largest == 0 else _power_of_two(largest / (2 ** (weight_bits - 1) - 1))


def _step_by_target(network: Network, steps: dict[int, float], weight_bits: int) -> dict[int, float]:
    """For every projection the step of least squared error for all weights into its target.

    From the largest of their own ``steps``, at which nothing is cut off, down by halves.
    """
    into: dict[str, list[Projection]] = {}
    for p in network.projections:
        if id(p) in steps:
            into.setdefault(p.target, []).append(p)
    found = {}
    for projections in into.values():
        weights = np.concatenate([_weights(network, p).ravel() for p in projections])
        largest = max(steps[id(p)] for p in projections)
        halved = [largest / 2**n for n in range(weight_bits + 1)]
        errors = [np.square(_rounded(weights, s, weight_bits) * s - weights).sum() for s in halved]
        found.update({id(p): halved[int(np.argmin(errors))] for p in projections})
    return found


def _rounded(weights: np.ndarray, step: float, weight_bits: int) -> np.ndarray:
    """The nearest integers of ``weight_bits`` bits, the same range on both sides of 0."""
    largest = 2 ** (weight_bits - 1) - 1
    return np.clip(np.rint(weights / step), -largest, largest)


def _power_of_two(value: float) -> float:
    """Smallest power of two that is at least ``value``."""
    return float(2.0 ** np.ceil(np.log2(value)))


def _units(network: Network, steps: dict[int, float], weight_bits: int) -> dict[str, float]:
    """The unit of every population: of all that share a stream, the smallest step into any of them."""
    kinds = network.population_by_name
    group = {p.name: p.name for p in network.populations}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for p in network.projections:
        if kinds[p.source].kind == "analog" and id(p) not in steps:
            group[root(p.source)] = root(p.target)
    units: dict[str, float] = {}
    for p in network.projections:
        if id(p) in steps and kinds[p.source].kind == "neuron":
            name = root(p.target)
            units[name] = min(units.get(name, np.inf), steps[id(p)])
    thresholds = [p.neuron.v_threshold for p in network.neurons if p.neuron]
    # where no spikes come in, the host's values have the threshold for scale
    default = _power_of_two(min(map(abs, thresholds), default=1.0) / 2**weight_bits)
    return {name: units.get(root(name), default) for name in group}


def _bias(network: Network, population: Population) -> np.ndarray:
    """All constant currents of a population [C], its projections' own among them."""
    bias = np.zeros(population.shape[0]) if population.bias is None else population.bias.astype(np.float64)
    for p in network.incoming(population.name):
        if p.bias is not None and network.population_by_name[p.source].kind != "source":
            bias[slice(*p.target_channels)] += p.bias
    return bias * population.input_factor


def _quantised(
    network: Network, projection: Projection, step: float | None, units: dict[str, float], weight_bits: int
) -> Projection:
    source = network.population_by_name[projection.source]
    sent = 1.0 if source.kind == "neuron" else units[source.name]
    unit = units[projection.target]
    if step is None:
        return replace(projection, shift=_exponent(sent / unit))
    integers = _rounded(_weights(network, projection), step, weight_bits)
    smallest = np.min_scalar_type(-int(np.abs(integers).max(initial=0)) - 1)
    kernel = replace(projection.kernel, weight=integers.astype(smallest))
    if projection.kernel.is_identity:  # a scaled identity is a depthwise 1x1 kernel
        kernel = replace(kernel, groups=projection.kernel.channels)
    return replace(projection, kernel=kernel, scale=None, bias=None, shift=_exponent(step * sent / unit))


def _exponent(power: float) -> int:
    return round(np.log2(power))


def _real(network: Network, projection: Projection, shift: int) -> Projection:
    source = network.population_by_name[projection.source]
    sent = 1.0 if source.kind == "neuron" or source.unit is None else source.unit
    value = 2.0**shift * network.population_by_name[projection.target].current_unit / sent
    kernel = projection.kernel
    if kernel.is_identity:
        scale = None if value == 1.0 else np.full(kernel.c_out, value)
        return replace(projection, scale=scale, shift=None)
    weight = kernel.array.astype(np.float64) * value
    return replace(projection, kernel=replace(kernel, weight=weight), shift=None)
