"""What each function and method of a traced model becomes in a Network, and which layer goes where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from nsim.frontends import layers, views
from nsim.frontends.builder import NetworkBuilder, Ref, Sum, Term, Value, unsupported
from nsim.frontends.network import Gate, HostOpKind
from nsim.frontends.torch_fx import owner
from nsim.frontends.views import (
    BATCH_FIRST_AXES,
    BATCH_FIRST_MAP_AXES,
    GATE_AXES,
    IMAGE_AXES,
    LAYER_AXES,
    MAP_AXES,
    STEP_AXES,
)


def _pass_through(low: NetworkBuilder, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    return next(a for a in args if isinstance(a, Value))


def _add(low: NetworkBuilder, node: fx.Node, left: Any, right: Any) -> Value:
    if not (isinstance(left, Value) and isinstance(right, Value)):
        raise unsupported(node, "adding a number")
    if isinstance(left.content, np.ndarray):
        left, right = right, left
    if isinstance(right.content, np.ndarray) and right.content.shape == (1, *left.shape[1:]):
        name = next(str(a.target) for a in node.args if isinstance(a, fx.Node) and a.op == "get_attr")
        right = low.constant(replace(left, content=right.content), name)
    if low.is_host(left) and not low.is_host(right):
        left, right = right, left
    if low.is_host(right) and not low.is_host(left):
        if right.axes not in (((), ("B",), ("C",), (), ()), (("B",), ("C",), (), ())):
            raise unsupported(node, f"adding {right.text} of the host to a current {left.text}")
        content = low.as_sum(left)
        assert isinstance(right.content, Ref)
        return replace(left, content=replace(content, host_biases=(*content.host_biases, right.content.name)))
    left, right = _aligned(low, left, right)
    if left.axes == right.axes == MAP_AXES:
        left, right = _spread(low, left, right), _spread(low, right, left)
    if (left.axes, left.shape) != (right.axes, right.shape):
        raise unsupported(node, f"adding {right.text} to {left.text}")
    if low.is_host(left):
        return replace(left, content=Ref(low.host(node, "add", [left, right])))
    a, b = low.as_sum(left), low.as_sum(right)
    return replace(
        left, content=Sum((*a.terms, *b.terms), (*a.host_biases, *b.host_biases), a.home or b.home)
    )


def _cat(low: NetworkBuilder, node: fx.Node, tensors: Any, dim: int = 0) -> Value:
    if any(low.is_host(v) for v in tensors) or tensors[0].axes[dim] != ("C",):
        raise unsupported(node, "cat that does not join channels of on-chip tensors")
    tensors = _aligned(low, *tensors)
    terms: list[Term] = []
    channel = 0
    for value in tensors:
        content = low.as_sum(value)
        if content.host_biases:
            content = low.as_sum(low.materialised(value))
        terms.extend(replace(term, channel=term.channel + channel) for term in content.terms)
        channel += value.sizes["C"]
    return replace(tensors[0], content=Sum(tuple(terms), (), ""), sizes={**tensors[0].sizes, "C": channel})


def _aligned(low: NetworkBuilder, *values: Value) -> list[Value]:
    """Maps of every step beside maps of an image that does not change, which are the same at every step."""
    if MAP_AXES not in (value.axes for value in values):
        return list(values)
    return [
        replace(v, axes=MAP_AXES, sizes={**v.sizes, "T": low.time_steps}) if v.axes == IMAGE_AXES else v
        for v in values
    ]


def _spread(low: NetworkBuilder, value: Value, other: Value) -> Value:
    """A map of single elements beside one of more: the same value at every position."""
    size = other.sizes["H"]
    single = value.map_shape[1:] == (1, 1) and size > 1
    if not single or other.map_shape[1:] != (size, size) or low.is_host(value):
        return value
    content = low.materialised(value).content
    assert isinstance(content, Ref)
    return replace(value, content=Ref(content.name, size), sizes={**value.sizes, "H": size, "W": size})


def _divide(low: NetworkBuilder, node: fx.Node, left: Any, right: Any) -> Value:
    if not isinstance(left, Value) or not isinstance(right, int | float):
        raise unsupported(node, "dividing by a tensor")
    return _multiply(low, node, left, 1.0 / right)


def _multiply(low: NetworkBuilder, node: fx.Node, left: Any, right: Any) -> Value:
    if not isinstance(left, Value) or isinstance(left.content, np.ndarray):
        left, right = right, left
    if not isinstance(right, Value):
        right = Value(np.asarray(right), (), {})
    if isinstance(right.content, np.ndarray) and right.content.size == 1:
        return _times_number(low, node, left, right.content.item())
    if isinstance(right.content, Gate):
        return _gated(low, node, left, right)
    content = left.content
    of_layer = isinstance(content, Sum) and content.one_layer and not _only_summed(node)
    if isinstance(right.content, np.ndarray) and of_layer:
        assert isinstance(content, Sum)
        return _step_factor(low, node, left, content, right.content)
    if isinstance(right.content, np.ndarray):
        if left.axes != STEP_AXES or right.content.shape != (low.time_steps, 1, 1, 1, 1):
            raise unsupported(node, f"multiplying by a constant of shape {right.content.shape}")
        weights = right.content.reshape(-1).astype(np.float64)
        return replace(left, content=Ref(low.host(node, "scale", [left], params={"per_step": weights})))
    if (left.axes, left.shape) != (right.axes, right.shape):
        raise unsupported(node, f"multiplying {left.text} by {right.text}")
    return replace(left, content=Ref(low.host(node, "multiply", [left, right])))


def _gated(low: NetworkBuilder, node: fx.Node, value: Value, gate: Value) -> Value:
    """A layer's sum times a weight per time step and image: there where the weight is not 0."""
    content = value.content
    if value.axes != STEP_AXES or gate.axes != GATE_AXES or not isinstance(content, Sum):
        raise unsupported(node, f"multiplying {value.text} by the gate {gate.text}")
    assert isinstance(gate.content, Gate)
    home = owner(node) or content.home
    return low.materialised(replace(value, content=replace(content, home=home)), gate.content)


def _times_number(low: NetworkBuilder, node: fx.Node, value: Value, number: float) -> Value:
    """On the cores a number scales what is added up; the image, and what the host holds, the host scales."""
    if isinstance(value.content, Ref) and low.kinds[value.content.name] not in ("neuron", "analog"):
        channels = value.sizes["C"]
        params = {"scale": np.full(channels, number), "bias": np.zeros(channels)}
        return replace(value, content=Ref(low.host(node, "affine", [value], params=params)))
    content = low.as_sum(value)
    if content.host_biases:
        content = low.as_sum(low.materialised(value))
    terms = tuple(
        replace(
            term,
            scale=np.full(term.kernel.c_out, number) if term.scale is None else number * term.scale,
            bias=None if term.bias is None else number * term.bias,
        )
        for term in content.terms
    )
    return replace(value, content=replace(content, terms=terms))


def _only_summed(node: fx.Node) -> bool:
    """True for a product that is only added up over time: a read-out's weights, which the host applies."""
    return all(getattr(user.target, "__name__", user.target) in ("sum", "mean") for user in node.users)


def _step_factor(low: NetworkBuilder, node: fx.Node, value: Value, content: Sum, factor: np.ndarray) -> Value:
    """One factor per time step on all that a layer adds up: temporal-wise spiking (SDM)."""
    if value.axes != STEP_AXES or factor.shape != (low.time_steps, 1, 1, 1, 1):
        raise unsupported(node, f"multiplying {value.text} by a constant of shape {factor.shape}")
    p = factor.reshape(-1).astype(np.float64)
    terms = [
        replace(
            term,
            step_factor=p if term.step_factor is None else p * term.step_factor,
            bias=None if term.bias is None else p[:, None] * term.bias,
        )
        for term in content.terms
    ]
    return replace(value, content=replace(content, terms=tuple(terms)))


def _elementwise(kind: HostOpKind) -> Callable[..., Value]:
    """A handler for a function of one tensor, element by element."""
    return lambda low, node, value: replace(value, content=Ref(low.host(node, kind, [value])))


def _over_time(kind: HostOpKind, word: str) -> Callable[..., Value]:
    """A handler for what adds up time steps."""

    def handler(low: NetworkBuilder, node: fx.Node, value: Value, dim: int) -> Value:
        if value.axes[dim] != ("T",):
            raise unsupported(node, f"{word} of {value.text} over dimension {dim}, not time,")
        axes = value.axes[:dim] + value.axes[dim + 1 :]
        return Value(Ref(low.host(node, kind, [value])), axes, value.sizes)

    return handler


def _sum_steps(low: NetworkBuilder, node: fx.Node, value: Value) -> Value:
    """A tensor of every step added up over the steps, by the model's own loop."""
    if value.axes != MAP_AXES:
        raise unsupported(node, f"adding {value.text} up over time steps")
    return replace(value, content=Ref(low.host(node, "sum_over_time", [value])), axes=IMAGE_AXES)


def _stack_steps(low: NetworkBuilder, node: fx.Node, value: Value, dim: int) -> Value:
    """A tensor of every step, the steps along an axis of their own."""
    axes = {0: STEP_AXES, 1: BATCH_FIRST_AXES}.get(dim)
    if value.axes not in (MAP_AXES, IMAGE_AXES) or axes is None:
        raise unsupported(node, f"stack of {value.text} along dimension {dim}")
    return replace(value, axes=axes) if value.axes == MAP_AXES else _repeated(low, node, value, axes)


def _stack(low: NetworkBuilder, node: fx.Node, tensors: Any, dim: int = 0) -> Value:
    """The same image for every time step."""
    if len(tensors) != low.time_steps or any(v is not tensors[0] for v in tensors):
        raise unsupported(node, "stack of other than one image for every time step")
    return _stack_steps(low, node, tensors[0], dim)


def _each_step(low: NetworkBuilder, node: fx.Node, value: Value) -> Value:
    """What each step of [T, B, C, H, W] sees."""
    if value.axes != STEP_AXES:
        raise unsupported(node, f"indexing {value.text} by the time step")
    return replace(value, axes=MAP_AXES)


def _interpolate(low: NetworkBuilder, node: fx.Node, value: Value, **options: Any) -> Value:
    factor = options.get("scale_factor")
    if (
        options.get("mode", "nearest") != "nearest"
        or factor != int(factor or 0)
        or value.axes not in LAYER_AXES
    ):
        raise unsupported(node, f"interpolate with {options}, not nearest by a whole factor,")
    content = low.materialised(value).content
    assert isinstance(content, Ref)
    factor = int(factor)
    sizes = {**value.sizes, "H": value.sizes["H"] * factor, "W": value.sizes["W"] * factor}
    return Value(Ref(content.name, content.upsample * factor), value.axes, sizes)


def _view(change: Callable[..., views.Axes | None]) -> Callable[..., Value]:
    """A handler for an operation that only regroups axes."""

    def handler(low: NetworkBuilder, node: fx.Node, value: Value, *args: Any) -> Value:
        axes = change(value, *args)
        if axes is None:
            raise unsupported(node, f"{node.target} of {value.text} with {args} cuts an axis")
        return replace(value, axes=axes)

    return handler


def _expand(low: NetworkBuilder, node: fx.Node, value: Value, *shape: int) -> Value:
    """The same image at every time step: a new leading axis becomes T. The diffusion time: a plane of it."""
    if value.axes == (("B",), (), (), ()) and low.is_host(value) and shape[1] == 1:
        sizes = {"B": value.sizes["B"], "C": 1, "H": shape[2], "W": shape[3]}
        plane = Value(Ref(low.host(node, "plane", [value], (1, *shape[2:]))), IMAGE_AXES, sizes)
        return replace(plane, content=Ref(low.source(plane, node)))
    axes = {0: STEP_AXES, 1: BATCH_FIRST_AXES}.get(value.axes.index(()) if () in value.axes else 2)
    if axes is None or tuple(filter(None, value.axes)) != IMAGE_AXES or low.time_steps not in shape[:2]:
        raise unsupported(node, f"expand of {value.text} to {shape}")
    return _repeated(low, node, value, axes)


def _repeat(low: NetworkBuilder, node: fx.Node, value: Value, *times: int) -> Value:
    """``x.repeat(T, 1, 1, 1)``: the same image at every time step, steps before images."""
    times = _sequence(times)
    if value.axes == (("B",), ("C",), (), ()):  # features, as a map of single elements
        value = replace(value, axes=IMAGE_AXES, sizes={**value.sizes, "H": 1, "W": 1})
    if value.axes != IMAGE_AXES or times != (low.time_steps, 1, 1, 1):
        return _expand(low, node, value, *times)
    return _repeated(low, node, value, MAP_AXES)


def _repeat_interleave(low: NetworkBuilder, node: fx.Node, value: Value, times: int, dim: int = 0) -> Value:
    """``x.repeat_interleave(T, 0)``: the same image at every time step, images before steps."""
    if value.axes != IMAGE_AXES or times != low.time_steps or dim != 0:
        raise unsupported(node, f"repeat_interleave of {value.text} by {times} along dimension {dim}")
    return _repeated(low, node, value, BATCH_FIRST_MAP_AXES)


def _repeated(low: NetworkBuilder, node: fx.Node, value: Value, axes: views.Axes) -> Value:
    """An image at every time step: what the host works out becomes a source of its own."""
    content = Ref(low.source(value, node)) if low.is_host(value) else value.content
    return Value(content, axes, {**value.sizes, "T": low.time_steps})


def _getitem(low: NetworkBuilder, node: fx.Node, value: Value, index: Any) -> Value:
    """Indexing that only adds dimensions: None and full slices; or one gate of a router's weights."""
    index = index if isinstance(index, tuple) else (index,)
    if low.is_host(value) and value.axes == (("T",), ("B",), ("C",)) and isinstance(index[-1], int):
        assert isinstance(value.content, Ref)
        value = replace(value, content=Gate(value.content.name, index[-1]), axes=value.axes[:2])
        index = index[:-1]
    if any(i is not None and i != slice(None) for i in index):
        raise unsupported(node, f"indexing with {index}")
    if isinstance(value.content, np.ndarray):
        return replace(value, content=value.content[index], axes=())
    axes = list(value.axes)
    grouped = tuple(() if i is None else axes.pop(0) for i in index)
    return replace(value, axes=(*grouped, *axes))


def _getattr(low: NetworkBuilder, node: fx.Node, value: Value, name: str) -> Any:
    if name == "dtype":
        return None  # one arithmetic for everything: the engine's
    if name != "shape":
        raise unsupported(node, f"attribute {name!r}")
    return value.shape


def _sequence(args: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else args


MODULES: dict[str, Callable[..., Value]] = {
    "Conv2d": layers.convolution,
    "Conv3d": layers.convolution,
    "ConvTranspose2d": layers.convolution,
    "BatchNorm2d": layers.batch_norm,
    "Linear": layers.linear,
    "Embedding": layers.embedding,
    "LayerNorm": layers.layer_norm,
    "GroupNorm": layers.group_norm,
    "SpikingAttention": layers.attention,
    "LateralRouter": layers.router,
    "NearestCode": layers.nearest_code,
    "CodeVectors": layers.code_vectors,
    "Tanh": lambda low, node, module, value: _elementwise("tanh")(low, node, value),
    "Swish": layers.swish,
    "SiLU": layers.swish,
    "Identity": lambda low, node, module, value: value,
    "Dropout": lambda low, node, module, value: value,
    "Dropout2d": lambda low, node, module, value: value,
    "Upsample": lambda low, node, module, value: _interpolate(
        low, node, value, scale_factor=module.scale_factor, mode=module.mode
    ),
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "cat": _cat,
    "mul": _multiply,
    "truediv": _divide,
    "div": _divide,
    "sigmoid": _elementwise("sigmoid"),
    "tanh": _elementwise("tanh"),
    "silu": lambda low, node, value, inplace=False: _elementwise("swish")(low, node, value),
    "sum": _over_time("sum_over_time", "sum"),
    "mean": _over_time("mean_over_time", "mean"),
    "sum_steps": _sum_steps,
    "stack_steps": _stack_steps,
    "each_step": _each_step,
    "stack": _stack,
    "interpolate": _interpolate,
    "getattr": _getattr,
    "getitem": _getitem,
    "expand": _expand,
    "repeat": _repeat,
    "repeat_interleave": _repeat_interleave,
    "contiguous": _pass_through,
    "to": _pass_through,
    "float": _pass_through,
    "flatten": _view(lambda v, start=0, end=-1: views.flatten(v.axes, start, end)),
    "permute": _view(lambda v, *order: views.permute(v.axes, _sequence(order))),
    "unsqueeze": _view(lambda v, dim: (*v.axes[:dim], (), *v.axes[dim:])),
    "reshape": _view(lambda v, *shape: views.reshape(v.axes, v.sizes, _sequence(shape))),
    "view": _view(lambda v, *shape: views.reshape(v.axes, v.sizes, _sequence(shape))),
    "unflatten": _view(lambda v, dim, shape: views.unflatten(v.axes, v.sizes, dim, shape)),
    "size": lambda low, node, value, dim=None: value.shape if dim is None else value.shape[dim],
}


ARITHMETIC = frozenset({"add", "sub", "mul", "truediv", "neg", "pow"})
"""Functions that are simply worked out when all they get is numbers and constant tensors."""
