"""W1, the network that simulators are compared on: spikes equal to Brian2's, events to plain counting."""

from __future__ import annotations

import numpy as np
import pytest

from nsim.frontends.synapses import list_synapses
from nsim.hw_models.mapping.mapping import map_model
from nsim.simulator.brian2_network import play_network
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.engine import Engine, Precision
from nsim.workloads.w1 import w1_input, w1_model, w1_network


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_spikes_are_brian2s_and_every_event_is_counted(precision: Precision) -> None:
    network = w1_network(channels=2, time_steps=6)
    x = w1_input(network)
    call = Engine(network, precision).call(x, np.zeros(1, int))
    expected, _ = play_network(network, x)
    events = 0
    for name, spikes in expected.items():
        assert 0.02 < spikes.mean() < 0.5, name
        np.testing.assert_array_equal(call.spikes[name][:, 0], spikes, err_msg=name)
    for projection in network.projections[1:]:
        source, _, _ = list_synapses(network, projection)
        fan_out = np.bincount(source, minlength=network.population_by_name[projection.source].size)
        events += int((expected[projection.source].reshape(6, -1) @ fan_out).sum())
    counts = CoreCounter(map_model(w1_model(network), "loihi")).count(call)
    counted = counts.per_core["synaptic_event_conv"].sum() + counts.per_core["synaptic_event_dense"].sum()
    assert counted == events == call.counts["ac"].sum()
