"""Spikes summed over groups of channels and over cores, in Numba.

Spikes are bytes, 0 or 1, channels last: 64 channels become the bits of one word, and a group of them one
count of its bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nsim.simulator.vector_code import SPIKE_BLOCK, count_bits, spiked_bits


@njit(nogil=True, cache=True)
def count_by_unit(first: int, last: int, spikes: np.ndarray, edges: np.ndarray, counts: np.ndarray) -> None:
    """Spikes of each unit of channels at places ``first .. last``.

    ``spikes`` uint8 [places, C]; unit u is the channels ``edges[u] .. edges[u + 1]`` (int64 [U + 1], from 0
    to C); ``counts`` int32 [places, U] out.
    """
    channels = spikes.shape[1]
    whole = channels // SPIKE_BLOCK * SPIKE_BLOCK
    for p in range(first, last):
        counts[p] = 0
        u = 0
        for base in range(0, whole, SPIKE_BLOCK):
            bits: np.uint64 = spiked_bits(spikes[p, base:].ctypes.data)
            done = 0
            while done < SPIKE_BLOCK:
                end = min(edges[u + 1] - base, SPIKE_BLOCK)
                here = bits >> np.uint64(done)
                if end - done < SPIKE_BLOCK:
                    here &= (np.uint64(1) << np.uint64(end - done)) - np.uint64(1)
                counts[p, u] += np.int32(count_bits(here))
                done = end
                if edges[u + 1] == base + done:
                    u += 1
        for c in range(whole, channels):
            while edges[u + 1] <= c:
                u += 1
            counts[p, u] += spikes[p, c]


@njit(nogil=True, cache=True)
def sum_by_core(counts: np.ndarray, core: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> None:
    """Weighted counts of every core: the sum of ``weights[p, u, e] * counts[t, b, p, u]`` over its places.

    ``counts`` int32 [T, B, P, U]; ``core`` int32 [P, U]; ``weights`` int64 [P, U, events]; ``sums`` int64
    [events, B, T, cores] out, a window of larger arrays as a rule.
    """
    steps, images, places, units = counts.shape
    events = weights.shape[2]
    for b in range(images):
        for t in range(steps):
            for e in range(events):
                sums[e, b, t] = 0
            for p in range(places):
                for u in range(units):
                    count = np.int64(counts[t, b, p, u])
                    if count:
                        own = core[p, u]
                        for e in range(events):
                            sums[e, b, t, own] += count * weights[p, u, e]


@njit(nogil=True, cache=True)
def count_on_cores(
    values: np.ndarray,
    edges: np.ndarray,
    core: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    sums: np.ndarray,
) -> None:
    """`count_by_unit` of ``values`` uint8 [T, B, P, C] into ``counts`` [T, B, P, U], and `sum_by_core`."""
    steps, images, places, _ = values.shape
    for t in range(steps):
        for b in range(images):
            count_by_unit(0, places, values[t, b], edges, counts[t, b])
    sum_by_core(counts, core, weights, sums)
