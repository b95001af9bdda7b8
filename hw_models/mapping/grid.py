"""The cores of one population: a grid of blocks (rows x columns x channels), and what each uses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nsim.frontends.network import Network, Population, Projection
from nsim.hw_models.mapping.axons import Cuts, spiking_inputs

Part = tuple[tuple[int, int], ...]
"""Of what a block hears, for each group of projections that share axons, the channels (of those in reach)
that come to one core; nothing for the core of the constants."""

RESOURCES = ("compartments", "synaptic_words", "input_axons", "output_axons", "words_per_axon")


@dataclass(frozen=True, eq=False)
class CoreGrid:
    """The cores of one population: a grid of segments along height, width and channels.

    ``used``: resource name to what each core uses, int64 [rows, columns, channel blocks]; ``limits``: the
    most a core of this population may use. ``shared_lists``: some synapse list serves several source
    positions, those with the same relative targets. Core ids run from ``first_core`` in the grid's row-major
    order. ``parts`` (crossbars): how what a block hears is spread over cores, one for each; ``used`` then has
    an axis more.
    """

    population: str
    rows: Cuts
    columns: Cuts
    channels: Cuts
    used: dict[str, np.ndarray]
    limits: dict[str, int]
    shared_lists: bool = False
    first_core: int = 0
    parts: tuple[Part, ...] = ((),)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of segments along height, width and channels."""
        return (len(self.rows), len(self.columns), len(self.channels))

    @cached_property
    def size(self) -> int:
        """Number of cores."""
        return math.prod(self.shape) * len(self.parts)

    @cached_property
    def cores(self) -> slice:
        """The cores of the grid, among all."""
        return slice(self.first_core, self.first_core + self.size)

    @cached_property
    def core_ids(self) -> np.ndarray:
        """Core id of every block [rows, columns, channel blocks]."""
        return self.first_core + np.arange(self.size).reshape(self.shape)

    @property
    def block(self) -> tuple[int, int, int]:
        """Rows, columns and channels of a full block."""
        return tuple(a[0][1] - a[0][0] for a in (self.rows, self.columns, self.channels))  # type: ignore[return-value]

    def block_sums(self, values: np.ndarray) -> np.ndarray:
        """Sum a [..., C, H, W] array over every block: [..., rows, columns, channel blocks]."""
        for axis, cuts in ((-3, self.channels), (-2, self.rows), (-1, self.columns)):
            values = np.add.reduceat(values, [a for a, _ in cuts], axis=axis)
        return np.moveaxis(values, -3, -1)


def segment_reached(
    projection: Projection, grid: CoreGrid, source: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Which source rows reach which row segments, and columns which column segments (bool).

    Returns [row segments, H] and [column segments, W]; a source position reaches a block when its row and
    its column do.
    """
    kernel = projection.kernel
    taps = (
        kernel.reach(0, source[1], grid.rows[-1][1]) > 0,
        kernel.reach(1, source[2], grid.columns[-1][1]) > 0,
    )
    return tuple(  # type: ignore[return-value]
        np.stack([t[a:b].any(axis=0) for a, b in cuts])
        for t, cuts in zip(taps, (grid.rows, grid.columns), strict=True)
    )


def on_chip(network: Network) -> list[Population]:
    """Populations with cores of their own: neurons, streams that cores hold, elements that the host reads.

    A stream that the host sums and no spike reaches directly needs none, nor one that lies beside neurons.
    """
    held = network.streams in ("graded", "colocate")
    return [
        p
        for p in network.populations
        if p.kind == "neuron"
        or (p.kind == "analog" and p.name not in network.homes and (held or spiking_inputs(network, p.name)))
    ]


def residents(network: Network, population: str) -> list[str]:
    """What the cores of a population hold: the streams that lie beside it, and itself."""
    return [*(stream for stream, home in network.homes.items() if home == population), population]


def in_order(network: Network, grids: dict[str, CoreGrid]) -> dict[str, CoreGrid]:
    """The grids of all populations on cores, in order of execution, with core ids from 0 on."""
    first, placed = 0, {}
    for population in on_chip(network):
        placed[population.name] = replace(grids[population.name], first_core=first)
        first += grids[population.name].size
    return placed


def block_sizes(size: int) -> list[int]:
    """Block sizes worth trying along an axis: for every number of blocks the most even one, largest first."""
    return sorted({-(-size // parts) for parts in range(1, size + 1)}, reverse=True)
