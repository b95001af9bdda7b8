"""The router of a lateral selection transformer: which substructures run, and with what weight."""

from __future__ import annotations

import numpy as np

from nsim.frontends.network import HostOp


def route(op: HostOp, logits: np.ndarray) -> np.ndarray:
    """Weights [T, B, N] of the candidates for logits [B, N]; 0 where one is not selected.

    At every step N lateral LIF neurons of current Lambda l fire or not; softmax(l - gamma spikes), kept for
    the largest (of equals the first) and not normalised again.
    """
    p = {name: value.astype(logits.dtype) for name, value in op.params.items()}
    current = np.einsum("bj,ij->bi", logits, p["mapping"], optimize=False)
    v = np.zeros_like(current)
    weights = np.zeros((int(op.params["time_steps"]), *logits.shape), logits.dtype)
    for step in weights:
        u = v + (current - v) / p["tau"]
        fired = u >= p["threshold"]
        v = np.where(fired, logits.dtype.type(0), u)
        corrected = logits - p["strength"] * fired
        odds = np.exp(corrected - corrected.max(axis=-1, keepdims=True))
        share = odds / odds.sum(axis=-1, keepdims=True)
        kept = np.argsort(-share, axis=-1, kind="stable")[:, : int(op.params["selected"])]
        np.put_along_axis(step, kept, np.take_along_axis(share, kept, axis=-1), axis=-1)
    return weights
