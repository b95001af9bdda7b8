"""The torch layer that one operation of a torch.export program is, with its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.pt2.archive import Name, Node, Program
from nsim.frontends.pt2.arithmetic import operation

CONVOLUTIONS = {"conv2d": nn.Conv2d, "conv3d": nn.Conv3d, "conv_transpose2d": nn.ConvTranspose2d}
LAYERS = frozenset({*CONVOLUTIONS, "batch_norm", "linear", "embedding", "group_norm", "layer_norm"})
STATE = ("weight", "bias", "running_mean", "running_var")
META = "meta"
"""Device of a layer made without numbers, which get theirs from the program."""


def layer(node: Node, program: Program, values: dict[str, np.ndarray]) -> tuple[str, nn.Module, str]:
    """The module path, the layer, and the name of the argument that it is applied to.

    The path is that of the layer or, where a function was called, of its weights. Raises UnsupportedOpError
    for weights that are no numbers of the program.
    """
    args = node.args
    given = {key: args[key] for key in STATE if isinstance(args.get(key), Name)}
    for key, name in given.items():
        if name.text not in values:
            raise UnsupportedOpError(
                f"{node.owner.path or 'the model'}: {node.target} with a {key} that is worked out from the "
                "input; a layer's weights are numbers of the program"
            )
    data = "indices" if operation(node) == "embedding" else "input"
    module = _made(node, {key: values[name.text].shape for key, name in given.items()})
    for key in STATE:
        if hasattr(module, key):
            tensor = torch.from_numpy(np.array(values[given[key].text])) if key in given else None
            _set(module, key, tensor)
    if node.owner.kind == type(module).__name__:
        return node.owner.path, module, data
    held = next((program.paths[n.text] for n in given.values() if n.text in program.paths), "")
    parent, _, last = held.rpartition(".")
    path = parent if parent and last in STATE else held or node.owner.path
    return path, module, data


def _made(node: Node, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    """The layer without its numbers."""
    name, args = operation(node), node.args
    weight, bias = shapes.get("weight", ()), "bias" in shapes
    if name in CONVOLUTIONS:
        return _convolution(node, weight, bias)
    if name == "linear":
        return nn.Linear(weight[1], weight[0], bias, device=META)
    if name == "embedding":
        return nn.Embedding(weight[0], weight[1], device=META)
    if name == "group_norm":
        channels = weight[0] if weight else int(args["num_groups"])
        return nn.GroupNorm(
            int(args["num_groups"]), channels, args.get("eps", 1e-5), bool(weight), device=META
        )
    if name == "layer_norm":
        return nn.LayerNorm(args["normalized_shape"], args.get("eps", 1e-5), bool(weight), device=META)
    if args["training"]:
        raise UnsupportedOpError(
            f"{node.owner.path}: BatchNorm of a batch's own statistics; export module.eval()"
        )
    channels = shapes["running_mean"][0]
    return nn.BatchNorm2d(channels, args["eps"], affine=bool(weight), device=META)


def _convolution(node: Node, weight: tuple[int, ...], bias: bool) -> nn.Module:
    name, args = operation(node), node.args
    kind: Any = CONVOLUTIONS[name]
    groups = args.get("groups", 1)
    ends = (weight[0], weight[1] * groups) if name == "conv_transpose2d" else (weight[1] * groups, weight[0])
    keys = ("stride", "padding", "output_padding", "dilation")
    geometry = {
        key: tuple(args[key]) if isinstance(args[key], list) else args[key] for key in keys if key in args
    }
    return kind(*ends, weight[2:], groups=groups, bias=bias, device=META, **geometry)


def _set(module: nn.Module, key: str, tensor: torch.Tensor | None) -> None:
    if key in module._parameters:
        module._parameters[key] = None if tensor is None else nn.Parameter(tensor, requires_grad=False)
    elif key in module._buffers:
        module._buffers[key] = tensor
