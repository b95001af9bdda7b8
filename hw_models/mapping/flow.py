"""Packets from core to core, expected from where neurons lie and how often those of a core fire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nsim.frontends.network import Network, Projection
from nsim.hw_models.mapping.axons import axon_channels, axon_groups, carried_inputs
from nsim.hw_models.mapping.grid import CoreGrid, residents, segment_reached


@dataclass(frozen=True, eq=False)
class Flow:
    """Pairs of cores and the ``packets`` from ``source`` to ``target`` in one time step (float64 [pairs])."""

    source: np.ndarray
    target: np.ndarray
    packets: np.ndarray


def flow(network: Network, grids: dict[str, CoreGrid], rate: np.ndarray | None = None) -> Flow:
    """Expected packets per time step; ``rate``: spikes per neuron and step of every core.

    If it is not given every neuron fires whenever it runs: all of them in every step, those that a router
    switches in k of N.

    A spiking neuron sends one packet to each core that holds a target of it, for every geometry by which it
    reaches that core.
    """
    carried = list(_carried(network, grids))
    parts = [_pairs(network, *ends) for ends in carried]
    empty = [np.zeros(0, np.int64)]
    source, target, neurons = (np.concatenate([p[i] for p in parts] or empty) for i in range(3))
    shares = [network.share(group[0].source) for group, *_ in carried]
    running = np.repeat(np.array(shares, np.float64), [len(p[0]) for p in parts])
    return Flow(source, target, neurons * (running if rate is None else rate[source]))


def within_rounds(packets: Flow, ends: tuple[int, ...]) -> Flow:
    """Packets between cores that are on the chips together, ``ends``: past-the-last core of each round.

    What goes from one round to another is kept by the host.
    """
    if len(ends) == 1:
        return packets
    source, target = (np.searchsorted(ends, core, side="right") for core in (packets.source, packets.target))
    together = source == target
    return Flow(packets.source[together], packets.target[together], packets.packets[together])


@dataclass(frozen=True)
class Sent:
    """Packets of one time step: of ``spikes`` if every neuron fired, and with the ``values`` of streams."""

    spikes: int
    values: int


def sent(network: Network, grids: dict[str, CoreGrid]) -> Sent:
    """Packets between cores in one time step; a stream sends the value of every element in each."""
    total = {"neuron": 0, "analog": 0}
    for group, source, target in _carried(network, grids):
        kind = network.population_by_name[group[0].source].kind
        neurons = _pairs(network, group, source, target)[2].sum()
        total[kind] += round(network.share(group[0].source) * int(neurons))
    return Sent(total["neuron"], total["analog"])


def _carried(
    network: Network, grids: dict[str, CoreGrid]
) -> Iterator[tuple[list[Projection], CoreGrid, CoreGrid]]:
    """Projections that share packets, with the cores that send and those that receive them."""
    for name, grid in grids.items():
        for resident in residents(network, name):
            for group in axon_groups(carried_inputs(network, resident)):
                source = group[0].source
                yield group, grids[network.homes.get(source, source)], grid


def _pairs(
    network: Network, group: list[Projection], source: CoreGrid, target: CoreGrid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source core, target core, and how many neurons of the one reach the other."""
    rows, columns = segment_reached(group[0], target, network.population_by_name[source.population].shape)
    channels = np.stack([axon_channels(group, cut) for cut in target.channels])
    counts = [
        np.add.reduceat(reached.astype(np.int64), [a for a, _ in cuts], axis=1)
        for reached, cuts in ((rows, source.rows), (columns, source.columns), (channels, source.channels))
    ]
    (to_r, from_r), (to_c, from_c), (to_k, from_k) = (np.nonzero(count) for count in counts)
    row, column, channel = (axis.ravel() for axis in np.indices([len(to_r), len(to_c), len(to_k)]))
    neurons = (
        counts[0][to_r, from_r][row] * counts[1][to_c, from_c][column] * counts[2][to_k, from_k][channel]
    )
    sender = source.core_ids[from_r[row], from_c[column], from_k[channel]]
    receiver = target.core_ids[to_r[row], to_c[column], to_k[channel]]
    return sender, receiver, neurons
