"""The cores of one population: a grid of blocks (rows x columns x channels), and what each uses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nsim.frontends.network import Projection
from nsim.hw_models.mapping.axons import Cuts

RESOURCES = ("compartments", "synaptic_words", "input_axons", "output_axons", "words_per_axon")


@dataclass(frozen=True, eq=False)
class CoreGrid:
    """The cores of one population: a grid of segments along height, width and channels.

    ``used``: resource name to what each core uses, int64 [rows, columns, channel blocks]; ``limits``: the
    most a core of this population may use. ``shared_lists``: some synapse list serves several source
    positions, those with the same relative targets. Core ids run from ``first_core`` in the grid's row-major
    order.
    """

    population: str
    rows: Cuts
    columns: Cuts
    channels: Cuts
    used: dict[str, np.ndarray]
    limits: dict[str, int]
    shared_lists: bool = False
    first_core: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of segments along height, width and channels."""
        return (len(self.rows), len(self.columns), len(self.channels))

    @property
    def size(self) -> int:
        """Number of cores."""
        return int(np.prod(self.shape))

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
