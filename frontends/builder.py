"""A Network in the making: symbolic tensors, and the book of what has been built so far.

Every tensor of a traced model is a `Value`: its axes, and its content, which is a reference to something
already in the network, or a sum of linear terms that is not a population yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import fx

from nsim.errors import UnsupportedOpError
from nsim.frontends import views
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import (
    Gate,
    HostBias,
    HostOp,
    HostOpKind,
    NeuronModel,
    Population,
    PopulationKind,
    Projection,
)
from nsim.frontends.torch_fx import owner


@dataclass(frozen=True)
class Ref:
    """A value that the network already holds: a population, a source or a host op's output."""

    name: str
    upsample: int = 1


@dataclass(frozen=True, eq=False)
class Term:
    """One linear contribution, before it has a target."""

    name: str
    source: str
    kernel: Kernel
    channel: int = 0
    scale: np.ndarray | None = None
    bias: np.ndarray | None = None
    step_factor: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Sum:
    """Linear terms and host biases that add up to one tensor; ``home`` is the module path it belongs to.

    ``one_layer``: the terms are one layer's weights, cut by where its input channels come from.
    """

    terms: tuple[Term, ...]
    host_biases: tuple[str, ...]
    home: str
    one_layer: bool = False


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the traced model."""

    content: Ref | Sum | np.ndarray | Gate
    axes: views.Axes
    sizes: views.Sizes

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions, with the stand-in batch size."""
        return views.shape_of(self.axes, self.sizes)

    @property
    def text(self) -> str:
        """Axes and sizes, for error messages."""
        return views.text(self.axes, self.sizes)

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.sizes["C"], self.sizes["H"], self.sizes["W"])


class NetworkBuilder:
    """Collects populations, projections and host ops while a graph is walked."""

    def __init__(self, name: str, time_steps: int) -> None:
        self.name = name
        self.time_steps = time_steps
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.biases: list[HostBias] = []
        self.host_ops: list[HostOp] = []
        self.kinds: dict[str, str] = {}
        self.after_spikes: set[str] = set()
        """Host ops that read, at some remove, what spikes made."""

    def _unique(self, name: str) -> str:
        names = (name, name + ".sum", *(f"{name}.sum{i}" for i in range(2, 1000)))
        return next(n for n in names if n not in self.kinds)

    def _connect(self, value: Value, target: str) -> None:
        content = self.as_sum(value)
        for term in content.terms:
            self.projections.append(
                Projection(
                    name=term.name or f"{term.source} -> {target}",
                    source=term.source,
                    target=target,
                    kernel=term.kernel,
                    target_channels=(term.channel, term.channel + term.kernel.c_out),
                    scale=term.scale,
                    bias=term.bias,
                    step_factor=term.step_factor,
                )
            )
        self.biases.extend(HostBias(op, target) for op in content.host_biases)

    def add_population(
        self,
        value: Value,
        name: str,
        kind: PopulationKind,
        neuron: NeuronModel | None = None,
        gate: Gate | None = None,
    ) -> None:
        """Turn a value into a population, fed by the terms it is the sum of."""
        self._connect(value, name)
        self.kinds[name] = kind
        self.populations.append(Population(name, kind, value.map_shape, neuron, gate=gate))

    def materialised(self, value: Value, gate: Gate | None = None) -> Value:
        """The value as a reference: a sum becomes an analog population, run by ``gate`` if there is one."""
        if not isinstance(value.content, Sum):
            return value
        name = self._unique(value.content.home)
        self.add_population(value, name, "analog", gate=gate)
        return replace(value, content=Ref(name))

    def constant(self, value: Value, name: str) -> Value:
        """``value``, an array, as a source population that holds it in every call."""
        assert isinstance(value.content, np.ndarray)
        name = self._unique(name)
        self.kinds[name] = "source"
        constant = value.content.reshape(value.map_shape)
        self.populations.append(Population(name, "source", value.map_shape, constant=constant))
        return replace(value, content=Ref(name))

    def _stream_of_host(self, value: Value) -> Ref:
        """A map that the host works out for every time step, as an analog population."""
        assert isinstance(value.content, Ref)
        op = value.content.name
        name = f"{op}.map"
        if name not in self.kinds:
            self.kinds[name] = "analog"
            self.populations.append(Population(name, "analog", value.map_shape, host_op=op))
        return Ref(name)

    def source(self, value: Value, node: fx.Node) -> str:
        """Add a source population that holds a map of the host at every time step, and return its name."""
        assert isinstance(value.content, Ref)
        op = value.content.name
        if op in self.after_spikes:
            raise unsupported(node, f"feeding {op}, which the host works out from spikes, back to the cores")
        name = self._unique(f"{op}.map")
        self.kinds[name] = "source"
        self.populations.append(Population(name, "source", value.map_shape, host_op=op))
        return name

    def host(
        self,
        node: fx.Node,
        kind: HostOpKind,
        inputs: list[Value],
        shape: tuple[int, ...] | None = None,
        params: dict[str, np.ndarray] | None = None,
        kernel: Kernel | None = None,
        every_step: bool | None = None,
    ) -> str:
        """Add a host op and return its name; evaluated at every step where an input has time steps."""
        path = str(node.target) if node.op == "call_module" else join_path(owner(node), node.name)
        names = (path, *(f"{path}@{call}" for call in range(1, 1000)))
        name = next(n for n in names if n not in self.kinds)
        in_shape = _feature_shape(inputs[0])
        self.kinds[name] = "host"
        sources = tuple(self.host_input(v, node) for v in inputs)
        if any(self.kinds[s] in ("neuron", "analog") or s in self.after_spikes for s in sources):
            self.after_spikes.add(name)
        self.host_ops.append(
            HostOp(
                name=name,
                kind=kind,
                inputs=sources,
                in_shape=in_shape,
                shape=in_shape if shape is None else shape,
                every_step=every_step or any("T" in group for v in inputs for group in v.axes),
                params=params or {},
                kernel=kernel,
            )
        )
        return name

    def host_input(self, value: Value, node: fx.Node) -> str:
        """Name of a value that a host op can read; an affine map of one population is a host op too."""
        content = value.content
        if isinstance(content, Sum):
            only = content.terms[0] if len(content.terms) == 1 and not content.host_biases else None
            plain = only is not None and only.step_factor is None
            if (
                only is None
                or not plain
                or only.scale is None
                or not only.kernel.is_identity
                or only.kernel.upsample > 1
            ):
                content = self.materialised(value).content
            else:
                name = self._unique(only.name)
                self.kinds[name] = "host"
                if self.kinds[only.source] != "source":
                    self.after_spikes.add(name)
                shape = value.map_shape
                params = {"scale": only.scale, "bias": np.asarray(only.bias)}
                self.host_ops.append(HostOp(name, "affine", (only.source,), shape, shape, True, params))
                return name
        if not isinstance(content, Ref) or content.upsample != 1:
            raise unsupported(node, "an up-sampled or constant tensor read outside a convolution")
        return content.name

    def as_sum(self, value: Value) -> Sum:
        """The value as a sum of terms, ready to be added to a neuron's input."""
        content = value.content
        if isinstance(content, Sum):
            return content
        if self.is_host(value):
            content = self._stream_of_host(value)
        assert isinstance(content, Ref)
        kernel = Kernel(channels=value.sizes["C"], upsample=content.upsample)
        return Sum((Term("", content.name, kernel),), (), "")

    def is_host(self, value: Value) -> bool:
        """True when a value lives on the host."""
        return isinstance(value.content, Ref) and self.kinds[value.content.name] in ("host", "time")


def unsupported(node: fx.Node, what: str) -> UnsupportedOpError:
    """The error for an operation that has no place in a Network."""
    path = str(node.target) if node.op == "call_module" else owner(node) or "the model's forward"
    return UnsupportedOpError(
        f"{path}: {what} (graph node {node.name!r}) has no place in a Network; "
        "write it with convolution, dense, BatchNorm, add, cat, nearest up-sampling and IF/LIF neurons, "
        "or move it to the time embedding or the tail"
    )


def join_path(*parts: str) -> str:
    """Module path of its parts, empty ones left out."""
    return ".".join(filter(None, parts))


def _feature_shape(value: Value) -> tuple[int, ...]:
    return tuple(value.sizes[label] for label in ("C", "H", "W") if label in value.sizes)
