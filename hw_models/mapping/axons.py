"""Which neurons share axons, and what their axons take of a core at either end.

A population axon carries the spikes of a group of neurons to one core: one entry there, with a synapse list
for each neuron of the group, and two output entries for the whole group on the core that sends. A neuron on
its own takes one entry at either end (a discrete axon). Neurons can only share when they reach the same
cores, so a group is the channels of one position that lie on one core and are treated alike by every
projection (see `bundles`). The axon at the receiving core holds where its lists begin and a base that is
added to their targets (nengo-loihi), so positions whose relative targets are the same share the lists too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nsim.frontends.network import Network, Projection
from nsim.hw_models.spec import Core

Cuts = tuple[tuple[int, int], ...]
DISCRETE_ENTRIES = 1
"""Output entries of a discrete axon on the core that sends; one more to another chip (NxTF's accounting)."""


def spiking_inputs(network: Network, population: str) -> list[Projection]:
    """Projections that bring spikes; what comes from the image is worked out by the host instead."""
    kinds = network.population_by_name
    return [p for p in network.incoming(population) if kinds[p.source].kind == "neuron"]


def carried_inputs(network: Network, population: str) -> list[Projection]:
    """Projections whose packets come from cores: spikes, and the values of streams that cores hold."""
    kinds = network.population_by_name
    values = network.streams in ("graded", "colocate")
    return [
        p
        for p in network.incoming(population)
        if kinds[p.source].kind == "neuron"
        or (values and kinds[p.source].kind == "analog" and network.homes.get(p.source) != population)
    ]


def axon_groups(projections: list[Projection]) -> list[list[Projection]]:
    """Projections into one population, together where they share packets and axons.

    Paths from one source with one geometry reach the same positions of the same cores.
    """
    groups: dict[tuple[object, ...], list[Projection]] = {}
    for p in projections:
        groups.setdefault((p.source, p.kernel.geometry), []).append(p)
    return list(groups.values())


def axon_channels(group: list[Projection], cut: tuple[int, int]) -> np.ndarray:
    """Source channels that reach the channel block ``cut`` through any of ``group``: bool [C_source]."""
    return np.any([channel_targets(p, cut) > 0 for p in group], axis=0)


def channel_overlap(group: list[Projection], cut: tuple[int, int]) -> tuple[tuple[tuple[int, ...], int], ...]:
    """How a channel block meets projections that share axons.

    (targets of a source channel through each of ``group``, number of source channels that have just these).
    """
    reach = np.stack([channel_targets(p, cut) for p in group])
    if (reach == reach[:, :1]).all():
        return ((tuple(reach[:, 0].tolist()), reach.shape[1]),) if reach[:, 0].any() else ()
    kinds, times = np.unique(reach[:, reach.any(axis=0)], axis=1, return_counts=True)
    return tuple((tuple(kind), n) for kind, n in zip(kinds.T.tolist(), times.tolist(), strict=True))


@lru_cache(maxsize=4096)
def channel_targets(projection: Projection, cut: tuple[int, int]) -> np.ndarray:
    """For every source channel, how many target channels of the block ``cut`` it reaches (int64)."""
    kernel = projection.kernel
    first, last = projection.target_channels
    inside = np.zeros(kernel.c_out, np.int64)
    inside[max(first, cut[0]) - first : max(0, min(last, cut[1]) - first)] = 1
    groups = kernel.channels if kernel.is_identity else kernel.groups
    return np.repeat(inside.reshape(groups, -1).sum(axis=1), kernel.c_in // groups)


def bundles(network: Network) -> dict[str, np.ndarray]:
    """Bundle of every channel of every spiking population: those that no projection tells apart (int64 [C]).

    A dense convolution treats all channels alike, a grouped one those of a group, an identity none.
    """
    kinds: dict[str, list[np.ndarray]] = {
        p.name: [np.zeros(p.shape[0], np.int64)] for p in network.populations if p.kind == "neuron"
    }
    for p in network.projections:
        if p.source in kinds:
            groups = p.kernel.channels if p.kernel.is_identity else p.kernel.groups
            kinds[p.source].append(np.arange(p.kernel.c_in) // (p.kernel.c_in // groups))
    return {name: np.unique(np.stack(k), axis=1, return_inverse=True)[1].ravel() for name, k in kinds.items()}


@dataclass(frozen=True)
class AxonUse:
    """What the neurons of one position take for one destination core: ``axons`` there, ``entries`` here.

    Output entries within one chip; each axon takes one more to another chip.
    """

    axons: int
    entries: int


def axon_use(bundle: np.ndarray, core: Core) -> AxonUse:
    """Axons for the channels of one position on one core, ``bundle`` [channels] saying which may share."""
    population = core.population_axons
    sizes = np.bincount(bundle)
    if population is None:
        return AxonUse(len(bundle), len(bundle) * DISCRETE_ENTRIES)
    full, rest = np.divmod(sizes, population.neurons_max.value)
    alone = int((rest == 1).sum())
    shared = int(full.sum() + (rest > 1).sum())
    return AxonUse(alone + shared, alone * DISCRETE_ENTRIES + shared * population.output_entries.value)


def use_by_block(bundle: np.ndarray, reached: np.ndarray, cuts: Cuts, core: Core) -> list[AxonUse]:
    """`axon_use` for every channel block of the source; ``reached`` bool [C]: channels that have targets."""
    return [axon_use(bundle[a:b][reached[a:b]], core) for a, b in cuts]
