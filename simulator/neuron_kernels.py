"""The neuron update in Numba, all time steps of a population at once."""

from __future__ import annotations

import numpy as np
from numba import njit

IF, LIF_DECAY_INPUT, LIF = 0, 1, 2
"""Codes of the three sub-threshold updates of NeuronModel."""


@njit(nogil=True, cache=True, error_model="numpy")
def update_neurons(
    first_row: int,
    last_row: int,
    current: np.ndarray,
    code: int,
    tau: float,
    v_threshold: float,
    v_reset: float,
    soft_reset: bool,
    spikes: np.ndarray,
    active: np.ndarray,
    potential: np.ndarray,
) -> None:
    """Play rows ``first_row .. last_row`` (over images x height) of one population through all its steps.

    ``current`` [T, R, W, C] in; ``spikes`` and ``active`` uint8 [T, R, W, C] out; ``potential``
    [R, W, C] out: the state after the last step. Active means that the state or the input was not zero.
    Arithmetic in the precision of ``current``.
    """
    steps, _, width, channels = current.shape
    one = current.dtype.type
    threshold, reset, rest, tau_v = one(v_threshold), one(v_reset), one(v_reset), one(tau)
    zero = one(0)
    for r in range(first_row, last_row):
        for x in range(width):
            for c in range(channels):
                potential[r, x, c] = reset
            for t in range(steps):
                for c in range(channels):
                    v = potential[r, x, c]
                    i = current[t, r, x, c]
                    if code == IF:
                        u = v + i
                    elif code == LIF_DECAY_INPUT:
                        u = v + (i - (v - rest)) / tau_v
                    else:
                        u = v - (v - rest) / tau_v + i
                    fired = u >= threshold
                    spikes[t, r, x, c] = fired
                    active[t, r, x, c] = (i != zero) | (v != zero)
                    if fired:
                        u = u - threshold if soft_reset else reset
                    potential[r, x, c] = u
