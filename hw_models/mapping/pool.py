"""Cut populations into cores with one memory for everything (Loihi 2), under the limits its compiler shows.

Every block shape (rows x columns x channels) is tried and the fewest cores are kept; among equals, those that
read the fewest source positions, so that packets are few. Counted of a core:

* neurons: a block of a layer, and the elements of a stream that lie beside it, one slot each;
* synaptic words: one copy of every kernel for the block's channels (`nsim.hw_models.cores.loihi2`);
* input axons: one for every source position in reach, its channels together. One for every source neuron
  would refuse published layouts: a 14x14x512 layer of YOLO-KP on blocks of 8x7x64 reads 18,432 neurons, and
  a core has 16,000 axons.

Not counted: axon-map entries, as no rule agrees with the published layouts, and the eight neuron groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network, Population, Projection
from nsim.hw_models.cores import loihi2
from nsim.hw_models.mapping.axons import Cuts, axon_groups, carried_inputs, channel_targets
from nsim.hw_models.mapping.grid import CoreGrid, block_sizes, in_order, on_chip, residents
from nsim.hw_models.mapping.reach import segments
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import PoolChip, PoolCore


def partition_pool(network: Network, chip: PoolChip, schedule: Schedule = "pipelined") -> dict[str, CoreGrid]:
    """Cut every population of a laid-out network into core blocks, in order of execution.

    The schedule plays no part: what a delay takes of the memory is not known.

    Raises MappingError for a layer of which not even a single neuron fits a core.
    """
    layers = [_Layer.of(network, population, chip.core) for population in on_chip(network)]
    return in_order(network, {layer.population.name: layer.best() for layer in layers})


@dataclass(frozen=True, eq=False)
class _Layer:
    """One population being cut; ``slots``: neurons that each of its elements takes."""

    network: Network
    population: Population
    core: PoolCore
    inputs: list[Projection]
    slots: int

    @classmethod
    def of(cls, network: Network, population: Population, core: PoolCore) -> _Layer:
        """The population with all that reaches it and the streams beside it."""
        held = residents(network, population.name)
        inputs = [p for name in held for p in carried_inputs(network, name)]
        return cls(network, population, core, inputs, len(held))

    @property
    def is_dense(self) -> bool:
        """Whether it has no positions, so that no weight is used twice."""
        return self.population.shape[1:] == (1, 1)

    @cached_property
    def limits(self) -> dict[str, int]:
        """The most that a core may use."""
        neurons = self.core.neurons if self.is_dense else self.core.conv_block_neurons
        return {
            "neurons": neurons.value,
            "synaptic_words": self.core.synaptic_words.value,
            "input_axons": self.core.input_axons.value,
        }

    def best(self) -> CoreGrid:
        """The grid of fewest cores, then of fewest source positions, that keeps all limits."""
        c, h, w = self.population.shape
        shapes = product(block_sizes(h), block_sizes(w), block_sizes(c))
        by_cores: dict[int, list[tuple[int, int, int]]] = {}
        for shape in shapes:
            if np.prod(shape) * self.slots <= self.limits["neurons"]:
                cores = -(-h // shape[0]) * -(-w // shape[1]) * -(-c // shape[2])
                by_cores.setdefault(cores, []).append(shape)
        for _, equals in sorted(by_cores.items()):
            fitting = [grid for grid in map(self.grid, equals) if _fits(grid)]
            if fitting:
                return min(fitting, key=lambda grid: int(grid.used["input_axons"].sum()))
        raise self._too_large()

    def grid(self, block: tuple[int, int, int]) -> CoreGrid:
        """The grid of blocks of (rows, columns, channels), and what each uses."""
        channels, height, width = self.population.shape
        rows, columns, cuts = (
            tuple(segments(size, step)) for size, step in zip((height, width, channels), block, strict=True)
        )
        sizes = [np.array([b - a for a, b in axis]) for axis in (rows, columns, cuts)]
        volume = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2]
        words = np.array([self._words(cut) for cut in cuts], np.int64)
        used = {
            "neurons": volume * self.slots,
            "synaptic_words": np.broadcast_to(words, volume.shape),
            "input_axons": np.broadcast_to(self._positions(rows, columns)[:, :, None], volume.shape),
        }
        return CoreGrid(self.population.name, rows, columns, cuts, used, self.limits)

    def _words(self, cut: tuple[int, int]) -> int:
        """Synaptic words of a channel block: of each kernel, the outputs of every source channel in it."""
        total = 0
        for projection in self.inputs:
            size = projection.kernel.size
            targets, sources = np.unique(channel_targets(projection, cut), return_counts=True)
            for n, c_in in zip(targets.tolist(), sources.tolist(), strict=True):
                if self.is_dense:
                    total += loihi2.dense_words(size[0] * size[1] * c_in * n, self.core)
                else:
                    total += loihi2.conv_words(size, c_in, n, self.core.weight_bits.value, self.core)
        return total

    def _positions(self, rows: Cuts, columns: Cuts) -> np.ndarray:
        """Source positions that reach each block through any kernel: int64 [rows, columns]."""
        total = np.zeros((len(rows), len(columns)), np.int64)
        for group in axon_groups(self.inputs):
            kernel, source = group[0].kernel, self.network.population_by_name[group[0].source].shape
            seen = []
            for axis, cuts in ((0, rows), (1, columns)):
                taps = kernel.reach(axis, source[1 + axis], self.population.shape[1 + axis]) > 0
                seen.append(np.array([taps[a:b].any(axis=0).sum() for a, b in cuts]))
            total += np.outer(*seen)
        return total

    def _too_large(self) -> MappingError:
        """The refusal of a layer of which one neuron alone exceeds a core: what it needs most of."""
        used = self.grid((1, 1, 1)).used
        resource = max(used, key=lambda r: used[r].max() / self.limits[r])
        return MappingError(
            f"{self.population.name}: one neuron alone needs {int(used[resource].max()):,} "
            f"{resource.replace('_', ' ')}, a core has {self.limits[resource]:,}; use a chip with larger "
            "cores or a model with less fan-in, or --policy graded, colocate or host if streams were expanded"
        )


def _fits(grid: CoreGrid) -> bool:
    return all(used.max() <= grid.limits[resource] for resource, used in grid.used.items())
