"""Tick times packet by packet: against plain loops with SimPy, and against the closed formulas."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration, EventCost, Figure
from nsim.reports.run import run_sampler
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.engine import Call, Engine
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.noc import Mesh
from nsim.simulator.reference_noc import route_one_by_one
from nsim.simulator.timing import analytic_times
from tests.networks import BLOCKS, map_on, one_layer, owners, random_network, small_loihi, synapses_into

LOIHI = load_chip("loihi")
CALIBRATIONS = ("boardfit", "davies2018")


def untimed(calibration: Calibration, *events: str) -> Calibration:
    """The calibration without the times of some events."""
    changed = dict(calibration.events)
    for event in events:
        energy = changed[event].energy_pj
        changed[event] = EventCost(energy_pj=energy, time_ns=Figure(why_unknown="taken away"))
    return calibration.model_copy(update={"events": changed})


def play(network: Network, images: int, seed: int) -> Call:
    x = np.random.default_rng(seed).normal(0.4, 0.6, (images, *network.population_by_name["x"].shape))
    return Engine(network, "float64", threads=1).call(x, np.zeros(images, int))


def plain_core_ps(mapping: Mapping, call: Call, calibration: Calibration, ticks: int) -> np.ndarray:
    """The busiest core's time [B, ticks], neuron by neuron, packet by packet."""
    network, place = mapping.laid_out, mapping.placement
    ps = {event: round(1000 * (calibration.time_ns(event) or 0)) for event in calibration.events}
    width = int(place.mesh_x.max()) + 1
    mesh = Mesh(width, int(place.tile_y.max()) + 1, ps["hop_x"], ps["hop_y"])
    tile = [y * width + x for x, y in zip(place.mesh_x, place.tile_y, strict=True)]
    core_of = {n: owners(g, network.population_by_name[n].shape) for n, g in mapping.grids.items()}
    feeds: dict[tuple, Counter] = defaultdict(
        Counter
    )  # (population, neuron): (core, kernel geometry): synapses
    for name in mapping.grids:
        for projection, pairs in synapses_into(network, name):
            for pre, post in pairs:
                feeds[projection.source, pre][core_of[name][post], projection.kernel.geometry] += 1
    kind = {}
    for grid in mapping.grids.values():
        for core in grid.core_ids.ravel():
            kind[core] = "synaptic_event_conv" if grid.shared_lists else "synaptic_event_dense"
    longest = np.zeros((len(call.eps), ticks), np.int64)
    for image, tick in np.ndindex(longest.shape):
        now = [0] * mapping.core_count
        packets = []
        for name, cores in core_of.items():
            population = network.population_by_name[name]
            channels, height, columns = population.shape
            step = tick - network.depth[name]
            for y, x, c in product(range(height), range(columns), range(channels)):
                core = cores[c, y, x]
                running = 0 <= step < network.time_steps
                if population.neuron is not None and population.neuron.v_reset is None:
                    now[core] += ps["update_idle"]
                if not running or (name in call.spikes and not call.active[name][step, image, c, y, x]):
                    now[core] += ps["update_idle"]
                else:
                    now[core] += ps["update_active"]
                if running and name in call.spikes and call.spikes[name][step, image, c, y, x]:
                    now[core] += ps["spike"]
                    for (target, _), synapses in sorted(
                        feeds[name, (c, y, x)].items(), key=lambda f: f[0][0]
                    ):
                        now[core] += ps["packet_out"]
                        packets.append((now[core], core, target, synapses))
        packets.sort(key=lambda p: p[1])  # ids: by source core, then by departure
        departures, sources, targets = (np.array([p[i] for p in packets], np.int64) for i in range(3))
        tiles = [np.array([tile[core] for core in ends], np.int64) for ends in (sources, targets)]
        arrivals = route_one_by_one(mesh, departures, *tiles).time_ps
        arrivals[tiles[0] == tiles[1]] += ps["tile_local"]
        served = [0] * mapping.core_count
        for i in sorted(range(len(packets)), key=lambda i: (arrivals[i], i)):
            core, synapses = packets[i][2:]
            work = ps["packet_in"] + synapses * ps[kind[core]]
            served[core] = max(served[core], arrivals[i]) + work
        longest[image, tick] = max(*now, *served)
    return longest


@settings(max_examples=8)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
    compartments=st.sampled_from([20, 40, 1024]),
    tiles=st.sampled_from([1, 8]),
    calibration=st.sampled_from(CALIBRATIONS),
)
@example(("conv", "residual"), 3, 20, 1, "boardfit")
@example(("depthwise", "shortcut", "cat"), 1, 20, 8, "boardfit")
@example(("grouped", "up"), 4, 40, 1, "davies2018")
def test_every_tick_equals_plain_loops_and_simpy(
    blocks: tuple[str, ...], seed: int, compartments: int, tiles: int, calibration: str
) -> None:
    network = random_network(blocks, seed, (4, 4))
    mapping = map_on(network, small_loihi({"compartments": compartments}, {"tiles_x": tiles}))
    call = play(network, 2, seed)
    counter, figures = CoreCounter(mapping), LOIHI.calibration(calibration)
    times = EventTimer(mapping, figures).times(call, counter.count(call))
    expected = plain_core_ps(mapping, call, figures, counter.ticks)
    np.testing.assert_array_equal(times.core_ns, expected / 1000)


def test_one_spike_worked_out_by_hand() -> None:
    """Two neurons on one core, of which the second fires once, and their target on another core."""
    network = one_layer(Kernel(1, np.ones((1, 2, 1, 1))), (1, 1))
    spikes = {name: np.zeros((3, 1, c, 1, 1), bool) for name, c in (("a", 2), ("b", 1))}
    spikes["a"][1, 0, 1] = True
    call = Call(network, np.zeros((1, 2, 1, 1)), spikes, spikes, {})
    leaves = 6.0 + 9.7 + 30.0 + 5.1  # an idle neuron, an active one, its spike, its packet
    served = 16.0 + 3.8
    for per_tile, way in ((4, 0.0), (1, 6.5)):  # a chip is filled column by column: the next tile is north
        mapping = map_on(network, small_loihi({"compartments": 2}, {"cores_per_tile": per_tile}))
        assert mapping.core_count == 2 and not any(g.shared_lists for g in mapping.grids.values())
        times = EventTimer(mapping, LOIHI.calibration("boardfit")).times(
            call, CoreCounter(mapping).count(call)
        )
        np.testing.assert_allclose(times.core_ns, [[12.0, leaves + way + served, 12.0, 12.0]], rtol=1e-12)
        assert times.busiest.tolist() == [[0, 1, 0, 0]]


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    """The tiny U-Net on many small cores, several chips."""
    return map_on(tiny_network, small_loihi({"compartments": 40}, {"tiles_x": 2}))


def test_what_is_sent_is_what_is_counted(mapping: Mapping, tiny_call: Call) -> None:
    counter = CoreCounter(mapping)
    counts = counter.count(tiny_call).per_core
    timer = EventTimer(mapping, LOIHI.calibration("boardfit"))
    synapses = counts["synaptic_event_conv"] + counts["synaptic_event_dense"]
    assert synapses.sum() > counts["packet_out"].sum() > 10_000
    for image, tick in np.ndindex(3, counter.ticks):
        _, packets = timer.sent(tiny_call, image, tick)
        cores = mapping.core_count
        sent = np.bincount(packets.source, minlength=cores)
        received = np.bincount(packets.target, minlength=cores)
        fed = np.bincount(packets.target, packets.synapses, minlength=cores)
        np.testing.assert_array_equal(sent, counts["packet_out"][image, tick])
        np.testing.assert_array_equal(received, counts["packet_in"][image, tick])
        np.testing.assert_array_equal(fed, synapses[image, tick])


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_free_links_and_inputs_leave_the_neuron_side_of_the_formulas(
    mapping: Mapping, tiny_call: Call, name: str
) -> None:
    inputs = ("packet_in", "synaptic_event_conv", "synaptic_event_dense", "tile_local", "hop_x", "hop_y")
    figures = untimed(LOIHI.calibration(name), *inputs)
    counts = CoreCounter(mapping).count(tiny_call)
    times, expected = EventTimer(mapping, figures).times(tiny_call, counts), analytic_times(counts, figures)
    np.testing.assert_allclose(times.core_ns, expected.core_ns, rtol=1e-12)
    assert times.core_ns.min() > 0
    assert times.left_out == expected.left_out


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_formulas_are_a_lower_bound(mapping: Mapping, tiny_call: Call, name: str) -> None:
    figures = LOIHI.calibration(name)
    counts = CoreCounter(mapping).count(tiny_call)
    times, bound = EventTimer(mapping, figures).times(tiny_call, counts), analytic_times(counts, figures)
    assert (times.core_ns >= bound.core_ns * (1 - 1e-12)).all()
    assert (times.core_ns > bound.core_ns * 1.01).any()
    np.testing.assert_array_equal(times.barrier_ns, bound.barrier_ns)
    assert times.left_out == bound.left_out


def test_a_run_says_how_it_was_timed(tiny_network: Network, tmp_path: Path) -> None:
    mapping = map_on(tiny_network, small_loihi())
    event = run_sampler(mapping, images=2, timing="event", out=tmp_path / "event", threads=1)
    again = run_sampler(mapping, images=2, timing="event", out=tmp_path / "again", threads=2)
    formula = run_sampler(mapping, images=2, out=tmp_path / "formula", threads=1)
    assert (event.manifest["timing"], formula.manifest["timing"]) == ("event", "analytic")
    assert event.counts().equals(formula.counts())
    assert event.latency().equals(again.latency())
    assert (event.latency()["time_ns"] > formula.latency()["time_ns"]).any()
