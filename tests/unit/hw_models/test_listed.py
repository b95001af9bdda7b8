"""Mappings given neuron by neuron, counted the same as blocks where they are blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nsim.errors import MappingError
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.listed import ListedMapping, equal_ranges
from nsim.hw_models.mapping.mapping import Mapping
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.listed_counts import listed_counts
from tests.networks import map_on, random_network, small_loihi

BLOCKS = ("conv", "down", "up", "conv")


def cores_of(grid: CoreGrid, shape: tuple[int, int, int]) -> np.ndarray:
    """The core of every neuron of a grid [C, H, W]."""
    core = np.empty(shape, np.int64)
    for r, s, k in np.ndindex(grid.shape):
        window = tuple(slice(*cuts[i]) for cuts, i in ((grid.channels, k), (grid.rows, r), (grid.columns, s)))
        core[window] = grid.core_ids[r, s, k]
    return core


def listed(mapping: Mapping) -> ListedMapping:
    core_of = {
        name: cores_of(grid, mapping.laid_out.population_by_name[name].shape)
        for name, grid in mapping.grids.items()
    }
    return ListedMapping(mapping.laid_out, core_of, mapping.placement)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_listed_neuron_by_neuron_count_as_blocks(seed: int) -> None:
    network = random_network(BLOCKS, seed)
    mapping = map_on(network, small_loihi({"compartments": 24}, {"cores_per_tile": 1}))
    x = np.random.default_rng(seed).normal(0.4, 0.5, (1, *network.population_by_name["x"].shape))
    call = Engine(mapping.laid_out, "float64", threads=1).call(x, np.zeros(1, int))
    boxes = CoreCounter(mapping).count(call)
    found = listed_counts(listed(mapping), call, boxes.ticks)
    assert boxes.per_core["packet_out"].sum() > 50 and mapping.core_count > 8
    for event in ("spike", "packet_out", "packet_in", "tile_local", "hop_x", "hop_y", "chip_crossing"):
        np.testing.assert_array_equal(found.per_core[event], boxes.per_core[event], err_msg=event)
    synaptic = boxes.per_core["synaptic_event_dense"] + boxes.per_core["synaptic_event_conv"]
    np.testing.assert_array_equal(found.per_core["synaptic_event_dense"], synaptic)
    # a neuron reached by spikes that cancel is updated, though its input is 0
    assert (found.per_core["update_active"] >= boxes.per_core["update_active"] - soft_resets(mapping)).all()


def soft_resets(mapping: Mapping) -> np.ndarray:
    """Second compartments of neurons with soft reset, which blocks count and a list of neurons does not."""
    per_core = np.concatenate([grid.used["compartments"].ravel() for grid in mapping.grids.values()])
    return np.maximum(0, per_core - listed(mapping).neurons_per_core)


def test_equal_ranges_give_the_last_core_the_remainder() -> None:
    network = random_network(("conv",), 0)
    sizes = {p.name: p.size for p in network.neurons}
    core_of = equal_ranges(network, dict.fromkeys(sizes, 7))
    first = 0
    for name, size in sizes.items():
        held = np.bincount(core_of[name].ravel() - first, minlength=7)
        assert (held[:-1] == size // 7).all() and held.sum() == size
        assert (np.diff(core_of[name].ravel()) >= 0).all()
        first += 7


def test_refuses_more_neurons_than_a_core_holds() -> None:
    network = random_network(("conv",), 0)
    network = replace(network, populations=network.populations[:2], projections=network.projections[:1])
    chip = small_loihi({"compartments": 20})
    with pytest.raises(MappingError) as error:
        ListedMapping.place(network, equal_ranges(network, {"n0": 1}), chip)
    neurons = network.population_by_name["n0"].size
    assert str(error.value) == (
        f"core 0 is given {neurons} neurons, more than the 20 compartments of a loihi core; "
        "spread them over more cores"
    )
    assert ListedMapping.place(network, equal_ranges(network, {"n0": 4}), load_chip("loihi")).core_count == 4
