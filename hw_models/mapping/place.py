"""Where core blocks go: chips, tiles and cores within a tile, so that packets travel few hops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from nsim.errors import MappingError
from nsim.hw_models.mapping.flow import Flow
from nsim.hw_models.spec import AnyChip, ChipSpec

Order = Literal["optimised", "row-major"]
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True, eq=False)
class Placement:
    """Position of every core, int64 [cores]: its chip, and its tile on that chip's mesh.

    Chips stand in an array of ``chips_x`` columns whose meshes join at the edges. This is assumed, as no
    source gives the wiring of a board: the array is as square, in tiles, as the number of chips allows. Chips
    are numbered row by row; ``mesh_x`` and ``mesh_y`` count tiles over all of them.
    """

    chip: np.ndarray
    tile_x: np.ndarray
    tile_y: np.ndarray
    tiles_x: int
    tiles_y: int
    chips_x: int

    @property
    def mesh_x(self) -> np.ndarray:
        """Tile column, counted over all chips."""
        return self.chip % self.chips_x * self.tiles_x + self.tile_x

    @property
    def mesh_y(self) -> np.ndarray:
        """Tile row, counted over all chips."""
        return self.chip // self.chips_x * self.tiles_y + self.tile_y

    @property
    def chips(self) -> int:
        """Chips in use."""
        return int(self.chip.max()) + 1

    @property
    def tiles(self) -> int:
        """Tiles in use on the fullest chip."""
        used = {(c, x, y) for c, x, y in zip(self.chip, self.tile_x, self.tile_y, strict=True)}
        return int(max(np.bincount([c for c, _, _ in used])))

    def places_crossed(self, flow: Flow) -> int:
        """Places of the array without any core in use that packets cross, x first, out of its last row.

        Routers are at work there, so a chip must stand there too; it is not among ``chips``.
        """
        last_row = (self.chips - 1) // self.chips_x
        first_empty = self.chips - last_row * self.chips_x
        out_of_it = (self.chip[flow.source] // self.chips_x == last_row) & (flow.packets > 0)
        columns = self.chip[flow.target[out_of_it]] % self.chips_x
        return max(0, int(columns.max(initial=-1)) - first_empty + 1)

    def packet_hops(self, flow: Flow) -> float:
        """Packets times hops (Manhattan distance in tiles) of one time step."""
        hops = sum(np.abs(at[flow.source] - at[flow.target]) for at in (self.mesh_x, self.mesh_y))
        return float((flow.packets * hops).sum())


def place(cores: int, flow: Flow, chip: ChipSpec, order: Order, seed: int = 0) -> Placement:
    """Give every core a place; "optimised" swaps places to shorten the way of packets, by ``seed``."""
    row_major = place_row_major(cores, chip)
    if order == "row-major":
        return row_major
    return place_optimised(row_major, flow, chip, seed)


def place_rounds(ends: tuple[int, ...], flow: Flow, chip: ChipSpec, order: Order) -> Placement:
    """Places of the cores of every round, ``ends`` past-the-last core of each; ``flow`` within rounds.

    The first round takes all chips, every further one the last of them.
    """
    placed = []
    for start, end in pairwise((0, *ends)):
        own = (flow.source >= start) & (flow.source < end)
        packets = Flow(flow.source[own] - start, flow.target[own] - start, flow.packets[own])
        placed.append(place(end - start, packets, chip, order))
    first, last = placed[0], placed[0].chips - 1
    chips = [first.chip, *(p.chip + last for p in placed[1:])]
    tile_x, tile_y = (np.concatenate([getattr(p, axis) for p in placed]) for axis in ("tile_x", "tile_y"))
    return replace(first, chip=np.concatenate(chips), tile_x=tile_x, tile_y=tile_y)


def place_row_major(cores: int, chip: ChipSpec) -> Placement:
    """Fill tiles in order of core id, column by column (tile id = tiles_y * x + y), chip after chip.

    Raises MappingError when the largest known system of this chip is too small.
    """
    check_room(cores, chip)
    return _at_slots(np.arange(cores), -(-cores // chip.cores), chip)


def check_room(cores: int, chip: AnyChip) -> None:
    """MappingError when the largest known system of this chip has fewer cores."""
    if cores > chip.cores * chip.chips_max:
        turns = f", or --multiplex {chip.chips_max}: cores take turns" if isinstance(chip, ChipSpec) else ""
        raise MappingError(
            f"{chip.name}: the network needs {cores:,} cores, the largest system has "
            f"{chip.cores * chip.chips_max:,} on {chip.chips_max} chips; use a smaller model "
            f"or a chip with larger cores{turns}"
        )


def place_optimised(start: Placement, flow: Flow, chip: ChipSpec, seed: int) -> Placement:
    """Swap cores, and free places on the chips in use, from a walk through the mesh, by annealing.

    The walk goes up and down the columns of tiles of one chip after the other, so that cores of one layer,
    which follow each other, lie together from the start. Returns ``start`` if that turned out shorter.
    """
    from nsim.hw_models.mapping.anneal import anneal

    cores, s = len(start.chip), chip.structure
    per_tile = s.cores_per_tile.value
    slots = _at_slots(
        np.arange(start.chips * s.tiles_x.value * s.tiles_y.value * per_tile), start.chips, chip
    )
    walk = np.argsort(_walk(slots), kind="stable")
    slot = anneal(walk, cores, (slots.mesh_x, slots.mesh_y), (flow.source, flow.target, flow.packets), seed)
    found = _at_slots(slot, start.chips, chip)
    return min(start, found, key=lambda p: p.packet_hops(flow))


def chips_across(chips: int, tiles_x: int, tiles_y: int) -> int:
    """Columns of the array in which so many chips of tiles_x x tiles_y tiles stand (see `Placement`)."""
    return min(chips, math.ceil(math.sqrt(chips * tiles_y / tiles_x)))


def _at_slots(slot: np.ndarray, chips: int, chip: ChipSpec) -> Placement:
    """Cores at numbered places: chip after chip, tiles column by column, cores of a tile in order."""
    s = chip.structure
    tiles_x, tiles_y, per_tile = s.tiles_x.value, s.tiles_y.value, s.cores_per_tile.value
    tile = slot % (tiles_x * tiles_y * per_tile) // per_tile
    chips_x = chips_across(chips, tiles_x, tiles_y)
    return Placement(
        slot // (tiles_x * tiles_y * per_tile), tile // tiles_y, tile % tiles_y, tiles_x, tiles_y, chips_x
    )


def _walk(slots: Placement) -> np.ndarray:
    """Rank of every place on a walk without jumps: chips in rows to and fro, tile columns up and down."""
    row, column = slots.chip // slots.chips_x, slots.chip % slots.chips_x
    chip = row * slots.chips_x + np.where(row % 2 == 0, column, slots.chips_x - 1 - column)
    x = np.where(row % 2 == 0, slots.tile_x, slots.tiles_x - 1 - slots.tile_x)
    y = np.where(x % 2 == 0, slots.tile_y, slots.tiles_y - 1 - slots.tile_y)
    return (chip * slots.tiles_x + x) * slots.tiles_y + y
