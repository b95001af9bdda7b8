"""Which packets a population's spikes become, and when each leaves its core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from nsim.frontends.network import Network, Projection
from nsim.hw_models.mapping.axons import axon_groups, channel_targets, spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.mapping import Mapping


@dataclass(frozen=True, eq=False)
class Fanout:
    """Where the spikes of one population go.

    ``kind`` [C]: channels of one kind reach the same cores. The packets of a neuron of kind k at (y, x) are
    ``first[i]`` to ``first[i + 1]``, i = (k * H + y) * W + x, of ``core`` (destinations, ascending) and
    ``synapses`` (how many the packet feeds there). All int64.
    """

    kind: np.ndarray
    first: np.ndarray
    core: np.ndarray
    synapses: np.ndarray


@dataclass(frozen=True, eq=False)
class Packets:
    """Packets in order of source core and departure: ``departure_ps``, ``source`` and ``target`` core,
    ``synapses`` they feed. All int64 [packets]."""

    departure_ps: np.ndarray
    source: np.ndarray
    target: np.ndarray
    synapses: np.ndarray


def fanouts(mapping: Mapping) -> dict[str, Fanout]:
    """The fan-out of every population on cores."""
    network = mapping.laid_out
    reached: dict[str, list[_Reached]] = {name: [] for name in mapping.grids}
    for name, grid in mapping.grids.items():
        for group in axon_groups(spiking_inputs(network, name)):
            reached[group[0].source].append(_reached(network, group, grid))
    return {name: _fanout(network.population_by_name[name].shape, reached[name]) for name in mapping.grids}


@dataclass(frozen=True, eq=False)
class _Reached:
    """Targets on each row and column segment by source row [segments, H] and column [segments, W], and in
    each channel block by source channel [blocks, C], of paths that share packets; a core has the product."""

    rows: np.ndarray
    columns: np.ndarray
    channels: np.ndarray
    grid: CoreGrid


def _reached(network: Network, group: list[Projection], grid: CoreGrid) -> _Reached:
    source = network.population_by_name[group[0].source].shape
    targets = []
    for axis, cuts in ((0, grid.rows), (1, grid.columns)):
        joined = group[0].kernel.reach(axis, source[1 + axis], cuts[-1][1]) > 0
        targets.append(np.stack([joined[a:b].sum(axis=0) for a, b in cuts]))
    channels = [sum(channel_targets(p, cut) for p in group) for cut in grid.channels]
    return _Reached(targets[0], targets[1], np.stack(channels), grid)


def _fanout(shape: tuple[int, int, int], reached: list[_Reached]) -> Fanout:
    _, height, width = shape
    by_channel = np.concatenate([np.zeros((1, shape[0]), np.int64), *(r.channels for r in reached)])
    _, of_kind, kind = np.unique(by_channel, axis=1, return_index=True, return_inverse=True)
    ids = np.concatenate([np.zeros(0, np.int64), *(r.grid.core_ids.ravel() for r in reached)])
    ascending = np.argsort(ids, kind="stable")
    count, core, synapses = [np.zeros(1, np.int64)], [], []
    for channel in of_kind:
        fed = [
            np.einsum("ry,sx,k->yxrsk", r.rows, r.columns, r.channels[:, channel]).reshape(height * width, -1)
            for r in reached
        ]
        table = np.concatenate([np.zeros((height * width, 0), np.int64), *fed], axis=1)[:, ascending]
        position, target = np.nonzero(table)
        count.append(np.bincount(position, minlength=height * width))
        core.append(ids[ascending][target])
        synapses.append(table[position, target])
    first = np.cumsum(np.concatenate(count))
    return Fanout(kind.ravel(), first, np.concatenate(core), np.concatenate(synapses))


def send(
    grid: CoreGrid, fanout: Fanout, spikes: np.ndarray, active: np.ndarray, cost_ps: dict[str, int]
) -> tuple[np.ndarray, Packets]:
    """Let every core of a population visit its neurons in one tick.

    ``spikes`` and ``active`` bool [C, H, W]. A core goes through its neurons by row, column, channel: the
    update; if it fires, the spike and one packet after the other, which leaves as its ``packet_out`` time
    ends. A neuron on two compartments (soft reset) has an idle update for the second. Returns when each
    core is done, int64 ps [cores of the grid], and the packets.
    """
    channels, height, width = spikes.shape
    sends = np.diff(fanout.first).reshape(-1, height, width)
    count = sum(int(sends[fanout.kind[c]][spikes[c]].sum()) for c in range(channels))
    packets = Packets(*(np.empty(count, np.int64) for _ in range(4)))
    second = (int(grid.used["compartments"].sum()) // spikes.size - 1) * cost_ps["update_idle"]
    done = np.empty(grid.size, np.int64)
    _visit(
        (np.array(grid.rows), np.array(grid.columns), np.array(grid.channels)),
        np.ascontiguousarray(np.moveaxis(spikes, 0, -1)).view(np.uint8),
        np.ascontiguousarray(np.moveaxis(active, 0, -1)).view(np.uint8),
        (second + cost_ps["update_idle"], second + cost_ps["update_active"]),
        cost_ps["spike"],
        cost_ps["packet_out"],
        grid.first_core,
        (fanout.kind, fanout.first, fanout.core, fanout.synapses),
        done,
        (packets.departure_ps, packets.source, packets.target, packets.synapses),
    )
    return done, packets


@njit(nogil=True, cache=True)
def _visit(
    cuts: tuple[np.ndarray, np.ndarray, np.ndarray],
    spikes: np.ndarray,
    active: np.ndarray,
    update_ps: tuple[int, int],
    spike_ps: int,
    packet_ps: int,
    first_core: int,
    fanout: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    done: np.ndarray,
    packets: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """The loop of `send`; ``spikes`` and ``active`` uint8 [H, W, C], ``update_ps``: idle, active."""
    rows, columns, channels = cuts
    kind, first, core, synapses = fanout
    departure_ps, source, target, feeds = packets
    height, width, _ = spikes.shape
    block, sent = 0, 0
    for r in range(len(rows)):
        for s in range(len(columns)):
            for k in range(len(channels)):
                now = 0
                for y in range(rows[r, 0], rows[r, 1]):
                    for x in range(columns[s, 0], columns[s, 1]):
                        for c in range(channels[k, 0], channels[k, 1]):
                            now += update_ps[active[y, x, c]]
                            if not spikes[y, x, c]:
                                continue
                            now += spike_ps
                            neuron = (kind[c] * height + y) * width + x
                            for i in range(first[neuron], first[neuron + 1]):
                                now += packet_ps
                                departure_ps[sent], source[sent] = now, first_core + block
                                target[sent], feeds[sent] = core[i], synapses[i]
                                sent += 1
                done[block] = now
                block += 1
