"""What becomes of analog streams: the same function under every policy, and what the host then does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.errors import MappingError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.catalog import find_chip_file, load_any_chip, load_chip
from nsim.hw_models.mapping.axons import carried_inputs
from nsim.hw_models.mapping.flow import sent
from nsim.hw_models.mapping.grid import on_chip, residents
from nsim.hw_models.mapping.layout import Layout
from nsim.hw_models.mapping.policies import POLICIES, Policy, lay_out
from nsim.hw_models.mapping.pool import partition_pool
from nsim.hw_models.spec import ChipSpec, PoolChip
from nsim.reports.footprint import operations_on_cores
from nsim.simulator.engine import Engine
from nsim.simulator.host_counts import calls_beside_cores
from tests.networks import BLOCKS, join, map_on, model_of, random_network, small_loihi

LOIHI = load_chip("loihi")
LOIHI2 = load_any_chip("loihi2")
assert isinstance(LOIHI2, PoolChip)


@settings(max_examples=20)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 1000),
    policy=st.sampled_from(POLICIES),
)
def test_every_policy_keeps_every_spike(blocks: tuple[str, ...], seed: int, policy: Policy) -> None:
    network = random_network(blocks, seed, (4, 5))
    laid_out = lay_out(network, policy, LOIHI2)
    x = np.random.default_rng(seed).normal(0.4, 0.6, (2, *network.population_by_name["x"].shape))
    before, after = (Engine(n, "float64", threads=1).call(x, np.zeros(2, int)) for n in (network, laid_out))
    for name, spikes in before.spikes.items():
        np.testing.assert_array_equal(after.spikes[name], spikes, err_msg=name)


@settings(max_examples=20)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 1000),
    policy=st.sampled_from(["graded", "colocate"]),
)
def test_values_take_a_tick_from_core_to_core(blocks: tuple[str, ...], seed: int, policy: Policy) -> None:
    """Whatever comes from another core was sent a tick before; beside its soma a stream is read at once."""
    laid_out = lay_out(random_network(blocks, seed, (4, 5)), policy, LOIHI2)
    depth, grids = laid_out.depth, partition_pool(laid_out, LOIHI2)
    carried = {
        p for grid in grids for held in residents(laid_out, grid) for p in carried_inputs(laid_out, held)
    }
    assert {held for grid in grids for held in residents(laid_out, grid)} == {
        p.name for p in laid_out.populations if p.kind != "source"
    }
    for p in laid_out.projections:
        wait = depth[p.target] - depth[p.source]
        if p in carried:
            assert wait >= 1
        elif laid_out.population_by_name[p.source].kind == "analog":
            assert policy == "colocate" and laid_out.homes[p.source] == p.target and wait >= 0
        else:
            assert p.source == laid_out.image


def test_what_cores_send_each_other_under_every_policy() -> None:
    """Packets and weight uses of one time step, worked out by hand for 9 positions, one core for each."""
    found = {}
    for policy in POLICIES:
        laid_out = lay_out(shortcut_network(), policy, LOIHI2)
        grids = partition_pool(laid_out, LOIHI2)
        assert all(grid.size == 1 for grid in grids.values())
        layout = Layout(
            model=model_of(laid_out),
            chip=LOIHI2,
            chip_file=find_chip_file("loihi2"),
            laid_out=laid_out,
            grids=grids,
            policy=policy,
        )
        packets = sent(laid_out, grids)
        found[policy] = (len(grids), packets.spikes, packets.values, *operations_on_cores(layout))
    assert found == {
        # a to b, a to c and b to c; c hears a through the shortcut
        "expand": (3, 3 * 18, 0, 9 * (4 + 8 + 8), 0),
        # a to s, b to r
        "host": (5, 2 * 18, 0, 9 * (4 + 8), 0),
        # and s to b, s to r and r to c
        "graded": (5, 2 * 18, 18 + 18 + 36, 9 * (4 + 8), 9 * (2 + 8 + 4)),
        # s lies beside b and r beside c
        "colocate": (3, 2 * 18, 18, 9 * (4 + 8), 9 * 8),
    }


def test_a_stream_beside_a_soma_takes_a_neuron_of_its_core() -> None:
    grids = partition_pool(lay_out(shortcut_network(), "colocate", LOIHI2), LOIHI2)
    assert {name: int(grid.used["neurons"].sum()) for name, grid in grids.items()} == {
        "a": 18,
        "b": 2 * 18,
        "c": 2 * 36,
    }


@settings(max_examples=20)
@given(blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4).map(tuple), seed=st.integers(0, 1000))
def test_nothing_is_read_before_it_is_there(blocks: tuple[str, ...], seed: int) -> None:
    """Spikes arrive a tick after they are sent; a stream is summed a tick after its last spikes arrived."""
    laid_out = lay_out(random_network(blocks, seed, (4, 5)), "host", LOIHI)
    kinds = laid_out.population_by_name
    for p in laid_out.projections:
        source, target = kinds[p.source], kinds[p.target]
        wait = laid_out.depth[p.target] - laid_out.depth[p.source]
        if source.kind == "neuron":
            assert wait >= 1
        elif source.kind == "analog":
            assert wait >= (1 if target.kind == "neuron" else 0)
    fed = {p.target for p in laid_out.projections if kinds[p.source].kind == "neuron"}
    assert {p.name for p in on_chip(laid_out)} == {p.name for p in laid_out.neurons} | fed


def shortcut_network() -> Network:
    """Spikes a (2 channels, 3x3) make stream s; b's spikes and a 1x1 shortcut of s make r, read by c."""
    shape = {"a": 2, "s": 2, "b": 2, "r": 4, "c": 4}
    populations = [
        Population(
            n,
            "analog" if n in "sr" else "neuron",
            (channels, 3, 3),
            None if n in "sr" else NeuronModel(),
        )
        for n, channels in shape.items()
    ]
    shortcut = Kernel(4, np.ones((4, 2, 1, 1)))
    projections = [
        Projection("a to s", "a", "s", Kernel(2, np.ones((2, 2, 1, 1))), (0, 2)),
        Projection("s to b", "s", "b", Kernel(2), (0, 2)),
        Projection("b to r", "b", "r", Kernel(4, np.ones((4, 2, 1, 1))), (0, 4)),
        Projection("shortcut", "s", "r", shortcut, (0, 4), scale=np.ones(4)),
        Projection("r to c", "r", "c", Kernel(4), (0, 4)),
    ]
    return join(populations, projections, time_steps=5)


def test_what_the_host_does_for_streams() -> None:
    """Each number worked out by hand, for 5 time steps of 9 positions."""
    mapping = map_on(shortcut_network(), small_loihi(), "host")
    assert mapping.laid_out.depth == {"x": 0, "t": 0, "a": 0, "s": 1, "b": 2, "r": 3, "c": 4}
    assert list(mapping.grids) == ["a", "s", "b", "r", "c"]
    assert calls_beside_cores(mapping) == {
        ("s", "host_read"): 5 * 18,
        ("b", "host_write"): 5 * 18,
        ("r", "host_read"): 5 * 36,
        ("shortcut", "host_mac"): 5 * 9 * 8,
        ("r", "host_elementwise"): 5 * (36 + 36),  # the shortcut's BatchNorm, and its sum with b's part
        ("c", "host_write"): 5 * 36,
        ("encode", "host_write"): 18,
        ("a", "bias_write"): 2 * 18,
        ("b", "bias_write"): 6 * 18,
        ("c", "bias_write"): 6 * 36,
        ("chip", "state_reset"): 1,
    }


def graded_loihi() -> ChipSpec:
    return LOIHI.model_copy(update={"core": LOIHI.core.model_copy(update={"graded_spikes": True})})


@pytest.mark.parametrize(
    ("policy", "chip", "reason"),
    [
        ("graded", LOIHI, "its spikes are binary and carry no value"),
        (
            "graded",
            graded_loihi(),
            "how a synapse_lists core stores what a payload is multiplied by is not modelled",
        ),
        (
            "colocate",
            LOIHI,
            "no source says that a compartment can hold a value for the ticks until the next layer reads it: "
            "compartments pass their sums on within one tick",
        ),
    ],
)
def test_policies_that_a_chip_cannot_have(policy: Policy, chip: ChipSpec, reason: str) -> None:
    with pytest.raises(MappingError) as error:
        lay_out(shortcut_network(), policy, chip)
    assert str(error.value) == f"policy {policy!r} on loihi: {reason}; use expand or host"


def test_the_traced_network_is_left_alone() -> None:
    network = shortcut_network()
    assert lay_out(network, "host", LOIHI) is not network
    assert network.streams == "traced"
    assert network.depth == replace(network, streams="traced").depth
