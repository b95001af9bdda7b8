"""A NIR graph (Neuromorphic Intermediate Representation) to a Network: one population per neuron node.

NIR writes neurons as differential equations and says neither how long a time step is nor how many there are.
Here they are stepped forward by ``dt`` (forward Euler), as the spiking libraries that write NIR do; both
numbers come from the caller, or from the graph's metadata, where nsim writes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsim.errors import ModelFileError, UnsupportedOpError
from nsim.frontends.builder import NetworkBuilder, Ref, Sum, Term, Value
from nsim.frontends.kernel import Kernel, behind_pooling
from nsim.frontends.network import HostOp, HostOpKind, Network, Population
from nsim.frontends.nir_neurons import REFUSED, read_nir_neuron, refuse_node
from nsim.frontends.views import MAP_AXES

if TYPE_CHECKING:
    import nir

READ_OUT: dict[str, HostOpKind] = {"mean": "mean_over_time", "sum": "sum_over_time"}
"""Metadata's word for what becomes of the signal at Output, which NIR has for every time step; the mean where
it says nothing."""


def is_nir(path: Path) -> bool:
    """True for a file that begins as HDF5 files do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def read_nir(path: Path) -> nir.NIRGraph:
    """The graph in a NIR file; ModelFileError for a file that holds none, and without the package nir."""
    try:
        import nir
    except ImportError:
        raise ModelFileError(f"{path}: reading NIR takes the package nir; pip install 'nsim[nir]'") from None
    try:
        return nir.read(path, type_check=False)  # shapes are worked out here, and checked
    except Exception as error:  # a damaged file makes h5py and nir raise almost anything
        raise ModelFileError(f"{path}: not a NIR file, or a damaged one ({error})") from None


def network_of_nir(
    graph: nir.NIRGraph, name: str, time_steps: int | None = None, dt: float | None = None
) -> Network:
    """The Network of a graph with one Input and one Output, see docs/models.md for its nodes.

    ``dt`` (seconds) where the graph's metadata does not say; ``time_steps`` in place of its own. A signal
    [N] is a map [N, 1, 1], [C, N] is [C, 1, N]; the host averages over time what reaches Output. Raises
    UnsupportedOpError, with the node's path, for what has no place in a Network, ModelFileError for what is
    left unsaid.
    """
    said = graph.metadata
    steps = said.get("time_steps") if time_steps is None else time_steps
    if steps is None:
        raise ModelFileError(
            f"{name}: a NIR graph does not say how many time steps it is played for; say it (--time-steps 16)"
        )
    dt = said.get("dt", dt)  # time constants are only right with the step they were written for
    if steps < 1 or (dt is not None and not dt > 0):
        raise ModelFileError(f"{name}: {steps} time steps of {dt} s; there must be 1 or more, longer than 0")
    read_out = said.get("readout", "mean")
    if read_out not in READ_OUT:
        raise ModelFileError(f"{name}: readout {read_out!r} in its metadata is none of {', '.join(READ_OUT)}")
    seconds = None if dt is None else float(dt)
    return _Lowering(*_flattened(graph), name, int(steps), seconds, READ_OUT[read_out]).network()


@dataclass(frozen=True)
class _Signal:
    """What a node sends: a map (C, H, W) as nsim has it, and its ``shape`` as NIR has it."""

    value: Value
    shape: tuple[int, ...]


Edges = list[tuple[str, str]]


def _flattened(graph: nir.NIRGraph, prefix: str = "") -> tuple[dict[str, Any], Edges]:
    """Nodes by path and edges, graphs within the graph taken apart; their Input and Output pass on: None."""
    nodes: dict[str, Any] = {}
    edges: Edges = []
    ends: dict[str, tuple[str, str]] = {}
    for own, node in graph.nodes.items():
        path = f"{prefix}{own}"
        if type(node).__name__ != "NIRGraph":
            nodes[path] = None if prefix and type(node).__name__ in ("Input", "Output") else node
            ends[own] = (path, path)
            continue
        inner, inner_edges = _flattened(node, f"{path}.")
        if len(node.inputs) != 1 or len(node.outputs) != 1:
            raise UnsupportedOpError(
                f"{path} (NIRGraph): {len(node.inputs)} Input and {len(node.outputs)} Output nodes; "
                "a graph within a graph has one of each"
            )
        nodes |= inner
        edges += inner_edges
        ends[own] = (f"{path}.{next(iter(node.inputs))}", f"{path}.{next(iter(node.outputs))}")
    for a, b in graph.edges:
        if a not in ends or b not in ends:
            raise ModelFileError(f"{prefix}{a} -> {b}: an edge to a node that is not in the graph")
        edges.append((ends[a][1], ends[b][0]))
    return nodes, edges


class _Lowering:
    """The walk over one graph; `network_of_nir` is its only user."""

    def __init__(
        self,
        nodes: dict[str, Any],
        edges: Edges,
        name: str,
        time_steps: int,
        dt: float | None,
        read_out: HostOpKind,
    ) -> None:
        self.nodes = nodes
        self.before: dict[str, list[str]] = {path: [] for path in nodes}
        for a, b in edges:
            self.before[b].append(a)
        self.readers = Counter(a for a, _ in edges)
        self.build = NetworkBuilder(name, time_steps)
        self.dt = dt
        self.read_out = read_out
        self.signals: dict[str, _Signal] = {}
        self.pools: set[str] = set()
        """Pooling nodes read so far."""

    def network(self) -> Network:
        image, output = (self._only(kind) for kind in ("Input", "Output"))
        for path in self._order():
            signal = self._visit(path, self.nodes[path])
            if self.readers[path] > 1:  # a sum that several read becomes an analog population, once
                signal = replace(signal, value=self.build.materialised(signal.value))
            self.signals[path] = signal
        return Network(
            name=self.build.name,
            time_steps=self.build.time_steps,
            image=image,
            diffusion_time=None,
            output=output,
            populations=tuple(self.build.populations),
            projections=tuple(self.build.projections),
            biases=(),
            host_ops=tuple(self.build.host_ops),
        )

    def _only(self, kind: str) -> str:
        found = [path for path, node in self.nodes.items() if type(node).__name__ == kind]
        if len(found) != 1:
            raise UnsupportedOpError(
                f"{self.build.name}: {len(found)} {kind} nodes ({', '.join(found) or 'none'}); "
                "a network has one image and one output"
            )
        return found[0]

    def _order(self) -> list[str]:
        try:
            return list(TopologicalSorter(self.before).static_order())
        except CycleError as error:
            loop = " -> ".join(error.args[1])
            raise UnsupportedOpError(
                f"{loop}: feeds its spikes back to itself, which nsim's layer by layer play cannot; "
                "take the edge that closes the loop out"
            ) from None

    def _visit(self, path: str, node: Any) -> _Signal:
        kind = type(node).__name__
        if kind == "Input":
            return self._input(path, node)
        signal = self._joined(path, [self.signals[a] for a in self.before[path]])
        if node is None:
            return signal
        if kind in REFUSED or kind not in NODES:
            raise refuse_node(path, node, REFUSED.get(kind, f"not read; nsim reads {', '.join(NODES)}"))
        return NODES[kind](self, path, node, signal)

    def _input(self, path: str, node: nir.Input) -> _Signal:
        shape = tuple(int(n) for n in np.atleast_1d(node.input_type["input"]))
        if not 1 <= len(shape) <= 3:
            raise refuse_node(path, node, f"has shape {shape}; a signal is [N], [C, N] or [C, H, W]")
        c, h, w = (shape[0], *([1] * (3 - len(shape))), *shape[1:])
        self.build.populations.append(Population(path, "source", (c, h, w)))
        self.build.kinds[path] = "source"
        sizes = {"T": self.build.time_steps, "B": 1, "C": c, "H": h, "W": w}
        return _Signal(Value(Ref(path), MAP_AXES, sizes), shape)

    def _joined(self, path: str, signals: list[_Signal]) -> _Signal:
        """What reaches a node: the sum over its edges."""
        if not signals:
            raise UnsupportedOpError(f"{path}: nothing reaches it; every node but Input has an edge into it")
        first, *others = signals
        if not others:
            return first
        for other in others:
            if other.shape != first.shape:
                raise UnsupportedOpError(
                    f"{path}: signals of shapes {list(first.shape)} and {list(other.shape)} reach it, "
                    "which do not add up"
                )
        terms = [term for signal in signals for term in self.build.as_sum(signal.value).terms]
        return replace(first, value=replace(first.value, content=Sum(tuple(terms), (), f"{path}.input")))

    # ---- nodes ----------------------------------------------------------------------------------

    def output(self, path: str, node: Any, signal: _Signal) -> _Signal:
        value = self.build.materialised(signal.value)
        assert isinstance(value.content, Ref)
        shape = value.map_shape
        self.build.kinds[path] = "host"
        self.build.host_ops.append(HostOp(path, self.read_out, (value.content.name,), shape, shape, True))
        return signal

    def neuron(self, path: str, node: Any, signal: _Signal) -> _Signal:
        """A neuron node, the factor of its input on what it adds up."""
        model, factor = read_nir_neuron(path, node, signal.shape, self.dt)
        channels = np.full(signal.value.sizes["C"], factor)
        value = signal.value if factor == 1.0 else self._scaled(path, signal.value, channels)
        self.build.add_population(value, path, "neuron", model)
        return replace(signal, value=replace(value, content=Ref(path)))

    def scale(self, path: str, node: nir.Scale, signal: _Signal) -> _Signal:
        try:
            factors = np.broadcast_to(node.scale, signal.shape).reshape(signal.value.map_shape)
        except ValueError:
            raise refuse_node(path, node, f"has shape {node.scale.shape} on {list(signal.shape)}") from None
        if (factors != factors[:, :1, :1]).any():
            raise refuse_node(path, node, "scales the elements of a channel differently; scale channels only")
        value = signal.value
        if isinstance(value.content, Sum):
            value = replace(value, content=replace(value.content, home=path))
        per_channel = factors[:, 0, 0].astype(np.float64)
        if (per_channel != 1.0).any():
            value = self._scaled(path, value, per_channel)
        return replace(signal, value=value)

    def _scaled(self, path: str, value: Value, factor: np.ndarray) -> Value:
        terms = []
        for term in self.build.as_sum(value).terms:
            own = factor[term.channel : term.channel + term.kernel.c_out]
            terms.append(
                replace(
                    term,
                    name=term.name or path,
                    scale=own if term.scale is None else own * term.scale,
                    bias=None if term.bias is None else own * term.bias,
                )
            )
        return replace(value, content=Sum(tuple(terms), (), path))

    def flatten(self, path: str, node: nir.Flatten, signal: _Signal) -> _Signal:
        """The whole of a signal as a vector; the map behind it stays."""
        rank = len(signal.shape)
        start, end = int(node.start_dim) % rank, int(node.end_dim) % rank
        if any(n != 1 for n in (*signal.shape[:start], *signal.shape[end + 1 :])):
            raise refuse_node(path, node, f"flattens a part of {list(signal.shape)}; flatten all of it")
        return replace(signal, shape=(signal.value.sizes["C"] * int(np.prod(signal.value.map_shape[1:])),))

    def dense(self, path: str, node: Any, signal: _Signal) -> _Signal:
        """Affine and Linear: a kernel over the whole map."""
        if node.weight.ndim != 2 or signal.shape != (node.weight.shape[1],):
            raise refuse_node(
                path,
                node,
                f"has weights {list(node.weight.shape)}, what reaches it is {list(signal.shape)}; "
                "put a Flatten before it",
            )
        weight = node.weight.reshape(len(node.weight), *signal.value.map_shape)
        sent = self._projected(path, node, Kernel(len(weight), weight), signal)
        return replace(sent, shape=(len(weight),))

    def convolution(self, path: str, node: Any, signal: _Signal) -> _Signal:
        """Conv2d, and Conv1d as one over maps of height 1."""
        flat = type(node).__name__ == "Conv1d"
        weight = node.weight[:, :, None, :] if flat else node.weight
        stride, dilation = (_pair(given, 1, flat) for given in (node.stride, node.dilation))
        kernel = Kernel(
            channels=len(weight),
            weight=weight,
            stride=stride,
            padding=_padding(path, node, weight.shape[2:], stride, dilation, flat),
            dilation=dilation,
            groups=int(node.groups),
        )
        return self._projected(path, node, kernel, signal, rank=2 if flat else 3)

    def pooling(self, path: str, node: Any, signal: _Signal) -> _Signal:
        """Sums and averages of neighbours, padding counted: a kernel for every channel alone."""
        size, stride, padding = (_pair(given) for given in (node.kernel_size, node.stride, node.padding))
        channels = signal.value.sizes["C"]
        average = type(node).__name__ == "AvgPool2d"
        weight = np.full((channels, 1, *size), 1.0 / (size[0] * size[1]) if average else 1.0)
        kernel = Kernel(channels, weight, stride, padding, groups=channels)
        self.pools.add(path)
        return self._projected(path, node, kernel, signal, rank=3)

    def _projected(
        self, path: str, node: Any, kernel: Kernel, signal: _Signal, rank: int | None = None
    ) -> _Signal:
        if (rank is not None and len(signal.shape) != rank) or kernel.c_in != signal.value.sizes["C"]:
            raise refuse_node(path, node, f"takes {kernel.c_in} channels, {list(signal.shape)} reach it")
        height, width = kernel.out_size(*signal.value.map_shape[1:])
        if min(height, width) < 1:
            raise refuse_node(path, node, f"its kernel is larger than what reaches it, {list(signal.shape)}")
        value, kernel = self._without_pool(signal.value, kernel)
        value = self.build.materialised(value)
        assert isinstance(value.content, Ref)
        bias = getattr(node, "bias", None)  # exporters write zeros for none
        bias = None if bias is None or not np.any(bias) else np.asarray(bias, np.float64)
        term = Term(path, value.content.name, kernel, bias=bias)
        sizes = {**value.sizes, "C": kernel.c_out, "H": height, "W": width}
        shape = (kernel.c_out, *((height, width) if len(signal.shape) == 3 else (width,)))
        return _Signal(Value(Sum((term,), (), path), MAP_AXES, sizes), shape)

    def _without_pool(self, value: Value, kernel: Kernel) -> tuple[Value, Kernel]:
        """What ``kernel`` is applied to: of pooled spikes the spikes themselves, by a kernel for both."""
        terms = value.content.terms if isinstance(value.content, Sum) else ()
        if len(terms) != 1 or terms[0].name not in self.pools or terms[0].scale is not None:
            return value, kernel
        spikes = next(p for p in self.build.populations if p.name == terms[0].source)
        both = behind_pooling(kernel, terms[0].kernel, spikes.shape[1:])
        if both is None or spikes.kind != "neuron":
            return value, kernel
        return replace(value, content=Ref(spikes.name)), both


def _pair(given: Any, other: int = 1, flat: bool = False) -> tuple[int, int]:
    """A number per axis, height and width; of a Conv1d one, with ``other`` for the height."""
    values = [int(n) for n in np.atleast_1d(given)]
    return (other, values[0]) if flat else (values[0], values[-1])


def _padding(
    path: str,
    node: Any,
    size: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    flat: bool,
) -> tuple[int, int]:
    if not isinstance(node.padding, str):
        return _pair(node.padding, 0, flat)
    if node.padding == "valid":
        return (0, 0)
    around = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
    if stride != (1, 1) or any(n % 2 for n in around):
        raise refuse_node(path, node, "padding 'same' with a stride, or an even kernel; give it as numbers")
    return (around[0] // 2, around[1] // 2)


NODES: dict[str, Callable[[_Lowering, str, Any, _Signal], _Signal]] = {
    "IF": _Lowering.neuron,
    "LIF": _Lowering.neuron,
    "Threshold": _Lowering.neuron,
    "Affine": _Lowering.dense,
    "Linear": _Lowering.dense,
    "Conv1d": _Lowering.convolution,
    "Conv2d": _Lowering.convolution,
    "SumPool2d": _Lowering.pooling,
    "AvgPool2d": _Lowering.pooling,
    "Scale": _Lowering.scale,
    "Flatten": _Lowering.flatten,
    "Output": _Lowering.output,
}
