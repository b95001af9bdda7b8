"""What a Loihi compartment computes in one tick, bit for bit: current-based leaky integrate-and-fire.

The rules are those on which Nengo Loihi's emulator, lava's bit-accurate model and Brian2Loihi agree (see the
chip file). Widths are those of the chip file's ``arithmetic``; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from nsim.hw_models.spec import Arithmetic

DECAY_BITS = 12
"""A decay of 2**DECAY_BITS forgets everything in one tick."""

CURRENT_BITS = 24
"""Width of the current, signed; it wraps."""

DecayOffset = Literal["always", "full_only"]
"""Which toolchain wrote the decay register: ``always`` adds 1 to what stands there (Nengo Loihi, lava; the
current's register), ``full_only`` sets that extra bit only to reach a full decay of 4096 (NxTF)."""

SignMode = Literal["mixed", "excitatory", "inhibitory"]


@njit(nogil=True, cache=True)
def wrap(x: int, bits: int) -> int:
    """Return ``x`` as ``bits`` bits of two's complement hold it."""
    half = 1 << (bits - 1)
    return ((x + half) & ((1 << bits) - 1)) - half


@njit(nogil=True, cache=True)
def decayed(x: int, decay: int) -> int:
    """``x * (4096 - decay) / 4096``, cut toward zero; ``|x| < 2**23``, ``decay`` 0..4096."""
    product = x * ((1 << DECAY_BITS) - decay)
    return product >> DECAY_BITS if product >= 0 else -(-product >> DECAY_BITS)


@njit(nogil=True, cache=True)
def loihi_step(
    u: int,
    v: int,
    waiting: int,
    arriving: int,
    bias: int,
    decay_u: int,
    decay_v: int,
    threshold: int,
    refractory: int,
    v_min: int,
    v_max: int,
) -> tuple[int, int, int, bool]:
    """One compartment, one tick: ``(u, v, waiting, spiked)`` from those before and the input; all int64.

    ``u := wrap(trunc(u (4096 - decay_u) / 4096) + arriving)``, ``v := clip(trunc(v (4096 - decay_v) / 4096)
    + u + bias, v_min, v_max)``; held at 0 while ``waiting > 0``; a spike if ``v > threshold``, then v is 0
    and the compartment waits ``refractory - 1`` ticks. ``decay_*`` are effective decays (0..4096, see
    `effective_decay`), ``threshold`` and ``bias`` whole values (`threshold_value`, `bias_value`).

    ``u`` keeps decaying and adding up in the waiting time. The sum u + bias is not cut to 24 bits before it
    meets v (lava's order; Nengo Loihi wraps it there, which only shows for |u + bias| of 2**23 or more).
    """
    u = wrap(decayed(u, decay_u) + arriving, CURRENT_BITS)
    if waiting > 0:
        return u, 0, waiting - 1, False
    v = min(max(decayed(v, decay_v) + u + bias, v_min), v_max)
    if v > threshold:
        return u, 0, refractory - 1, True
    return u, v, 0, False


@dataclass(frozen=True)
class Compartment:
    """What the compartments of one group share: effective decays, threshold, waiting time, limits of v.

    ``refractory``: 1 (fires again in the next tick) to 63.
    """

    decay_u: int
    decay_v: int
    threshold: int
    refractory: int = 1
    v_min: int = -(1 << 23) + 1
    v_max: int = (1 << 23) - 1


def play_compartments(
    arriving: np.ndarray, bias: np.ndarray, group: Compartment
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Play compartments from rest: (spikes bool, u, v after each tick), all [T, N].

    ``arriving`` int64 [T, N]: activated weights that reach each compartment in each tick; ``bias`` int64 [N].
    """
    parameters = (group.decay_u, group.decay_v, group.threshold, group.refractory, group.v_min, group.v_max)
    return _play(arriving.astype(np.int64), bias.astype(np.int64), *parameters)


@njit(nogil=True, cache=True)
def _play(
    arriving: np.ndarray,
    bias: np.ndarray,
    decay_u: int,
    decay_v: int,
    threshold: int,
    refractory: int,
    v_min: int,
    v_max: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    spikes = np.zeros(arriving.shape, np.bool_)
    currents, potentials = np.zeros_like(arriving), np.zeros_like(arriving)
    for n in range(arriving.shape[1]):
        u, v, waiting = 0, 0, 0
        for t in range(arriving.shape[0]):
            u, v, waiting, fired = loihi_step(
                u, v, waiting, arriving[t, n], bias[n], decay_u, decay_v, threshold, refractory, v_min, v_max
            )
            currents[t, n], potentials[t, n], spikes[t, n] = u, v, fired
    return spikes, currents, potentials


def effective_decay(decay: int, offset: DecayOffset, widths: Arithmetic) -> int:
    """What is forgotten of 4096 in one tick.

    ``always``: ``decay`` is the register, 0..4095, and 1 is added. ``full_only``: ``decay`` is the wish,
    0..4096, and is met as it is.
    """
    full = 1 << widths.decay_bits.value
    if offset == "always":
        _require("decay register", decay, 0, full - 1)
        return decay + 1
    _require("decay", decay, 0, full)
    return decay


def bias_value(mantissa: int, exponent: int, widths: Arithmetic) -> int:
    """Bias of a compartment: ``mantissa * 2**exponent``."""
    half = 1 << (widths.bias_mantissa_bits.value - 1)
    _require("bias mantissa", mantissa, -half, half - 1)
    _require("bias exponent", exponent, 0, widths.bias_exponent_max.value)
    return mantissa << exponent


def threshold_value(mantissa: int, widths: Arithmetic) -> int:
    """Threshold of a compartment: ``mantissa * 2**6``; it fires above it."""
    _require("threshold mantissa", mantissa, 0, (1 << widths.threshold_mantissa_bits.value) - 1)
    return mantissa << widths.threshold_shift.value


def potential_limits(low_exponent: int, high_setting: int, widths: Arithmetic) -> tuple[int, int]:
    """Limits of v that a whole core shares: ``-2**low_exponent + 1`` and ``2**(9 + 2 high_setting) - 1``."""
    _require("exponent of the lower limit of v", low_exponent, 0, widths.potential_bits.value - 1)
    _require("setting of the upper limit of v", high_setting, 0, (widths.potential_bits.value - 10) // 2)
    return -(1 << low_exponent) + 1, (1 << (9 + 2 * high_setting)) - 1


def activated_weights(
    mantissas: np.ndarray, exponent: int, bits: int, sign: SignMode, widths: Arithmetic
) -> np.ndarray:
    """What weights add to a compartment when their source fires (int64).

    A mantissa (mixed -256..254, excitatory 0..255, inhibitory -255..0) loses the low bits that ``bits``
    stored bits cannot hold, toward zero; times ``2**(6 + exponent)``, down to a multiple of 2**6, clipped to
    ``+-(2**21 - 2**6)``. A mixed weight spends one of its bits on the sign. lava cuts a negative mixed
    mantissa down, not toward zero: the two agree on mantissas that ``bits`` can hold.
    """
    _require("weight exponent", exponent, widths.weight_exponent_min.value, widths.weight_exponent_max.value)
    _require("weight bits", bits, 1, 8)
    low, high = {
        "mixed": (widths.weight_min.value, widths.weight_max.value),
        "excitatory": (0, 255),
        "inhibitory": (-255, 0),
    }[sign]
    for mantissa in (int(mantissas.min(initial=0)), int(mantissas.max(initial=0))):
        _require(f"{sign} weight mantissa", mantissa, low, high)
    step = 1 << (8 - (bits - (sign == "mixed")))
    kept = np.sign(mantissas).astype(np.int64) * (np.abs(mantissas.astype(np.int64)) // step * step)
    unit = 1 << widths.weight_shift.value
    scaled = kept << exponent if exponent >= 0 else kept >> -exponent
    limit = (1 << widths.synaptic_sum_bits.value) - unit
    return np.clip(scaled * unit, -limit, limit)


def _require(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{what} {value}: Loihi has {low} to {high}")
