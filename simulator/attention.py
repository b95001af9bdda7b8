"""Attention without a softmax, ``(q k^T) v * scale`` per head, of spikes: values, and products counted.

Both factors of these products change at every time step, so neither is a stored weight: they are no synaptic
operations. A product of two spikes is an AND, and its sum a count; a count meets a spike in the second
product. One is counted wherever both factors are not zero.
"""

from __future__ import annotations

import numpy as np

from nsim.frontends.network import HostOp


def apply(op: HostOp, inputs: list[np.ndarray]) -> np.ndarray:
    """Value for queries, keys and values [T, B, H, W, C] of spikes: the same shape and type.

    All sums are whole numbers, so their order does not matter.
    """
    q, k, v = (_by_head(op, s) for s in inputs)
    k = k.swapaxes(-1, -2)
    out = np.matmul(np.matmul(q, k), v) if op.params["queries_first"] else np.matmul(q, np.matmul(k, v))
    shape = inputs[0].shape
    return out.swapaxes(2, 3).reshape(shape) * inputs[0].dtype.type(op.params["scale"])


def products(op: HostOp, inputs: list[np.ndarray]) -> np.ndarray:
    """Products with no factor of 0 at each time step and image, int64 [T, B]; inputs [T, B, C, H, W]."""
    q, k, v = (_by_head(op, np.moveaxis(s, 2, -1).astype(np.float32)) for s in inputs)
    k = k.swapaxes(-1, -2)
    if op.params["queries_first"]:
        met = _meetings(q, k) + _meetings(np.matmul(q, k), v)
    else:
        met = _meetings(k, v) + _meetings(q, np.matmul(k, v))
    return np.asarray(met.sum(axis=-1))


def expected_products(op: HostOp, rate: float) -> float:
    """Expected `products` of one time step and image, if every neuron fired with probability ``rate``.

    All independent: two spikes meet with probability r^2, and the sum of n such meetings is not 0 with
    probability 1 - (1 - r^2)^n.
    """
    tokens, width = op.shape[1] * op.shape[2], op.shape[0] // int(op.params["heads"])
    meetings = width if op.params["queries_first"] else tokens
    return op.dense_products / 2 * (rate**2 + rate * (1 - (1 - rate**2) ** meetings))


def _by_head(op: HostOp, x: np.ndarray) -> np.ndarray:
    """[T, B, H, W, C] to [T, B, heads, tokens, C / heads]."""
    heads = int(op.params["heads"])
    return x.reshape(*x.shape[:2], -1, heads, x.shape[-1] // heads).swapaxes(2, 3)


def _meetings(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Multiplications of the matrix product a b in which no factor is 0 ([..., n, m] by [..., m, l])."""
    return (np.count_nonzero(a, axis=-2) * np.count_nonzero(b, axis=-1)).sum(axis=-1)
