"""A Network to a NIR graph, whole or not at all: what NIR has no word for is refused by name.

BatchNorm's scale goes into the weights, as NIR has no norm. What NIR leaves open stands in the graph's
metadata (``dt``, ``time_steps``, ``readout``), so that nsim reads back what it wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsim.errors import ModelFileError, UnsupportedOpError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import HostOp, Network, Population, Projection
from nsim.frontends.nir_import import READ_OUT
from nsim.frontends.nir_neurons import write_nir_neuron

if TYPE_CHECKING:
    import nir

DT = 1e-4
"""Seconds of a time step, unless told: what snnTorch and SpikingJelly take."""
SHOWN = 3
"""Reasons shown of why a network cannot be written."""


def write_nir(network: Network, path: Path, dt: float = DT) -> int:
    """Write a network as a NIR file, whole or not at all, and return its number of nodes; see `nir_graph`.

    Raises ModelFileError where the package nir is missing and where the file cannot be written.
    """
    try:
        import nir
    except ImportError:
        raise ModelFileError(f"{path}: writing NIR takes the package nir; pip install 'nsim[nir]'") from None
    graph = nir_graph(network, dt)
    part = path.with_name(path.name + ".part")
    try:
        nir.write(part, graph)
        os.replace(part, path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written ({error})") from None
    finally:
        part.unlink(missing_ok=True)
    return len(graph.nodes)


def nir_graph(network: Network, dt: float = DT) -> nir.NIRGraph:
    """The graph of a network, a time step being ``dt`` seconds.

    Read back by `network_of_nir`, it plays the same spikes. Raises UnsupportedOpError for a network that NIR
    cannot say, with the first few reasons.
    """
    if not dt > 0:
        raise ModelFileError(f"{network.name}: a time step of {dt:g} s; it must be longer than 0")
    reasons = list(_unsayable(network))
    if reasons:
        more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        raise UnsupportedOpError(
            f"{network.name}: NIR has no word for {'; '.join(reasons[:SHOWN])}{more}. "
            "docs/models.md lists what NIR can say"
        )
    return _Writing(network, dt).graph()


def _unsayable(network: Network) -> Iterator[str]:
    """What of a network has no place in a NIR graph."""
    if network.diffusion_time is not None:
        yield f"the diffusion time {network.diffusion_time!r}"
    for p in network.populations:
        if p.neuron is not None and p.neuron.v_reset is None:
            yield f"the soft reset of {p.name}"
        if p.gate is not None or p.unit is not None or p.bias is not None:
            yield f"the gate, unit or constant current of {p.name}"
        if p.host_op is not None or (p.kind == "source" and p.name != network.image):
            yield f"{p.name}, a second source"
    yield from (f"{b.host_op}, a current worked out by the host" for b in network.biases)
    yield from _unsayable_projections(network)
    yield from (f"host op {op.name} ({op.kind})" for op in network.host_ops if op.name != network.output)
    read_out = _read_out(network)
    if read_out is None or read_out.inputs[0] not in network.population_by_name:
        yield f"the output {network.output}, which is no sum or mean over time of one layer"


def _unsayable_projections(network: Network) -> Iterator[str]:
    for p in network.projections:
        source, target = (network.population_by_name[end] for end in (p.source, p.target))
        if p.target_channels != (0, target.shape[0]):
            yield f"{p.name}, whose channels stand beside others (cat)"
        if p.kernel.upsample > 1 or p.kernel.spread != (1, 1) or p.kernel.crop != (0, 0):
            yield f"{p.name}, which up-samples"
        if p.step_factor is not None:
            yield f"the weights of {p.name}, which change with the time step"
        if _is_vector(source) and not _is_vector(target):
            yield f"{p.name}, which makes a map of a vector"
        if p.kernel.is_identity and p.bias is not None and _is_vector(target):
            yield f"{p.name}, a bias without weights"


def _read_out(network: Network) -> HostOp | None:
    """The host op that adds the output up over time."""
    found = (op for op in network.host_ops if op.name == network.output and op.kind in READ_OUT.values())
    return next(found, None)


def _is_vector(population: Population) -> bool:
    return population.shape[1:] == (1, 1)


def _shape(population: Population) -> tuple[int, ...]:
    """NIR's shape of a population: [C] of single elements, else [C, H, W]."""
    return population.shape[:1] if _is_vector(population) else population.shape


class _Writing:
    """The walk over one network; `nir_graph` is its only user."""

    def __init__(self, network: Network, dt: float) -> None:
        self.network = network
        self.dt = dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.node_of: dict[str, str] = {}
        """The node whose signal is that of a population."""

    def graph(self) -> nir.NIRGraph:
        import nir

        for population in self.network.populations:
            self._population(population)
        read_out = _read_out(self.network)
        assert read_out is not None
        read = self.network.population_by_name[read_out.inputs[0]]
        output = self._add(read_out.name, nir.Output(np.array(_shape(read))))
        self.edges.append((self.node_of[read.name], output))
        words = {kind: word for word, kind in READ_OUT.items()}
        metadata = {
            "dt": self.dt,
            "time_steps": self.network.time_steps,
            "readout": words[read_out.kind],
        }
        # nir's own check takes every kernel for square
        return nir.NIRGraph(self.nodes, self.edges, metadata=metadata, type_check=False)

    def _add(self, name: str, node: Any) -> str:
        name = name.replace("/", ".")
        name = next(n for n in (name, *(f"{name}.{i}" for i in range(1, 1000))) if n not in self.nodes)
        self.nodes[name] = node
        return name

    def _population(self, population: Population) -> None:
        import nir

        incoming = self.network.incoming(population.name)
        shape = _shape(population)
        ends = [self._chain(p) for p in incoming]
        if population.kind == "source":
            node = self._add(population.name, nir.Input(np.array(shape)))
        elif population.neuron is not None:
            node = self._add(population.name, write_nir_neuron(population.neuron, shape, self.dt))
        elif len(ends) == 1:
            self.node_of[population.name] = ends[0]
            return
        else:  # a sum that is no neuron's: a node that passes on what it gets
            node = self._add(population.name, nir.Scale(np.ones(shape)))
        self.node_of[population.name] = node
        for end in ends:
            if (end, node) in self.edges:  # the same signal twice
                end = self._after(end, f"{population.name}.again", nir.Scale(np.ones(shape)))
            self.edges.append((end, node))

    def _chain(self, projection: Projection) -> str:
        """Write a projection's nodes after its source's and return the last; its source's for an identity."""
        end = self.node_of[projection.source]
        for name, node in self._nodes_of(projection):
            end = self._after(end, name, node)
        return end

    def _after(self, end: str, name: str, node: Any) -> str:
        name = self._add(name, node)
        self.edges.append((end, name))
        return name

    def _nodes_of(self, p: Projection) -> Iterator[tuple[str, Any]]:
        """Nodes of a projection: none, a Conv2d, or for vectors an Affine, with a Flatten between the two."""
        import nir

        source, target = (self.network.population_by_name[end] for end in (p.source, p.target))
        kernel = p.kernel
        bias = np.zeros(kernel.c_out) if p.bias is None else p.bias
        if kernel.is_identity and p.scale is None and p.bias is None:
            return
        if kernel.is_identity and _is_vector(target):
            yield p.name, nir.Scale(p.scale)
        elif _is_vector(source) or _covers(kernel, source):
            if not _is_vector(source):
                yield f"{p.name}.flatten", nir.Flatten(np.array(source.shape), 0, -1)
            weight = _dense(kernel, source) * _column(p.scale, 2)
            yield p.name, nir.Affine(weight, bias)
        else:
            yield p.name, _convolution(p, source, bias)
            if _is_vector(target):
                yield f"{p.name}.flatten", nir.Flatten(np.array(target.shape), 0, -1)


def _column(scale: np.ndarray | None, rank: int) -> np.ndarray | float:
    return 1.0 if scale is None else scale.reshape(-1, *[1] * (rank - 1))


def _covers(kernel: Kernel, source: Population) -> bool:
    """True for a dense layer: one place of a kernel as large as the map."""
    return kernel.size == source.shape[1:] and kernel.padding == (0, 0) and kernel.groups == 1


def _dense(kernel: Kernel, source: Population) -> np.ndarray:
    """Weights [Cout, elements of ``source``], of a kernel that covers a map, or has one tap on an element."""
    if _covers(kernel, source):
        return kernel.array.reshape(kernel.c_out, -1)
    row, column = (int(kernel.first_tap(axis, 1, 1)[0, 0]) for axis in (0, 1))
    tap = kernel.array[:, :, row, column]
    weight = np.zeros((kernel.c_out, kernel.c_in), tap.dtype)
    for group, rows in enumerate(np.split(np.arange(kernel.c_out), kernel.groups)):
        first = group * kernel.c_in_per_group
        weight[rows, first : first + kernel.c_in_per_group] = tap[rows]
    return weight


def _convolution(p: Projection, source: Population, bias: np.ndarray) -> Any:
    import nir

    kernel = p.kernel
    return nir.Conv2d(
        input_shape=source.shape[1:],
        weight=kernel.array * _column(p.scale, 4),
        stride=kernel.stride,
        padding=kernel.padding,
        dilation=kernel.dilation,
        groups=kernel.channels if kernel.is_identity else kernel.groups,
        bias=bias,
    )
