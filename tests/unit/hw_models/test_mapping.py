"""The whole mapping: every neuron on one core, cores on tiles and chips, and what it tells about itself."""

from __future__ import annotations

import numpy as np
import pytest

import nsim
from nsim.errors import MappingError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network
from nsim.hw_models.mapping.grid import RESOURCES
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.place import place_row_major
from tests.networks import map_on, model_of, one_layer, owners, small_loihi


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    return nsim.map(model_of(tiny_network), "loihi")


def test_every_neuron_lies_on_exactly_one_core(mapping: Mapping) -> None:
    cores = mapping.cores.set_index("core")
    assert list(cores.index) == list(range(mapping.core_count))
    for name, grid in mapping.grids.items():
        shape = mapping.laid_out.population_by_name[name].shape
        core_of = owners(grid, shape)
        sizes = np.bincount([*core_of.values()], minlength=mapping.core_count)
        own = cores[cores["layer"] == name]
        assert sizes[own.index].tolist() == own["compartments"].tolist()
        assert sizes.sum() == sizes[own.index].sum() == np.prod(shape)
        for neuron, core in core_of.items():
            block = cores.loc[core]
            for place, axis in zip(neuron, ("channel", "row", "column"), strict=True):
                assert block[f"{axis}_first"] <= place < block[f"{axis}_end"]


def test_no_limit_is_exceeded_and_the_table_adds_up(mapping: Mapping) -> None:
    table = mapping.cores
    assert mapping.layer_of_core.tolist() == table["layer"].tolist()
    use = mapping.utilization()
    assert use["cores"] == (len(table), 128)
    for name, grid in mapping.grids.items():
        fill = {}
        for resource in RESOURCES:
            own = table.loc[table["layer"] == name, resource]
            assert own.max() <= grid.limits[resource]
            fill[resource] = own.max() / grid.limits[resource]
        assert fill[mapping.binding()[name]] == max(fill.values())
    for resource in RESOURCES[:-1]:
        assert use[resource][0] == table[resource].sum()
    limits = [grid.limits["compartments"] for grid in mapping.grids.values() for _ in range(grid.size)]
    assert use["compartments"][1] == sum(limits) < 1024 * len(table)  # long skips take some away


def test_cores_fill_tiles_and_chips_in_order() -> None:
    chip = small_loihi(structure={"tiles_x": 3, "tiles_y": 2, "cores_per_tile": 2})
    place = place_row_major(15, chip)
    assert place.tile_x.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0]
    assert place.tile_y.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]
    assert place.chip.tolist() == [0] * 12 + [1] * 3
    assert place.mesh_x.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert (place.chips, place.tiles) == (2, 6)
    assert (place_row_major(5, chip).chips, place_row_major(5, chip).tiles) == (1, 3)


def test_more_cores_than_the_largest_system() -> None:
    chip = small_loihi({"compartments": 1}, {"tiles_x": 1, "tiles_y": 1, "cores_per_tile": 4, "chips_max": 4})
    kernel = Kernel(1, np.ones((1, 1, 1, 1)))
    assert map_on(one_layer(kernel, (4, 2)), chip).chips == 4
    with pytest.raises(MappingError) as error:
        map_on(one_layer(kernel, (3, 3)), chip)
    assert str(error.value) == (
        "loihi: the network needs 18 cores, the largest system has 16 on 4 chips; "
        "use a smaller model or a chip with larger cores, or --multiplex 4: cores take turns"
    )
