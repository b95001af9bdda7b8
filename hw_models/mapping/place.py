"""Where core blocks go: chips, tiles and cores within a tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsim.errors import MappingError
from nsim.hw_models.spec import ChipSpec


@dataclass(frozen=True, eq=False)
class Placement:
    """Position of every core, int64 [cores]: its chip, and its tile on that chip's mesh.

    Several chips are taken to stand in a row along x, so ``mesh_x`` counts tiles over all of them.
    """

    chip: np.ndarray
    tile_x: np.ndarray
    tile_y: np.ndarray
    tiles_x: int

    @property
    def mesh_x(self) -> np.ndarray:
        """Tile column, counted over all chips."""
        return self.chip * self.tiles_x + self.tile_x

    @property
    def chips(self) -> int:
        """Chips in use."""
        return int(self.chip.max()) + 1

    @property
    def tiles(self) -> int:
        """Tiles in use on the fullest chip."""
        used = {(c, x, y) for c, x, y in zip(self.chip, self.tile_x, self.tile_y, strict=True)}
        return int(max(np.bincount([c for c, _, _ in used])))


def place_row_major(cores: int, chip: ChipSpec) -> Placement:
    """Fill tiles in order of core id, column by column (tile id = tiles_y * x + y), chip after chip.

    Raises MappingError when the largest known system of this chip is too small.
    """
    s = chip.structure
    tiles_x, tiles_y, per_tile = s.tiles_x.value, s.tiles_y.value, s.cores_per_tile.value
    per_chip = tiles_x * tiles_y * per_tile
    if cores > per_chip * s.chips_max.value:
        raise MappingError(
            f"{chip.name}: the network needs {cores:,} cores, the largest system has "
            f"{per_chip * s.chips_max.value:,} on {s.chips_max.value} chips; use a smaller model "
            "or a chip with larger cores"
        )
    core = np.arange(cores)
    tile = core % per_chip // per_tile
    return Placement(core // per_chip, tile // tiles_y, tile % tiles_y, tiles_x)
