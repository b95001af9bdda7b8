"""Host ops in numpy, in a fixed order of additions: no BLAS, so no dependence on the number of threads."""

from __future__ import annotations

import numpy as np

from nsim.frontends.network import HostOp


def evaluate(op: HostOp, inputs: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Value of a host op, convolutions apart: the engine has a kernel for those.

    Maps are [T, B, H, W, C] ([T = 1] when the op runs once), features [B, F].
    """
    x = inputs[0]
    if op.kind == "embedding":
        return op.params["table"].astype(dtype, copy=False)[x]
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
    assert op.kind == "sum_over_time"
    total = x[:1].copy()
    for step in x[1:]:
        total += step
    return total
