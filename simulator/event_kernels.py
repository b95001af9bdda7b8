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
    typingctx, weights, items, vectors, accumulator, tile, first_item, count, row_bytes
):
    """Add ``count`` rows of ``tile`` to ``accumulator``, in order, accumulators in registers.

    Where ``items`` holds channel indices (uint16), row ``items[i]`` is added as it is: an accumulate. Where
    it holds values, row i times ``items[i]`` is added: a multiply-accumulate. ``weights`` and ``items`` only
    give element types and ``vectors`` (a tuple) the number of registers; ``accumulator``, ``tile`` and
    ``first_item`` are addresses.
    """
    element, listed = weights.dtype, isinstance(items.dtype, types.Integer)
    item_bytes = items.dtype.bitwidth // 8
    align = element.bitwidth // 8
    lanes, registers = VECTOR_BYTES // align, vectors.count
    signature = types.void(weights, items, vectors, *(types.int64,) * 5)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        *_, accumulator, tile, first_item, count, row_bytes = args
        int64 = ir.IntType(64)
        scalar = context.get_value_type(element)
        vector = ir.VectorType(scalar, lanes)
        accumulators = builder.inttoptr(accumulator, vector.as_pointer())
        item_at = builder.inttoptr(first_item, context.get_value_type(items.dtype).as_pointer())
        at = [builder.gep(accumulators, [ir.Constant(int64, k)]) for k in range(registers)]
        start = [builder.load(p, align=align) for p in at]

        entry = builder.block
        loop = builder.append_basic_block("rows")
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", count, ir.Constant(int64, 0)), loop, done)

        builder.position_at_end(loop)
        i = builder.phi(int64)
        sums = [builder.phi(vector) for _ in range(registers)]
        item = builder.load(builder.gep(item_at, [i]), align=item_bytes)
        channel = builder.zext(item, int64) if listed else i
        row = builder.inttoptr(builder.add(tile, builder.mul(channel, row_bytes)), vector.as_pointer())
        terms = [
            builder.load(builder.gep(row, [ir.Constant(int64, k)]), align=align) for k in range(registers)
        ]
        if not listed:
            lane = ir.Constant(ir.IntType(32), 0)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), item, lane)
            factor = builder.shuffle_vector(
                one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            )
            terms = [builder.fmul(factor, term) for term in terms]
        added = [builder.fadd(total, term) for total, term in zip(sums, terms, strict=True)]
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


def block_values(values: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Analog values in the form of `list_spikes`: every channel is there, with its value.

    ``values`` [N, H, W, C]; returns values [blocks, N, H, W, block], padded with zeros, and int32 counts.
    """
    n_all, height, width, channels = values.shape
    blocks = -(-channels // block)
    padded = np.zeros((n_all, height, width, blocks * block), values.dtype)
    padded[..., :channels] = values
    items = np.moveaxis(padded.reshape(n_all, height, width, blocks, block), 3, 0)
    count = np.full((blocks, n_all, height, width), block, np.int32)
    count[-1] = channels - (blocks - 1) * block
    return np.ascontiguousarray(items), count


@njit(nogil=True, cache=True, error_model="numpy")
def project(
    first_task: int,
    last_task: int,
    rows_per_task: int,
    items: np.ndarray,
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
    """``current[..., first_channel:] += scale * (kernel applied to the source) + bias``, for some tasks.

    A task is one target channel block and ``rows_per_task`` output rows, for all N. ``items`` and
    ``count`` come from `list_spikes` (spikes: accumulates) or `block_values` (analog values:
    multiply-accumulates); ``weights`` [target blocks, source blocks, kh, kw, source block, target block];
    ``scale`` and ``bias`` [C_out]; ``current`` [N, OH, OW, C].
    """
    source_blocks, n_all, height, width, block = items.shape
    kh, kw, tile_channels = weights.shape[2], weights.shape[3], weights.shape[5]
    out_height, out_width = current.shape[1], current.shape[2]
    row_bytes = np.int64(tile_channels * weights.itemsize)
    list_bytes = np.int64(block * items.itemsize)
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
                            lists = items[s, n, y].ctypes.data
                            for ox in range(out_width):
                                x = ox * stride[1] + kx * dilation[1] - padding[1]
                                if x < 0 or x >= width * upsample:
                                    continue
                                x //= upsample
                                _add_rows(  # type: ignore[call-arg]  # numba passes typingctx
                                    weights,
                                    items,
                                    vectors,
                                    row + ox * row_bytes,
                                    tile,
                                    lists + x * list_bytes,
                                    np.int64(count[s, n, y, x]),
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


def vectors_of(weights: np.ndarray) -> tuple[int, ...]:
    """A tuple as long as the vector registers that one row of tiled weights fills."""
    return (0,) * (weights.shape[-1] * weights.itemsize // VECTOR_BYTES)


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
