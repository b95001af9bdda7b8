"""Placement: every core at one place, packets counted as the simulator counts them, and fewer hops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nsim
from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.hw_models.mapping.flow import Flow, flow
from nsim.hw_models.mapping.place import place, place_row_major
from nsim.reports.run_sampler import run_sampler
from nsim.reports.traffic import firing_rates
from nsim.simulator.core_counts import CoreCounter
from tests.networks import BLOCKS, map_on, model_of, random_network, small_loihi

MESH = {"tiles_x": 3, "tiles_y": 2, "cores_per_tile": 2}


@settings(max_examples=10)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
)
def test_packets_and_hops_are_those_that_the_simulator_counts(blocks: tuple[str, ...], seed: int) -> None:
    network = random_network(blocks, seed, (4, 5))
    chip = small_loihi({"compartments": 20}, MESH)
    in_order = map_on(network, chip)
    placement = place(in_order.core_count, in_order.flow, chip, "optimised", seed)
    mapping = replace(in_order, placement=placement)
    events = CoreCounter(mapping).expect(1.0).per_core
    sent = np.bincount(mapping.flow.source, mapping.flow.packets, minlength=mapping.core_count)
    np.testing.assert_array_equal(events["packet_out"].sum(axis=(0, 1)), network.time_steps * sent)
    hops = (events["hop_x"] + events["hop_y"]).sum()
    assert hops == network.time_steps * placement.packet_hops(mapping.flow)


@settings(max_examples=20)
@given(cores=st.integers(1, 60), seed=st.integers(0, 1000))
def test_every_core_has_a_place_and_packets_go_no_further(cores: int, seed: int) -> None:
    chip = small_loihi(structure=MESH)
    rng = np.random.default_rng(seed)
    pairs = rng.integers(cores, size=(2, 3 * cores))
    packets = Flow(pairs[0], pairs[1], rng.uniform(0, 5, 3 * cores))
    row_major = place_row_major(cores, chip)
    found = place(cores, packets, chip, "optimised", seed)
    assert found.packet_hops(packets) <= row_major.packet_hops(packets)
    assert found.chips <= row_major.chips
    places = np.stack([found.chip, found.tile_x, found.tile_y], axis=1)
    assert (places >= 0).all()
    assert (places < [row_major.chips, 3, 2]).all()
    assert np.unique(places, axis=0, return_counts=True)[1].max() <= 2
    again = place(cores, packets, chip, "optimised", seed)
    np.testing.assert_array_equal(again.mesh_x, found.mesh_x)
    np.testing.assert_array_equal(again.mesh_y, found.mesh_y)


def test_partners_come_together() -> None:
    """24 cores in pairs that are far apart in row-major order: every pair ends in one tile."""
    chip = small_loihi(structure={**MESH, "tiles_x": 6})
    core = np.arange(24)
    packets = Flow(core, (core + 12) % 24, np.ones(24))
    assert place_row_major(24, chip).packet_hops(packets) == 24 * 3
    assert place(24, packets, chip, "optimised").packet_hops(packets) == 0


def test_chips_stand_in_an_array() -> None:
    """Six chips of 2 x 4 tiles: four columns of 8 tiles across and two rows of 8 down are the squarest."""
    chip = small_loihi(structure={"tiles_x": 2, "tiles_y": 4, "cores_per_tile": 1})
    at = place_row_major(48, chip)
    assert (at.chips, at.chips_x) == (6, 4)
    corners = np.flatnonzero((at.tile_x == 0) & (at.tile_y == 0))
    assert at.mesh_x[corners].tolist() == [0, 2, 4, 6, 0, 2]
    assert at.mesh_y[corners].tolist() == [0, 0, 0, 0, 4, 4]


def test_bundled_model_is_a_quarter_below_row_major() -> None:
    placed, row_major = nsim.map(nsim.load("sddpm-digits"), "loihi").packet_hops()
    assert placed < 0.75 * row_major


def test_measured_traffic(tiny_network: Network, tmp_path: Path) -> None:
    model = model_of(tiny_network)
    first = nsim.map(model)
    run_sampler(first, images=2, out=tmp_path / "run", threads=1)
    run = nsim.reports.run.Run.open(tmp_path / "run")
    rate = firing_rates(run)
    neurons = np.concatenate([g.used["compartments"].ravel() for g in first.grids.values()])
    steps = 2 * 2 * tiny_network.time_steps  # sampler steps, images
    counts = run.counts().query("event == 'spike'")
    assert (rate * neurons).sum() * steps == pytest.approx(counts["count"].sum())
    mapping = nsim.map(model, traffic=tmp_path / "run")
    assert mapping.measured
    np.testing.assert_array_equal(mapping.flow.packets, flow(first.laid_out, first.grids, rate).packets)
    with pytest.raises(MappingError) as error:
        nsim.map(model, policy="host", traffic=tmp_path / "run")
    cores = nsim.map(model, policy="host").core_count
    assert str(error.value) == (
        f"{model.name} on loihi: the traffic was measured on {first.core_count} cores, this layout has "
        f"{cores}; give a run of the same model, chip and policy"
    )


@settings(max_examples=20)
@given(chips=st.integers(1, 12), seed=st.integers(0, 1000), pairs=st.integers(0, 12))
def test_places_of_the_array_that_packets_cross(chips: int, seed: int, pairs: int) -> None:
    """Against a walk tile by tile, x first: the places beyond the last chip that it comes through."""
    chip = small_loihi(structure={"tiles_x": 2, "tiles_y": 2, "cores_per_tile": 1})
    at, rng = place_row_major(4 * chips, chip), np.random.default_rng(seed)
    packets = Flow(*rng.integers(4 * chips, size=(2, pairs)), rng.integers(0, 2, pairs).astype(float))
    crossed = set()
    for a, b, sent in zip(packets.source, packets.target, packets.packets, strict=True):
        (x, y), (to_x, to_y) = ((int(at.mesh_x[c]), int(at.mesh_y[c])) for c in (a, b))
        along_x = [(i, y) for i in range(min(x, to_x), max(x, to_x) + 1)]
        along_y = [(to_x, i) for i in range(min(y, to_y), max(y, to_y) + 1)]
        if sent:
            crossed |= {at.chips_x * (j // 2) + i // 2 for i, j in along_x + along_y}
    assert at.places_crossed(packets) == len({c for c in crossed if c >= chips})


def test_three_chips_in_a_square_of_four() -> None:
    chip = small_loihi(structure={"tiles_x": 2, "tiles_y": 2, "cores_per_tile": 1})
    at = place_row_major(12, chip)
    assert at.chips_x == 2
    third_to_second, second_to_third = (
        Flow(np.array([a]), np.array([b]), np.ones(1)) for a, b in ((8, 4), (4, 8))
    )
    assert (at.places_crossed(third_to_second), at.places_crossed(second_to_third)) == (1, 0)
