"""Weights as the event kernels take them: cut into tiles that fit a core's first-level cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from nsim.simulator.vector_code import MAX_VECTORS, SPIKE_BLOCK, VECTOR_BYTES

Sent = Literal["spikes", "folded", "values", "pairs", "wide"]
"""What a source sends: spikes, spikes to a folded kernel (see `nsim.simulator.taps`), values, integer values
of 16 bits taken two at a time, or (spikes or values) with sums of 64 bits."""

SOURCE_BLOCK = {"float32": 128, "float64": 64, "int8": 128, "int16": 128, "int32": 64, "int64": 32}
"""Most source channels per weight tile, by the weights' type: a tile is at most 32 KiB."""
JOINED_BLOCK = {"int8": 128, "int16": 64}
"""The same where the taps of a row are worked off together: three of them are 48 KiB."""
UNLIMITED = 1 << 62
"""How many rows may be added where a register cannot overflow."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """Weights [target blocks, source blocks, kh, kw, source block, target block], padded with zeros.

    ``register``: type in which rows are added, at most ``most`` before it could overflow; ``sums``: type of
    the sums. ``joined``: the taps of a kernel's row are worked off together, where their sources lie side by
    side.
    """

    weights: np.ndarray
    register: np.dtype
    sums: np.dtype
    most: int
    joined: bool

    @property
    def block(self) -> int:
        """Source channels per tile."""
        return int(self.weights.shape[4])

    @property
    def target_blocks(self) -> int:
        """Tiles along the target channels."""
        return int(self.weights.shape[0])

    @cached_property
    def vectors(self) -> tuple[int, ...]:
        """A tuple as long as the vector registers that one row fills: its type is what the kernel reads."""
        return (0,) * (self.weights.shape[5] * self.register.itemsize // VECTOR_BYTES)


def tile_weights(weights: np.ndarray, groups: int, sums: np.dtype, sent: Sent) -> Tiles:
    """Tile weights [Cout, Cin / groups, kh, kw] for sums of type ``sums`` of what is ``sent``.

    Floating point is worked in the type of the sums. Integer weights take the narrowest type that holds
    them, and for spikes registers that no tile can make overflow; for values that need more than 32 bits all
    is worked in 64. For values of 16 bits the rows of two source channels are interleaved: the two weights of
    one target stand side by side. Groups become a block diagonal: the zeros are added to nothing that a group
    does not own.
    """
    c_out, per_group, kh, kw = weights.shape
    if sent == "wide":
        stored = register = sums = np.dtype(np.int64)
        block, most = SOURCE_BLOCK["int64"], UNLIMITED
    else:
        stored, register, block, most = _formats(weights, sums, sent in ("spikes", "folded"))
    c_in = per_group * groups
    lanes = VECTOR_BYTES // register.itemsize
    vectors = next((v for v in (1, 2) if v * lanes >= c_out), MAX_VECTORS)
    tile, block = vectors * lanes, min(c_in + c_in % 2 if sent == "pairs" else c_in, block)
    target_blocks, source_blocks = -(-c_out // tile), -(-c_in // block)
    dense = np.zeros((target_blocks * tile, source_blocks * block, kh, kw), stored)
    out_per_group = c_out // groups
    for g in range(groups):
        out = slice(g * out_per_group, (g + 1) * out_per_group)
        dense[out, g * per_group : (g + 1) * per_group] = weights[out]
    split = dense.reshape(target_blocks, tile, source_blocks, block, kh, kw)
    tiles = aligned(tuple(split.shape[i] for i in (0, 2, 4, 5, 3, 1)), stored)
    tiles[...] = split.transpose(0, 2, 4, 5, 3, 1)
    if sent == "pairs":
        rows = tiles.reshape(-1, 2, tile)
        rows[...] = rows.swapaxes(1, 2).reshape(rows.shape)
    return Tiles(tiles, register, sums, most, most < UNLIMITED)


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array on a vector's boundary: a vector across two cache lines loads at half speed."""
    size = int(np.prod(shape)) * dtype.itemsize
    room = np.empty(size + VECTOR_BYTES, np.uint8)
    first = -room.ctypes.data % VECTOR_BYTES
    return room[first : first + size].view(dtype).reshape(shape)


def _formats(weights: np.ndarray, sums: np.dtype, listed: bool) -> tuple[np.dtype, np.dtype, int, int]:
    """Type of the stored weights, type of the registers, source channels per tile, most rows per register."""
    if sums.kind == "f":
        return sums, sums, SOURCE_BLOCK[sums.name], UNLIMITED
    largest = max(1, int(np.abs(weights).max(initial=0)))
    stored = np.min_scalar_type(-largest - 1)
    most = np.iinfo(np.int16).max // largest
    if listed and stored.itemsize <= 2 and most >= SPIKE_BLOCK:
        return stored, np.dtype(np.int16), JOINED_BLOCK[stored.name], most
    return stored, np.dtype(np.int32), SOURCE_BLOCK[stored.name], UNLIMITED
