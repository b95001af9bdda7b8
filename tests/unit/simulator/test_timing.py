"""Tick times against a literal restatement of the closed formulas."""

from __future__ import annotations

import numpy as np
import pytest

from nsim.frontends.kernel import Kernel
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.mapping import Mapping
from nsim.simulator.core_counts import CORE_EVENTS, EventCounts
from nsim.simulator.timing import analytic_times
from tests.networks import map_on, one_layer, small_loihi

LOIHI = load_chip("loihi")


def mapping(compartments: int, tiles_x: int = 8) -> Mapping:
    network = one_layer(Kernel(1, np.ones((1, 1, 3, 3)), padding=(1, 1)), (6, 6))
    return map_on(network, small_loihi({"compartments": compartments}, {"tiles_x": tiles_x}))


def random_counts(mapping: Mapping, seed: int = 0) -> EventCounts:
    rng = np.random.default_rng(seed)
    shape = (2, 5, mapping.core_count)
    return EventCounts(mapping, {event: rng.integers(0, 200, shape) for event in CORE_EVENTS}, {})


def test_equals_the_formulas_of_the_board_fit() -> None:
    """SANA-FE: 6.0 for every neuron, 3.7 more if updated, 30 a spike, 5.1 a packet; 16 and L inside."""
    counts = random_counts(mapping(12))
    times = analytic_times(counts, LOIHI.calibration("boardfit"))
    for image in range(2):
        for tick in range(5):
            core_times = []
            for core in range(6):
                n = {event: int(count[image, tick, core]) for event, count in counts.per_core.items()}
                neurons = n["update_idle"] + n["update_active"]
                busy_out = 6.0 * neurons + 3.7 * n["update_active"] + 30 * n["spike"] + 5.1 * n["packet_out"]
                synapses = 3.1 * n["synaptic_event_conv"] + 3.8 * n["synaptic_event_dense"]
                busy_in = 16 * n["packet_in"] + synapses
                core_times.append(max(busy_out, busy_in))
            assert times.core_ns[image, tick] == pytest.approx(max(core_times), rel=1e-12)
            assert times.busiest[image, tick] == int(np.argmax(core_times))
    assert counts.mapping.placement.tiles == 2
    assert times.barrier_ns.tolist() == [[1000.0] * 5] * 2
    np.testing.assert_allclose(times.call_ns, times.core_ns.sum(axis=1) + 5000.0, rtol=1e-12)


def test_equals_the_formulas_of_davies_2018() -> None:
    counts = random_counts(mapping(12), seed=1)
    times = analytic_times(counts, LOIHI.calibration("davies2018"))
    n = counts.per_core
    neurons = 5.3 * n["update_idle"] + 8.4 * n["update_active"]
    synapses = 3.5 * (n["synaptic_event_conv"] + n["synaptic_event_dense"])
    busy = np.maximum(neurons, synapses)
    np.testing.assert_allclose(times.core_ns, busy.max(axis=2), rtol=1e-12)
    np.testing.assert_array_equal(times.busiest, busy.argmax(axis=2))
    np.testing.assert_allclose(times.barrier_ns, 113 + (465 - 113) / 31, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "compartments", "tiles_x", "barrier_ns"),
    [
        ("boardfit", 36, 8, 600.0),  # 2 cores, 1 tile
        ("boardfit", 12, 8, 1000.0),  # 6 cores, 2 tiles
        ("boardfit", 6, 8, 1000.0),  # 12 cores, 3 tiles
        ("boardfit", 4, 8, 1400.0),  # 18 cores, 5 tiles
        ("boardfit", 1, 8, 1400.0),  # 72 cores, 18 tiles
        ("boardfit", 1, 1, 1800 + (14300 - 1800) * 4 / 255),  # 72 cores, 5 chips of 16
        ("davies2018", 36, 8, 113.0),
        ("davies2018", 1, 8, 113 + (465 - 113) * 17 / 31),
        ("davies2018", 1, 1, 465 + (14300 - 465) * 4 / 255),
    ],
)
def test_barrier(name: str, compartments: int, tiles_x: int, barrier_ns: float) -> None:
    counts = random_counts(mapping(compartments, tiles_x))
    times = analytic_times(counts, LOIHI.calibration(name))
    np.testing.assert_allclose(times.barrier_ns, barrier_ns, rtol=1e-12)


def test_what_is_left_out_is_named_and_nothing_else() -> None:
    mapped = mapping(36)
    none = {event: np.zeros((1, 1, 2), np.int64) for event in CORE_EVENTS}
    beside = {("chip", "state_reset"): 1, ("a", "bias_write"): 72}
    board, davies = (LOIHI.calibration(name) for name in ("boardfit", "davies2018"))

    quiet = analytic_times(EventCounts(mapped, none, {}), board)
    assert quiet.left_out == ()
    assert (quiet.core_ns.tolist(), quiet.busiest.tolist()) == ([[0.0]], [[0]])

    some = {**none, "packet_out": none["packet_out"] + 1, "packet_in": none["packet_in"] + 1}
    assert analytic_times(EventCounts(mapped, some, beside), board).left_out == ("bias_write", "state_reset")
    crossing = {**some, "chip_crossing": none["chip_crossing"] + 1}
    assert analytic_times(EventCounts(mapped, crossing, {}), board).left_out == ("chip_crossing",)
    assert analytic_times(EventCounts(mapped, some, {}), davies).left_out == ("packet_in", "packet_out")
    assert analytic_times(EventCounts(mapped, none, beside), davies).left_out == ("bias_write", "state_reset")
