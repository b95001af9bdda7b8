"""The DVS-gesture network on Loihi, against every step that SANA-FE 2.2.9 published for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.listed import ListedMapping
from nsim.simulator.call import Call
from nsim.simulator.core_counts import EventCounts
from nsim.simulator.engine import Engine
from nsim.simulator.listed_counts import listed_counts
from nsim.simulator.listed_timing import ListedTimer
from nsim.simulator.timing import analytic_times
from nsim.workloads.dvs_gesture import LAYERS, dvs_mapping, dvs_network

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "reference" / "loihi_dvs"
STEPS = 1000

pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="the reference run of the DVS-gesture network is not on this machine"
)


@pytest.fixture(scope="module")
def played() -> tuple[ListedMapping, Call]:
    network, frame = dvs_network(VECTORS / "dvs_challenge.npz", STEPS)
    return dvs_mapping(network, load_chip("loihi")), Engine(network).call(frame, np.zeros(1, int))


@pytest.fixture(scope="module")
def counts(played: tuple[ListedMapping, Call]) -> EventCounts:
    return listed_counts(*played, STEPS)


@pytest.fixture(scope="module")
def simple() -> pd.DataFrame:
    return pd.read_csv(VECTORS / "perf_simple.csv")


def test_every_spike(played: tuple[ListedMapping, Call]) -> None:
    with np.load(VECTORS / "dvs_challenge_spikes_1000.npz") as file:
        reference = dict(file)
    network = played[0].network
    for layer, name in enumerate(LAYERS):
        own = reference["layer"] == layer
        expected = np.zeros((STEPS, network.population_by_name[name].size), bool)
        # steps are numbered from 1; a layer at depth d begins d steps later, and is silent before
        expected[reference["timestep"][own].astype(int) - 1, reference["neuron"][own]] = True
        depth = network.depth[name]
        found = played[1].spikes[name][: STEPS - depth, 0].reshape(STEPS - depth, -1)
        assert found.any() and not expected[:depth].any()
        np.testing.assert_array_equal(expected[depth:], found, err_msg=name)


def test_events_of_all_steps(counts: EventCounts, simple: pd.DataFrame) -> None:
    found = {event: per_core[0].sum(axis=1) for event, per_core in counts.per_core.items()}
    np.testing.assert_array_equal(found["spike"], simple.fired)
    np.testing.assert_array_equal(found["update_active"], simple.updated)
    np.testing.assert_array_equal(found["packet_out"], simple.packets)
    np.testing.assert_array_equal(found["packet_in"], simple.packets)
    np.testing.assert_array_equal(found["hop_x"] + found["hop_y"], simple.hops)
    np.testing.assert_array_equal(found["synaptic_event_dense"], simple.spikes)
    totals = [int(found[e].sum()) for e in ("spike", "update_active", "packet_out", "synaptic_event_dense")]
    assert totals == [365_277, 15_539_753, 2_482_643, 51_549_374]


def test_analytic_time_of_all_steps(counts: EventCounts, simple: pd.DataFrame) -> None:
    times = analytic_times(counts, load_chip("loihi").calibration("boardfit"))
    np.testing.assert_allclose((times.core_ns + times.barrier_ns)[0] * 1e-9, simple.sim_time, rtol=1e-6)
    assert times.call_ns[0] == pytest.approx(23.9513e6, abs=50)


def test_energy_of_all_steps(counts: EventCounts, simple: pd.DataFrame) -> None:
    """The calibration's own figures; its floor and its barrier are no part of the reference."""
    calibration = load_chip("loihi").calibration("boardfit")
    parts = {
        "synapse_energy": ("synaptic_event_dense",),
        "soma_energy": ("update_idle", "update_active", "spike"),
        "network_energy": ("packet_out", "hop_x", "hop_y"),
    }
    total = np.zeros(STEPS)
    for column, events in parts.items():
        energy_pj = sum(
            counts.per_core[event][0].sum(axis=1) * (calibration.energy_pj(event) or 0.0) for event in events
        )
        np.testing.assert_allclose(energy_pj * 1e-12, simple[column], rtol=1e-6, err_msg=column)
        total += energy_pj
    np.testing.assert_allclose(total * 1e-12, simple.total_energy, rtol=1e-6)
    assert total.sum() * 1e-9 == pytest.approx(3.44057, abs=1e-5)


def test_event_time_lies_within_a_tenth_of_the_published_band(
    played: tuple[ListedMapping, Call], counts: EventCounts, simple: pd.DataFrame
) -> None:
    """Every packet through FIFO links: between the closed formulas and the published detailed model."""
    detailed = pd.read_csv(VECTORS / "perf_detailed.csv")
    times = ListedTimer(played[0], load_chip("loihi").calibration("boardfit")).times(played[1], counts)
    total = times.call_ns[0] * 1e-9
    assert 0.9 * simple.sim_time.sum() <= total <= 1.1 * detailed.sim_time.sum()
    every_tick = (times.core_ns + times.barrier_ns)[0] * 1e-9
    # the formulas add up each side's work as if every packet were there at once
    assert (every_tick >= simple.sim_time * (1 - 1e-6)).all()
