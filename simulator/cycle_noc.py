"""Every packet's way through a mesh of routers with finite buffers, in whole cycles: back-pressure and all.

Rules. Tiles stand as in `noc`; each has a router. A router has an input buffer for each of the four links
that come to it and for each core of its tile, and an output for each of the four links that leave it and
for each core of its tile. Every core has an input buffer, from which its input side is served. All buffers
hold the same number of packets; a packet is one flit, and goes along the row to its column, then along the
column, then to its core.

Everything happens at cycle edges, by what stands at that edge:

1. What was under way arrives. A core hands over the next packet it has ready, if there is room in its
   buffer: one packet in a cycle at most. Without room it stands still until there is, and all it does later
   is later by that.
2. Every output that is free is granted to one input whose foremost packet wants it, if the buffer at the
   output's end has room. Round robin: inputs are asked in the order of `EAST`, `WEST`, `NORTH`, `SOUTH`
   (the direction in which their packets travel), then the cores by their number, beginning with the input
   after the one that was granted last (at first with `EAST`).
3. Granted packets leave their buffers; their place in the next buffer is taken from now on. A link is
   occupied for its service time, and the packet arrives as that ends; a core's output is occupied for one
   cycle, or for the ``tile_local`` time by a packet of the same tile. Service takes a cycle at least.

A place that a packet leaves, in any buffer, is free for the one behind from the next edge on (the credit
takes one cycle), as is the foremost place for the next packet. Times of links are rounded up to whole cycles.
The inside of a core keeps its own time: its input side takes the next packet from its input buffer as soon
as it is done with the last; the place counts as left at the first edge from then. For routers without a
clock the cycle is one picosecond: they act when something happens.

So a packet waits, unlike in `noc`, for room ahead, and behind a packet that wants another output.

Method: a router has to be looked at only when something can change. Its next such edge is known but for a
full buffer ahead, and that one wakes it. The earliest router is found in a tournament tree. No decision of
an edge depends on another of the same edge, so routers of one edge may be looked at in any order. What a
core hands over, and when it is served, follows from the grants and needs no edges of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from nsim.simulator.noc import EAST, NORTH, SOUTH, WEST, Mesh

LINKS = 4
"""Inputs and outputs below this number are links, by direction of travel; the others are the tile's cores."""
NEVER = np.int64(2**62)


@dataclass(frozen=True)
class Routers:
    """A mesh, and what its routers are like: places in a buffer, the cycle, and the time that a packet
    occupies a core's input when it comes from its own tile."""

    mesh: Mesh
    tile_local_ps: int
    buffer_packets: int
    cycle_ps: int


@dataclass(frozen=True, eq=False)
class Load:
    """What the cores want to send in one tick, all int64 [packets], in order of source core and time.

    ``ready_ps``: when its core would hand it over if it never had to wait; ``source`` and ``target`` core;
    ``work_ps``: how long it keeps the target's input side.
    """

    ready_ps: np.ndarray
    source: np.ndarray
    target: np.ndarray
    work_ps: np.ndarray


@dataclass(frozen=True, eq=False)
class Delivery:
    """What became of a load, all int64.

    ``handed_ps`` and ``arrival_ps`` [packets]: when each was taken from its core, and reached the input
    buffer of its target. ``last_handed_ps``, ``stalled_ps`` and ``served_ps`` [cores]: last hand-over, how
    long the core stood still for want of room, and end of its input side's work; 0 without packets.
    ``held_ps`` [tiles, outputs]: how long a packet was foremost and its output free, but no room at its end.
    ``router_peak`` [tiles, inputs] and ``core_peak`` [cores]: most places taken in each buffer.
    """

    handed_ps: np.ndarray
    arrival_ps: np.ndarray
    last_handed_ps: np.ndarray
    stalled_ps: np.ndarray
    held_ps: np.ndarray
    served_ps: np.ndarray
    router_peak: np.ndarray
    core_peak: np.ndarray

    def neurons_done(self, worked_ps: np.ndarray) -> np.ndarray:
        """When each core's neuron side is done that would be at ``worked_ps`` if it never stood still."""
        return np.maximum(worked_ps + self.stalled_ps, self.last_handed_ps)


def deliver(routers: Routers, tile: np.ndarray, load: Load) -> Delivery:
    """Send a load through the routers by the rules above; ``tile`` int64 [cores]: where each core stands.

    Raises ValueError for a buffer without a place, a cycle without a duration, times below 0, cores that
    are not there or are off the mesh, and packets in any other order.
    """
    _check(routers, tile, load)
    mesh, cycle = routers.mesh, routers.cycle_ps
    cores, tiles, packets = len(tile), mesh.width * mesh.height, len(load.source)
    slot = slots(tile)
    ports = LINKS + int(slot.max(initial=-1)) + 1
    core_at = np.zeros((tiles, ports), np.int64)
    core_at[tile, LINKS + slot] = np.arange(cores)
    first = np.searchsorted(load.source, np.arange(cores + 1))
    times = np.maximum(1, [in_cycles(t, cycle) for t in (mesh.service_x_ps, mesh.service_y_ps)])
    handed, arrival = np.zeros(packets, np.int64), np.zeros(packets, np.int64)
    last, served_ps, stalled, core_peak = np.zeros((4, cores), np.int64)
    held, peak = np.zeros((2, tiles, ports), np.int64)
    _deliver(
        (mesh.width, max(1, min(routers.buffer_packets, packets)), cycle),
        (int(times[0]), int(times[1]), max(1, in_cycles(routers.tile_local_ps, cycle))),
        (np.ascontiguousarray(tile, np.int64), slot, core_at),
        first,
        in_cycles(load.ready_ps, cycle),
        np.ascontiguousarray(load.work_ps, np.int64),
        np.ascontiguousarray(load.target, np.int64),
        (handed, arrival),
        (last, served_ps, stalled, core_peak),
        (held, peak),
    )
    handed_ps, arrival_ps, last_ps, stalled_ps, held_ps = (
        in_cycle * cycle for in_cycle in (handed, arrival, last, stalled, held)
    )
    return Delivery(handed_ps, arrival_ps, last_ps, stalled_ps, held_ps, served_ps, peak, core_peak)


def slots(tile: np.ndarray) -> np.ndarray:
    """Number of each core among those of its tile, int64 [cores]."""
    order = np.argsort(tile, kind="stable")
    begins = np.searchsorted(tile[order], tile[order])
    slot = np.empty(len(tile), np.int64)
    slot[order] = np.arange(len(tile)) - begins
    return slot


def in_cycles(time_ps: int | np.ndarray, cycle_ps: int) -> Any:
    """Whole cycles that a time takes, rounded up."""
    return -(-time_ps // cycle_ps)


def _check(routers: Routers, tile: np.ndarray, load: Load) -> None:
    mesh, cores = routers.mesh, len(tile)
    if routers.buffer_packets < 1 or routers.cycle_ps < 1:
        raise ValueError(
            f"buffers of {routers.buffer_packets} packets and a cycle of {routers.cycle_ps} ps; "
            "both are at least 1"
        )
    service = (mesh.service_x_ps, mesh.service_y_ps, routers.tile_local_ps)
    if min(*service, load.ready_ps.min(initial=0), load.work_ps.min(initial=0)) < 0:
        raise ValueError("ready, work and service times must not be below 0")
    next_core, later = np.diff(load.source), np.diff(load.ready_ps)
    if next_core.min(initial=0) < 0 or later[next_core == 0].min(initial=0) < 0:
        raise ValueError("packets must be in order of source core, then of time")
    if tile.min(initial=0) < 0 or tile.max(initial=0) >= mesh.width * mesh.height:
        raise ValueError(f"cores on tiles that a mesh of {mesh.width * mesh.height} does not have")
    for ends in (load.source, load.target):
        if ends.min(initial=0) < 0 or ends.max(initial=-1) >= cores:
            raise ValueError(f"packets between cores that are not among the {cores} there are")


@njit(nogil=True, cache=True)
def _output(tile: int, target: int, slot: int, width: int) -> int:
    """The output that a packet for the core of number ``slot`` on tile ``target`` takes from ``tile``."""
    if tile == target:
        return LINKS + slot
    y, x = divmod(tile, width)
    to_y, to_x = divmod(target, width)
    if x != to_x:
        return EAST if x < to_x else WEST
    return NORTH if y < to_y else SOUTH


@njit(nogil=True, cache=True)
def _set(tree: np.ndarray, tile: int, edge: int) -> None:
    """Let a tile's next look be at ``edge``; ``tree`` from 1 on has the earlier of the two parts below."""
    i = tile + len(tree) // 2
    tree[i] = edge
    while i > 1:
        earlier = min(tree[i], tree[i ^ 1])
        i >>= 1
        if tree[i] == earlier:
            return
        tree[i] = earlier


@njit(nogil=True, cache=True)
def _earliest(tree: np.ndarray) -> int:
    """The tile that is to be looked at next."""
    i, half = 1, len(tree) // 2
    while i < half:
        i *= 2
        i += tree[i] != tree[1]
    return i - half


@njit(nogil=True, cache=True)
def _deliver(
    size: tuple[int, int, int],
    times: tuple[int, int, int],
    cores: tuple[np.ndarray, np.ndarray, np.ndarray],
    first: np.ndarray,
    ready: np.ndarray,
    work_ps: np.ndarray,
    target: np.ndarray,
    of_packet: tuple[np.ndarray, np.ndarray],
    of_core: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    of_tile: tuple[np.ndarray, np.ndarray],
) -> None:
    """The loop of `deliver`, in cycles where not in ps; ``size``: width, depth of buffers, cycle in ps;
    ``first`` [cores + 1]: packets of each core. Out: the last three, as in Delivery."""
    width, depth, cycle_ps = size
    time_x, time_y, time_local = times
    tile_of, slot_of, core_at = cores
    handed, arrival = of_packet
    last, served_ps, stalled, core_peak = of_core
    held, peak = of_tile
    tiles, ports = core_at.shape
    step = np.array([1, -1, width, -width])

    # input buffers of routers: rings of packets and when each is there
    packet_in, ready_in = np.empty((tiles, ports, depth), np.int64), np.empty((tiles, ports, depth), np.int64)
    head, count = np.zeros((tiles, ports), np.int64), np.zeros((tiles, ports), np.int64)
    left = np.full((tiles, ports), -1, np.int64)  # edge at which a packet last left
    since, want = np.zeros((tiles, ports), np.int64), np.zeros((tiles, ports), np.int64)  # of the foremost
    # outputs
    free, turn = np.zeros((tiles, ports), np.int64), np.zeros((tiles, ports), np.int64)
    # input buffers of cores: when each packet is taken out; packets let in, and those of them taken out
    taken = np.full((len(tile_of), depth), -1, np.int64)
    entered, gone = np.zeros(len(tile_of), np.int64), np.zeros(len(tile_of), np.int64)
    following = first.copy()  # next packet of each core

    leaves = 1
    while leaves < tiles:
        leaves *= 2
    tree = np.full(2 * leaves, NEVER, np.int64)
    for core in range(len(tile_of)):
        n, p = tile_of[core], LINKS + slot_of[core]
        while following[core] < first[core + 1] and count[n, p] < depth:
            packet = following[core]
            last[core] = max(ready[packet], last[core] + 1 if packet > first[core] else 0)
            handed[packet] = last[core]
            packet_in[n, p, count[n, p]], ready_in[n, p, count[n, p]] = packet, last[core]
            count[n, p] += 1
            following[core] += 1
        if count[n, p]:
            to = target[first[core]]
            since[n, p], want[n, p] = handed[first[core]], _output(n, tile_of[to], slot_of[to], width)
            if since[n, p] < tree[leaves + n]:
                _set(tree, n, since[n, p])

    chosen, distance = np.empty(ports, np.int64), np.empty(ports, np.int64)
    while tree[1] < NEVER:
        now, n = tree[1], _earliest(tree)
        chosen[:] = -1
        for p in range(ports):
            if count[n, p] == 0 or since[n, p] > now:
                continue
            o = want[n, p]
            if free[n, o] > now:
                continue
            if o < LINKS:
                m = n + step[o]
                if count[m, o] + (left[m, o] == now) >= depth:
                    continue
            elif taken[core_at[n, o], entered[core_at[n, o]] % depth] >= now:
                continue
            after = p - turn[n, o]
            if after < 0:
                after += ports
            if chosen[o] < 0 or after < distance[o]:
                chosen[o], distance[o] = p, after

        for o in range(ports):
            p = chosen[o]
            if p < 0:
                continue
            packet = packet_in[n, p, head[n, p]]
            held[n, o] += now - max(since[n, p], free[n, o])
            turn[n, o] = p + 1 if p + 1 < ports else 0
            if o < LINKS:
                free[n, o] = now + (time_x if o < NORTH else time_y)
                m = n + step[o]
                place = head[m, o] + count[m, o]
                if place >= depth:
                    place -= depth
                packet_in[m, o, place], ready_in[m, o, place] = packet, free[n, o]
                count[m, o] += 1
                peak[m, o] = max(peak[m, o], count[m, o] + (left[m, o] == now))
                if count[m, o] == 1:
                    to = target[packet]
                    since[m, o], want[m, o] = free[n, o], _output(m, tile_of[to], slot_of[to], width)
                    look = max(since[m, o], free[m, want[m, o]])
                    if look < tree[leaves + m]:
                        _set(tree, m, look)
            else:
                core = core_at[n, o]
                free[n, o] = now + (time_local if p >= LINKS else 1)
                arrival[packet] = free[n, o]
                while gone[core] < entered[core] and taken[core, gone[core] % depth] < now:
                    gone[core] += 1
                begin_ps = max(arrival[packet] * cycle_ps, served_ps[core])
                served_ps[core] = begin_ps + work_ps[packet]
                taken[core, entered[core] % depth] = -(-begin_ps // cycle_ps)
                entered[core] += 1
                core_peak[core] = max(core_peak[core], entered[core] - gone[core])

            if p < LINKS:
                if count[n, p] == depth and now + 1 < tree[leaves + n - step[p]]:
                    _set(tree, n - step[p], now + 1)
            else:
                core = core_at[n, p]
                there = count[n, p]
                while ready_in[n, p, (head[n, p] + there - 1) % depth] > now:
                    there -= 1
                peak[n, p] = max(peak[n, p], there)
                if following[core] < first[core + 1]:
                    # its place is that of the packet that leaves now
                    could = max(ready[following[core]] + stalled[core], last[core] + 1)
                    last[core] = max(could, now + 1)
                    stalled[core] += last[core] - could
                    handed[following[core]] = last[core]
                    packet_in[n, p, head[n, p]], ready_in[n, p, head[n, p]] = following[core], last[core]
                    count[n, p] += 1
                    following[core] += 1
            head[n, p] = head[n, p] + 1 if head[n, p] + 1 < depth else 0
            count[n, p] -= 1
            left[n, p] = now
            if count[n, p]:
                to = target[packet_in[n, p, head[n, p]]]
                since[n, p] = max(ready_in[n, p, head[n, p]], now + 1)
                want[n, p] = _output(n, tile_of[to], slot_of[to], width)

        look = NEVER
        for p in range(ports):
            if count[n, p] == 0:
                continue
            o = want[n, p]
            edge = max(since[n, p], free[n, o])
            if o < LINKS:
                m = n + step[o]
                if count[m, o] >= depth:
                    continue  # the router ahead will wake this one
                if count[m, o] == depth - 1:
                    edge = max(edge, left[m, o] + 1)
            else:
                edge = max(edge, taken[core_at[n, o], entered[core_at[n, o]] % depth] + 1)
            look = min(look, edge)
        _set(tree, n, look)
