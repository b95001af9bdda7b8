"""The neuron update in Numba, all time steps of a population at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

from nsim.frontends.network import TAKES_BACK, NeuronModel
from nsim.simulator.vector_code import line

IF, LIF_DECAY_INPUT, LIF = 0, 1, 2
"""Codes of the three sub-threshold updates of NeuronModel."""


@lru_cache(maxsize=4096)
def kernel_parameters(neuron: NeuronModel, dtype: np.dtype) -> tuple[int, float, float, float, bool, float]:
    """A NeuronModel as `update_neurons` takes it: code, tau, threshold, v_reset, soft_reset, subtract.

    The kernel fires at its threshold: a strict one becomes the next number of this precision.
    """
    code = IF if neuron.tau is None else LIF_DECAY_INPUT if neuron.decay_input else LIF
    threshold = dtype.type(neuron.v_threshold)
    if neuron.strict:
        threshold = np.nextafter(threshold, dtype.type(np.inf))
    soft = neuron.soft_reset
    return code, neuron.tau or 1.0, float(threshold), neuron.v_reset or 0.0, soft is not None, soft or 0.0


def integer_threshold(neuron: NeuronModel, unit: float) -> int:
    """Smallest integer potential, counted from rest, at which a quantised neuron fires."""
    above_rest = (neuron.v_threshold - (neuron.v_reset or 0.0)) / unit
    return int(np.floor(above_rest)) + 1 if neuron.strict else int(np.ceil(above_rest))


def integer_reset(neuron: NeuronModel, unit: float) -> int | None:
    """What a spike takes off a quantised neuron's potential; None for a hard reset."""
    if neuron.soft_reset is None:
        return None
    if neuron.subtract is None and not neuron.strict:
        return integer_threshold(neuron, unit)
    return int(np.rint(neuron.soft_reset / unit))


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
    subtract: float,
    spikes: np.ndarray,
    active: np.ndarray,
    potential: np.ndarray,
) -> None:
    """Play rows ``first_row .. last_row`` (over images x height) of one population through all its steps.

    ``current`` [T, R, W, C] in; ``spikes`` and ``active`` uint8 [T, R, W, C] out; ``potential``
    [R, W, C] out: the state after the last step. Active means that the state or the input was not zero.
    Arithmetic in the precision of ``current``.
    """
    steps, rows, width, channels = current.shape
    one = current.dtype.type
    threshold, reset, rest, tau_v = one(v_threshold), one(v_reset), one(v_reset), one(tau)
    taken = one(subtract)
    zero = one(0)
    for r in range(first_row, last_row):
        for x in range(width):
            state = line(potential, (r * width + x) * channels, channels)  # so that loops become vector code
            state[:] = reset
            for t in range(steps):
                start = ((t * rows + r) * width + x) * channels
                inputs, fires = line(current, start, channels), line(spikes, start, channels)
                acts = line(active, start, channels)
                for c in range(channels):
                    v = state[c]
                    i = inputs[c]
                    if code == IF:
                        u = v + i
                    elif code == LIF_DECAY_INPUT:
                        u = v + (i - (v - rest)) / tau_v
                    else:
                        u = v - (v - rest) / tau_v + i
                    fired = u >= threshold
                    fires[c] = fired
                    acts[c] = (i != zero) | (v != zero)
                    if fired:
                        u = u - taken if soft_reset else reset
                    state[c] = u


@njit(nogil=True, cache=True)
def update_signed_neurons(
    first_row: int,
    last_row: int,
    current: np.ndarray,
    v_threshold: float,
    signs: np.ndarray,
    active: np.ndarray,
    potential: np.ndarray,
) -> None:
    """`update_neurons` for signed neurons: ``signs`` int8 [T, R, W, C] out, -1, 0 or 1.

    Active means that the input was not zero, or that the state was not where it started.
    """
    steps, _, width, channels = current.shape
    one = current.dtype.type
    threshold, start, low = one(v_threshold), one(v_threshold / 2), one(TAKES_BACK)
    zero = one(0)
    for r in range(first_row, last_row):
        for x in range(width):
            for c in range(channels):
                v, sent = start, 0
                for t in range(steps):
                    i = current[t, r, x, c]
                    active[t, r, x, c] = (i != zero) | (v != start)
                    v += i
                    sign = 0
                    if v >= threshold:
                        sign = 1
                        v -= threshold
                    elif v <= low and sent > 0:
                        sign = -1
                        v += threshold
                    sent += sign
                    signs[t, r, x, c] = sign
                potential[r, x, c] = v


@njit(nogil=True, cache=True)
def update_integer_neurons(
    first_row: int,
    last_row: int,
    current: np.ndarray,
    fraction: int,
    kept: int,
    decay_bits: int,
    threshold: int,
    soft_reset: bool,
    subtract: int,
    limit: int,
    spikes: np.ndarray,
    active: np.ndarray,
    potential: np.ndarray,
) -> None:
    """`update_neurons` in a chip's integers; the potential counts from the resting value.

    ``U = trunc(V * kept / 2**decay_bits) + I * 2**fraction``, saturating at +-``limit``;
    ``S = U >= threshold``; then 0, or U - subtract with ``soft_reset``. ``current`` and ``potential`` int32;
    V * kept and I * 2**fraction are worked in 64 bits.
    """
    steps, rows, width, channels = current.shape
    leaks = kept != 1 << decay_bits
    low = (1 << decay_bits) - 1
    for r in range(first_row, last_row):
        for x in range(width):
            state = line(potential, (r * width + x) * channels, channels)
            state[:] = 0
            for t in range(steps):
                start = ((t * rows + r) * width + x) * channels
                inputs, fires = line(current, start, channels), line(spikes, start, channels)
                acts = line(active, start, channels)
                for c in range(channels):
                    v = state[c]
                    i = inputs[c]
                    u = v
                    if leaks:
                        # an arithmetic shift rounds down: toward zero it has to be, for negative V too
                        product = v * kept
                        u = (product + (low if product < 0 else 0)) >> decay_bits
                    u = min(max(u + (np.int64(i) << fraction), -limit), limit)
                    fired = u >= threshold
                    fires[c] = fired
                    acts[c] = (i != 0) | (v != 0)
                    if fired:
                        u = u - subtract if soft_reset else 0
                    state[c] = u


@njit(nogil=True, cache=True)
def saturate(first_row: int, last_row: int, limit: int, values: np.ndarray, largest: np.ndarray) -> None:
    """Clip rows ``first_row .. last_row`` of ``values`` [T, R, W, C] to +-``limit``.

    ``largest`` int64 [R] out: the largest magnitude that is left in each.
    """
    steps, rows, width, channels = values.shape
    for r in range(first_row, last_row):
        top = np.int32(0)
        for t in range(steps):
            row = line(values, (t * rows + r) * width * channels, width * channels)
            for c in range(width * channels):
                row[c] = min(max(row[c], -limit), limit)
                top = max(top, abs(row[c]))
        largest[r] = top
