"""Packets over links: what a route crosses, added up another way, and hops counted elsewhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nsim.frontends.network import Network
from nsim.hw_models.mapping.axons import axon_groups, spiking_inputs
from nsim.hw_models.mapping.mapping import Mapping
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.link_loads import DIRECTIONS, LinkCounter
from tests.networks import BLOCKS, map_on, owners, random_network, small_loihi, synapses_into


def call_of(network: Network) -> Call:
    shape = network.population_by_name["x"].shape
    x = np.random.default_rng(1).normal(1.0, 1.0, (2, *shape))
    return Engine(network, "float64", threads=1).call(x, np.array([3, 700]))


def by_routes(mapping: Mapping, call: Call) -> Counter[tuple[str, int, int]]:
    """Every packet of every spike, walked link by link."""
    network, place = mapping.laid_out, mapping.placement
    owner = {
        name: owners(grid, network.population_by_name[name].shape) for name, grid in mapping.grids.items()
    }
    packets: Counter[tuple[int, int]] = Counter()
    for name in mapping.grids:
        shared = {p: i for i, g in enumerate(axon_groups(spiking_inputs(network, name))) for p in g}
        reached = {
            (p.source, pre, owner[name][post], shared[p])  # projections of one group share their packets
            for p, synapses in synapses_into(network, name)
            for pre, post in synapses
        }
        for source, (c, y, x), target, _ in reached:
            fired = int(call.spikes[source][:, :, c, y, x].sum())
            packets[owner[source][c, y, x], target] += fired
    loads: Counter[tuple[str, int, int]] = Counter()
    for (source, target), count in packets.items():
        x, y = int(place.mesh_x[source]), int(place.mesh_y[source])
        while x != place.mesh_x[target]:
            east = place.mesh_x[target] > x
            loads["east" if east else "west", y, x] += count
            x += 1 if east else -1
        while y != place.mesh_y[target]:
            south = place.mesh_y[target] > y
            loads["south" if south else "north", y, x] += count
            y += 1 if south else -1
    return +loads


@pytest.mark.parametrize("blocks", [("conv", "residual", "up"), ("depthwise", "cat", "down"), BLOCKS[:5]])
def test_every_packet_walked(blocks: tuple[str, ...]) -> None:
    mapping = map_on(random_network(blocks, seed=2), small_loihi(core={"compartments": 16}))
    call = call_of(mapping.model.network)
    loads = LinkCounter(mapping).count(call)
    assert tuple(loads) == DIRECTIONS
    found = {
        (way, int(y), int(x)): int(n[y, x])
        for way, n in loads.items()
        for y, x in zip(*np.nonzero(n), strict=True)
    }
    assert found == by_routes(mapping, call)
    assert len(found) > 5


def test_links_carry_the_hops(tiny_network: Network, tiny_call: Call) -> None:
    mapping = map_on(tiny_network, small_loihi(core={"compartments": 32}))
    loads = LinkCounter(mapping).count(tiny_call)
    counts = CoreCounter(mapping).count(tiny_call).per_core
    assert loads["east"].sum() + loads["west"].sum() == counts["hop_x"].sum() > 0
    assert loads["north"].sum() + loads["south"].sum() == counts["hop_y"].sum() > 0
    assert mapping.chips > 1 or loads["east"].shape[1] <= 8
