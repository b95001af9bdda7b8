"""Packets from core to core, expected from where neurons lie and how often those of a core fire."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsim.frontends.network import Network, Projection
from nsim.hw_models.mapping.axons import axon_channels, axon_groups, spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid, segment_reached


@dataclass(frozen=True, eq=False)
class Flow:
    """Pairs of cores and the ``packets`` from ``source`` to ``target`` in one time step (float64 [pairs])."""

    source: np.ndarray
    target: np.ndarray
    packets: np.ndarray


def flow(network: Network, grids: dict[str, CoreGrid], rate: np.ndarray | None = None) -> Flow:
    """Expected packets per time step; ``rate``: spikes per neuron and step of every core (1 if not given).

    A spiking neuron sends one packet to each core that holds a target of it, for every geometry by which it
    reaches that core.
    """
    parts = [
        _pairs(network, group, grids[group[0].source], grid)
        for name, grid in grids.items()
        for group in axon_groups(spiking_inputs(network, name))
    ]
    empty = [np.zeros(0, np.int64)]
    source, target, neurons = (np.concatenate([p[i] for p in parts] or empty) for i in range(3))
    packets = neurons.astype(np.float64) if rate is None else neurons * rate[source]
    return Flow(source, target, packets)


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
