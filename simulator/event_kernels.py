"""Event-driven accumulation in Numba: for every spike, the weight rows of its targets are added.

Accumulators stay in vector registers while a list of spikes is worked off, and a tile of weights
[source channels, target channels] stays in cache for all time steps, images and positions it serves.

Order of additions for one target and time step, whatever the number of threads or tasks: source channel
block, kernel row, kernel column, source channel ascending; starting from zero. Each output is computed
whole inside one task, so splitting the tasks cannot change a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

VECTOR_BYTES = 64
SOURCE_BLOCK = {np.dtype(np.float32): 128, np.dtype(np.float64): 64}
"""Source channels per weight tile: a tile is at most 32 KiB."""
MAX_VECTORS = 4
"""Vector registers that hold accumulators; target channels per tile = vectors * lanes."""


@intrinsic
def _add_rows(  # type: ignore[no-untyped-def]
    typingctx, weights, vectors, accumulator, tile, index, count, row_bytes
):
    """``accumulator[:] += tile[index[i], :]`` for i < count, in order, accumulators in registers.

    ``weights`` only gives the element type and ``vectors`` (a tuple) the number of registers;
    ``accumulator``, ``tile`` and ``index`` are addresses.
    """
    element = weights.dtype
    lanes = VECTOR_BYTES // (element.bitwidth // 8)
    registers = vectors.count
    signature = types.void(weights, vectors, *(types.int64,) * 5)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, accumulator, tile, index, count, row_bytes = args
        int64, int16 = ir.IntType(64), ir.IntType(16)
        vector = ir.VectorType(context.get_value_type(element), lanes)
        align = element.bitwidth // 8
        accumulators = builder.inttoptr(accumulator, vector.as_pointer())
        indices = builder.inttoptr(index, int16.as_pointer())
        at = [builder.gep(accumulators, [ir.Constant(int64, k)]) for k in range(registers)]
        start = [builder.load(p, align=align) for p in at]

        entry = builder.block
        loop = builder.append_basic_block("rows")
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", count, ir.Constant(int64, 0)), loop, done)

        builder.position_at_end(loop)
        i = builder.phi(int64)
        sums = [builder.phi(vector) for _ in range(registers)]
        channel = builder.zext(builder.load(builder.gep(indices, [i]), align=2), int64)
        row = builder.inttoptr(builder.add(tile, builder.mul(channel, row_bytes)), vector.as_pointer())
        added = [
            builder.fadd(total, builder.load(builder.gep(row, [ir.Constant(int64, k)]), align=align))
            for k, total in enumerate(sums)
        ]
        following = builder.add(i, ir.Constant(int64, 1))
        i.add_incoming(ir.Constant(int64, 0), entry)
        i.add_incoming(following, loop)
        for total, first, new in zip(sums, start, added, strict=True):
            total.add_incoming(first, entry)
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

        builder.position_at_end(done)
        final = [builder.phi(vector) for _ in range(registers)]
        for total, first, new in zip(final, start, added, strict=True):
            total.add_incoming(first, entry)
            total.add_incoming(new, loop)
        for total, p in zip(final, at, strict=True):
            builder.store(total, p, align=align)
        return context.get_dummy_value()

    return signature, codegen


@njit(nogil=True, cache=True)
def list_spikes(spikes: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Channels that spiked, as lists per source block and position.

    ``spikes`` uint8 [N, H, W, C] (N = time steps x images); returns indices uint16
    [blocks, N, H, W, block] within the block, ascending, and their counts int32 [blocks, N, H, W].
    """
    n_all, height, width, channels = spikes.shape
    blocks = (channels + block - 1) // block
    index = np.empty((blocks, n_all, height, width, block), np.uint16)
    count = np.empty((blocks, n_all, height, width), np.int32)
    for b in range(blocks):
        first = b * block
        last = min(channels, first + block)
        for n in range(n_all):
            for y in range(height):
                for x in range(width):
                    found = 0
                    for c in range(first, last):
                        index[b, n, y, x, found] = c - first
                        found += spikes[n, y, x, c]
                    count[b, n, y, x] = found
    return index, count


@njit(nogil=True, cache=True, error_model="numpy")
def project_spikes(
    first_task: int,
    last_task: int,
    rows_per_task: int,
    index: np.ndarray,
    count: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    current: np.ndarray,
    first_channel: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    upsample: int,
    vectors: tuple[int, ...],
) -> None:
    """``current[..., first_channel:] += scale * (kernel applied to the spikes) + bias``, for some tasks.

    A task is one target channel block and ``rows_per_task`` output rows, for all N. ``index`` and
    ``count`` come from `list_spikes`; ``weights`` [target blocks, source blocks, kh, kw, source block,
    target block]; ``scale`` and ``bias`` [C_out]; ``current`` [N, OH, OW, C].
    """
    source_blocks, n_all, height, width, block = index.shape
    kh, kw, tile_channels = weights.shape[2], weights.shape[3], weights.shape[5]
    out_height, out_width = current.shape[1], current.shape[2]
    row_bytes = np.int64(tile_channels * weights.itemsize)
    list_bytes = np.int64(block * 2)
    tiles = (out_height + rows_per_task - 1) // rows_per_task
    total = np.empty((n_all, rows_per_task, out_width, tile_channels), weights.dtype)
    for task in range(first_task, last_task):
        b = task // tiles
        y_first = (task % tiles) * rows_per_task
        y_last = min(out_height, y_first + rows_per_task)
        total[:] = 0
        for s in range(source_blocks):
            for ky in range(kh):
                for kx in range(kw):
                    tile = weights[b, s, ky, kx].ctypes.data
                    for n in range(n_all):
                        for oy in range(y_first, y_last):
                            y = oy * stride[0] + ky * dilation[0] - padding[0]
                            if y < 0 or y >= height * upsample:
                                continue
                            y //= upsample
                            row = total[n, oy - y_first].ctypes.data
                            lists = index[s, n, y].ctypes.data
                            for ox in range(out_width):
                                x = ox * stride[1] + kx * dilation[1] - padding[1]
                                if x < 0 or x >= width * upsample:
                                    continue
                                x //= upsample
                                found = np.int64(count[s, n, y, x])
                                if found > 0:
                                    _add_rows(  # type: ignore[call-arg]  # numba passes typingctx
                                        weights,
                                        vectors,
                                        row + ox * row_bytes,
                                        tile,
                                        lists + x * list_bytes,
                                        found,
                                        row_bytes,
                                    )
        channels = min(tile_channels, scale.shape[0] - b * tile_channels)
        target = first_channel + b * tile_channels
        for n in range(n_all):
            for oy in range(y_first, y_last):
                for ox in range(out_width):
                    for c in range(channels):
                        k = b * tile_channels + c
                        value = total[n, oy - y_first, ox, c] * scale[k] + bias[k]
                        current[n, oy, ox, target + c] += value


@njit(nogil=True, cache=True, error_model="numpy")
def project_values(
    first_task: int,
    last_task: int,
    rows_per_task: int,
    values: np.ndarray,
    weights: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    current: np.ndarray,
    first_channel: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    upsample: int,
) -> None:
    """`project_spikes` for analog values [N, H, W, C]: every tap is a multiply-accumulate, same order."""
    n_all, height, width, _ = values.shape
    source_blocks, kh, kw, block, tile_channels = weights.shape[1:]
    out_height, out_width = current.shape[1], current.shape[2]
    tiles = (out_height + rows_per_task - 1) // rows_per_task
    total = np.empty(tile_channels, weights.dtype)
    for task in range(first_task, last_task):
        b = task // tiles
        y_first = (task % tiles) * rows_per_task
        y_last = min(out_height, y_first + rows_per_task)
        channels = min(tile_channels, scale.shape[0] - b * tile_channels)
        target = first_channel + b * tile_channels
        for n in range(n_all):
            for oy in range(y_first, y_last):
                for ox in range(out_width):
                    total[:] = 0
                    for s in range(source_blocks):
                        source_channels = min(block, values.shape[3] - s * block)
                        for ky in range(kh):
                            y = oy * stride[0] + ky * dilation[0] - padding[0]
                            if y < 0 or y >= height * upsample:
                                continue
                            for kx in range(kw):
                                x = ox * stride[1] + kx * dilation[1] - padding[1]
                                if x < 0 or x >= width * upsample:
                                    continue
                                for c in range(source_channels):
                                    value = values[n, y // upsample, x // upsample, s * block + c]
                                    for k in range(tile_channels):
                                        total[k] += value * weights[b, s, ky, kx, c, k]
                    for c in range(channels):
                        k = b * tile_channels + c
                        current[n, oy, ox, target + c] += total[c] * scale[k] + bias[k]


def tile_weights(weights: np.ndarray, groups: int, dtype: np.dtype) -> np.ndarray:
    """Weights [Cout, Cin / groups, kh, kw] as tiles for the kernels, padded with zeros.

    Returns [target blocks, source blocks, kh, kw, source block, target block]. Groups become a block
    diagonal: the zeros are added to nothing that a group does not own.
    """
    c_out, per_group, kh, kw = weights.shape
    c_in = per_group * groups
    lanes = VECTOR_BYTES // dtype.itemsize
    vectors = next((v for v in (1, 2) if v * lanes >= c_out), MAX_VECTORS)
    tile, block = vectors * lanes, min(c_in, SOURCE_BLOCK[dtype])
    target_blocks, source_blocks = -(-c_out // tile), -(-c_in // block)
    dense = np.zeros((target_blocks * tile, source_blocks * block, kh, kw), dtype)
    out_per_group = c_out // groups
    for g in range(groups):
        out = slice(g * out_per_group, (g + 1) * out_per_group)
        dense[out, g * per_group : (g + 1) * per_group] = weights[out]
    split = dense.reshape(target_blocks, tile, source_blocks, block, kh, kw)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 5, 3, 1))
