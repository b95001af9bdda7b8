"""What a layer hears on crossbars: integer weights, the axons they take, and what its sums can come to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from nsim.frontends.network import Network, Population, Projection
from nsim.hw_models.cores.truenorth import levels_needed, levels_of
from nsim.hw_models.mapping.axons import axon_channels, axon_groups, spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.spec import CrossbarCore


@dataclass(frozen=True, eq=False)
class LayerSums:
    """The parts of the sums of a layer: ``total`` and ``square``, of the weights and of their squares, and
    ``above`` and ``below``, of the positive and the negative ones [parts, outputs]; ``times``: positions
    [outputs] that have just these. ``constant``: a part of its own [outputs]. ``cells``: crossbar cells set,
    for one neuron per output.
    """

    total: np.ndarray
    square: np.ndarray
    above: np.ndarray
    below: np.ndarray
    times: np.ndarray
    constant: np.ndarray
    cells: int

    @property
    def largest_part(self) -> int:
        """Units that a part can come to at most, of either sign."""
        return int(max(part.max(initial=0) for part in (self.above, self.below, np.abs(self.constant))))

    @property
    def largest_sum(self) -> int:
        """Units of all positive parts of one sum together, at most."""
        return int((self.above.sum(axis=0) + np.maximum(self.constant, 0)).max(initial=0))

    def expected_units(self, rate: float) -> float:
        """Units sent in a time step, over all parts, if each source fires with probability ``rate``.

        The mean magnitude of a normal number of the parts' mean and variance: a part adds up many sources.
        """
        from math import pi

        from scipy.special import erf

        mean, deviation = rate * self.total, np.sqrt(rate * (1 - rate) * self.square)
        spread = np.where(deviation > 0, deviation, 1.0)
        magnitude = deviation * np.sqrt(2 / pi) * np.exp(-((mean / spread) ** 2) / 2)
        magnitude = magnitude + np.where(deviation > 0, mean * erf(mean / spread / np.sqrt(2)), np.abs(mean))
        return float(((magnitude.sum(axis=0) + np.abs(self.constant)) * self.times).sum())


class HeardLayer:
    """A population of a quantised network, with what it hears.

    ``groups``: projections that share axons; ``levels``: of the axons that each input takes; ``constants``:
    integer currents of its channels [C] that do not change from call to call.
    """

    def __init__(self, network: Network, population: Population, core: CrossbarCore) -> None:
        self.network, self.population, self._core = network, population, core
        self.groups = axon_groups(spiking_inputs(network, population.name))
        bias = population.bias
        self.constants = np.zeros(population.shape[0], np.int64) if bias is None else bias
        self._weights = [_matrix(group, population.shape[0]) for group in self.groups]
        seen = [np.unique(w) for _, _, by_group in self._weights_by_position for w in by_group]
        self._values = np.unique(np.concatenate([*seen, np.zeros(1, np.int64)]))
        self.levels = levels_needed(self._values, core)

    def source(self, projection: Projection) -> tuple[int, int, int]:
        """Shape of what a projection comes from."""
        return self.network.population_by_name[projection.source].shape

    @property
    def constant_axons(self) -> int:
        """Axons of a core for the constants alone: of each type as many as the largest of them takes."""
        heaviest = (1 << (self._core.weight_bits.value - 1)) - 1
        types = self._core.axon_types.value
        return types * max(1, -(-int(np.abs(self.constants).max(initial=0)) // (types * heaviest)))

    @cached_property
    def _weights_by_position(self) -> list[tuple[int, int, list[np.ndarray]]]:
        """The kinds of target rows and columns, by how kernel taps fall on sources, and the weights there.

        (rows, columns of that kind, weights of each group [C, C_source, source positions]). What comes over
        the same axons is one weight: paths that join the same neurons, taps under which one up-sampled source
        lies.
        """
        kinds = [
            Counter(tuple(self._taps(group[0], axis, at) for group in self.groups) for at in range(size))
            for axis, size in enumerate(self.population.shape[1:])
        ]
        return [
            (times_y, times_x, [_merged(*taps) for taps in zip(self._weights, rows, columns, strict=True)])
            for (rows, times_y), (columns, times_x) in product(kinds[0].items(), kinds[1].items())
        ]

    def _taps(self, projection: Projection, axis: int, at: int) -> tuple[tuple[int, ...], ...]:
        """Kernel taps under which the sources of one target row or column lie, source by source."""
        size = self.population.shape[1 + axis]
        sources = projection.kernel.tap_sources(axis, self.source(projection)[1 + axis], size)[:, at]
        return tuple(tuple(np.flatnonzero(sources == s).tolist()) for s in np.unique(sources[sources >= 0]))

    def sums(self, grid: CoreGrid) -> LayerSums:
        """What each part of the layer's sums can come to, cut as ``grid`` says."""
        outputs: list[np.ndarray] = []
        times: list[np.ndarray] = []
        constants: list[np.ndarray] = []
        cells, lines = 0, self._lines()
        own = self.constants if self.population.kind == "neuron" else np.zeros_like(self.constants)
        for times_y, times_x, weights in self._weights_by_position:
            positions = times_y * times_x
            cells += positions * sum(int(lines[np.abs(w), (w < 0) * 1].sum()) for w in weights)
            for cut in grid.channels:
                outputs.append(self._part_sums(grid, cut, weights))
                times.append(np.full(cut[1] - cut[0], positions))
                constants.append(own[slice(*cut)])
        total, square, above, below = np.concatenate(outputs, axis=2)
        at = np.concatenate(times), np.concatenate(constants)
        return LayerSums(total, square, above, below, *at, cells)

    def _lines(self) -> np.ndarray:
        """Axons of an input that a weight is connected to: int64 [magnitude, negative]."""
        counts = np.zeros((int(np.abs(self._values).max()) + 1, 2), np.int64)
        for value in self._values[self._values != 0].tolist():
            counts[abs(value), int(value < 0)] = len(levels_of(value, self.levels))
        return counts

    def _part_sums(self, grid: CoreGrid, cut: tuple[int, int], weights: list[np.ndarray]) -> np.ndarray:
        """(sum, of squares, of positive, of negative) weights of each part: [4, parts, outputs of cut]."""
        found = np.zeros((4, len(grid.parts), cut[1] - cut[0]), np.int64)
        for g, group in enumerate(self.groups):
            reached = np.flatnonzero(axon_channels(group, cut))
            w = weights[g][slice(*cut)][:, reached]
            by_channel = np.stack([w, w**2, np.maximum(w, 0), np.maximum(-w, 0)]).sum(axis=-1)
            running = np.concatenate([np.zeros((4, len(w), 1), np.int64), by_channel.cumsum(-1)], axis=-1)
            for k, part in enumerate(grid.parts):
                if part:
                    a, b = (min(edge, len(reached)) for edge in part[g])
                    found[:, k] += running[..., b] - running[..., a]
        return found


def fan_in(network: Network, population: Population) -> int:
    """Neurons that one neuron hears, at the position and in the channel where these are most."""
    shape = population.shape
    total = np.zeros(shape[0], np.int64)
    for group in axon_groups(spiking_inputs(network, population.name)):
        kernel, source = group[0].kernel, network.population_by_name[group[0].source].shape
        rows, columns = (
            int((kernel.reach(axis, source[1 + axis], shape[1 + axis]) > 0).sum(axis=1).max())
            for axis in (0, 1)
        )
        total += rows * columns * np.array([axon_channels(group, (c, c + 1)).sum() for c in range(shape[0])])
    return int(total.max(initial=0))


def _matrix(group: list[Projection], channels: int) -> np.ndarray:
    """What a spike adds through each tap of paths on the same axons: int64 [channels, C_source, kh, kw]."""
    matrix = np.zeros((channels, group[0].kernel.c_in, *group[0].kernel.size), np.int64)
    for projection in group:
        kernel, first = projection.kernel, projection.target_channels[0]
        in_units = kernel.array.astype(np.int64) * 2.0 ** (projection.shift or 0)
        integers = np.floor(in_units + 0.5).astype(np.int64)  # as the simulator's integers round
        groups = kernel.channels if kernel.is_identity else kernel.groups
        inputs, outputs = kernel.c_in // groups, kernel.c_out // groups
        for i in range(groups):
            to, read = first + i * outputs, i * inputs
            matrix[to : to + outputs, read : read + inputs] += integers[i * outputs : (i + 1) * outputs]
    return matrix


def _merged(
    weights: np.ndarray, rows: tuple[tuple[int, ...], ...], columns: tuple[tuple[int, ...], ...]
) -> np.ndarray:
    """Weights by source position [C, C_source, rows x columns], taps on one source added up."""
    by_row = [weights[:, :, list(taps)].sum(axis=2) for taps in rows]
    found = [row[..., list(taps)].sum(axis=-1) for row in by_row for taps in columns]
    return np.stack(found, axis=-1) if found else np.zeros((*weights.shape[:2], 0), np.int64)
