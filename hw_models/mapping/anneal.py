"""Simulated annealing of a placement: cores move towards those they exchange packets with."""

from __future__ import annotations

import numpy as np
from numba import njit

PAIR_VISITS = 500_000_000
"""Work of one placement: pairs of cores looked at."""
MOVES_PER_CORE = 2000
"""Moves tried for each core where pairs are few."""


def anneal(
    walk: np.ndarray,
    cores: int,
    at: tuple[np.ndarray, np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    seed: int,
) -> np.ndarray:
    """Place of every core, int64 [cores]: at the start core i is at ``walk[i]``.

    ``at``: mesh column and row of every place; ``pairs``: source and target core, packets. A move takes a
    core to a random place near the middle of its partners and swaps it with what is there. The same seed
    gives the same places.
    """
    first, partner, packets = _both_ways(cores, *pairs)
    occupant = np.full(len(walk), -1, np.int64)
    occupant[walk[:cores]] = np.arange(cores)
    slot = walk[:cores].copy()
    if not len(partner):
        return slot
    x, y = (np.ascontiguousarray(a, dtype=np.int64) for a in at)
    by_tile = np.lexsort((x, y))
    per_tile = int(np.bincount(y * (x.max() + 1) + x).max())
    tile_first = np.full((x.max() + 1, y.max() + 1), -1, np.int64)
    tile_first[x[by_tile[::per_tile]], y[by_tile[::per_tile]]] = np.arange(0, len(by_tile), per_tile)
    moves = min(MOVES_PER_CORE * cores, int(PAIR_VISITS * cores / (3 * len(partner))))
    _swap(first, partner, packets, x, y, tile_first, by_tile, per_tile, slot, occupant, moves, seed)
    return slot


def _both_ways(
    cores: int, source: np.ndarray, target: np.ndarray, packets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every core's partners and the packets exchanged either way: compressed rows, duplicates merged."""
    low, high = np.minimum(source, target), np.maximum(source, target)
    pair, index = np.unique(low * cores + high, return_inverse=True)
    total = np.bincount(index.ravel(), packets, minlength=len(pair))
    low, high = pair // cores, pair % cores
    apart = low != high
    low, high, total = low[apart], high[apart], total[apart]
    core, partner, both = np.concatenate([low, high]), np.concatenate([high, low]), np.tile(total, 2)
    order = np.lexsort((partner, core))
    first = np.concatenate([[0], np.cumsum(np.bincount(core, minlength=cores))])
    return first, partner[order], both[order]


@njit(cache=True)
def _random(state: np.uint64) -> np.uint64:
    """Next state of a 64-bit xorshift generator."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@njit(cache=True)
def _length(
    core: np.int64,
    to_x: np.int64,
    to_y: np.int64,
    but: np.int64,
    first: np.ndarray,
    partner: np.ndarray,
    packets: np.ndarray,
    core_x: np.ndarray,
    core_y: np.ndarray,
) -> float:
    """Packets times hops of one core if it were at (to_x, to_y); the pair with core ``but`` left out."""
    total = 0.0
    for i in range(first[core], first[core + 1]):
        p = partner[i]
        if p != but:
            total += packets[i] * (abs(core_x[p] - to_x) + abs(core_y[p] - to_y))
    return total


@njit(cache=True)
def _swap(
    first: np.ndarray,
    partner: np.ndarray,
    packets: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    tile_first: np.ndarray,
    by_tile: np.ndarray,
    per_tile: int,
    slot: np.ndarray,
    occupant: np.ndarray,
    moves: int,
    seed: int,
) -> None:
    """The moves of `anneal`; changes ``slot`` and ``occupant``. Temperature and reach shrink to zero."""
    cores = len(slot)
    core_x, core_y = x[slot], y[slot]
    tiles_x, tiles_y = tile_first.shape
    state = np.uint64(seed) * np.uint64(2862933555777941757) + np.uint64(3037000493)
    mean = 2.0 * packets.sum() / cores  # what a core pays for one hop more to all its partners
    for move in range(moves):
        left = 1.0 - move / moves
        state = _random(state)
        core = np.int64(state >> np.uint64(11)) % cores
        weight, middle_x, middle_y = 0.0, 0.0, 0.0
        for i in range(first[core], first[core + 1]):
            weight += packets[i]
            middle_x += packets[i] * core_x[partner[i]]
            middle_y += packets[i] * core_y[partner[i]]
        if weight == 0.0:
            continue
        reach = 1 + np.int64(left * left * max(tiles_x, tiles_y) / 4)
        state = _random(state)
        span = 2 * reach + 1
        to_x = np.int64(middle_x / weight + 0.5) + np.int64(state >> np.uint64(40)) % span - reach
        state = _random(state)
        to_y = np.int64(middle_y / weight + 0.5) + np.int64(state >> np.uint64(40)) % span - reach
        if not (0 <= to_x < tiles_x and 0 <= to_y < tiles_y) or tile_first[to_x, to_y] < 0:
            continue
        if to_x == core_x[core] and to_y == core_y[core]:
            continue
        state = _random(state)
        there = by_tile[tile_first[to_x, to_y] + np.int64(state >> np.uint64(40)) % per_tile]
        here, other = slot[core], occupant[there]
        from_x, from_y = core_x[core], core_y[core]
        change = _length(core, to_x, to_y, other, first, partner, packets, core_x, core_y)
        change -= _length(core, from_x, from_y, other, first, partner, packets, core_x, core_y)
        if other >= 0:
            change += _length(other, from_x, from_y, core, first, partner, packets, core_x, core_y)
            change -= _length(other, to_x, to_y, core, first, partner, packets, core_x, core_y)
        if change > 0.0:
            state = _random(state)
            chance = np.float64(state >> np.uint64(11)) / 9007199254740992.0
            if chance >= np.exp(-change / (0.05 * left * left * mean + 1e-30)):
                continue
        slot[core], occupant[there], occupant[here] = there, core, other
        core_x[core], core_y[core] = to_x, to_y
        if other >= 0:
            slot[other] = here
            core_x[other], core_y[other] = from_x, from_y
