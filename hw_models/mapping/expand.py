"""The `expand` policy: carry no real numbers between cores, give every consumer its own synapses.

A residual stream is a linear function of earlier spikes, so each layer that reads the stream can be fed by
those spikes directly, through the composed linear maps. Exact, accumulates only, more synapses and packets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.kernel import ComposedWeight, Kernel
from nsim.frontends.network import HostBias, Network, Population, Projection
from nsim.hw_models.mapping.step_factors import refuse_step_factors


@dataclass(frozen=True, eq=False)
class _Part:
    """One linear path from a population to a stream: ``matrix @ (scale * kernel(source))`` at ``channel``.

    ``matrix`` is there only until `_merged` makes it part of the kernel.
    """

    name: str
    source: str
    kernel: Kernel
    channel: int
    scale: np.ndarray | None
    matrix: np.ndarray | None

    @property
    def c_out(self) -> int:
        return self.kernel.c_out if self.matrix is None else self.matrix.shape[0]


@dataclass(frozen=True, eq=False)
class _Stream:
    """Everything that adds up to one population, traced back to spikes or to the input image."""

    parts: tuple[_Part, ...]
    bias: np.ndarray
    host_biases: tuple[str, ...]


def expand(network: Network) -> Network:
    """Replace every analog population by synapses from the spikes behind it.

    Analog populations that host ops read stay, as read-out elements fed by spikes. Biases met on the way
    become the consumer's ``bias``. Raises MappingError when a stream passes through something that cannot
    be composed into a kernel (a spatial convolution, up-sampling, a host-computed current).
    """
    refuse_step_factors(network)
    streams: dict[str, _Stream] = {}
    read_by_host = {name for op in network.host_ops for name in op.inputs}
    populations: list[Population] = []
    projections: list[Projection] = []
    biases: list[HostBias] = []
    for population in network.populations:
        if population.kind == "source":
            populations.append(population)
            continue
        stream = _stream(network, population, streams)
        if population.kind == "analog":
            streams[population.name] = stream
            if population.name not in read_by_host:
                continue
        populations.append(replace(population, bias=stream.bias if stream.bias.any() else None))
        projections.extend(_projections(stream, population.name))
        biases.extend(HostBias(op, population.name) for op in stream.host_biases)
    return replace(
        network,
        populations=tuple(populations),
        projections=tuple(projections),
        biases=tuple(biases),
    )


def _stream(network: Network, population: Population, streams: dict[str, _Stream]) -> _Stream:
    parts: list[_Part] = []
    bias = np.zeros(population.shape[0]) if population.bias is None else population.bias.copy()
    host_biases = [b.host_op for b in network.biases if b.target == population.name]
    for projection in network.incoming(population.name):
        first, last = projection.target_channels
        if projection.bias is not None:
            bias[first:last] += projection.bias
        behind = streams.get(projection.source)
        if behind is None:
            parts.append(
                _Part(projection.name, projection.source, projection.kernel, first, projection.scale, None)
            )
            continue
        kernel = projection.kernel
        if kernel.geometry != Kernel(kernel.channels).geometry or kernel.groups != 1:
            raise MappingError(
                f"{projection.name}: {kernel.size[0]}x{kernel.size[1]} convolution of the analog stream "
                f"{projection.source!r} cannot be expanded into synapses from earlier spikes; "
                "only sums and 1x1 convolutions without stride, padding and groups can"
            )
        if behind.host_biases and not (kernel.is_identity and projection.scale is None):
            raise MappingError(
                f"{projection.name}: the analog stream {projection.source!r} holds the host-computed current "
                f"{behind.host_biases[0]!r}, which cannot be followed through a convolution"
            )
        host_biases.extend(behind.host_biases)
        matrix = None if kernel.is_identity else kernel.array[:, :, 0, 0].astype(np.float64)
        through = behind.bias if matrix is None else matrix @ behind.bias
        bias[first:last] += through if projection.scale is None else projection.scale * through
        parts.extend(_compose(projection, matrix, part) for part in behind.parts)
    return _Stream(tuple(_merged(parts)), bias, tuple(host_biases))


def _compose(outer: Projection, matrix: np.ndarray | None, part: _Part) -> _Part:
    """``part`` seen through ``outer``: an identity, or a 1x1 convolution by ``matrix`` [Cout, Cstream]."""
    first = outer.target_channels[0]
    scale = outer.scale
    if matrix is None:
        own = None if scale is None else scale[part.channel : part.channel + part.c_out]
        part = replace(part, channel=part.channel + first)
        if own is None:
            return part
        return replace(part, scale=own if part.scale is None else own * part.scale)
    columns = matrix[:, part.channel : part.channel + part.c_out]
    if scale is not None:
        columns = scale[:, None] * columns
    if part.scale is not None:
        columns = columns * part.scale
    return replace(part, channel=first, scale=None, matrix=columns)


def _merged(parts: list[_Part]) -> list[_Part]:
    """Keep one part per (source, geometry, target range): paths that meet again add their weights."""
    merged: dict[object, _Part] = {}
    for i, part in enumerate(parts):
        if part.matrix is None:
            merged[i] = part
            continue
        key = (part.source, part.kernel.geometry, part.channel, part.c_out)
        kernel = replace(part.kernel, channels=part.c_out, weight=_composed(part))
        if key in merged:
            before = merged[key].kernel.weight
            assert isinstance(before, ComposedWeight) and isinstance(kernel.weight, ComposedWeight)
            kernel = replace(kernel, weight=ComposedWeight(before.parts + kernel.weight.parts))
        merged[key] = replace(part, kernel=kernel, matrix=None, scale=None)
    return list(merged.values())


def _composed(part: _Part) -> ComposedWeight:
    assert part.matrix is not None
    if part.kernel.groups != 1:
        raise MappingError(f"{part.name}: a grouped convolution behind a 1x1 shortcut cannot be expanded")
    weight = part.kernel.weight
    if isinstance(weight, ComposedWeight):
        return ComposedWeight(tuple((part.matrix @ m, base) for m, base in weight.parts))
    base = np.eye(part.kernel.channels)[:, :, None, None] if weight is None else weight
    return ComposedWeight(((part.matrix, base),))


def _projections(stream: _Stream, target: str) -> list[Projection]:
    return [
        Projection(
            name=part.name,
            source=part.source,
            target=target,
            kernel=part.kernel,
            target_channels=(part.channel, part.channel + part.c_out),
            scale=part.scale,
        )
        for part in stream.parts
    ]
