"""Event-driven accumulation in Numba: for every spike, the weight rows of its targets are added.

Accumulators stay in vector registers while a list of spikes is worked off, and a tile of weights
[source channels, target channels] stays in cache for all time steps, images and positions it serves; the
next tile is fetched meanwhile.

Order of additions for one target and time step, whatever the number of threads or tasks: source channel
block, kernel row, kernel column, source channel ascending; starting from zero. Each output is computed
whole inside one task, so splitting the tasks cannot change a bit. Integers have no order to keep: they are
added in narrow registers, over no more rows than those can hold, and widened into 32 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

VECTOR_BYTES = 64
MAX_VECTORS = 4
"""Vector registers that hold accumulators; target channels per tile = vectors * lanes."""
SPIKE_BLOCK = 64
"""Channels whose spikes are found at once; a source block is a multiple of it, or all channels."""

INT64 = ir.IntType(64)


@intrinsic
def add_rows(  # type: ignore[no-untyped-def]
    typingctx, weights, items, total, register, vectors, places, accumulator, tile, first_item, strides, count
):
    """Add ``count`` rows of ``tile`` to ``accumulator``, in order, accumulators in registers.

    Where ``items`` holds channel indices (uint16), row ``items[i]`` is added as it is: an accumulate. Where
    it holds values, row i times ``items[i]`` is added: a multiply-accumulate; values of 16 bits are taken two
    at a time, from rows that stand interleaved in pairs (see `tile_weights`). Several ``places`` (a tuple;
    one of them for indices) share each row that is loaded: their accumulators and their items lie ``strides``
    (of accumulators, of items) bytes apart. ``weights``, ``items``, ``total`` (the accumulators' array) and
    ``register`` only give element types, ``vectors`` (a tuple) the number of registers of a place;
    ``accumulator``, ``tile`` and ``first_item`` are addresses. Floating point goes on from the accumulator's
    values, so that the order of additions does not depend on how rows are grouped; integers start from zero
    in the narrower type of ``register``, and are widened at the end.
    """
    weight, element, narrow = weights.dtype, total.dtype, register.dtype
    is_float = isinstance(element, types.Float)
    weight_bytes, element_bytes = weight.bitwidth // 8, element.bitwidth // 8
    item_bytes = items.dtype.bitwidth // 8
    lanes, registers = VECTOR_BYTES * 8 // narrow.bitwidth, vectors.count
    listed, paired = items.dtype == types.uint16, items.dtype == types.int16
    rows_at_once = 2 if paired else 1
    several = range(places.count)
    addresses, number = (types.int64,) * 3, types.int64
    signature = types.void(weights, items, total, register, vectors, places, *addresses, strides, number)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        *_, accumulator, tile, first_item, apart, count = args
        total_apart, item_apart = (builder.extract_value(apart, k) for k in (0, 1))
        if paired:
            count = builder.lshr(builder.add(count, ir.Constant(INT64, 1)), ir.Constant(INT64, 1))
        row_bytes = ir.Constant(INT64, registers * lanes * weight_bytes * rows_at_once)
        row_type = ir.VectorType(context.get_value_type(weight), lanes * rows_at_once)
        sum_type = ir.VectorType(context.get_value_type(narrow), lanes)
        memory_type = ir.VectorType(context.get_value_type(element), lanes)
        item_type = ir.IntType(32) if paired else context.get_value_type(items.dtype)

        at, items_at = [], []
        for place in several:
            here = _beside(builder, accumulator, total_apart, place, memory_type)
            at += [builder.gep(here, [ir.Constant(INT64, k)]) for k in range(registers)]
            items_at.append(_beside(builder, first_item, item_apart, place, item_type))
        add = builder.fadd if is_float else builder.add
        if is_float:
            start = [builder.load(p, align=element_bytes) for p in at]
        else:
            start = [ir.Constant(sum_type, None)] * len(at)

        entry = builder.block
        loop = builder.append_basic_block("rows")
        done = builder.append_basic_block("done")
        after = builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", count, ir.Constant(INT64, 0)), loop, after)

        builder.position_at_end(loop)
        i = builder.phi(INT64)
        sums = [builder.phi(sum_type) for _ in at]
        factors = [builder.load(builder.gep(p, [i]), align=item_bytes) for p in items_at]
        channel = builder.zext(factors[0], INT64) if listed else i
        row = builder.inttoptr(builder.add(tile, builder.mul(channel, row_bytes)), row_type.as_pointer())
        loaded = [
            builder.load(builder.gep(row, [ir.Constant(INT64, k)]), align=weight_bytes)
            for k in range(registers)
        ]
        if weight.bitwidth < narrow.bitwidth and not paired:
            loaded = [builder.sext(vector, sum_type) for vector in loaded]
        terms = []
        for item in factors:
            if listed:
                terms += loaded
            elif paired:
                terms += _pair_products(builder, loaded, item, sum_type)
            else:
                terms += _products(builder, loaded, item, sum_type, is_float)
        added = [add(total, term) for total, term in zip(sums, terms, strict=True)]
        following = builder.add(i, ir.Constant(INT64, 1))
        i.add_incoming(ir.Constant(INT64, 0), entry)
        i.add_incoming(following, loop)
        for total, first, new in zip(sums, start, added, strict=True):
            total.add_incoming(first, entry)
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

        builder.position_at_end(done)
        for p, value in zip(at, added, strict=True):
            if not is_float:
                wide = builder.sext(value, memory_type) if narrow.bitwidth < element.bitwidth else value
                value = builder.add(builder.load(p, align=element_bytes), wide)
            builder.store(value, p, align=element_bytes)
        builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return signature, codegen


def _beside(builder: Any, address: Any, stride: Any, place: int, kind: Any) -> Any:
    """Pointer to the ``place``-th of things of a ``kind`` that lie ``stride`` bytes apart."""
    here = builder.add(address, builder.mul(stride, ir.Constant(INT64, place)))
    return builder.inttoptr(here, kind.as_pointer())


def _products(builder: Any, rows: list[Any], item: Any, sums: ir.VectorType, is_float: bool) -> list[Any]:
    """Every row times ``item``, an integer widened to the sums' type."""
    if not is_float and item.type.width < sums.element.width:
        item = builder.sext(item, sums.element)
    factor, multiply = _broadcast(builder, item, sums), builder.fmul if is_float else builder.mul
    return [multiply(factor, row) for row in rows]


def _broadcast(builder: Any, item: Any, vector: ir.VectorType) -> Any:
    """``item`` in every lane."""
    lane = ir.IntType(32)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), item, ir.Constant(lane, 0))
    zeros = ir.Constant(ir.VectorType(lane, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, zeros)


def _pair_products(builder: Any, rows: list[Any], pair: Any, sums: ir.VectorType) -> list[Any]:
    """For rows interleaved in pairs: first row times the low half of ``pair``, plus second times the high.

    Written so that LLVM sees the one instruction which does just that on 16-bit numbers (pmaddwd).
    """
    half, whole = sums.count, ir.VectorType(sums.element, 2 * sums.count)
    short = ir.VectorType(ir.IntType(16), 2 * half)
    both = builder.sext(builder.bitcast(_broadcast(builder, pair, sums), short), whole)
    lanes = ir.VectorType(ir.IntType(32), half)
    even, odd = ([2 * i + k for i in range(half)] for k in (0, 1))
    products = [builder.mul(builder.sext(row, whole), both) for row in rows]
    return [
        builder.add(
            builder.shuffle_vector(p, p, ir.Constant(lanes, even)),
            builder.shuffle_vector(p, p, ir.Constant(lanes, odd)),
        )
        for p in products
    ]


@intrinsic
def _fetch(typingctx, address, size):  # type: ignore[no-untyped-def]
    """Ask for ``size`` bytes from ``address`` on to be brought into the cache."""
    signature = types.void(types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, size = args
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        )
        entry = builder.block
        loop = builder.append_basic_block("lines")
        done = builder.append_basic_block("fetched")
        builder.cbranch(builder.icmp_signed(">", size, ir.Constant(INT64, 0)), loop, done)
        builder.position_at_end(loop)
        offset = builder.phi(INT64)
        # read, kept in the second-level cache: the first is full of the tile in use
        kinds = [ir.Constant(flag, 0), ir.Constant(flag, 2), ir.Constant(flag, 1)]
        builder.call(prefetch, [builder.inttoptr(builder.add(address, offset), byte), *kinds])
        following = builder.add(offset, ir.Constant(INT64, 64))
        offset.add_incoming(ir.Constant(INT64, 0), entry)
        offset.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, size), loop, done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def spiked_bits(typingctx, address):  # type: ignore[no-untyped-def]
    """Bits of the SPIKE_BLOCK bytes at ``address`` that are not 0, the first one lowest."""
    signature = types.uint64(types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), SPIKE_BLOCK)
        value = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", value, ir.Constant(vector, None)), INT64)

    return signature, codegen


@intrinsic
def _lowest(typingctx, bits):  # type: ignore[no-untyped-def]
    """Position of the lowest bit that is set in ``bits``, which must not be 0."""
    signature = types.uint64(types.uint64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return signature, codegen


@njit(nogil=True, cache=True)
def list_spikes(
    first_row: int, last_row: int, spikes: np.ndarray, index: np.ndarray, count: np.ndarray
) -> None:
    """Channels that spiked, as lists per source block and position, for some rows and all time steps.

    ``spikes`` uint8 [T, R, W, C] (R = images x height); out: indices uint16 [blocks, T, R, W, block]
    within the block, ascending, and their counts int32 [blocks, T, R, W]. See `spike_lists` for the arrays.
    """
    blocks, steps, _, width, block = index.shape
    channels = spikes.shape[3]
    for b in range(blocks):
        first, last = b * block, min(channels, (b + 1) * block)
        for t in range(steps):
            for r in range(first_row, last_row):
                for x in range(width):
                    found = 0
                    here = spikes[t, r, x].ctypes.data
                    c = first
                    while c + SPIKE_BLOCK <= last:
                        bits: np.uint64 = spiked_bits(here + c)  # type: ignore[call-arg]  # numba passes typingctx
                        while bits:
                            index[b, t, r, x, found] = np.uint64(c - first) + _lowest(bits)
                            found += 1
                            bits &= bits - np.uint64(1)
                        c += SPIKE_BLOCK
                    while c < last:
                        if spikes[t, r, x, c]:
                            index[b, t, r, x, found] = c - first
                            found += 1
                        c += 1
                    count[b, t, r, x] = found


def spike_lists(shape: tuple[int, ...], block: int) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for `list_spikes` of spikes [N, H, W, C]: index [blocks, N, H, W, block] and count."""
    *places, channels = shape
    blocks = -(-channels // block)
    return np.empty((blocks, *places, block), np.uint16), np.empty((blocks, *places), np.int32)


def block_values(values: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Analog values in the form of `list_spikes`: every channel is there, with its value.

    ``values`` [N, H, W, C]; returns values [blocks, N, H, W, block], a view where the channels divide into
    blocks and else padded with zeros, and int32 counts.
    """
    *places, channels = values.shape
    blocks = -(-channels // block)
    if channels % block:
        padded = np.zeros((*places, blocks * block), values.dtype)
        padded[..., :channels] = values
        values = padded
    count = np.full((blocks, *places), block, np.int32)
    count[-1] = channels - (blocks - 1) * block
    return np.moveaxis(values.reshape(*places, blocks, block), -2, 0), count


def _scaled(total, scale, channel):  # type: ignore[no-untyped-def]
    """``total * scale[channel]``, or ``2**scale * total`` where scale is an integer, halves rounded up."""
    if isinstance(scale, np.ndarray):
        return total * scale[channel]
    return total << scale if scale >= 0 else (total + (1 << (-scale - 1))) >> -scale


@overload(_scaled)
def _scaled_by_type(total, scale, channel):  # type: ignore[no-untyped-def]
    """Tell Numba which of the two it is, by type."""
    if isinstance(scale, types.Array):
        return lambda total, scale, channel: total * scale[channel]

    def shifted(total, scale, channel):  # type: ignore[no-untyped-def]
        if scale >= 0:
            return total << scale
        return (total + (1 << (-scale - 1))) >> -scale

    return shifted


@njit(nogil=True, cache=True)
def add_values(
    first_row: int,
    last_row: int,
    values: np.ndarray,
    scale: np.ndarray | int,
    bias: np.ndarray,
    initial: np.ndarray,
    current: np.ndarray,
    first_channel: int,
) -> None:
    """``current[..., first_channel:] += scale * values + bias`` for some rows: an identity projection.

    ``values`` [T', R, W, C], spikes or analog, R = images x height, T' = 1 (constant over time: seen again at
    every step) or T; ``scale`` [C], or an integer, see `_scaled`; ``bias`` [C]; ``initial``: see `project`;
    ``current`` [T, R, W, >= C].
    """
    seen, _, width, channels = values.shape
    steps, rows = current.shape[:2]
    images = len(initial) // steps
    for t in range(steps):
        for r in range(first_row, last_row):
            for x in range(width):
                source = values[t % seen, r, x]
                target = current[t, r, x, first_channel : first_channel + channels]
                if images:
                    target[:] = initial[t * images + r // (rows // images)]
                for c in range(channels):
                    target[c] += _scaled(source[c], scale, c) + bias[c]


@njit(nogil=True)
def _add_sums(
    total: np.ndarray,
    first: int,
    y_first: int,
    y_last: int,
    scale: np.ndarray | int,
    bias: np.ndarray,
    initial: np.ndarray,
    current: np.ndarray,
    first_channel: int,
) -> None:
    """Add the sums of target channels from ``first`` on to the rows of a task; see `project`."""
    channels = min(total.shape[3], bias.shape[0] - first)
    for n in range(current.shape[0]):
        for oy in range(y_first, y_last):
            for ox in range(current.shape[2]):
                here = total[n, oy - y_first, ox]
                # cut from the whole array: numba knows it to be contiguous, and makes vector code of the loop
                target = current[n, oy, ox, first_channel + first : first_channel + first + channels]
                own = bias[first : first + channels]
                if len(initial):
                    target[:] = initial[n, first : first + channels]
                for c in range(channels):
                    target[c] += _scaled(here[c], scale, first + c) + own[c]


@njit(nogil=True, cache=True, error_model="numpy")
def project(
    first_task: int,
    last_task: int,
    rows_per_task: int,
    items: np.ndarray,
    count: np.ndarray,
    weights: np.ndarray,
    register: np.ndarray,
    sums: np.ndarray,
    vectors: tuple[int, ...],
    places: tuple[int, ...],
    source_y: np.ndarray,
    source_x: np.ndarray,
    scale: np.ndarray | int,
    bias: np.ndarray,
    initial: np.ndarray,
    current: np.ndarray,
    first_channel: int,
) -> None:
    """``current[..., first_channel:] += scale * (kernel applied to the source) + bias``, for some tasks.

    ``current`` starts from ``initial`` [N, C_out] if that is not empty [0, C_out]: memory that nothing has
    been written to yet.

    A task is one target channel block and ``rows_per_task`` output rows, for all N. ``items`` and
    ``count`` come from `list_spikes` (spikes: accumulates) or `block_values` (analog values:
    multiply-accumulates); ``weights`` and ``vectors`` from `tile_weights`, ``register`` and ``sums`` empty
    arrays of the types it chose; ``places``: a tuple as long as target places are worked off together where
    their sources lie side by side (one for spikes); ``source_y`` [kh, OH] and ``source_x`` [kw, OW]
    from `Kernel.tap_sources`; ``scale`` [C_out] (or an integer, see `_scaled`) and ``bias`` [C_out];
    ``current`` [N, OH, OW, C].
    """
    source_blocks, n_all, _, _, block = items.shape
    kh, kw, tile_channels = weights.shape[2], weights.shape[3], weights.shape[5]
    out_height, out_width = current.shape[1], current.shape[2]
    size = n_all * rows_per_task * out_width * tile_channels
    room = np.empty(size + VECTOR_BYTES // sums.itemsize, sums.dtype)
    start = (-room.ctypes.data % VECTOR_BYTES) // sums.itemsize
    total = room[start : start + size].reshape(n_all, rows_per_task, out_width, tile_channels)
    row_bytes = np.int64(tile_channels * weights.itemsize)
    total_bytes = np.int64(tile_channels * total.itemsize)
    list_bytes = np.int64(items.strides[3])
    tile_bytes = row_bytes * block
    tiles = (out_height + rows_per_task - 1) // rows_per_task
    # the next tile is fetched a little with every list, as fast as memory gives it
    lists_per_tile = n_all * rows_per_task * out_width
    fetch_bytes = VECTOR_BYTES * (1 + tile_bytes // (VECTOR_BYTES * lists_per_tile))
    for task in range(first_task, last_task):
        b = task // tiles
        y_first = (task % tiles) * rows_per_task
        y_last = min(out_height, y_first + rows_per_task)
        total[:] = 0
        tiles_left = source_blocks * kh * kw
        for s in range(source_blocks):
            for ky in range(kh):
                for kx in range(kw):
                    tile = weights[b, s, ky, kx].ctypes.data
                    tiles_left -= 1
                    ahead, ahead_end = tile + tile_bytes, tile + tile_bytes * (2 if tiles_left else 1)
                    for n in range(n_all):
                        for oy in range(y_first, y_last):
                            y = source_y[ky, oy]
                            if y < 0:
                                continue
                            row = total[n, oy - y_first].ctypes.data
                            lists = items[s, n, y].ctypes.data
                            ox = 0
                            while ox < out_width:
                                x = np.int64(source_x[kx, ox])
                                end = ox + len(places) - 1
                                together = x >= 0 and end < out_width and source_x[kx, end] == x + end - ox
                                if ahead < ahead_end:
                                    _fetch(ahead, fetch_bytes)  # type: ignore[call-arg]
                                    ahead += fetch_bytes
                                if together:
                                    add_rows(  # type: ignore[call-arg]  # numba passes typingctx
                                        weights,
                                        items,
                                        total,
                                        register,
                                        vectors,
                                        places,
                                        row + ox * total_bytes,
                                        tile,
                                        lists + x * list_bytes,
                                        (total_bytes, list_bytes),
                                        np.int64(count[s, n, y, x]),
                                    )
                                    ox += len(places)
                                    continue
                                if x >= 0:
                                    add_rows(  # type: ignore[call-arg]
                                        weights,
                                        items,
                                        total,
                                        register,
                                        vectors,
                                        (0,),
                                        row + ox * total_bytes,
                                        tile,
                                        lists + x * list_bytes,
                                        (total_bytes, list_bytes),
                                        np.int64(count[s, n, y, x]),
                                    )
                                ox += 1
        _add_sums(total, b * tile_channels, y_first, y_last, scale, bias, initial, current, first_channel)
