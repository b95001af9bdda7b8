"""A network too large for the chips at hand, in rounds: which cores are on the chips together, and when.

All time steps of a round are played before the next round begins, so what a later round hears of an earlier
one is complete by then: the host keeps those spikes, and sends each again in the tick before it is needed.

Chips are loaded one after the other (so the one published measurement reads), which takes seconds where a
call takes milliseconds. So all chips but the last keep their cores for good: the first round is what lies on
all chips together, and every further round is loaded onto the last one. Of R chips' worth of cores on N chips
that is R - N + 1 loads in every call. An order that changed from call to call could save (N - 1) / (R - 1) of
one on average: R (R - N) / (R - 1) are the fewest there can be (Belady's rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.hw_models.mapping.axons import spiking_inputs
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.schedule import Timetable
from nsim.hw_models.spec import AnyChip

Regime = Literal["resident", "partly reloaded", "reloaded"]
"""Nothing is loaded between calls; one chip of several is loaded again and again; the only chip is."""


@dataclass(frozen=True)
class Piece:
    """The cores of a population that are on the chips in one round.

    ``cores`` by id, ``own`` counted from the population's first; ``ticks`` of the round in which they run
    their time steps.
    """

    round: int
    cores: slice
    own: slice
    ticks: slice


@dataclass(frozen=True, eq=False)
class Rounds:
    """Rounds of a call, in order; all cores are in the only one where the network fits.

    ``ends``: past-the-last core of each (cores are numbered in order of execution); ``ticks`` of each;
    ``pieces``: population to its cores in each round that has any.
    """

    ends: tuple[int, ...]
    ticks: tuple[int, ...]
    pieces: dict[str, tuple[Piece, ...]]

    @property
    def spans(self) -> list[slice]:
        """Cores of each round."""
        return [slice(a, b) for a, b in pairwise((0, *self.ends))]

    @cached_property
    def of_core(self) -> np.ndarray:
        """Round of every core, int64 [cores]."""
        return np.repeat(np.arange(len(self.ends)), np.diff((0, *self.ends)))

    @property
    def loads(self) -> int:
        """Chips whose configuration is loaded in one call: one in each round, where there are several."""
        return len(self.ends) if len(self.ends) > 1 else 0


def check_chips(chips: int, chip: AnyChip) -> None:
    """MappingError for a number of chips that there cannot be."""
    if chips < 1:
        raise MappingError(f"{chips} chips: there must be 1 or more to play rounds on")
    if chips > chip.chips_max:
        raise MappingError(
            f"{chips:,} chips: the largest known system of {chip.name} has {chip.chips_max:,}; "
            "ask for at most as many"
        )


def round_ends(grids: dict[str, CoreGrid], chips: int, cores_per_chip: int) -> tuple[int, ...]:
    """Past-the-last core of every round on so many chips: as few rounds as can be.

    A round ends between two layers where that costs no further round, within one otherwise.
    """
    layers = np.cumsum([grid.size for grid in grids.values()])
    cores = int(layers[-1])
    count = max(1, -(-cores // cores_per_chip) - chips + 1)
    ends: list[int] = []
    for after in reversed(range(count)):
        room = cores_per_chip if ends else chips * cores_per_chip
        latest = min(cores, (ends[-1] if ends else 0) + room)
        between = layers[(layers <= latest) & (layers >= cores - after * cores_per_chip)]
        ends.append(int(between[-1]) if len(between) else latest)
    return tuple(ends)


def rounds_of(
    network: Network, grids: dict[str, CoreGrid], times: Timetable, ends: tuple[int, ...]
) -> Rounds:
    """What runs when: layers of a round keep their distances in ticks, the first of them starts at once.

    In a round that hears spikes of earlier ones, its first tick only brings these.
    """
    ticks: list[int] = []
    pieces: dict[str, list[Piece]] = {name: [] for name in grids}
    for r, (start, end) in enumerate(pairwise((0, *ends))):
        names = [
            n for n, grid in grids.items() if start < grid.first_core + grid.size and grid.first_core < end
        ]
        sources = {p.source for name in names for p in spiking_inputs(network, name)}
        lead = int(any(grids[source].first_core < start for source in sources))
        begins = [times.first_tick[name] for name in names]
        shift = lead - (min(begins) if r else 0)
        ticks.append(network.time_steps + max(begins) + shift)
        for name, begin in zip(names, begins, strict=True):
            first = grids[name].first_core
            a, b = max(start, first), min(end, first + grids[name].size)
            run = slice(begin + shift, begin + shift + network.time_steps)
            pieces[name].append(Piece(r, slice(a, b), slice(a - first, b - first), run))
    return Rounds(ends, tuple(ticks), {name: tuple(found) for name, found in pieces.items()})
