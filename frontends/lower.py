"""Lower a traced fx graph into a Network: nothing dropped, nothing guessed.

The graph is walked once. Every tensor becomes a `Value`: its axes, and its content, which is a reference
to something already in the network, or a sum of linear terms that is not a population yet. A neuron turns
the sum it receives into a population with projections; a sum that is used twice, or read by something
that is not linear, becomes an analog population of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from nsim.errors import UnsupportedOpError
from nsim.frontends import views
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import (
    HostBias,
    HostOp,
    HostOpKind,
    Network,
    Population,
    PopulationKind,
    Projection,
)
from nsim.frontends.neurons import is_neuron, read_neuron
from nsim.frontends.torch_fx import owner, trace

BATCH = 3
"""Stand-in batch size for working out shapes; any number would do."""
MAP_AXES = (("T", "B"), ("C",), ("H",), ("W",))
STEP_AXES = (("T",), ("B",), ("C",), ("H",), ("W",))
IMAGE_AXES = (("B",), ("C",), ("H",), ("W",))


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


@dataclass(frozen=True, eq=False)
class Sum:
    """Linear terms and host biases that add up to one tensor; ``home`` is the module path it belongs to."""

    terms: tuple[Term, ...]
    host_biases: tuple[str, ...]
    home: str


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the traced model."""

    content: Ref | Sum | np.ndarray
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


def lower(module: nn.Module, image_shape: tuple[int, int, int], time_steps: int, name: str) -> Network:
    """Trace and lower a denoiser ``module(x [B, C, H, W], t [B]) -> eps [B, C, H, W]``.

    Raises UnsupportedOpError naming the operation and its module path when something has no place in a
    Network.
    """
    return _Lowering(trace(module.eval()), image_shape, time_steps, name).network()


class _Lowering:
    """The walk over one graph; `lower` is its only user."""

    def __init__(
        self, traced: fx.GraphModule, image_shape: tuple[int, int, int], time_steps: int, name: str
    ) -> None:
        self.traced = traced
        self.modules = dict(traced.named_modules())
        self.name = name
        self.time_steps = time_steps
        self.image_shape = image_shape
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.biases: list[HostBias] = []
        self.host_ops: list[HostOp] = []
        self.kinds: dict[str, str] = {}
        self.values: dict[fx.Node, Any] = {}

    def network(self) -> Network:
        inputs = [node for node in self.traced.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 2:
            raise UnsupportedOpError(
                f"{self.name}: a denoiser takes the image and the diffusion time, this model takes "
                f"{', '.join(node.name for node in inputs) or 'nothing'}"
            )
        output = ""
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._input(node, node is inputs[0])
            elif node.op == "output":
                output = self._output(node.args[0])
            else:
                self.values[node] = self._settled(node, self._visit(node))
        return Network(
            name=self.name,
            time_steps=self.time_steps,
            image=inputs[0].name,
            diffusion_time=inputs[1].name,
            output=output,
            populations=tuple(self.populations),
            projections=tuple(self.projections),
            biases=tuple(self.biases),
            host_ops=tuple(self.host_ops),
        )

    # ---- what a node is -------------------------------------------------------------------------

    def _input(self, node: fx.Node, is_image: bool) -> Value:
        if not is_image:
            self.kinds[node.name] = "time"
            return Value(Ref(node.name), (("B",),), {"B": BATCH})
        self.populations.append(Population(node.name, "source", self.image_shape))
        self.kinds[node.name] = "source"
        c, h, w = self.image_shape
        return Value(Ref(node.name), IMAGE_AXES, {"B": BATCH, "C": c, "H": h, "W": w})

    def _output(self, returned: Any) -> str:
        value = self.values[returned] if isinstance(returned, fx.Node) else None
        if not isinstance(value, Value) or value.axes != IMAGE_AXES:
            found = value.text if isinstance(value, Value) else f"a {type(returned).__name__}"
            raise UnsupportedOpError(f"{self.name}: a denoiser returns one tensor [B, C, H, W], not {found}")
        return self._host_input(value, returned)

    def _visit(self, node: fx.Node) -> Any:
        args: Any = fx.node.map_arg(node.args, lambda n: self.values[n])
        kwargs: Any = fx.node.map_arg(node.kwargs, lambda n: self.values[n])
        if node.op == "get_attr":
            return _attribute(self.traced, str(node.target))
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if is_neuron(module):
                return self._neuron(node, module, args[0])
            handler = MODULES.get(type(module).__name__)
            if handler is None:
                raise self._unsupported(node, f"module {type(module).__name__}")
            return handler(self, node, module, *args, **kwargs)
        target = node.target if node.op == "call_method" else getattr(node.target, "__name__", node.target)
        if not any(isinstance(a, Value) for a in _flat(args)):
            return node.target(*args, **kwargs)  # type: ignore[operator]
        handler = FUNCTIONS.get(str(target))
        if handler is None:
            raise self._unsupported(node, f"operation {target!r}")
        return handler(self, node, *args, **kwargs)

    def _settled(self, node: fx.Node, value: Any) -> Any:
        """A sum that several nodes read becomes an analog population, once."""
        if not (isinstance(value, Value) and isinstance(value.content, Sum)):
            return value
        readers = [user for user in node.users if not _reads_only_shape(user)]
        if not readers:
            return value
        home = owner(node) or value.content.home or _path(_parent(readers[0]), "input")
        value = replace(value, content=replace(value.content, home=home))
        return self._materialised(value) if len(readers) > 1 else value

    def _unsupported(self, node: fx.Node, what: str) -> UnsupportedOpError:
        path = str(node.target) if node.op == "call_module" else owner(node) or "the model's forward"
        return UnsupportedOpError(
            f"{path}: {what} (graph node {node.name!r}) has no place in a Network; "
            "write it with convolution, dense, BatchNorm, add, cat, nearest up-sampling and IF/LIF neurons, "
            "or move it to the time embedding or the tail"
        )

    # ---- building the network -------------------------------------------------------------------

    def _unique(self, name: str) -> str:
        names = (name, name + ".sum", *(f"{name}.sum{i}" for i in range(2, 1000)))
        return next(n for n in names if n not in self.kinds)

    def _connect(self, value: Value, target: str) -> None:
        content = self._as_sum(value)
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
                )
            )
        self.biases.extend(HostBias(op, target) for op in content.host_biases)

    def _add_population(self, value: Value, name: str, kind: PopulationKind, neuron: Any = None) -> None:
        self.kinds[name] = kind
        self.populations.append(Population(name, kind, value.map_shape, neuron))
        self._connect(value, name)

    def _materialised(self, value: Value) -> Value:
        if not isinstance(value.content, Sum):
            return value
        name = self._unique(value.content.home)
        self._add_population(value, name, "analog")
        return replace(value, content=Ref(name))

    def _neuron(self, node: fx.Node, module: nn.Module, value: Value) -> Value:
        if value.axes != STEP_AXES:
            raise UnsupportedOpError(f"{node.target}: a neuron takes [T, B, C, H, W], not {value.text}")
        name = str(node.target)
        if name in self.kinds:
            raise UnsupportedOpError(
                f"{name}: the same neuron module is called twice in one forward; give each place its own"
            )
        self._add_population(value, name, "neuron", read_neuron(module, name))
        return replace(value, content=Ref(name))

    def _host(
        self,
        node: fx.Node,
        kind: HostOpKind,
        inputs: list[Value],
        shape: tuple[int, ...] | None = None,
        params: dict[str, np.ndarray] | None = None,
        kernel: Kernel | None = None,
    ) -> str:
        """Add a host op and return its name."""
        path = str(node.target) if node.op == "call_module" else _path(owner(node), node.name)
        names = (path, *(f"{path}@{call}" for call in range(1, 1000)))
        name = next(n for n in names if n not in self.kinds)
        in_shape = _feature_shape(inputs[0])
        self.kinds[name] = "host"
        self.host_ops.append(
            HostOp(
                name=name,
                kind=kind,
                inputs=tuple(self._host_input(v, node) for v in inputs),
                in_shape=in_shape,
                shape=in_shape if shape is None else shape,
                every_step=any("T" in group for v in inputs for group in v.axes),
                params=params or {},
                kernel=kernel,
            )
        )
        return name

    def _host_input(self, value: Value, node: fx.Node) -> str:
        """Name of a value that a host op can read; an affine map of one population is a host op too."""
        content = value.content
        if isinstance(content, Sum):
            only = content.terms[0] if len(content.terms) == 1 and not content.host_biases else None
            if only is None or only.scale is None or not only.kernel.is_identity or only.kernel.upsample > 1:
                content = self._materialised(value).content
            else:
                name = self._unique(only.name)
                self.kinds[name] = "host"
                shape = value.map_shape
                params = {"scale": only.scale, "bias": np.asarray(only.bias)}
                self.host_ops.append(HostOp(name, "affine", (only.source,), shape, shape, True, params))
                return name
        if not isinstance(content, Ref) or content.upsample != 1:
            raise self._unsupported(node, "an up-sampled or constant tensor read outside a convolution")
        return content.name

    def _as_sum(self, value: Value) -> Sum:
        content = value.content
        if isinstance(content, Sum):
            return content
        if not isinstance(content, Ref) or self.kinds[content.name] in ("host", "time"):
            what = f"{content.name}: {value.text} of the host" if isinstance(content, Ref) else "a constant"
            raise UnsupportedOpError(
                f"{what} cannot be the input of on-chip populations; of what the host computes only a "
                "current per channel [B, C], added to a convolution's output, can"
            )
        kernel = Kernel(channels=value.sizes["C"], upsample=content.upsample)
        return Sum((Term("", content.name, kernel),), (), "")

    def is_host(self, value: Value) -> bool:
        """True when a value lives on the host."""
        return isinstance(value.content, Ref) and self.kinds[value.content.name] in ("host", "time")


# ---- layers -------------------------------------------------------------------------------------


def _convolution(low: _Lowering, node: fx.Node, conv: Any, value: Value) -> Value:
    """Conv2d on [T*B, C, H, W], or the Conv3d over (H, W, T) whose kernel is 1 along T."""
    weight = _array(conv.weight)
    stride, padding, dilation = conv.stride, conv.padding, conv.dilation
    if isinstance(conv, nn.Conv3d):
        one_along_time = weight.shape[-1] == 1 and stride[-1] == 1 and padding[-1] == 0
        if value.axes != (("B",), ("C",), ("H",), ("W",), ("T",)) or not one_along_time:
            raise low._unsupported(node, "Conv3d that is not a per-step 2-D convolution over (H, W, T)")
        weight, stride, padding, dilation = weight[..., 0], stride[:-1], padding[:-1], dilation[:-1]
    elif value.axes not in (MAP_AXES, IMAGE_AXES):
        raise low._unsupported(node, f"Conv2d on {value.text}")
    if isinstance(padding, str) or conv.padding_mode != "zeros":
        raise low._unsupported(node, f"padding {conv.padding!r} ({conv.padding_mode})")
    content = low._materialised(value).content
    assert isinstance(content, Ref)
    kernel = Kernel(
        channels=weight.shape[0],
        weight=weight,
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=conv.groups,
        upsample=content.upsample,
    )
    source = (value.sizes["H"] // content.upsample, value.sizes["W"] // content.upsample)
    height, width = kernel.out_size(*source)
    sizes = {**value.sizes, "C": kernel.c_out, "H": height, "W": width}
    bias = None if conv.bias is None else _array(conv.bias).astype(np.float64)
    if low.is_host(value):
        params = {} if bias is None else {"bias": bias}
        name = low._host(node, "conv", [value], (kernel.c_out, height, width), params, kernel)
        return Value(Ref(name), value.axes, sizes)
    term = Term(str(node.target), content.name, kernel, bias=bias)
    return Value(Sum((term,), (), str(node.target)), value.axes, sizes)


def _batch_norm(low: _Lowering, node: fx.Node, norm: Any, value: Value) -> Value:
    """Inference-time BatchNorm as a per-channel scale and shift."""
    if norm.running_mean is None:
        raise low._unsupported(node, "BatchNorm without running statistics")
    scale = 1.0 / np.sqrt(_array(norm.running_var).astype(np.float64) + norm.eps)
    if norm.weight is not None:
        scale = scale * _array(norm.weight)
    shift = -_array(norm.running_mean).astype(np.float64) * scale
    if norm.bias is not None:
        shift = shift + _array(norm.bias)
    if low.is_host(value):
        name = low._host(node, "affine", [value], params={"scale": scale, "bias": shift})
        return replace(value, content=Ref(name))
    content = value.content
    if isinstance(content, Sum) and (len(content.terms) > 1 or content.host_biases):
        content = low._materialised(value).content
    term = low._as_sum(replace(value, content=content)).terms[0]
    term = replace(
        term,
        name=term.name or str(node.target),
        scale=scale if term.scale is None else scale * term.scale,
        bias=shift if term.bias is None else scale * term.bias + shift,
    )
    return replace(value, content=Sum((term,), (), str(node.target)))


def _linear(low: _Lowering, node: fx.Node, linear: Any, value: Value) -> Value:
    if not low.is_host(value) or value.axes[0] != ("B",) or len(value.axes) != 2:
        raise low._unsupported(node, f"Linear on {value.text} outside the time embedding")
    params = {"weight": _array(linear.weight)}
    if linear.bias is not None:
        params["bias"] = _array(linear.bias)
    name = low._host(node, "linear", [value], (linear.out_features,), params)
    return Value(Ref(name), value.axes, {**value.sizes, "C": linear.out_features})


def _embedding(low: _Lowering, node: fx.Node, table: Any, value: Value) -> Value:
    features = table.embedding_dim
    name = low._host(node, "embedding", [value], (features,), {"table": _array(table.weight)})
    return Value(Ref(name), (("B",), ("C",)), {**value.sizes, "C": features})


def _swish(low: _Lowering, node: fx.Node, module: Any, value: Value) -> Value:
    return replace(value, content=Ref(low._host(node, "swish", [value])))


def _pass_through(low: _Lowering, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    return next(a for a in args if isinstance(a, Value))


# ---- functions and methods ----------------------------------------------------------------------


def _add(low: _Lowering, node: fx.Node, left: Any, right: Any) -> Value:
    if not (isinstance(left, Value) and isinstance(right, Value)):
        raise low._unsupported(node, "adding a number")
    if low.is_host(left) and not low.is_host(right):
        left, right = right, left
    if low.is_host(right) and not low.is_host(left):
        if right.axes not in (((), ("B",), ("C",), (), ()), (("B",), ("C",), (), ())):
            raise low._unsupported(node, f"adding {right.text} of the host to a current {left.text}")
        content = low._as_sum(left)
        assert isinstance(right.content, Ref)
        return replace(left, content=replace(content, host_biases=(*content.host_biases, right.content.name)))
    if (left.axes, left.shape) != (right.axes, right.shape):
        raise low._unsupported(node, f"adding {right.text} to {left.text}")
    if low.is_host(left):
        return replace(left, content=Ref(low._host(node, "add", [left, right])))
    a, b = low._as_sum(left), low._as_sum(right)
    return replace(
        left, content=Sum((*a.terms, *b.terms), (*a.host_biases, *b.host_biases), a.home or b.home)
    )


def _cat(low: _Lowering, node: fx.Node, tensors: Any, dim: int = 0) -> Value:
    if any(low.is_host(v) for v in tensors) or tensors[0].axes[dim] != ("C",):
        raise low._unsupported(node, "cat that does not join channels of on-chip tensors")
    terms: list[Term] = []
    channel = 0
    for value in tensors:
        content = low._as_sum(value)
        if content.host_biases:
            content = low._as_sum(low._materialised(value))
        terms.extend(replace(term, channel=term.channel + channel) for term in content.terms)
        channel += value.sizes["C"]
    return replace(tensors[0], content=Sum(tuple(terms), (), ""), sizes={**tensors[0].sizes, "C": channel})


def _multiply(low: _Lowering, node: fx.Node, left: Any, right: Any) -> Value:
    if isinstance(left, Value) and isinstance(left.content, np.ndarray):
        left, right = right, left
    if not isinstance(left, Value) or not isinstance(right, Value):
        raise low._unsupported(node, "multiplying by a number")
    if isinstance(right.content, np.ndarray):
        if left.axes != STEP_AXES or right.content.shape != (low.time_steps, 1, 1, 1, 1):
            raise low._unsupported(node, f"multiplying by a constant of shape {right.content.shape}")
        weights = right.content.reshape(-1).astype(np.float64)
        return replace(left, content=Ref(low._host(node, "scale", [left], params={"per_step": weights})))
    if (left.axes, left.shape) != (right.axes, right.shape):
        raise low._unsupported(node, f"multiplying {left.text} by {right.text}")
    return replace(left, content=Ref(low._host(node, "multiply", [left, right])))


def _sigmoid(low: _Lowering, node: fx.Node, value: Value) -> Value:
    return replace(value, content=Ref(low._host(node, "sigmoid", [value])))


def _sum(low: _Lowering, node: fx.Node, value: Value, dim: int) -> Value:
    if value.axes[dim] != ("T",):
        raise low._unsupported(node, f"sum of {value.text} over dimension {dim}, not time,")
    axes = value.axes[:dim] + value.axes[dim + 1 :]
    return Value(Ref(low._host(node, "sum_over_time", [value])), axes, value.sizes)


def _interpolate(low: _Lowering, node: fx.Node, value: Value, **options: Any) -> Value:
    factor = options.get("scale_factor")
    if (
        options.get("mode", "nearest") != "nearest"
        or factor != int(factor or 0)
        or value.axes not in (MAP_AXES, IMAGE_AXES)
    ):
        raise low._unsupported(node, f"interpolate with {options}, not nearest by a whole factor,")
    content = low._materialised(value).content
    assert isinstance(content, Ref)
    factor = int(factor)
    sizes = {**value.sizes, "H": value.sizes["H"] * factor, "W": value.sizes["W"] * factor}
    return Value(Ref(content.name, content.upsample * factor), value.axes, sizes)


def _view(change: Callable[..., views.Axes | None]) -> Callable[..., Value]:
    """A handler for an operation that only regroups axes."""

    def handler(low: _Lowering, node: fx.Node, value: Value, *args: Any) -> Value:
        axes = change(value, *args)
        if axes is None:
            raise low._unsupported(node, f"{node.target} of {value.text} with {args} cuts an axis")
        return replace(value, axes=axes)

    return handler


def _expand(low: _Lowering, node: fx.Node, value: Value, *shape: int) -> Value:
    """The same image at every time step: a new leading axis becomes T."""
    if value.axes != ((), *IMAGE_AXES) or shape[0] != low.time_steps:
        raise low._unsupported(node, f"expand of {value.text} to {shape}")
    return Value(value.content, STEP_AXES, {**value.sizes, "T": low.time_steps})


def _getitem(low: _Lowering, node: fx.Node, value: Value, index: Any) -> Value:
    """Indexing that only adds dimensions: None and full slices."""
    index = index if isinstance(index, tuple) else (index,)
    if any(i is not None and i != slice(None) for i in index):
        raise low._unsupported(node, f"indexing with {index}")
    if isinstance(value.content, np.ndarray):
        return replace(value, content=value.content[index], axes=())
    axes = list(value.axes)
    grouped = tuple(() if i is None else axes.pop(0) for i in index)
    return replace(value, axes=(*grouped, *axes))


def _getattr(low: _Lowering, node: fx.Node, value: Value, name: str) -> Any:
    if name != "shape":
        raise low._unsupported(node, f"attribute {name!r}")
    return value.shape


def _sequence(args: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else args


MODULES: dict[str, Callable[..., Value]] = {
    "Conv2d": _convolution,
    "Conv3d": _convolution,
    "BatchNorm2d": _batch_norm,
    "Linear": _linear,
    "Embedding": _embedding,
    "Swish": _swish,
    "SiLU": _swish,
    "Identity": lambda low, node, module, value: value,
    "Dropout": lambda low, node, module, value: value,
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "cat": _cat,
    "mul": _multiply,
    "sigmoid": _sigmoid,
    "sum": _sum,
    "interpolate": _interpolate,
    "getattr": _getattr,
    "getitem": _getitem,
    "expand": _expand,
    "contiguous": _pass_through,
    "flatten": _view(lambda v, start=0, end=-1: views.flatten(v.axes, start, end)),
    "permute": _view(lambda v, *order: views.permute(v.axes, _sequence(order))),
    "unsqueeze": _view(lambda v, dim: (*v.axes[:dim], (), *v.axes[dim:])),
    "reshape": _view(lambda v, *shape: views.reshape(v.axes, v.sizes, _sequence(shape))),
    "view": _view(lambda v, *shape: views.reshape(v.axes, v.sizes, _sequence(shape))),
    "unflatten": _view(lambda v, dim, shape: views.unflatten(v.axes, v.sizes, dim, shape)),
    "size": lambda low, node, value, dim=None: value.shape if dim is None else value.shape[dim],
}


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _attribute(root: nn.Module, target: str) -> Value:
    found: Any = root
    for part in target.split("."):
        found = getattr(found, part)
    return Value(_array(found), (), {})


def _feature_shape(value: Value) -> tuple[int, ...]:
    return tuple(value.sizes[label] for label in ("C", "H", "W") if label in value.sizes)


def _flat(args: Any) -> list[Any]:
    return [x for a in args for x in (_flat(a) if isinstance(a, tuple | list) else [a])]


def _parent(node: fx.Node) -> str:
    path = owner(node)
    return path.rpartition(".")[0] if node.op == "call_module" else path


def _path(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _reads_only_shape(node: fx.Node) -> bool:
    return node.target in (getattr, "size", "dim")
