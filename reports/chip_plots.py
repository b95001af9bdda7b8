"""A chip seen from above: energy and use of every core, load of every link, on the mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nsim.hw_models.mapping.place import chips_across
from nsim.reports.plots import PJ_PER_UNIT, new_figure, pick_unit, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

MAP = "cividis"
"""Rises evenly in lightness, so it reads the same in grey and to the colour-blind."""
GAP = 0.6
"""Space between chips, in tiles."""
EDGE, NAME = 0.3, 0.7
"""Space around the chips, and above them for their names, in tiles."""
MAP_IN = 5.9
"""Width of a map beside its colour bar."""
MANY = 1e3
"""Where the largest value is this many times the median, colours follow its logarithm."""


@dataclass(frozen=True)
class Floor:
    """Tiles of a chip, cores across a tile, and how chips are laid on paper."""

    tiles_x: int
    tiles_y: int
    across: int
    chips: int

    @property
    def per_row(self) -> int:
        """Chips side by side on paper, as they stand in their array."""
        return chips_across(self.chips, self.tiles_x, self.tiles_y)

    def corner(self, chip: int) -> tuple[float, float]:
        """Left and top of a chip on paper, in tiles."""
        return (chip % self.per_row) * (self.tiles_x + GAP), (chip // self.per_row) * (self.tiles_y + 2 * GAP)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the paper, in tiles."""
        rows = -(-self.chips // self.per_row)
        return self.per_row * (self.tiles_x + GAP) - GAP, rows * (self.tiles_y + 2 * GAP) - 2 * GAP


def floor_of(cores: pd.DataFrame, tiles_x: int, tiles_y: int, cores_per_tile: int) -> Floor:
    """The floor that ``cores`` (chip, tile_x, tile_y) stand on."""
    across = math.ceil(math.sqrt(cores_per_tile))
    return Floor(tiles_x, tiles_y, across, int(cores["chip"].max()) + 1)


def energy_map(cores: pd.DataFrame, energy: pd.DataFrame, floor: Floor, title: str) -> Figure:
    """Draw the energy of every core; ``cores``: core, chip, tile_x, tile_y; ``energy``: priced cells."""
    pj = energy[energy["core"].notna()].groupby("core")["energy_pj"].sum()
    values = cores["core"].map(pj).astype(float).fillna(0.0)
    unit, size = pick_unit(float(values.max()), PJ_PER_UNIT)
    head = "Energy of every core, of its events (floors belong to no core; white: no neurons)"
    return _core_map(cores, values / size, floor, head, title, f"energy of all sampler steps ({unit})")


def use_map(cores: pd.DataFrame, use: pd.DataFrame, floor: Floor, title: str) -> Figure:
    """Draw how full every core is in the resource of which it has least left; ``use``: `Run.utilization`."""
    fullest = 100 * use.groupby("core")["share"].max()
    values = cores["core"].map(fullest).astype(float)
    head = "Use of every core: the resource of which it has least left (white: no neurons)"
    return _core_map(cores, values, floor, head, title, "used of what a core has (%)", top=100.0)


def link_map(links: pd.DataFrame, floor: Floor, title: str) -> Figure:
    """Draw packets over every link of the mesh, both ways; ``links``: `Run.links`, steps added up."""
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import EngFormatter

    loads = links.groupby(["direction", "mesh_x", "mesh_y"], as_index=False)["packets"].sum()
    loads = loads.sort_values("packets", kind="stable")  # the busiest are drawn last
    with style():
        figure, axes = _paper(floor, "Packets over every link of the mesh", title)
        for chip in {_chip_at(floor, x, y) for x, y in zip(loads["mesh_x"], loads["mesh_y"], strict=True)}:
            if chip >= floor.chips:
                _outline(axes, floor, chip, "no cores", "--")
        norm = _norm(loads["packets"], None)
        segments = [
            _segment(floor, d, x, y)
            for d, x, y in zip(loads["direction"], loads["mesh_x"], loads["mesh_y"], strict=True)
        ]
        width = 5.0 if floor.chips > 1 else 8.0
        lines = LineCollection(segments, cmap=MAP, norm=norm, linewidths=0.32 * width)
        lines.set_array(loads["packets"].to_numpy(dtype=float))
        axes.add_collection(lines)
        _bar(figure, axes, lines, "packets in all sampler steps")
        figure.axes[-1].yaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _chip_at(floor: Floor, mesh_x: int, mesh_y: int) -> int:
    """The chip, or the empty place in the array of chips, that a tile of the joined meshes belongs to."""
    return mesh_y // floor.tiles_y * floor.per_row + mesh_x // floor.tiles_x


def _segment(floor: Floor, direction: str, mesh_x: int, mesh_y: int) -> list[tuple[float, float]]:
    """A link as a line between two tiles' middles, the two ways beside each other; stubs between chips."""
    tile_x, tile_y = mesh_x % floor.tiles_x, mesh_y % floor.tiles_y
    left, top = floor.corner(_chip_at(floor, mesh_x, mesh_y))
    x, y = left + tile_x + 0.5, top + tile_y + 0.5
    dx, dy = {"east": (1, 0), "west": (-1, 0), "north": (0, -1), "south": (0, 1)}[direction]
    leaves = not (0 <= tile_x + dx < floor.tiles_x and 0 <= tile_y + dy < floor.tiles_y)
    reach = 0.5 + (GAP if dy else GAP / 2) if leaves else 1.0
    x, y = x - 0.14 * dy, y + 0.14 * dx
    near, far = (0.0 if leaves else 0.12), (reach if leaves else 0.88)
    return [(x + near * dx, y + near * dy), (x + far * dx, y + far * dy)]


def _core_map(
    cores: pd.DataFrame,
    values: pd.Series,
    floor: Floor,
    head: str,
    title: str,
    label: str,
    top: float | None = None,
) -> Figure:
    with style():
        figure, axes = _paper(floor, head, title)
        picture = None
        norm = _norm(values, top)
        for chip, here in cores.groupby("chip"):
            grid = np.full((floor.tiles_y * floor.across, floor.tiles_x * floor.across), np.nan)
            place = here.groupby(["tile_x", "tile_y"]).cumcount()
            row = here["tile_y"] * floor.across + place // floor.across
            column = here["tile_x"] * floor.across + place % floor.across
            grid[row, column] = values[here.index]
            left, top_edge = floor.corner(int(chip))
            extent = (left, left + floor.tiles_x, top_edge + floor.tiles_y, top_edge)
            picture = axes.imshow(
                np.ma.masked_invalid(grid), cmap=MAP, norm=norm, extent=extent, interpolation="nearest"
            )
        assert picture is not None
        _bar(figure, axes, picture, label)
    return figure


def _norm(values: pd.Series, top: float | None) -> Normalize:
    from matplotlib.colors import LogNorm, Normalize

    positive = values[values > 0]
    if top is None and len(positive) and positive.max() > MANY * positive.median():
        return LogNorm(float(positive.min()), float(positive.max()))
    return Normalize(0.0, top or float(values.max()) or 1.0)


def _paper(floor: Floor, head: str, title: str) -> tuple[Figure, Axes]:
    """An empty figure with the outline of every chip, numbered where there are several."""
    width, height = floor.size
    shape = (height + EDGE + NAME) / (width + 2 * EDGE)
    figure = new_figure(min(8.0, max(2.2, MAP_IN * shape + 0.6)), head, title)
    axes = figure.subplots()
    for chip in range(floor.chips):
        _outline(axes, floor, chip, f"chip {chip}" if floor.chips > 1 else "", "-")
    axes.set_xlim(-EDGE, width + EDGE)
    axes.set_ylim(height + EDGE, -NAME)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return figure, axes


def _outline(axes: Axes, floor: Floor, chip: int, name: str, dash: str) -> None:
    """The edge of a chip, named above its left corner."""
    from matplotlib.patches import Rectangle

    left, top = floor.corner(chip)
    edge = Rectangle((left, top), floor.tiles_x, floor.tiles_y, fill=False, linewidth=0.5, linestyle=dash)
    edge.set_edgecolor("#777777")
    axes.add_patch(edge)
    axes.text(left, top - 0.1, name, fontsize=6, va="bottom")


def _bar(figure: Figure, axes: Axes, picture: ScalarMappable, label: str) -> None:
    bar = figure.colorbar(picture, ax=axes, label=label, aspect=30, shrink=0.8)
    bar.outline.set_visible(False)
