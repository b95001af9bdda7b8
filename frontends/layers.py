"""What each layer of a traced model becomes in a Network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from nsim.frontends.builder import NetworkBuilder, Ref, Sum, Term, Value, unsupported
from nsim.frontends.kernel import Kernel, transposed
from nsim.frontends.views import LAYER_AXES, STEP_AXES


def convolution(low: NetworkBuilder, node: fx.Node, conv: Any, value: Value) -> Value:
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


def batch_norm(low: NetworkBuilder, node: fx.Node, norm: Any, value: Value) -> Value:
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


def linear(low: NetworkBuilder, node: fx.Node, linear: Any, value: Value) -> Value:
    """A dense layer: of features, on the host; of a whole map [T * B, C * H * W], a kernel over it."""
    if value.axes == (("T", "B"), ("C", "H", "W")) and not low.is_host(value):
        return _dense(low, node, linear, value)
    if not low.is_host(value) or value.axes[0] != ("B",) or len(value.axes) != 2:
        raise unsupported(node, f"Linear on {value.text} outside the time embedding")
    params = {"weight": as_array(linear.weight)}
    if linear.bias is not None:
        params["bias"] = as_array(linear.bias)
    name = low.host(node, "linear", [value], (linear.out_features,), params)
    return Value(Ref(name), value.axes, {**value.sizes, "C": linear.out_features})


def _dense(low: NetworkBuilder, node: fx.Node, linear: Any, value: Value) -> Value:
    value = low.materialised(value)
    assert isinstance(value.content, Ref)
    if value.content.upsample > 1:
        raise unsupported(node, "Linear on an up-sampled map")
    weight = as_array(linear.weight).reshape(linear.out_features, *value.map_shape)
    bias = None if linear.bias is None else as_array(linear.bias).astype(np.float64)
    path = str(node.target)
    term = Term(path, value.content.name, Kernel(linear.out_features, weight), bias=bias)
    sizes = {**value.sizes, "C": linear.out_features, "H": 1, "W": 1}
    return Value(Sum((term,), (), path, one_layer=True), value.axes, sizes)


def embedding(low: NetworkBuilder, node: fx.Node, table: Any, value: Value) -> Value:
    features = table.embedding_dim
    name = low.host(node, "embedding", [value], (features,), {"table": as_array(table.weight)})
    return Value(Ref(name), (("B",), ("C",)), {**value.sizes, "C": features})


def nearest_code(low: NetworkBuilder, node: fx.Node, module: Any, value: Value) -> Value:
    """Index of the code vector nearest to each position's feature."""
    params = {"table": as_array(module.embeddings.weight)}
    shape = (1, value.sizes["H"], value.sizes["W"])
    name = low.host(node, "nearest_code", [value], shape, params)
    return Value(Ref(name), value.axes, {**value.sizes, "C": 1})


def code_vectors(low: NetworkBuilder, node: fx.Node, module: Any, value: Value) -> Value:
    """Code vectors of a map of indices: an embedding at every position."""
    table = as_array(module.embeddings.weight)
    shape = (table.shape[1], value.sizes["H"], value.sizes["W"])
    name = low.host(node, "embedding", [value], shape, {"table": table})
    return Value(Ref(name), value.axes, {**value.sizes, "C": table.shape[1]})


def layer_norm(low: NetworkBuilder, node: fx.Node, norm: Any, value: Value) -> Value:
    """LayerNorm over the channels of every position; they are the last axis."""
    if not low.is_host(value) or value.axes[-1] != ("C",) or tuple(norm.normalized_shape) != value.shape[-1:]:
        raise unsupported(node, f"LayerNorm over {tuple(norm.normalized_shape)} of {value.text}")
    params = _norm_params(norm, value.sizes["C"])
    return replace(value, content=Ref(low.host(node, "layer_norm", [value], params=params)))


def _norm_params(norm: Any, channels: int) -> dict[str, np.ndarray]:
    """What the host needs of a norm; one without an affine part has weights of 1."""
    one = np.ones(channels)
    return {
        "weight": one if norm.weight is None else as_array(norm.weight),
        "bias": 0 * one if norm.bias is None else as_array(norm.bias),
        "eps": np.asarray(norm.eps),
    }


def group_norm(low: NetworkBuilder, node: fx.Node, norm: Any, value: Value) -> Value:
    """GroupNorm of maps, by the host: statistics over a group's channels and positions, step by step."""
    if value.axes not in LAYER_AXES:
        raise unsupported(node, f"GroupNorm on {value.text}")
    params = {**_norm_params(norm, value.sizes["C"]), "groups": np.asarray(norm.num_groups)}
    return replace(value, content=Ref(low.host(node, "group_norm", [value], params=params)))


def attention(low: NetworkBuilder, node: fx.Node, module: Any, *qkv: Value) -> Value:
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


def router(low: NetworkBuilder, node: fx.Node, router: Any, logits: Value) -> Value:
    """Weights of substructures, [B, N] to [T, B, N]."""
    if router.time_steps != low.time_steps:
        raise unsupported(node, f"a router of {router.time_steps} time steps")
    params = {name: as_array(getattr(router, name)) for name in ("mapping", "strength", "threshold")}
    params |= {key: np.asarray(getattr(router, key)) for key in ("tau", "selected", "time_steps")}
    name = low.host(node, "lateral_router", [logits], params=params, every_step=True)
    return Value(Ref(name), (("T",), *logits.axes), {**logits.sizes, "T": low.time_steps})


def swish(low: NetworkBuilder, node: fx.Node, module: Any, value: Value) -> Value:
    return replace(value, content=Ref(low.host(node, "swish", [value])))


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values as a numpy array of its own."""
    return tensor.detach().cpu().numpy().copy()
