"""Chips shared in rounds: which cores are on them together, when layers run, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import nsim
from nsim.errors import MappingError
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.layout import cut_into_cores
from nsim.hw_models.mapping.mapping import Mapping, with_places
from nsim.hw_models.mapping.rounds import round_ends
from nsim.reports.multiplex import parse_chip_counts
from tests.networks import map_on, model_of, random_network, small_loihi


def grids_of(sizes: list[int]) -> dict[str, CoreGrid]:
    rows = [tuple((i, i + 1) for i in range(size)) for size in sizes]
    return {f"n{i}": CoreGrid(f"n{i}", r, ((0, 1),), ((0, 1),), {}, {}) for i, r in enumerate(rows)}


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    chips=st.integers(1, 12),
    per_chip=st.integers(1, 16),
)
@example([4, 4, 4], 1, 8)
def test_rounds_are_few_and_fit(sizes: list[int], chips: int, per_chip: int) -> None:
    ends = round_ends(grids_of(sizes), chips, per_chip)
    cores = sum(sizes)
    held = np.diff((0, *ends))
    room = np.array([chips * per_chip, *[per_chip] * (len(ends) - 1)])
    assert ends[-1] == cores and (held > 0).all() and (held <= room).all()
    needed = -(-cores // per_chip)
    assert len(ends) == max(1, needed - chips + 1)
    for i, end in enumerate(ends[:-1]):  # cut within a layer only where a boundary would take a round more
        layers = np.cumsum(sizes)
        if end in layers:
            continue
        start = ends[i - 1] if i else 0
        boundaries = layers[(layers > start) & (layers <= start + room[i])]
        left = len(ends) - 1 - i
        assert all(-(-(cores - b) // per_chip) > left for b in boundaries)


@pytest.fixture(scope="module")
def mapping() -> Mapping:
    """Four layers, 9 + 9 + 9 + 4 cores on 8 chips of 4."""
    chip = small_loihi({"compartments": 20}, {"tiles_x": 1, "tiles_y": 2, "cores_per_tile": 2})
    return map_on(random_network(("conv", "residual", "down"), 5), chip)


def test_rounds_of_a_network(mapping: Mapping) -> None:
    assert [(g.first_core, g.size) for g in mapping.grids.values()] == [(0, 9), (9, 9), (18, 9), (27, 4)]
    shared = with_places(mapping, "row-major", multiplex=6)
    assert shared.round_ends == (24, 27, 31)
    # three layers one tick apart; the rest of n2, fed by the host a tick ahead; n3, likewise
    assert mapping.laid_out.time_steps == 3
    assert shared.rounds.ticks == (3 + 2, 3 + 1, 3 + 1) and shared.ticks == 13
    first, second = shared.rounds.pieces["n2"]
    assert (first.round, first.cores, first.own, first.ticks) == (0, slice(18, 24), slice(0, 6), slice(2, 5))
    assert (second.round, second.cores, second.own, second.ticks) == (
        1,
        slice(24, 27),
        slice(6, 9),
        slice(1, 4),
    )
    assert shared.chips == 6
    assert shared.placement.chip.tolist() == [i // 4 for i in range(24)] + [5] * 7
    assert shared.resident.tolist() == [True] * 20 + [False] * 11
    assert shared.regime == "partly reloaded" and shared.rounds.loads == 3
    words = np.concatenate([grid.used["synaptic_words"].ravel() for grid in mapping.grids.values()])
    assert shared.bytes_loaded == 8 * words[20:].sum() > 0


def test_one_chip_keeps_nothing_and_enough_chips_everything(mapping: Mapping) -> None:
    alone = with_places(mapping, "row-major", multiplex=1)
    assert (alone.regime, alone.chips, alone.rounds.loads) == ("reloaded", 1, 8)
    assert not alone.resident.any() and set(alone.placement.chip) == {0}
    for chips in (8, 700):
        enough = with_places(mapping, "row-major", multiplex=chips)
        assert (enough.regime, enough.chips, enough.rounds.loads) == ("resident", 8, 0)
        assert enough.bytes_loaded == 0 and enough.ticks == mapping.ticks


def test_places_are_optimised_within_a_round(mapping: Mapping) -> None:
    """No two cores of a round share a place, and no packet of the flow goes from one round to another."""
    shared = with_places(mapping, "optimised", multiplex=3)
    place, of_core = shared.placement, shared.rounds.of_core
    for r in range(len(shared.round_ends)):
        own = of_core == r
        tiles = np.stack([place.chip[own], place.tile_x[own], place.tile_y[own]])
        assert np.unique(tiles, axis=1, return_counts=True)[1].max() <= 2  # cores of a tile
    assert (of_core[shared.flow.source] == of_core[shared.flow.target]).all()
    placed, row_major = shared.packet_hops()
    assert 0 < placed <= row_major
    assert shared.resident.sum() == 8


def test_numbers_of_chips_that_there_cannot_be() -> None:
    model = model_of(random_network(("conv",), 0))
    for chips, message in (
        (0, "0 chips: there must be 1 or more to play rounds on"),
        (769, "769 chips: the largest known system of loihi has 768; ask for at most as many"),
    ):
        with pytest.raises(MappingError) as error:
            nsim.map(model, "loihi", multiplex=chips)
        assert str(error.value) == message
    with pytest.raises(MappingError) as error:
        parse_chip_counts("1,many")
    assert str(error.value) == (
        "--multiplex 1,many: expected a number of chips, or several separated by commas: 1,32,768"
    )
    assert parse_chip_counts("1,32,768") == (1, 32, 768)


def test_what_cannot_share_chips() -> None:
    model = model_of(random_network(("conv",), 0))
    with pytest.raises(MappingError) as error:
        cut_into_cores(model, "loihi2", multiplex=1)
    assert str(error.value) == (
        "random 0 on loihi2: taking turns on 1 chip(s) is worked out for chips that can be simulated "
        "(loihi, for example); leave --multiplex out"
    )
    with pytest.raises(MappingError) as error:
        nsim.map(replace(model, decoder=model.network), multiplex=1)
    assert str(error.value) == (
        "random 0: a denoiser and a decoder have chips of their own; how they would share 1 is not modelled. "
        "Leave --multiplex out"
    )


def test_a_network_beyond_the_largest_system_takes_turns(mapping: Mapping) -> None:
    """Refused as it is; not on as many chips as there are."""
    structure = {"tiles_x": 1, "tiles_y": 2, "cores_per_tile": 2, "chips_max": 5}
    chip = small_loihi({"compartments": 20}, structure)
    with pytest.raises(MappingError) as error:
        map_on(mapping.model.network, chip)
    assert str(error.value) == (
        "loihi: the network needs 31 cores, the largest system has 20 on 5 chips; use a smaller model or a "
        "chip with larger cores, or --multiplex 5: cores take turns"
    )
    assert with_places(replace(mapping, chip=chip), "row-major", multiplex=5).regime == "partly reloaded"
