"""Host ops in numpy, in a fixed order of additions: no BLAS, so no dependence on the number of threads."""

from __future__ import annotations

import numpy as np

from nsim.frontends.network import HostOp
from nsim.simulator import attention, router

ELEMENTWISE = ("affine", "swish", "sigmoid", "tanh", "add", "multiply")
"""Kinds that do the same to every element, or to every one of a channel."""


def evaluate(op: HostOp, inputs: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Value of a host op, convolutions apart: the engine has a kernel for those.

    Maps are [T, B, H, W, C] ([T = 1] when the op runs once), features [B, F], gates [T, B, N].
    """
    x = inputs[0]
    if op.kind == "embedding":
        indices = x if x.ndim == 1 else x[..., 0].astype(np.int64)
        return op.params["table"].astype(dtype, copy=False)[indices]
    if op.kind == "plane":
        _, height, width = op.shape
        return np.broadcast_to(x.astype(dtype)[None, :, None, None, None], (1, len(x), height, width, 1))
    if op.kind == "nearest_code":
        return _nearest_code(x, op.params["table"].astype(dtype, copy=False))
    if op.kind == "layer_norm":
        return _layer_norm(x, op, dtype)
    if op.kind == "group_norm":
        return _group_norm(x, op, dtype)
    if op.kind == "attention":
        return attention.apply(op, inputs)
    if op.kind == "lateral_router":
        return router.route(op, x)
    if op.kind == "tanh":
        return np.tanh(x)
    if op.kind == "linear":
        out = np.einsum("bi,oi->bo", x, op.params["weight"].astype(dtype, copy=False), optimize=False)
        return out + op.params["bias"].astype(dtype, copy=False) if "bias" in op.params else out
    if op.kind in ("swish", "sigmoid"):
        with np.errstate(over="ignore"):  # far below zero: 1 / (1 + inf) is the 0 that it should be
            sigmoid = dtype.type(1) / (dtype.type(1) + np.exp(-x))
        return x * sigmoid if op.kind == "swish" else sigmoid
    if op.kind == "affine":
        return x * op.params["scale"].astype(dtype, copy=False) + op.params["bias"].astype(dtype, copy=False)
    if op.kind == "add":
        return x + inputs[1]
    if op.kind == "multiply":
        return x * inputs[1]
    if op.kind == "scale":
        return x * op.params["per_step"].astype(dtype, copy=False)[:, None, None, None, None]
    assert op.kind in ("sum_over_time", "mean_over_time")
    total = x[:1].copy()
    for step in x[1:]:
        total += step
    return total / dtype.type(len(x)) if op.kind == "mean_over_time" else total


def _nearest_code(z: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Index of the row of ``table`` [K, C] nearest to each feature of ``z`` [..., C]: [..., 1]."""
    products = np.einsum("...c,kc->...k", z, table, optimize=False)
    distance = (z**2).sum(axis=-1, keepdims=True) + (table**2).sum(axis=1) - 2 * products
    return distance.argmin(axis=-1)[..., None].astype(z.dtype)


def _group_norm(x: np.ndarray, op: HostOp, dtype: np.dtype) -> np.ndarray:
    """Each group of channels of [T, B, H, W, C] less its mean, over its deviation; then affine."""
    by_group = x.reshape(*x.shape[:4], int(op.params["groups"]), -1)
    centred = by_group - by_group.mean(axis=(2, 3, 5), keepdims=True)
    variance = (centred**2).mean(axis=(2, 3, 5), keepdims=True)
    scaled = (centred / np.sqrt(variance + op.params["eps"].astype(dtype))).reshape(x.shape)
    return scaled * op.params["weight"].astype(dtype, copy=False) + op.params["bias"].astype(
        dtype, copy=False
    )


def _layer_norm(x: np.ndarray, op: HostOp, dtype: np.dtype) -> np.ndarray:
    """Every position's features [..., C] less their mean, over their standard deviation; then affine."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(variance + op.params["eps"].astype(dtype))
    return scaled * op.params["weight"].astype(dtype, copy=False) + op.params["bias"].astype(
        dtype, copy=False
    )
