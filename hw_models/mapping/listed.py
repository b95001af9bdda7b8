"""A mapping given neuron by neuron: any core for any neuron, every synapse listed.

For layouts that come from elsewhere and are no blocks of rows, columns and channels. Nothing is shared: a
spike feeds each of its synapses, and is one packet to each core that holds any of its targets. Takes memory
by the synapse, so it is for small networks; `partition` is the way for large ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.frontends.synapses import list_synapses
from nsim.hw_models.mapping.place import Placement, place_row_major
from nsim.hw_models.spec import ChipSpec


@dataclass(frozen=True, eq=False)
class ListedMapping:
    """``core_of``: population to the core of each of its neurons, int64 [C, H, W]."""

    network: Network
    core_of: dict[str, np.ndarray]
    placement: Placement

    @classmethod
    def place(cls, network: Network, core_of: dict[str, np.ndarray], chip: ChipSpec) -> ListedMapping:
        """Cores in order of their id. Raises MappingError for a core that holds more neurons than it can."""
        held = np.bincount(np.concatenate([cores.ravel() for cores in core_of.values()]))
        limit = chip.core.compartments.value
        if held.max() > limit:
            raise MappingError(
                f"core {held.argmax()} is given {held.max():,} neurons, more than the {limit:,} compartments "
                f"of a {chip.name} core; spread them over more cores"
            )
        return cls(network, core_of, place_row_major(len(held), chip))

    @property
    def core_count(self) -> int:
        """Cores in use."""
        return len(self.placement.chip)

    @property
    def chips(self) -> int:
        """Chips in use."""
        return self.placement.chips

    @cached_property
    def layer_of_core(self) -> np.ndarray:
        """Population name of every core, the last one where a core holds several (object array)."""
        layers = np.empty(self.core_count, object)
        for name, cores in self.core_of.items():
            layers[np.unique(cores)] = name
        return layers

    @cached_property
    def neurons_per_core(self) -> np.ndarray:
        """Neurons of every core, int64 [cores]."""
        cores = np.concatenate([cores.ravel() for cores in self.core_of.values()])
        return np.bincount(cores, minlength=self.core_count)

    @cached_property
    def fanouts(self) -> dict[str, ListedFanout]:
        """Where each population's spikes go."""
        return {name: self._fanout(name) for name in self.core_of}

    @cached_property
    def packet_sums(self) -> dict[str, np.ndarray]:
        """What all packets of one spike add up to, by population: int64 [5, neurons].

        Packets, those that stay in their tile, hops along x, hops along y, those that leave the chip.
        """
        return {name: self._packet_sums(name, fanout) for name, fanout in self.fanouts.items()}

    def _packet_sums(self, name: str, fanout: ListedFanout) -> np.ndarray:
        place = self.placement
        neuron = np.repeat(np.arange(len(fanout.first) - 1), np.diff(fanout.first))
        source, target = self.core_of[name].ravel()[neuron], fanout.core
        x = np.abs(place.mesh_x[source] - place.mesh_x[target])
        y = np.abs(place.mesh_y[source] - place.mesh_y[target])
        each = (np.ones_like(x), x + y == 0, x, y, place.chip[source] != place.chip[target])
        sums = np.zeros((len(each), len(fanout.first) - 1), np.int64)
        for total, values in zip(sums, each, strict=True):
            np.add.at(total, neuron, values.astype(np.int64))
        return sums

    def _fanout(self, name: str) -> ListedFanout:
        keys = [np.empty(0, np.int64)]
        for projection in self.network.projections:
            if projection.source == name:
                source, target, _ = list_synapses(self.network, projection)
                if (
                    projection.kernel.upsample > 1
                ):  # taps that join the same two neurons add up to one synapse
                    source, target = np.unique(np.stack([source, target]), axis=1)
                keys.append(source * self.core_count + self.core_of[projection.target].ravel()[target])
        pairs, synapse_count = np.unique(np.concatenate(keys), return_counts=True)
        neuron, core = np.divmod(pairs, self.core_count)
        size = self.network.population_by_name[name].size
        first = np.searchsorted(neuron, np.arange(size + 1))
        return ListedFanout(first, core, synapse_count)


@dataclass(frozen=True, eq=False)
class ListedFanout:
    """Packets of a spike of neuron n (flat over C, H, W): entries ``first[n]`` to ``first[n + 1]``.

    ``core``: where each goes, ascending; ``synapses``: how many it feeds there. All int64.
    """

    first: np.ndarray
    core: np.ndarray
    synapses: np.ndarray


def equal_ranges(network: Network, cores: dict[str, int]) -> dict[str, np.ndarray]:
    """Cut each population, flat over (channel, row, column), into ranges of equal size for so many cores.

    The last core of a population takes the remainder; core ids go on from one population to the next.
    """
    core_of, first = {}, 0
    for name, count in cores.items():
        population = network.population_by_name[name]
        each = population.size // count
        of_index = np.minimum(np.arange(population.size) // each, count - 1)
        core_of[name] = first + of_index.reshape(population.shape)
        first += count
    return core_of
