"""The Network: what a denoiser is once it is traced and lowered. Frozen values, numpy only, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from nsim.frontends.kernel import Kernel

if TYPE_CHECKING:
    import networkx as nx

PopulationKind = Literal["source", "neuron", "analog"]
Streams = Literal["traced", "host", "graded", "colocate"]
TAKES_BACK = -1e-3
"""Potential at or below which a signed neuron takes a spike back."""


@dataclass(frozen=True)
class NeuronModel:
    r"""One neuron per element, discrete time, state V(0) = v_reset (0 for soft reset).

    IF (``tau is None``):      :math:`U = V + X`
    LIF, ``decay_input``:      :math:`U = V + (X - (V - r)) / \tau`
    LIF, no ``decay_input``:   :math:`U = V - (V - r) / \tau + X`

    with the resting value r = v_reset (0 for soft reset); then :math:`S = [U \ge v_{th}]`, or
    :math:`S = [U > v_{th}]` with ``strict``; hard reset ``V = v_reset where S else U``, or soft reset
    (``v_reset is None``) :math:`V = U - d S`, d = ``subtract`` or, where that is None, the threshold.
    The updates of SpikingJelly's IFNode and LIFNode; bit for bit too, but for LIF without ``decay_input``
    and r = 0, which it writes :math:`V (1 - 1 / \tau) + X`.

    ``signed``: the IF of ANN-SNN conversion (Fast-SNN; Hu et al., 2023), :math:`V(0) = v_{th} / 2`. Besides
    S = 1 it sends S = -1 where :math:`U \le -10^{-3}` and its spikes so far add up to more than 0;
    :math:`V = U - v_{th} S`, and what it sends is :math:`v_{th} S`.
    """

    v_threshold: float = 1.0
    v_reset: float | None = 0.0
    tau: float | None = None
    decay_input: bool = True
    strict: bool = False
    subtract: float | None = None
    signed: bool = False

    @property
    def kind(self) -> str:
        """``IF``, ``LIF`` or ``signed IF``."""
        return "signed IF" if self.signed else "IF" if self.tau is None else "LIF"

    @property
    def soft_reset(self) -> float | None:
        """What a spike takes off the potential; None where it sets it to ``v_reset``."""
        if self.v_reset is not None:
            return None
        return self.v_threshold if self.subtract is None else self.subtract

    @property
    def input_factor(self) -> float:
        """What a current is multiplied by before it is added to the potential."""
        return 1.0 / self.tau if self.tau is not None and self.decay_input else 1.0


@dataclass(frozen=True)
class Gate:
    """Component ``index`` of what ``host_op`` gives for every time step and image ([T, B, N])."""

    host_op: str
    index: int


@dataclass(frozen=True)
class Relay:
    """What a neuron does that only passes spikes on: it fires the spikes of ``origin`` again.

    In the same time steps, but ``layers`` layers after the population that it hears them from.
    """

    origin: str
    layers: int


@dataclass(frozen=True, eq=False)
class Population:
    """Elements of one shape (C, H, W).

    ``source``: values constant over the time steps of a call (direct coding), from outside or, where
    ``host_op`` names one, worked out once per call by the host, or ``constant`` [C, H, W], the same in every
    call (a position embedding);
    ``neuron``: spiking; ``analog``: a real number per element and time step, the sum of its inputs or, where
    ``host_op`` names one, worked out by the host.
    ``gate``: the population runs only in time steps and for images for which its gate is not 0. Elsewhere
    nothing is added up or updated: neurons do not fire and keep their state, analog values are 0. Where it
    runs, an analog population's sum is multiplied by its gate.
    ``bias``: a constant current per channel and time step, beside those of its projections.
    ``relay``: of relay neurons, which a layout adds, what they repeat.
    ``unit``: in a quantised network (see `quantize`), what an integer 1 of its currents and potentials is
    worth; ``bias`` is then in integers too. None where values are real numbers.
    """

    name: str
    kind: PopulationKind
    shape: tuple[int, int, int]
    neuron: NeuronModel | None = None
    bias: np.ndarray | None = None
    unit: float | None = None
    host_op: str | None = None
    constant: np.ndarray | None = None
    gate: Gate | None = None
    relay: Relay | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def input_factor(self) -> float:
        """What currents are multiplied by: a neuron's own factor, 1 for the rest."""
        return 1.0 if self.neuron is None else self.neuron.input_factor

    @property
    def current_unit(self) -> float:
        """In a quantised network, what an integer 1 of the currents stands for before that factor."""
        assert self.unit is not None
        return self.unit / self.input_factor


@dataclass(frozen=True, eq=False)
class Projection:
    """A linear map from one population to (a channel range of) another, per time step.

    Contribution to the target: ``scale * (kernel applied to source) + bias``, per target channel; scale
    and bias are the BatchNorm and the convolution's bias, kept after the sum as in the traced model.
    ``step_factor`` [T] (temporal-wise spiking): one more factor of the kernel's sum at each time step; the
    bias is then [T, C]. ``target_channels`` is (first, past-the-last) channel in the target.

    In a quantised network the kernel holds integers and ``shift`` takes the place of scale and bias: the
    contribution is ``2**shift * (kernel applied to source)``, halves rounded up where the shift is negative.
    """

    name: str
    source: str
    target: str
    kernel: Kernel
    target_channels: tuple[int, int]
    scale: np.ndarray | None = None
    bias: np.ndarray | None = None
    shift: int | None = None
    step_factor: np.ndarray | None = None

    @property
    def passes_unchanged(self) -> bool:
        """True when the contribution is what the source sends, element by element."""
        plain = self.scale is None and self.bias is None and self.step_factor is None and not self.shift
        return plain and self.kernel.is_elementwise


@dataclass(frozen=True)
class HostBias:
    """A current computed once per call by a host op ([B, C]), the same at every position and time step."""

    host_op: str
    target: str


HostOpKind = Literal[
    "embedding",
    "linear",
    "swish",
    "sigmoid",
    "tanh",
    "conv",
    "affine",
    "add",
    "multiply",
    "scale",
    "sum_over_time",
    "mean_over_time",
    "plane",
    "nearest_code",
    "layer_norm",
    "group_norm",
    "attention",
    "lateral_router",
]


@dataclass(frozen=True, eq=False)
class HostOp:
    """Work that no spiking core can do; runs on a processor beside the cores, counted, never dropped.

    ``shape`` is the output's and ``in_shape`` the first input's, without batch and time: (features,) or
    (C, H, W). ``every_step``: evaluated
    once per time step rather than once per call. ``macs`` and ``elementwise`` count one evaluation for one
    image: multiply-accumulates, and elementwise operations (one per element of a norm, Swish, sum, ...).

    ``attention`` (inputs queries, keys, values: spikes) multiplies spikes by spikes: those products are of a
    kind of their own, counted from the spikes of a call (see `nsim.simulator.attention`).
    """

    name: str
    kind: HostOpKind
    inputs: tuple[str, ...]
    in_shape: tuple[int, ...]
    shape: tuple[int, ...]
    every_step: bool
    params: dict[str, np.ndarray] = field(default_factory=dict)
    kernel: Kernel | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one evaluation for one image; taps on padding do not count."""
        if self.kind == "linear":
            return int(self.params["weight"].size)
        if self.kind == "conv" and self.kernel is not None:
            return self.kernel.taps(self.in_shape[1:], self.shape[1:])  # type: ignore[arg-type]
        if self.kind == "nearest_code":
            return int(np.prod(self.shape)) * self.params["table"].size
        if self.kind == "lateral_router":
            return int(self.params["mapping"].size)
        return 0

    @property
    def dense_products(self) -> int:
        """Products of spikes with spikes in one evaluation for one image, if all of them fired."""
        if self.kind != "attention":
            return 0
        width, tokens = self.shape[0], self.shape[1] * self.shape[2]
        across = tokens if self.params["queries_first"] else width // int(self.params["heads"])
        return 2 * width * tokens * across

    @property
    def elementwise(self) -> int:
        """Elementwise operations of one evaluation for one image."""
        if self.kind in ("linear", "conv", "embedding", "plane"):
            return 0
        if self.kind == "nearest_code":  # a squared norm; two additions and a comparison for each code
            codes, width = self.params["table"].shape
            return int(np.prod(self.shape)) * (width + 3 * codes)
        if self.kind == "lateral_router":  # for each: neuron update, correction, softmax, comparison
            return 4 * self.shape[0]
        return int(np.prod(self.shape))


@dataclass(frozen=True, eq=False)
class Network:
    """Populations, projections and host ops of one denoiser call: image x, diffusion time t, to ``output``.

    Everything is named by the module path it came from. ``image`` and ``diffusion_time`` name the inputs;
    None for a network that takes no diffusion time.
    ``streams``: where analog populations live once it is laid out. As ``traced``, or summed by the ``host``
    beside the cores; on cores of their own, sending values (``graded``); or beside the neurons that read them
    (``colocate``, see `homes`). Each but the last takes a tick.
    Raises ValueError when a projection, bias or host op names something that is not there.
    """

    name: str
    time_steps: int
    image: str
    diffusion_time: str | None
    output: str
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    biases: tuple[HostBias, ...]
    host_ops: tuple[HostOp, ...]
    streams: Streams = "traced"

    def __post_init__(self) -> None:
        names = [*(item.name for item in self._items), *filter(None, [self.diffusion_time])]
        known = set(names)
        if len(known) != len(names):
            raise ValueError("two populations or host ops share a name")
        for projection in self.projections:
            for end in (projection.source, projection.target):
                if end not in self.population_by_name:
                    raise ValueError(f"projection {projection.name!r} names no population: {end!r}")
        for op in self.host_ops:
            for name in op.inputs:
                if name not in known:
                    raise ValueError(f"host op {op.name!r} reads {name!r}, which is not in the network")
        for bias in self.biases:
            if bias.host_op not in known or bias.target not in self.population_by_name:
                raise ValueError(f"bias {bias.host_op!r} -> {bias.target!r} has a loose end")
        for population in self.populations:
            gate = population.gate.host_op if population.gate else None
            for name in filter(None, (population.host_op, gate)):
                if name not in known:
                    raise ValueError(f"{population.kind} {population.name!r} names no host op: {name!r}")

    @cached_property
    def population_by_name(self) -> dict[str, Population]:
        """Populations by name."""
        return {p.name: p for p in self.populations}

    @property
    def _items(self) -> list[Population | HostOp]:
        return [*self.populations, *self.host_ops]

    @cached_property
    def _incoming(self) -> dict[str, tuple[Projection, ...]]:
        by_target: dict[str, list[Projection]] = {}
        for projection in self.projections:
            by_target.setdefault(projection.target, []).append(projection)
        return {name: tuple(found) for name, found in by_target.items()}

    def incoming(self, population: str) -> tuple[Projection, ...]:
        """Projections into a population, in the order their contributions are added."""
        return self._incoming.get(population, ())

    @property
    def neurons(self) -> tuple[Population, ...]:
        """The spiking populations, in order of execution."""
        return tuple(p for p in self.populations if p.kind == "neuron")

    def share(self, population: str) -> float:
        """Fraction of time steps in which a population runs, all candidates selected equally often: k / N."""
        gate = self.population_by_name[population].gate
        if gate is None:
            return 1.0
        router = next(op for op in self.host_ops if op.name == gate.host_op)
        return int(router.params["selected"]) / router.shape[0]

    @cached_property
    def graph(self) -> nx.MultiDiGraph:
        """networkx view: populations and host ops as nodes, projections, biases and reads as edges."""
        import networkx as nx

        graph = nx.MultiDiGraph()
        if self.diffusion_time is not None:
            graph.add_node(self.diffusion_time, item=None)
        graph.add_nodes_from((item.name, {"item": item}) for item in self._items)
        for projection in self.projections:
            graph.add_edge(projection.source, projection.target, item=projection)
        for bias in self.biases:
            graph.add_edge(bias.host_op, bias.target, item=bias)
        for op in self.host_ops:
            graph.add_edges_from((name, op.name, {"item": op}) for name in op.inputs)
        graph.add_edges_from((p.host_op, p.name, {"item": p}) for p in self.populations if p.host_op)
        graph.add_edges_from((p.gate.host_op, p.name, {"item": p}) for p in self.populations if p.gate)
        return graph

    @property
    def streams_via_host(self) -> bool:
        """Whether analog populations are summed beside the cores."""
        return self.streams == "host"

    @cached_property
    def homes(self) -> dict[str, str]:
        """With ``colocate``: stream to the neurons it lies beside, the first that read it as it is."""
        homes: dict[str, str] = {}
        kinds = self.population_by_name
        for p in self.projections if self.streams == "colocate" else ():
            stream, reader = kinds[p.source], kinds[p.target]
            as_it_is = p.kernel.is_identity and stream.shape == reader.shape
            if stream.kind == "analog" and reader.kind == "neuron" and as_it_is:
                homes.setdefault(stream.name, reader.name)
        return homes

    @cached_property
    def depth(self) -> dict[str, int]:
        """Longest path to each population, in ticks: the tick its first step can run.

        Spikes take a tick, those for a relay as many as it is to wait. A stream takes one to a neuron by way
        of the host, and to all that read it when cores hold it; none to the neurons that it lies beside. What
        a host op works out from spikes is there in the tick after they were fired.
        """
        import networkx as nx

        depth: dict[str, int] = {}
        for name in nx.topological_sort(self.graph):
            before = (depth[p] + self._ticks_between(p, name) for p in self.graph.predecessors(name))
            depth[name] = max(before, default=0)
        return depth

    def _ticks_between(self, before: str, after: str) -> int:
        source, target = self.population_by_name.get(before), self.population_by_name.get(after)
        if source is None or source.kind == "source" or source.host_op is not None:
            return 0
        if source.kind == "neuron":
            return 1 if target is None or target.relay is None else target.relay.layers
        if target is None or self.streams == "traced":
            return 0
        if self.streams == "host":
            return int(target.kind == "neuron")
        return int(self.homes.get(before) != after)

    @cached_property
    def execution_order(self) -> tuple[Population | HostOp, ...]:
        """Populations and host ops, each after all it reads."""
        import networkx as nx

        position = {item.name: i for i, item in enumerate(self._items)}
        order = nx.lexicographical_topological_sort(self.graph, key=lambda name: position.get(name, -1))
        items = (self.graph.nodes[name]["item"] for name in order)
        return tuple(item for item in items if item is not None)

    def __str__(self) -> str:
        from nsim.frontends.network_text import network_table

        return network_table(self)

    def _repr_html_(self) -> str:
        from nsim.frontends.network_text import network_html

        return network_html(self)
