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

import numpy as np
from numba import njit, types
from numba.extending import overload

from nsim.simulator.vector_code import (
    COMPRESSES,
    SPIKE_BLOCK,
    VECTOR_BYTES,
    add_rows,
    fetch,
    int32_at,
    line,
    list_block,
    lowest,
    shifted,
    spiked_bits,
)


@njit(nogil=True, cache=True)
def list_spikes(
    first_row: int, last_row: int, spikes: np.ndarray, index: np.ndarray, begin: np.ndarray
) -> None:
    """What spiked, as one list per source block and row of a map, for some rows and all time steps.

    ``spikes`` uint8 [T, R, W, C] (R = images x height); out: ``index`` [blocks, T, R, W * block], ascending:
    x * block + the channel within the block; ``begin`` int32 [blocks, T, R, W + 1]: where in it the spikes of
    position x begin; its neighbour's come after them. See `spike_lists` for the arrays.
    """
    blocks, steps, _, ends = begin.shape
    width, channels = ends - 1, spikes.shape[3]
    rows, room = spikes.shape[1], index.shape[3]
    block = room // width
    for b in range(blocks):
        first, last = b * block, min(channels, (b + 1) * block)
        for t in range(steps):
            for r in range(first_row, last_row):
                found = 0
                list_ = line(index, ((b * steps + t) * rows + r) * room, room)
                begins = line(begin, ((b * steps + t) * rows + r) * ends, ends)
                for x in range(width):
                    begins[x] = found
                    here = line(spikes, ((t * rows + r) * width + x) * channels, channels)
                    place, c = x * block - first, first
                    while c + SPIKE_BLOCK <= last:
                        address = here.ctypes.data + np.uint64(c)
                        if COMPRESSES:
                            found += list_block(address, place + c, list_, found)
                        else:
                            bits: np.uint64 = spiked_bits(address)
                            while bits:
                                list_[found] = np.uint64(place + c) + lowest(bits)
                                found += 1
                                bits &= bits - np.uint64(1)
                        c += SPIKE_BLOCK
                    while c < last:
                        if here[c]:
                            list_[found] = place + c
                            found += 1
                        c += 1
                begins[width] = found


def spike_lists(shape: tuple[int, ...], block: int) -> tuple[np.ndarray, np.ndarray]:
    """Arrays for `list_spikes` of spikes [N, H, W, C]: index [blocks, N, H, W * block] and begin."""
    *places, width, channels = shape
    blocks = -(-channels // block)
    kind = np.uint16 if width * block <= 1 << 16 else np.uint32
    return np.empty((blocks, *places, width * block), kind), np.empty((blocks, *places, width + 1), np.int32)


def block_values(values: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Analog values as `project` takes them, in source blocks: every channel is there, with its value.

    ``values`` [N, H, W, C]; returns values [blocks, N, H, W, block], a view where the channels divide into
    blocks and else padded with zeros, and how many channels each block has, int32
    [blocks, N, H, 1].
    """
    *places, channels = values.shape
    blocks = -(-channels // block)
    if channels % block:
        padded = np.zeros((*places, blocks * block), values.dtype)
        padded[..., :channels] = values
        values = padded
    count = np.full((blocks, *places[:2], 1), block, np.int32)
    count[-1] = channels - (blocks - 1) * block
    return values.reshape(*places, blocks, block).transpose(3, 0, 1, 2, 4), count


def _scaled(total, scale, channel):  # type: ignore[no-untyped-def]
    """``total * scale[channel]``, or ``2**scale * total`` where scale is an integer, halves rounded up."""


@overload(_scaled)
def _scaled_by_type(total, scale, channel):  # type: ignore[no-untyped-def]
    """Tell Numba which of the two it is, by type."""
    if isinstance(scale, types.Array):
        return lambda total, scale, channel: total * scale[channel]
    if total.bitwidth < 32:
        return lambda total, scale, channel: shifted(np.int32(total), scale)
    return lambda total, scale, channel: shifted(total, scale)


def _cut(scale, first, length):  # type: ignore[no-untyped-def]
    """What `_scaled` takes for the channels from ``first`` on."""


@overload(_cut)
def _cut_by_type(scale, first, length):  # type: ignore[no-untyped-def]
    """Tell Numba which of the two it is, by type."""
    if isinstance(scale, types.Array):
        return lambda scale, first, length: line(scale, first, length)
    return lambda scale, first, length: scale


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
    images = len(initial)
    for t in range(steps):
        for r in range(first_row, last_row):
            for x in range(width):
                source = line(values, ((t % seen * rows + r) * width + x) * channels, channels)
                start = ((t * rows + r) * width + x) * current.shape[3] + first_channel
                target = line(current, start, channels)
                if images:
                    base = line(initial, r // (rows // images) * channels, channels)
                    for c in range(channels):
                        target[c] = base[c] + (_scaled(source[c], scale, c) + bias[c])
                else:
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
    rows, width = total.shape[1:3]
    own, scales, images = line(bias, first, channels), _cut(scale, first, channels), len(initial)
    for n in range(current.shape[0]):
        for oy in range(y_first, y_last):
            for ox in range(width):
                here = line(total, ((n * rows + oy - y_first) * width + ox) * total.shape[3], channels)
                start = ((n * current.shape[1] + oy) * width + ox) * current.shape[3] + first_channel + first
                target = line(current, start, channels)
                if images:
                    base = line(initial, n % images * bias.shape[0] + first, channels)
                    for c in range(channels):
                        target[c] = base[c] + (_scaled(here[c], scales, c) + own[c])
                else:
                    for c in range(channels):
                        target[c] += _scaled(here[c], scales, c) + own[c]


# All arguments but the first two are addresses and distances in bytes: arrays cut to a row would be counted
# as referenced and released at every row, which costs as much as four lists.


def _add_row(  # type: ignore[no-untyped-def]
    kinds, places, tile, row_bytes, sums, sum_bytes, lists, list_bytes, begin, runs, width, most, ahead
):
    """Add what one row of the source sends through ``tile`` to a row of ``sums``; see `project`.

    ``lists`` and ``begin``: of the source row, ``list_bytes`` from item to item or place to place; ``runs``:
    int32 [3, width]. ``ahead``: what is to be fetched meanwhile (from, to, how much with every list); returns
    what is left.
    """


@overload(_add_row, jit_options={"forceinline": True})
def _add_row_by_type(  # type: ignore[no-untyped-def]
    kinds, places, tile, row_bytes, sums, sum_bytes, lists, list_bytes, begin, runs, width, most, ahead
):
    """Tell Numba which of the two it is, by type."""
    return _add_spikes if places.count == 1 else _add_values


def _add_spikes(  # type: ignore[no-untyped-def]
    kinds, places, tile, row_bytes, sums, sum_bytes, lists, list_bytes, begin, runs, width, most, ahead
):
    """`_add_row` for lists of spikes, one target after the other."""
    address, end, step = ahead
    weights, items, total, register, vectors = kinds
    column, last = 4 * width, runs + 4 * (width - 1)
    first = int32_at(begin + 4 * int32_at(runs))
    count = int32_at(begin + 4 * int32_at(runs + column)) - first
    rows = tile + int32_at(runs + 2 * column) * row_bytes
    for _ in range(width):
        item, left, here = lists + first * list_bytes, count, rows
        # looked up one list ahead, so that nothing is waited for once the end of this one was mispredicted
        runs = min(runs + 4, last)
        first = int32_at(begin + 4 * int32_at(runs))
        count = int32_at(begin + 4 * int32_at(runs + column)) - first
        rows = tile + int32_at(runs + 2 * column) * row_bytes
        if address < end:
            fetch(address, step)
            address += step
        while left > most:
            add_rows(weights, items, total, register, vectors, places, sums, here, item, (0, 0), most)
            item += most * list_bytes
            left -= most
        add_rows(weights, items, total, register, vectors, places, sums, here, item, (0, 0), left)
        sums += sum_bytes
    return address, end, step


def _add_values(  # type: ignore[no-untyped-def]
    kinds, places, tile, row_bytes, sums, sum_bytes, lists, list_bytes, begin, runs, width, most, ahead
):
    """`_add_row` for analog values, ``places`` together where their sources lie side by side."""
    address, end, step = ahead
    weights, items, total, register, vectors = kinds
    column, apart, count = 4 * width, (sum_bytes, list_bytes), int32_at(begin)
    ox = 0
    while ox < width:
        run, last = runs + 4 * ox, ox + len(places) - 1
        x, from_, to = int32_at(run), runs + 4 * last, runs + column + 4 * last
        here, first = sums + ox * sum_bytes, lists + x * list_bytes
        if address < end:
            fetch(address, step)
            address += step
        if int32_at(run + column) == x:
            ox += 1
        elif last < width and int32_at(from_) == x + len(places) - 1 and int32_at(to) == x + len(places):
            add_rows(weights, items, total, register, vectors, places, here, tile, first, apart, count)
            ox += len(places)
        else:
            add_rows(weights, items, total, register, vectors, (0,), here, tile, first, apart, count)
            ox += 1
    return address, end, step


@njit(nogil=True, cache=True, error_model="numpy")
def project(
    first_task: int,
    last_task: int,
    rows_per_task: int,
    items: np.ndarray,
    begin: np.ndarray,
    weights: np.ndarray,
    register: np.ndarray,
    sums: np.ndarray,
    vectors: tuple[int, ...],
    places: tuple[int, ...],
    most: int,
    source_y: np.ndarray,
    runs: np.ndarray,
    scale: np.ndarray | int,
    bias: np.ndarray,
    initial: np.ndarray,
    current: np.ndarray,
    first_channel: int,
) -> None:
    """``current[..., first_channel:] += scale * (kernel applied to the source) + bias``, for some tasks.

    ``current`` starts from ``initial`` [images, C_out] if that is not empty [0, C_out]: memory that nothing
    has been written to yet. N counts through time steps, and images within each.

    A task is one target channel block and ``rows_per_task`` output rows, for all N. ``items`` and
    ``begin`` come from `list_spikes` (spikes: accumulates) or `block_values` (analog values:
    multiply-accumulates); ``weights``, ``vectors`` and ``most`` from `tile_weights`, ``register`` and
    ``sums`` empty arrays of the types it chose; ``places``: a tuple as long as target places are worked off
    together where their sources lie side by side (one for spikes); ``source_y`` [kh, OH] from
    `Kernel.tap_sources`; ``runs`` [kw or 1, 3, OW] from `tap_runs`; ``scale`` [C_out] (or an integer, see
    `_scaled`) and ``bias`` [C_out]; ``current`` [N, OH, OW, C].
    """
    source_blocks, n_all, height = items.shape[:3]
    kh, kw, block, tile_channels = weights.shape[2:]
    out_height, out_width = current.shape[1], current.shape[2]
    size = n_all * rows_per_task * out_width * tile_channels
    room = np.empty(size + VECTOR_BYTES // sums.itemsize, sums.dtype)
    start = (-room.ctypes.data % VECTOR_BYTES) // sums.itemsize
    total = room[start : start + size].reshape(n_all, rows_per_task, out_width, tile_channels)
    kinds = weights, items, total, register, vectors
    total_at, items_at = np.int64(total.ctypes.data), np.int64(items.ctypes.data)
    begin_at, runs_at = np.int64(begin.ctypes.data), np.int64(runs.ctypes.data)
    total_bytes = np.int64(tile_channels * total.itemsize)
    row_bytes = np.int64(tile_channels * weights.itemsize)
    taps = kw // len(runs)
    tile_bytes = row_bytes * block * taps
    tiles = (out_height + rows_per_task - 1) // rows_per_task
    # the next tile is fetched a little with every list, as fast as memory gives it
    lists_per_tile = n_all * rows_per_task * out_width
    fetch_bytes = VECTOR_BYTES * (1 + tile_bytes // (VECTOR_BYTES * lists_per_tile))
    for task in range(first_task, last_task):
        b = task // tiles
        y_first = (task % tiles) * rows_per_task
        y_last = min(out_height, y_first + rows_per_task)
        total[:] = 0
        tiles_left = source_blocks * kh * len(runs)
        for s in range(source_blocks):
            for ky in range(kh):
                for run in range(len(runs)):
                    tile = np.int64(weights[b, s, ky, run * taps].ctypes.data)
                    tiles_left -= 1
                    ahead = tile + tile_bytes, tile + tile_bytes * (2 if tiles_left else 1), fetch_bytes
                    for n in range(n_all):
                        for oy in range(y_first, y_last):
                            y = source_y[ky, oy]
                            if y < 0:
                                continue
                            ahead = _add_row(
                                kinds,
                                places,
                                tile,
                                row_bytes,
                                total_at + (n * rows_per_task + oy - y_first) * out_width * total_bytes,
                                total_bytes,
                                items_at + s * items.strides[0] + n * items.strides[1] + y * items.strides[2],
                                items.strides[3],
                                begin_at + ((s * n_all + n) * height + y) * begin.shape[3] * begin.itemsize,
                                runs_at + run * 3 * out_width * runs.itemsize,
                                out_width,
                                most,
                                ahead,
                            )
        _add_sums(total, b * tile_channels, y_first, y_last, scale, bias, initial, current, first_channel)
