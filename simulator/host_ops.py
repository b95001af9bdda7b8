"""Host ops in numpy, in a fixed order of additions: no BLAS, so no dependence on the number of threads."""

from __future__ import annotations

import numpy as np

from nsim.frontends.network import HostOp
from nsim.simulator.event_kernels import block_values, project, tile_weights, vectors_of


def evaluate(op: HostOp, inputs: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Value of a host op. Maps are [T, B, H, W, C] ([T = 1] when the op runs once), features [B, F]."""
    x = inputs[0]
    if op.kind == "embedding":
        return op.params["table"].astype(dtype, copy=False)[x]
    if op.kind == "linear":
        out = np.einsum("bi,oi->bo", x, op.params["weight"].astype(dtype, copy=False), optimize=False)
        return out + op.params["bias"].astype(dtype, copy=False) if "bias" in op.params else out
    if op.kind == "swish":
        return x * (dtype.type(1) / (dtype.type(1) + np.exp(-x)))
    if op.kind == "sigmoid":
        return dtype.type(1) / (dtype.type(1) + np.exp(-x))
    if op.kind == "conv":
        return _convolve(op, x, dtype)
    if op.kind == "affine":
        return x * op.params["scale"].astype(dtype, copy=False) + op.params["bias"].astype(dtype, copy=False)
    if op.kind == "add":
        return x + inputs[1]
    if op.kind == "multiply":
        return x * inputs[1]
    if op.kind == "scale":
        return x * op.params["per_step"].astype(dtype, copy=False)[:, None, None, None, None]
    assert op.kind == "sum_over_time"
    total = x[:1].copy()
    for step in x[1:]:
        total += step
    return total


def _convolve(op: HostOp, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    kernel = op.kernel
    assert kernel is not None
    c_out, height, width = op.shape
    out = np.zeros((x.shape[0] * x.shape[1], height, width, c_out), dtype)
    weights = tile_weights(kernel.array, kernel.groups, dtype)
    items, count = block_values(x.reshape(-1, *x.shape[2:]), weights.shape[4])
    project(
        0,
        weights.shape[0] * height,
        1,
        items,
        count,
        weights,
        np.ones(c_out, dtype),
        op.params.get("bias", np.zeros(c_out)).astype(dtype, copy=False),
        out,
        0,
        kernel.stride,
        kernel.padding,
        kernel.dilation,
        kernel.upsample,
        vectors_of(weights),
    )
    return out.reshape(*x.shape[:2], height, width, c_out)
