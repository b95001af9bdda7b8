"""What each layer, function and method of a traced model becomes in a Network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from nsim.frontends import views
from nsim.frontends.builder import NetworkBuilder, Ref, Sum, Term, Value, unsupported
from nsim.frontends.kernel import Kernel, transposed
from nsim.frontends.network import Gate, HostOpKind
from nsim.frontends.torch_fx import owner

MAP_AXES = (("T", "B"), ("C",), ("H",), ("W",))
STEP_AXES = (("T",), ("B",), ("C",), ("H",), ("W",))
BATCH_FIRST_AXES = (("B",), ("T",), ("C",), ("H",), ("W",))
BATCH_FIRST_MAP_AXES = (("B", "T"), ("C",), ("H",), ("W",))
IMAGE_AXES = (("B",), ("C",), ("H",), ("W",))
GATE_AXES = (("T",), ("B",), (), (), ())
LAYER_AXES = (MAP_AXES, BATCH_FIRST_MAP_AXES, IMAGE_AXES)
"""What a layer of torch may be given: maps of every step, or of an image that does not change."""


def _convolution(low: NetworkBuilder, node: fx.Node, conv: Any, value: Value) -> Value:
    """Conv2d or ConvTranspose2d on [T*B, C, H, W], or the Conv3d over (H, W, T) whose kernel is 1 along T."""
    if isinstance(conv, nn.Conv3d):
        one_along_time = conv.kernel_size[-1] == 1 and conv.stride[-1] == 1 and conv.padding[-1] == 0
        if value.axes != (("B",), ("C",), ("H",), ("W",), ("T",)) or not one_along_time:
            raise unsupported(node, "Conv3d that is not a per-step 2-D convolution over (H, W, T)")
    elif value.axes not in LAYER_AXES:
        raise unsupported(node, f"{type(conv).__name__} on {value.text}")
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise unsupported(node, f"padding {conv.padding!r} ({conv.padding_mode})")
    bias = None if conv.bias is None else as_array(conv.bias).astype(np.float64)
    path = str(node.target)
    parts = channel_parts(value) if conv.groups == 1 else None
    if parts is None:
        content = low.materialised(value).content
        assert isinstance(content, Ref)
        parts = [ChannelPart(content, 0, value.sizes["C"])]
    weight = as_array(conv.weight)
    inputs = 0 if isinstance(conv, nn.ConvTranspose2d) else 1
    kernels = [
        _kernel(conv, weight if len(parts) == 1 else weight.take(p.channels, inputs), p.content.upsample)
        for p in parts
    ]
    kernel, upsample = kernels[0], parts[0].content.upsample
    height, width = kernel.out_size(value.sizes["H"] // upsample, value.sizes["W"] // upsample)
    sizes = {**value.sizes, "C": kernel.c_out, "H": height, "W": width}
    if low.is_host(value):
        params = {} if bias is None else {"bias": bias}
        name = low.host(node, "conv", [value], (kernel.c_out, height, width), params, kernel)
        return Value(Ref(name), value.axes, sizes)
    terms = tuple(
        Term(path if len(parts) == 1 else f"{path}[{part.content.name}]", part.content.name, k)
        for part, k in zip(parts, kernels, strict=True)
    )
    terms = (replace(terms[0], bias=bias), *terms[1:])
    return Value(Sum(terms, (), path, one_layer=True), value.axes, sizes)


@dataclass(frozen=True)
class ChannelPart:
    """Channels ``first`` to ``last`` of a tensor are those of ``content``."""

    content: Ref
    first: int
    last: int

    @property
    def channels(self) -> np.ndarray:
        return np.arange(self.first, self.last)


def channel_parts(value: Value) -> list[ChannelPart] | None:
    """The pieces of a tensor that is nothing but others side by side, in order; None for any other tensor."""
    content = value.content
    if not isinstance(content, Sum) or content.host_biases:
        return None
    parts = []
    for term in sorted(content.terms, key=lambda term: term.channel):
        if not term.kernel.is_identity or term.scale is not None or term.bias is not None:
            return None
        ref = Ref(term.source, term.kernel.upsample)
        parts.append(ChannelPart(ref, term.channel, term.channel + term.kernel.channels))
    ends = [0, *(part.last for part in parts)]
    side_by_side = all(part.first == end for part, end in zip(parts, ends, strict=False))
    return parts if side_by_side and ends[-1] == value.sizes["C"] else None


def _kernel(conv: Any, weight: np.ndarray, upsample: int) -> Kernel:
    """The Kernel of a torch convolution's geometry, with ``weight`` in place of its own."""
    if isinstance(conv, nn.ConvTranspose2d):
        stride, padding, extra = conv.stride, conv.padding, conv.output_padding
        return transposed(
            weight,
            (stride[0], stride[1]),
            (int(padding[0]), int(padding[1])),
            (extra[0], extra[1]),
            (conv.dilation[0], conv.dilation[1]),
            conv.groups,
            upsample,
        )
    return Kernel(
        channels=weight.shape[0],
        weight=weight[..., 0] if isinstance(conv, nn.Conv3d) else weight,
        stride=tuple(conv.stride[:2]),
        padding=tuple(conv.padding[:2]),
        dilation=tuple(conv.dilation[:2]),
        groups=conv.groups,
        upsample=upsample,
    )


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
    if isinstance(content, Sum) and (len(content.terms) > 1 or content.host_biases) and not content.one_layer:
        content = low.materialised(value).content
    first, *others = low.as_sum(replace(value, content=content)).terms
    first = replace(
        first,
        name=first.name or str(node.target),
        scale=scale if first.scale is None else scale * first.scale,
        bias=shift if first.bias is None else scale * first.bias + shift,
    )
    rest = [replace(t, scale=scale if t.scale is None else scale * t.scale) for t in others]
    return replace(value, content=Sum((first, *rest), (), str(node.target), one_layer=True))


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


def _nearest_code(low: NetworkBuilder, node: fx.Node, module: Any, value: Value) -> Value:
    """Index of the code vector nearest to each position's feature."""
    params = {"table": as_array(module.embeddings.weight)}
    shape = (1, value.sizes["H"], value.sizes["W"])
    name = low.host(node, "nearest_code", [value], shape, params)
    return Value(Ref(name), value.axes, {**value.sizes, "C": 1})


def _code_vectors(low: NetworkBuilder, node: fx.Node, module: Any, value: Value) -> Value:
    """Code vectors of a map of indices: an embedding at every position."""
    table = as_array(module.embeddings.weight)
    shape = (table.shape[1], value.sizes["H"], value.sizes["W"])
    name = low.host(node, "embedding", [value], shape, {"table": table})
    return Value(Ref(name), value.axes, {**value.sizes, "C": table.shape[1]})


def _layer_norm(low: NetworkBuilder, node: fx.Node, norm: Any, value: Value) -> Value:
    """LayerNorm over the channels of every position; they are the last axis."""
    if not low.is_host(value) or value.axes[-1] != ("C",) or tuple(norm.normalized_shape) != value.shape[-1:]:
        raise unsupported(node, f"LayerNorm over {tuple(norm.normalized_shape)} of {value.text}")
    one = np.ones(value.sizes["C"])
    params = {
        "weight": one if norm.weight is None else as_array(norm.weight),
        "bias": 0 * one if norm.bias is None else as_array(norm.bias),
        "eps": np.asarray(norm.eps),
    }
    return replace(value, content=Ref(low.host(node, "layer_norm", [value], params=params)))


def _attention(low: NetworkBuilder, node: fx.Node, module: Any, *qkv: Value) -> Value:
    """Products of spikes with spikes: queries, keys and values, all [T, B, C, H, W]."""
    for value in qkv:
        spikes = isinstance(value.content, Ref) and low.kinds[value.content.name] == "neuron"
        if not spikes or value.axes != STEP_AXES or value.shape != qkv[0].shape:
            raise unsupported(node, f"attention on {value.text}, which is not spikes like the other inputs,")
    params = {
        "heads": np.asarray(module.heads),
        "scale": np.asarray(module.scale),
        "queries_first": np.asarray(module.order == "queries first"),
    }
    return replace(qkv[0], content=Ref(low.host(node, "attention", list(qkv), params=params)))


def _router(low: NetworkBuilder, node: fx.Node, router: Any, logits: Value) -> Value:
    """Weights of substructures, [B, N] to [T, B, N]."""
    if router.time_steps != low.time_steps:
        raise unsupported(node, f"a router of {router.time_steps} time steps")
    params = {name: as_array(getattr(router, name)) for name in ("mapping", "strength", "threshold")}
    params |= {key: np.asarray(getattr(router, key)) for key in ("tau", "selected", "time_steps")}
    name = low.host(node, "lateral_router", [logits], params=params, every_step=True)
    return Value(Ref(name), (("T",), *logits.axes), {**logits.sizes, "T": low.time_steps})


def _swish(low: NetworkBuilder, node: fx.Node, module: Any, value: Value) -> Value:
    return replace(value, content=Ref(low.host(node, "swish", [value])))


def _pass_through(low: NetworkBuilder, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    return next(a for a in args if isinstance(a, Value))


# ---- functions and methods ----------------------------------------------------------------------


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
    "Conv2d": _convolution,
    "Conv3d": _convolution,
    "ConvTranspose2d": _convolution,
    "BatchNorm2d": _batch_norm,
    "Linear": _linear,
    "Embedding": _embedding,
    "LayerNorm": _layer_norm,
    "SpikingAttention": _attention,
    "LateralRouter": _router,
    "NearestCode": _nearest_code,
    "CodeVectors": _code_vectors,
    "Tanh": lambda low, node, module, value: _elementwise("tanh")(low, node, value),
    "Swish": _swish,
    "SiLU": _swish,
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


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values as a numpy array of its own."""
    return tensor.detach().cpu().numpy().copy()
