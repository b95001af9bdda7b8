"""TrueNorth's neuron, bit for bit, over arrays of neurons.

The rule is Cassidy et al. (2013) as implemented in NeMo and RANC. Random numbers are handed in, so that a
caller decides where they come from and a test can know them: ``draws`` are uniform on 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

POTENTIAL_BITS = 20
"""Width of the potential, signed; it saturates."""

Reset = Literal[0, 1, 2]
RESET: Reset = 0
SUBTRACT: Reset = 1
KEEP: Reset = 2
"""What becomes of V after a spike (gamma): to R, less the threshold, or nothing."""


@dataclass(frozen=True)
class Neuron:
    """Parameters of a group of neurons.

    ``leak`` (lambda), ``leak_reversal`` (leaks along the sign of V, so not at 0), ``threshold`` (alpha, fires
    at or above), ``floor`` (beta), ``threshold_mask`` (of the random part eta of both), ``reset`` (gamma),
    ``reset_to`` (R), ``saturates_at_floor`` (kappa: stops at -beta; otherwise the mirror of ``reset``).
    """

    threshold: int
    leak: int = 0
    leak_reversal: bool = False
    stochastic_leak: bool = False
    floor: int = 0
    threshold_mask: int = 0
    reset: Reset = RESET
    reset_to: int = 0
    saturates_at_floor: bool = True


def synaptic_input(
    active: np.ndarray,
    effective: np.ndarray,
    stochastic: np.ndarray | None = None,
    draws: np.ndarray | None = None,
) -> np.ndarray:
    """Sum over the active axons of what each gives to every neuron (int64 [neurons]).

    ``active`` bool [axons]; ``effective`` weights [axons, neurons], 0 where unconnected. Where ``stochastic``
    [axons, neurons] holds, a weight s adds its sign with probability |s| / 256: if a draw [axons, neurons] is
    below |s|.
    """
    given = effective.astype(np.int64)
    if stochastic is not None and draws is not None:
        given = np.where(stochastic, np.sign(given) * (draws < np.abs(given)), given)
    return np.asarray(active.astype(np.int64) @ given)


def truenorth_step(
    v: np.ndarray,
    arriving: np.ndarray,
    neuron: Neuron,
    leak_draws: np.ndarray | None = None,
    threshold_draws: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One tick of neurons with potentials ``v`` and input ``arriving``: (v after it, spikes bool).

    Input, leak, threshold, reset, floor, in this order. The sum saturates to 20 bits after the input and
    after the leak: the order of the inputs within a tick is taken not to matter.
    """
    half = 1 << (POTENTIAL_BITS - 1)
    v = np.clip(v.astype(np.int64) + arriving, -half, half - 1)
    leak = np.full_like(v, neuron.leak)
    if neuron.stochastic_leak:
        assert leak_draws is not None
        leak = np.sign(leak) * (leak_draws < np.abs(leak))
    direction = np.sign(v) if neuron.leak_reversal else 1
    v = np.clip(v + direction * leak, -half, half - 1)
    eta = 0 if threshold_draws is None else threshold_draws.astype(np.int64) & neuron.threshold_mask
    high, low = neuron.threshold + eta, neuron.floor + eta
    spikes = v >= high
    below = ~spikes & (v < -low)
    reset = {RESET: np.full_like(v, neuron.reset_to), SUBTRACT: v - high, KEEP: v}[neuron.reset]
    mirror = {RESET: np.full_like(v, -neuron.reset_to), SUBTRACT: v + low, KEEP: v}[neuron.reset]
    lifted = np.full_like(v, -neuron.floor) if neuron.saturates_at_floor else mirror
    return np.where(spikes, reset, np.where(below, lifted, v)), spikes
