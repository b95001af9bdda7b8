"""Every packet's way through a mesh of FIFO links, exactly, in integer picoseconds.

Rules. Tiles stand at (x, y), id y * width + x; the cores of a tile share its router. A packet enters its
tile's router at its departure time, takes the links of its row one by one to its column, then those of the
column. Every directed link is a FIFO server: it takes the next packet when one is there and the link is
free, is occupied for its service time, and hands the packet to the next router as that ends. So a hop
takes the service time, plus the wait: chip files give one figure per hop, which stands for both the time
a packet is under way and the time the link is taken. Buffers are unbounded. A packet that stays within its
tile travels no link.

Ties, packets that reach a link in the same picosecond: first those from the tile's own cores, in order of
packet id (their index); then those coming straight on; then those that turn from the row, coming from the
west first, then from the east. Packets off one link keep their order.

Method: x, then y, makes link dependencies acyclic, so links are worked off one after the other along their
line, each with all of its packets: two sorted streams, those that enter the line here and those already on
it, are merged, and each packet's end of service follows from the one before it (Lindley's recursion:
end = max(previous end, arrival) + service).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

EAST, WEST, NORTH, SOUTH = range(4)
"""Directions of links: x rising, x falling, y rising, y falling."""
LOCAL, STRAIGHT, FROM_WEST, FROM_EAST = range(4)
"""Ports by which packets come to a link, in order of precedence.

In the kernels a packet's ``key`` is 4 * time + port, so that sorting by keys is sorting by time and port,
and its ``load`` is 2**32 * packet id + 2**16 * target y + target x. A stop of a line is found in a load by
a ``shift``: 0 for rows (x), 16 for columns (y).
"""
MAX_SIDE = 2**16
Stream = tuple[np.ndarray, np.ndarray]
"""Keys and loads of packets in order of their keys."""


@dataclass(frozen=True)
class Mesh:
    """``width`` x ``height`` tiles; service time of a link along a row and along a column."""

    width: int
    height: int
    service_x_ps: int
    service_y_ps: int


@dataclass(frozen=True, eq=False)
class Arrivals:
    """``time_ps`` [packets]: arrival at the target tile. For the links that leave each tile to the east,
    west, north and south, [4, height, width] each: ``link_packets`` over it, and from when
    (``link_first_ps``) to when (``link_last_ps``) it has to do with them; 0 without any. All int64."""

    time_ps: np.ndarray
    link_packets: np.ndarray
    link_first_ps: np.ndarray
    link_last_ps: np.ndarray


def route_packets(mesh: Mesh, departures_ps: np.ndarray, source: np.ndarray, target: np.ndarray) -> Arrivals:
    """Send packets through the mesh by the rules above.

    ``departures_ps`` [packets], in any order; ``source`` and ``target`` [packets]: tile ids. Fastest where
    the packets of a tile come in long ascending runs. Raises ValueError for a tile that the mesh does not
    have, for times below 0 and for a mesh of more than 2**16 tiles along a side.
    """
    tiles = mesh.width * mesh.height
    if max(mesh.width, mesh.height) > MAX_SIDE:
        raise ValueError(f"a mesh of {mesh.width} x {mesh.height} tiles; {MAX_SIDE} is the most along a side")
    if min(mesh.service_x_ps, mesh.service_y_ps, departures_ps.min(initial=0)) < 0:
        raise ValueError("departure and service times must not be below 0")
    for ends in (source, target):
        if ends.min(initial=0) < 0 or ends.max(initial=0) >= tiles:
            raise ValueError(f"packets between tiles that a mesh of {tiles} does not have")
    arrivals = np.empty(len(departures_ps), np.int64)
    row_links = np.zeros((2, mesh.height, 3, mesh.width), np.int64)
    column_links = np.zeros((2, mesh.width, 3, mesh.height), np.int64)
    _route(
        (mesh.width, mesh.height),
        (mesh.service_x_ps, mesh.service_y_ps),
        np.ascontiguousarray(departures_ps, np.int64),
        np.ascontiguousarray(source, np.int64),
        np.ascontiguousarray(target, np.int64),
        arrivals,
        row_links,
        column_links,
    )
    links = np.concatenate([row_links.swapaxes(1, 2), column_links.transpose(0, 2, 3, 1)])
    return Arrivals(arrivals, *links.swapaxes(0, 1))


@njit(nogil=True, cache=True)
def serve_in_order(
    arrivals_ps: np.ndarray, server: np.ndarray, work_ps: np.ndarray, servers: int
) -> np.ndarray:
    """When each of ``servers`` FIFO servers is done with its packets: int64 ps [servers]; ties by packet id.

    ``arrivals_ps``, ``server`` and ``work_ps`` [packets]: when each packet arrives where, and the time it
    takes there.
    """
    first = np.zeros(servers + 1, np.int64)
    for s in server:
        first[s + 1] += 1
    first = np.cumsum(first)
    end = first.copy()
    stream, spare = _stream(len(server)), _stream(len(server))
    for p in range(len(server)):
        stream[0][end[server[p]]] = arrivals_ps[p]
        stream[1][end[server[p]]] = p
        end[server[p]] += 1
    done = np.zeros(servers, np.int64)
    for s in range(servers):
        _sort(stream, first[s], first[s + 1], spare)
        for i in range(first[s], first[s + 1]):
            done[s] = max(done[s], stream[0][i]) + work_ps[stream[1][i]]
    return done


@njit(nogil=True, cache=True)
def _route(
    size: tuple[int, int],
    service: tuple[int, int],
    departures: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    arrivals: np.ndarray,
    row_links: np.ndarray,
    column_links: np.ndarray,
) -> None:
    """All rows, then all columns. Out: ``arrivals``, and what the links had to do (see `_sweep`):
    ``row_links`` [east or west, y, 3, x] and ``column_links`` [north or south, x, 3, y]."""
    width, height = size
    count = len(departures)
    leaving_rows = np.zeros((height, 2, width), np.int64)
    leaving_columns = np.zeros((width, 2, height), np.int64)
    local, first = _enter(size, departures, source, target, arrivals, leaving_rows, leaving_columns)
    room, left = (_stream(count), _stream(count)), _stream(count)
    enter_first, enter_end = np.zeros(max(size), np.int64), np.zeros(max(size), np.int64)
    bounds, left_end = (enter_first, enter_end), np.zeros(max(size), np.int64)

    turning = _stream(count)
    turn_first = np.zeros((width * height, 2, 2), np.int64)  # tile; came from west, east; goes north, south
    turn_end = np.zeros((width * height, 2, 2), np.int64)
    turned = 0
    for y in range(height):
        for d in range(2):
            for i in range(width):
                group = 4 * (y * width + _place(i, d, width)) + d
                enter_first[i], enter_end[i] = first[group], first[group + 1]
            leaving, used = leaving_rows[y, d], row_links[d, y]
            _sweep(d, 0, 4 * service[0], local, bounds, leaving, room, left, left_end, used)
            for i in range(1, width):
                tile = y * width + _place(i, d, width)
                for down in range(2):  # those that turn north, then those that turn south
                    turn_first[tile, d, down] = turned
                    for j in range(left_end[i - 1], left_end[i]):
                        key, load = left[0][j], left[1][j]
                        to = (load >> 16) & 0xFFFF
                        if to == y:
                            arrivals[load >> 32] = key >> 2
                        elif (to < y) == (down == 1):
                            turning[0][turned] = (key & ~3) | (FROM_WEST + d)
                            turning[1][turned] = load
                            turned += 1
                    turn_end[tile, d, down] = turned

    entering, partly = _stream(count), _stream(count)
    for x in range(width):
        for d in range(2):
            entered = 0
            for i in range(height):
                tile = _place(i, d, height) * width + x
                group = 4 * tile + NORTH + d
                enter_first[i] = entered
                a, b = turn_first[tile, :, d], turn_end[tile, :, d]
                some = _merge(local, first[group], first[group + 1], turning, a[0], b[0], partly, 0)
                entered = _merge(partly, 0, some, turning, a[1], b[1], entering, entered)
                enter_end[i] = entered
            leaving, used = leaving_columns[x, d], column_links[d, x]
            _sweep(d, 16, 4 * service[1], entering, bounds, leaving, room, left, left_end, used)
            for j in range(left_end[height - 1]):
                arrivals[left[1][j] >> 32] = left[0][j] >> 2


@njit(nogil=True, cache=True)
def _stream(count: int) -> Stream:
    """Room for the keys and loads of ``count`` packets, and one more that a loop may write to and drop."""
    return np.empty(count + 1, np.int64), np.empty(count + 1, np.int64)


@njit(nogil=True, cache=True)
def _place(stop: int, backward: int, stops: int) -> int:
    """Coordinate of a line's ``stop`` in the order of travel, or the other way round."""
    return stops - 1 - stop if backward else stop


@njit(nogil=True, cache=True)
def _enter(
    size: tuple[int, int],
    departures: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    arrivals: np.ndarray,
    leaving_rows: np.ndarray,
    leaving_columns: np.ndarray,
) -> tuple[Stream, np.ndarray]:
    """Packets in groups by tile and first direction, each in order of time, then packet id.

    Returns the stream and where group 4 * tile + direction begins. Packets within a tile arrive at once.
    ``leaving_rows`` [y, direction, stop] and ``leaving_columns`` [x, ...]: packets that leave the line there.
    """
    width, height = size
    first = np.zeros(4 * width * height + 1, np.int64)
    group = np.empty(len(departures), np.int64)
    for p in range(len(departures)):
        if source[p] == target[p]:
            arrivals[p] = departures[p]
            group[p] = -1
            continue
        y, x = divmod(source[p], width)
        to_y, to_x = divmod(target[p], width)
        if to_x != x:
            direction = int(to_x < x)
            leaving_rows[y, direction, _place(to_x, direction, width)] += 1
        else:
            direction = NORTH + int(to_y < y)
        if to_y != y:
            down = int(to_y < y)
            leaving_columns[to_x, down, _place(to_y, down, height)] += 1
        group[p] = 4 * source[p] + direction
        first[group[p] + 1] += 1
    first = np.cumsum(first)
    end = first.copy()
    local = _stream(first[-1])
    for p in range(len(departures)):
        if group[p] >= 0:
            to_y, to_x = divmod(target[p], width)
            local[0][end[group[p]]] = 4 * departures[p] + LOCAL
            local[1][end[group[p]]] = (p << 32) | (to_y << 16) | to_x
            end[group[p]] += 1
    spare = _stream(first[-1])
    for g in range(4 * width * height):
        _sort(local, first[g], first[g + 1], spare)
    return local, first


@njit(nogil=True, cache=True)
def _sort(stream: Stream, first: int, end: int, spare: Stream) -> None:
    """Sort a part of a stream by key, in place, equals in the order they have: ascending runs are merged."""
    while _run_end(stream[0], first, end) < end:
        a = first
        while a < end:
            b = _run_end(stream[0], a, end)
            c = _run_end(stream[0], b, end)
            _merge(stream, a, b, stream, b, c, spare, a)
            a = c
        stream[0][first:end] = spare[0][first:end]
        stream[1][first:end] = spare[1][first:end]


@njit(nogil=True, cache=True)
def _run_end(keys: np.ndarray, first: int, end: int) -> int:
    """Where the ascending run that begins at ``first`` ends."""
    i = first + 1
    while i < end and keys[i - 1] <= keys[i]:
        i += 1
    return min(i, end)


@njit(nogil=True, cache=True)
def _merge(
    one: Stream,
    i: int,
    i_end: int,
    other: Stream,
    j: int,
    j_end: int,
    out: Stream,
    k: int,
) -> int:
    """Merge two sorted stretches of streams into ``out`` from ``k`` on, ``one`` first where keys are equal.

    Returns the end in ``out``.
    """
    while i < i_end and j < j_end:
        ahead = one[0][i] <= other[0][j]
        out[0][k] = one[0][i] if ahead else other[0][j]
        out[1][k] = one[1][i] if ahead else other[1][j]
        i += ahead
        j += not ahead
        k += 1
    while i < i_end:
        out[0][k], out[1][k] = one[0][i], one[1][i]
        i, k = i + 1, k + 1
    while j < j_end:
        out[0][k], out[1][k] = other[0][j], other[1][j]
        j, k = j + 1, k + 1
    return k


@njit(nogil=True, cache=True)
def _sweep(
    backward: int,
    shift: int,
    service: int,
    entering: Stream,
    bounds: tuple[np.ndarray, np.ndarray],
    leaving: np.ndarray,
    room: tuple[Stream, Stream],
    left: Stream,
    left_end: np.ndarray,
    used: np.ndarray,
) -> None:
    """All links of one line in one direction, in order of travel; stops are numbered in that order.

    ``entering``: packets that enter, sorted for each stop, with first and end [stops] in ``bounds``;
    ``leaving`` [stops]: how many leave; ``shift``: where a load has the stop; ``service``: 4 * time;
    ``room`` to work in. Out: those that ``left`` and ``left_end`` [stops], where each stop's end; ``used``
    [3, stops in order of coordinate], packets over each link, when the first is there, when the last is over.
    """
    stops = len(leaving)
    (keys, loads), (next_keys, next_loads) = room
    left_keys, left_loads = left
    on_line, gone = 0, 0
    delay = 0  # to be added to the keys of what is on the line
    left_end[0] = 0
    for stop in range(stops - 1):
        j, j_end = bounds[0][stop], bounds[1][stop]
        link, here = _place(stop, backward, stops), _place(stop + 1, backward, stops)
        used[0, link] = on_line + j_end - j
        i, k = 0, 0
        if j == j_end:
            # Nobody enters: packets off one link are a service time apart already, so none of them waits.
            if on_line:
                used[1, link] = (keys[0] + delay) >> 2
                used[2, link] = (keys[on_line - 1] + delay + service) >> 2
            delay += service
            if leaving[stop + 1]:
                for i in range(on_line):
                    load = loads[i]
                    left_keys[gone], left_loads[gone] = keys[i] + delay, load
                    keys[k], loads[k] = keys[i], load
                    leaves = ((load >> shift) & 0xFFFF) == here
                    gone += leaves
                    k += not leaves
                on_line = k
            left_end[stop + 1] = gone
            continue
        first = entering[0][j] if on_line == 0 else min(keys[0] + delay, entering[0][j])
        free = np.int64(0)
        while i < on_line or j < j_end:
            on = i < on_line and (j == j_end or keys[i] + delay < entering[0][j])
            key = keys[i] + delay if on else entering[0][j]
            load = loads[i] if on else entering[1][j]
            i += on
            j += not on
            free = max(free, key & ~3) + service
            left_keys[gone], left_loads[gone] = free | STRAIGHT, load
            next_keys[k], next_loads[k] = free | STRAIGHT, load
            leaves = ((load >> shift) & 0xFFFF) == here
            gone += leaves
            k += not leaves
        used[1, link], used[2, link] = first >> 2, free >> 2
        keys, next_keys = next_keys, keys
        loads, next_loads = next_loads, loads
        on_line, delay = k, 0
        left_end[stop + 1] = gone
