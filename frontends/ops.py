"""What each layer, function and method of a traced model becomes in a Network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from nsim.frontends import views
from nsim.frontends.builder import NetworkBuilder, Ref, Sum, Term, Value, unsupported
from nsim.frontends.kernel import Kernel

MAP_AXES = (("T", "B"), ("C",), ("H",), ("W",))
STEP_AXES = (("T",), ("B",), ("C",), ("H",), ("W",))
IMAGE_AXES = (("B",), ("C",), ("H",), ("W",))


def _convolution(low: NetworkBuilder, node: fx.Node, conv: Any, value: Value) -> Value:
    """Conv2d on [T*B, C, H, W], or the Conv3d over (H, W, T) whose kernel is 1 along T."""
    weight = as_array(conv.weight)
    stride, padding, dilation = conv.stride, conv.padding, conv.dilation
    if isinstance(conv, nn.Conv3d):
        one_along_time = weight.shape[-1] == 1 and stride[-1] == 1 and padding[-1] == 0
        if value.axes != (("B",), ("C",), ("H",), ("W",), ("T",)) or not one_along_time:
            raise unsupported(node, "Conv3d that is not a per-step 2-D convolution over (H, W, T)")
        weight, stride, padding, dilation = weight[..., 0], stride[:-1], padding[:-1], dilation[:-1]
    elif value.axes not in (MAP_AXES, IMAGE_AXES):
        raise unsupported(node, f"Conv2d on {value.text}")
    if isinstance(padding, str) or conv.padding_mode != "zeros":
        raise unsupported(node, f"padding {conv.padding!r} ({conv.padding_mode})")
    content = low.materialised(value).content
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
    bias = None if conv.bias is None else as_array(conv.bias).astype(np.float64)
    if low.is_host(value):
        params = {} if bias is None else {"bias": bias}
        name = low.host(node, "conv", [value], (kernel.c_out, height, width), params, kernel)
        return Value(Ref(name), value.axes, sizes)
    term = Term(str(node.target), content.name, kernel, bias=bias)
    return Value(Sum((term,), (), str(node.target)), value.axes, sizes)


def _batch_norm(low: NetworkBuilder, node: fx.Node, norm: Any, value: Value) -> Value:
    """Inference-time BatchNorm as a per-channel scale and shift."""
    if norm.running_mean is None:
        raise unsupported(node, "BatchNorm without running statistics")
    scale = 1.0 / np.sqrt(as_array(norm.running_var).astype(np.float64) + norm.eps)
    if norm.weight is not None:
        scale = scale * as_array(norm.weight)
    shift = -as_array(norm.running_mean).astype(np.float64) * scale
    if norm.bias is not None:
        shift = shift + as_array(norm.bias)
    if low.is_host(value):
        name = low.host(node, "affine", [value], params={"scale": scale, "bias": shift})
        return replace(value, content=Ref(name))
    content = value.content
    if isinstance(content, Sum) and (len(content.terms) > 1 or content.host_biases):
        content = low.materialised(value).content
    term = low.as_sum(replace(value, content=content)).terms[0]
    term = replace(
        term,
        name=term.name or str(node.target),
        scale=scale if term.scale is None else scale * term.scale,
        bias=shift if term.bias is None else scale * term.bias + shift,
    )
    return replace(value, content=Sum((term,), (), str(node.target)))


def _linear(low: NetworkBuilder, node: fx.Node, linear: Any, value: Value) -> Value:
    if not low.is_host(value) or value.axes[0] != ("B",) or len(value.axes) != 2:
        raise unsupported(node, f"Linear on {value.text} outside the time embedding")
    params = {"weight": as_array(linear.weight)}
    if linear.bias is not None:
        params["bias"] = as_array(linear.bias)
    name = low.host(node, "linear", [value], (linear.out_features,), params)
    return Value(Ref(name), value.axes, {**value.sizes, "C": linear.out_features})


def _embedding(low: NetworkBuilder, node: fx.Node, table: Any, value: Value) -> Value:
    features = table.embedding_dim
    name = low.host(node, "embedding", [value], (features,), {"table": as_array(table.weight)})
    return Value(Ref(name), (("B",), ("C",)), {**value.sizes, "C": features})


def _swish(low: NetworkBuilder, node: fx.Node, module: Any, value: Value) -> Value:
    return replace(value, content=Ref(low.host(node, "swish", [value])))


def _pass_through(low: NetworkBuilder, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    return next(a for a in args if isinstance(a, Value))


# ---- functions and methods ----------------------------------------------------------------------


def _add(low: NetworkBuilder, node: fx.Node, left: Any, right: Any) -> Value:
    if not (isinstance(left, Value) and isinstance(right, Value)):
        raise unsupported(node, "adding a number")
    if low.is_host(left) and not low.is_host(right):
        left, right = right, left
    if low.is_host(right) and not low.is_host(left):
        if right.axes not in (((), ("B",), ("C",), (), ()), (("B",), ("C",), (), ())):
            raise unsupported(node, f"adding {right.text} of the host to a current {left.text}")
        content = low.as_sum(left)
        assert isinstance(right.content, Ref)
        return replace(left, content=replace(content, host_biases=(*content.host_biases, right.content.name)))
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
    terms: list[Term] = []
    channel = 0
    for value in tensors:
        content = low.as_sum(value)
        if content.host_biases:
            content = low.as_sum(low.materialised(value))
        terms.extend(replace(term, channel=term.channel + channel) for term in content.terms)
        channel += value.sizes["C"]
    return replace(tensors[0], content=Sum(tuple(terms), (), ""), sizes={**tensors[0].sizes, "C": channel})


def _multiply(low: NetworkBuilder, node: fx.Node, left: Any, right: Any) -> Value:
    if isinstance(left, Value) and isinstance(left.content, np.ndarray):
        left, right = right, left
    if not isinstance(left, Value) or not isinstance(right, Value):
        raise unsupported(node, "multiplying by a number")
    if isinstance(right.content, np.ndarray):
        if left.axes != STEP_AXES or right.content.shape != (low.time_steps, 1, 1, 1, 1):
            raise unsupported(node, f"multiplying by a constant of shape {right.content.shape}")
        weights = right.content.reshape(-1).astype(np.float64)
        return replace(left, content=Ref(low.host(node, "scale", [left], params={"per_step": weights})))
    if (left.axes, left.shape) != (right.axes, right.shape):
        raise unsupported(node, f"multiplying {left.text} by {right.text}")
    return replace(left, content=Ref(low.host(node, "multiply", [left, right])))


def _sigmoid(low: NetworkBuilder, node: fx.Node, value: Value) -> Value:
    return replace(value, content=Ref(low.host(node, "sigmoid", [value])))


def _sum(low: NetworkBuilder, node: fx.Node, value: Value, dim: int) -> Value:
    if value.axes[dim] != ("T",):
        raise unsupported(node, f"sum of {value.text} over dimension {dim}, not time,")
    axes = value.axes[:dim] + value.axes[dim + 1 :]
    return Value(Ref(low.host(node, "sum_over_time", [value])), axes, value.sizes)


def _interpolate(low: NetworkBuilder, node: fx.Node, value: Value, **options: Any) -> Value:
    factor = options.get("scale_factor")
    if (
        options.get("mode", "nearest") != "nearest"
        or factor != int(factor or 0)
        or value.axes not in (MAP_AXES, IMAGE_AXES)
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
    """The same image at every time step: a new leading axis becomes T."""
    if value.axes != ((), *IMAGE_AXES) or shape[0] != low.time_steps:
        raise unsupported(node, f"expand of {value.text} to {shape}")
    return Value(value.content, STEP_AXES, {**value.sizes, "T": low.time_steps})


def _getitem(low: NetworkBuilder, node: fx.Node, value: Value, index: Any) -> Value:
    """Indexing that only adds dimensions: None and full slices."""
    index = index if isinstance(index, tuple) else (index,)
    if any(i is not None and i != slice(None) for i in index):
        raise unsupported(node, f"indexing with {index}")
    if isinstance(value.content, np.ndarray):
        return replace(value, content=value.content[index], axes=())
    axes = list(value.axes)
    grouped = tuple(() if i is None else axes.pop(0) for i in index)
    return replace(value, axes=(*grouped, *axes))


def _getattr(low: NetworkBuilder, node: fx.Node, value: Value, name: str) -> Any:
    if name != "shape":
        raise unsupported(node, f"attribute {name!r}")
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


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values as a numpy array of its own."""
    return tensor.detach().cpu().numpy().copy()
