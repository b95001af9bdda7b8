"""The static estimate: the counts of a full call, scaled, and priced like any other."""

from __future__ import annotations

import numpy as np
import pytest

from nsim.frontends.network import Network
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.estimate import static_estimates, traced_operations
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.timing import analytic_times
from tests.networks import map_on, small_loihi, synapses_into

BOARDFIT = load_chip("loihi").calibration("boardfit")


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    return map_on(tiny_network, small_loihi())


def full_call(network: Network) -> Call:
    ones = {p.name: np.ones((network.time_steps, 1, *p.shape), bool) for p in network.neurons}
    return Call(network, np.zeros((1, 1, 8, 8)), ones, ones, {})


def test_operations_at_full_rate(mapping: Mapping, tiny_network: Network) -> None:
    (estimate,) = static_estimates(mapping, 1.0, BOARDFIT)
    counted = full_call(tiny_network).counts
    network = tiny_network
    every_step = counted[counted["time_step"] >= 0]
    assert estimate.ac_traced == counted["ac"].sum() / network.time_steps
    assert estimate.mac_traced == every_step["mac"].sum() / network.time_steps
    assert traced_operations(network) == (estimate.ac_traced, estimate.mac_traced)
    image_macs = 22 * 22 * 8
    tail_macs = network.time_steps * (22 * 22 * 8 + 22 * 22)
    once_macs = counted.loc[counted["time_step"] == -1, "mac"].sum()
    assert estimate.mac_host == (image_macs + tail_macs + once_macs) / network.time_steps
    last = mapping.laid_out.populations[-1]
    pairs = sum(len(pairs) for _, pairs in synapses_into(mapping.laid_out, last.name))
    events = estimate.report.cells
    own = events[(events["layer"] == last.name) & events["cause"].str.startswith("synaptic")]
    assert own["count"].sum() == pairs * network.time_steps
    assert estimate.ac_laid_out > estimate.ac_traced


def test_time_and_energy_at_full_rate_are_those_of_a_call(mapping: Mapping, tiny_network: Network) -> None:
    (estimate,) = static_estimates(mapping, 1.0, BOARDFIT)
    counts = CoreCounter(mapping).count(full_call(tiny_network))
    times = analytic_times(counts, BOARDFIT)
    assert estimate.ticks == counts.ticks == 4 + 19
    assert estimate.time_ns == pytest.approx(times.call_ns[0], rel=1e-12)
    energy = estimate.time_ns * (104 + 65)
    for event, count in counts.per_core.items():
        energy += int(count.sum()) * (BOARDFIT.energy_pj(event) or 0.0)
    for (_, event), count in counts.beside.items():
        energy += count * (BOARDFIT.energy_pj(event) or 0.0)
    assert estimate.report.total_pj == pytest.approx(energy, rel=1e-12)
    assert estimate.report.uncosted == ()
    assert list(estimate.report.unknown) == ["barrier", "host_read", "host_write", "packet_in"]


def test_operations_follow_the_rate_and_the_floor_does_not_vanish(mapping: Mapping) -> None:
    none, some, full = (static_estimates(mapping, rate, BOARDFIT)[0] for rate in (0.0, 0.25, 1.0))
    assert some.ac_laid_out == full.ac_laid_out / 4
    assert some.ac_traced == full.ac_traced / 4
    assert none.ac_laid_out == none.ac_traced == 0.0
    assert none.mac_host == full.mac_host and none.mac_traced == full.mac_traced
    assert 0 < none.time_ns < some.time_ns < full.time_ns
    assert 0 < none.report.total_pj < some.report.total_pj < full.report.total_pj
