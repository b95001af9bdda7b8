"""The fast kernels once more as plain loops: slow, and easy to believe. The tests' golden model."""

from __future__ import annotations

from itertools import product

import numpy as np

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import TAKES_BACK, NeuronModel


def project_naive(source: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Apply ``kernel`` to ``source`` [N, H, W, C] by scattering; returns float64 [N, OH, OW, Cout].

    Every non-zero source element sends its value, times one weight row, to each target that a tap of the
    kernel joins it to. An up-sampled element sends once from each of its copies.
    """
    n, height, width, channels = source.shape
    kh, kw = kernel.size
    up, groups = kernel.upsample, kernel.channels if kernel.is_identity else kernel.groups
    per_group, out_per_group = channels // groups, kernel.c_out // groups
    out = np.zeros((n, *kernel.out_size(height, width), kernel.c_out))
    for image, y, x, c in np.argwhere(source):
        group = c // per_group
        targets = slice(group * out_per_group, (group + 1) * out_per_group)
        for dy, dx, ky, kx in product(range(up), range(up), range(kh), range(kw)):
            row, column = (y * up + dy) * kernel.spread[0], (x * up + dx) * kernel.spread[1]
            oy, off_row = divmod(row + kernel.padding[0] - ky * kernel.dilation[0], kernel.stride[0])
            ox, off_col = divmod(column + kernel.padding[1] - kx * kernel.dilation[1], kernel.stride[1])
            if off_row or off_col or not (0 <= oy < out.shape[1] and 0 <= ox < out.shape[2]):
                continue
            weights = kernel.array[targets, c % per_group, ky, kx]
            out[image, oy, ox, targets] += float(source[image, y, x, c]) * weights
    return out


def update_naive(neuron: NeuronModel, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Play neurons of input ``current`` [T, ...] one by one, in the precision of ``current``.

    Returns spikes (bool) and potentials, both [T, ...]; a potential is the state carried on, after reset.
    """
    spikes, potentials = np.zeros(current.shape, bool), np.zeros_like(current)
    rest = current.dtype.type(neuron.v_reset or 0.0)
    for at in np.ndindex(current.shape[1:]):
        v = rest
        for step in range(len(current)):
            x = current[(step, *at)]
            if neuron.tau is None:
                u = v + x
            elif neuron.decay_input:
                u = v + (x - (v - rest)) / neuron.tau
            else:
                u = v - (v - rest) / neuron.tau + x
            threshold = current.dtype.type(neuron.v_threshold)
            fired = u > threshold if neuron.strict else u >= threshold
            if not fired:
                v = u
            elif neuron.soft_reset is not None:
                v = u - neuron.soft_reset
            else:
                v = rest
            spikes[(step, *at)], potentials[(step, *at)] = fired, v
    return spikes, potentials


def update_signed_naive(v_threshold: float, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Play signed neurons of input ``current`` [T, ...], all beside each other, step by step.

    Returns signs (int8) and potentials, both [T, ...].
    """
    signs, potentials = np.zeros(current.shape, np.int8), np.zeros_like(current)
    v = np.full(current.shape[1:], v_threshold / 2, current.dtype)
    for step, x in enumerate(current):
        v = v + x
        back = (v <= TAKES_BACK) & (signs[:step].sum(axis=0) > 0)
        signs[step] = (v >= v_threshold).astype(np.int8) - back
        v = v - signs[step] * current.dtype.type(v_threshold)
        potentials[step] = v
    return signs, potentials


def update_integers_naive(
    current: np.ndarray, threshold: int, soft_reset: int | None, kept: int, decay_bits: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Play integer neurons of input ``current`` [T, ...] one by one, in Python's unbounded integers.

    Returns spikes (bool) and potentials (int64), both [T, ...]; see `update_integer_neurons`.
    """
    spikes, potentials = np.zeros(current.shape, bool), np.zeros(current.shape, np.int64)
    for at in np.ndindex(current.shape[1:]):
        v = 0
        for step in range(len(current)):
            leaked = abs(v) * kept // 2**decay_bits
            u = (leaked if v >= 0 else -leaked) + int(current[(step, *at)])
            u = max(-limit, min(limit, u))
            fired = u >= threshold
            v = (0 if soft_reset is None else u - soft_reset) if fired else u
            spikes[(step, *at)], potentials[(step, *at)] = fired, v
    return spikes, potentials
