"""Weights with a factor per time step, laid out: the host multiplies, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nsim.errors import MappingError
from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.policies import without_streams
from nsim.hw_models.mapping.step_factors import factors_on_host
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.host_counts import streams_on_host
from nsim.simulator.turns import Turns
from nsim.workloads.random_weights import random_unet
from nsim.workloads.sddpm import SDDPMConfig
from tests.networks import map_on

SMALL = SDDPMConfig(1, 8, 8, (1, 2), blocks_per_level=1, time_steps=5, temporal=True)
INPUTS = np.random.default_rng(0).normal(size=(2, 1, 8, 8)), np.array([10, 900])


def unet(temporal: bool) -> Network:
    module = random_unet(replace(SMALL, temporal=temporal), seed=3).double()
    return lower(module, (1, 8, 8), 5, "unet")


@pytest.fixture(scope="module")
def network() -> Network:
    return unet(temporal=True)


@pytest.fixture(scope="module")
def laid_out(network: Network) -> Network:
    return without_streams(network, "host")


def test_the_laid_out_network_computes_the_same(network: Network, laid_out: Network) -> None:
    expected = Engine(network, "float64", threads=1).call(*INPUTS)
    found = Engine(laid_out, "float64", threads=1).call(*INPUTS)
    assert set(found.spikes) == set(expected.spikes)
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], spikes, err_msg=name)
    np.testing.assert_allclose(found.eps, expected.eps, rtol=1e-9, atol=1e-12)


def test_no_core_has_to_multiply(laid_out: Network) -> None:
    kinds = laid_out.population_by_name
    from_cores = [p for p in laid_out.projections if kinds[p.source].kind == "neuron"]
    with_factor = [p for p in from_cores if p.step_factor is not None]
    assert with_factor and all(kinds[p.target].kind == "analog" for p in with_factor)
    # and the elements that the host reads hold nothing else
    targets = [p.target for p in from_cores]
    assert all(targets.count(p.target) == 1 for p in with_factor)


def test_every_factor_is_an_operation_and_a_transfer_either_way(laid_out: Network) -> None:
    kinds, counts = laid_out.population_by_name, streams_on_host(laid_out, Turns.expected(laid_out))
    size = kinds["downblocks.0.neuron2"].size
    own = "downblocks.0.conv1.tsmconv sum"
    assert counts[own, "host_read"] == counts["downblocks.0.neuron2", "host_write"] == 5 * size
    assert counts[own, "host_elementwise"] == 5 * size
    # the image's convolution once, its factor at every step, and the currents too
    size = kinds["neuron"].size
    assert counts["conv.tsmconv", "host_mac"] == 8 * 22 * 22
    assert counts["conv.tsmconv sum", "host_elementwise"] == counts["neuron", "host_write"] == 5 * size
    # a residual sum: the factor and the addition; what is added to has none of its own
    assert counts["downblocks.0", "host_elementwise"] == 5 * 2 * kinds["downblocks.0"].size
    # a shortcut's factor comes with its bias, as without one
    without = without_streams(unet(temporal=False), "host")
    plain = streams_on_host(without, Turns.expected(without))
    name = next(name for name, event in counts if "shortcut" in name and event == "host_mac")
    assert counts[name, "host_mac"] == plain[name.removesuffix(".tsmconv"), "host_mac"]


def test_it_is_counted_on_loihi(network: Network) -> None:
    mapping = map_on(network, load_chip("loihi"), "host")
    call = Engine(network, "float64", threads=1).call(*INPUTS)
    counts = CoreCounter(mapping).count(call)
    assert counts.per_core["packet_out"].sum() == counts.per_core["packet_in"].sum() > 0
    fired = sum(int(spikes.sum()) for spikes in call.spikes.values())
    assert counts.per_core["spike"].sum() == fired
    traced = call.counts["ac"].sum()
    assert counts.per_core["synaptic_event_conv"].sum() + counts.per_core["synaptic_event_dense"].sum() > 0
    assert counts.per_core["synaptic_event_conv"].sum() <= traced  # up-sampled copies share a synapse


@pytest.mark.parametrize("policy", ["expand", "graded", "colocate"])
def test_other_policies_name_the_way_out(network: Network, policy: str) -> None:
    with pytest.raises(MappingError) as refused:
        without_streams(network, policy)  # type: ignore[arg-type]
    assert str(refused.value) == (
        "conv.tsmconv: its weights have a factor for each time step (temporal-wise spiking), synapses keep "
        "theirs; --policy host lets the processor beside the cores multiply, `nsim check` and nsim.simulate "
        "play it without a chip"
    )


def test_other_networks_stay_as_they_are() -> None:
    plain = unet(temporal=False)
    assert factors_on_host(plain) is plain
