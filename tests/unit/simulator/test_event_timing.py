"""Tick times packet by packet: against plain loops with SimPy, and against the closed formulas."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsim.errors import ChipFileError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network
from nsim.hw_models.catalog import load_chip
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.schedule import Schedule
from nsim.hw_models.spec import Calibration, EventCost, Figure, Noc
from nsim.reports.run_sampler import run_sampler
from nsim.reports.tables import run_facts, run_tables
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CoreCounter
from nsim.simulator.cycle_noc import Load, Routers, deliver
from nsim.simulator.cycle_timing import CycleTimer
from nsim.simulator.engine import Engine
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.noc import Mesh, route_packets, serve_in_order
from nsim.simulator.reference_cycle_noc import deliver_one_by_one
from nsim.simulator.reference_tick import Step, tick_one_by_one
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


def routers_of(places: int, cycle_ns: float | None) -> Noc:
    """Routers with buffers of so many packets, and a clock or none."""
    cited = {"source": "none", "confidence": "L"}
    clock = Figure(why_unknown="none") if cycle_ns is None else Figure(value=cycle_ns, **cited)
    return Noc(buffer_packets=Figure(value=float(places), **cited), cycle_ns=clock)


def play(network: Network, images: int, seed: int) -> Call:
    x = np.random.default_rng(seed).normal(0.4, 0.6, (images, *network.population_by_name["x"].shape))
    return Engine(network, "float64", threads=1).call(x, np.zeros(images, int))


def in_ps(calibration: Calibration) -> dict[str, int]:
    return {event: round(1000 * (calibration.time_ns(event) or 0)) for event in calibration.events}


def plain_ticks(
    mapping: Mapping, call: Call, ps: dict[str, int], ticks: int
) -> Iterator[tuple[tuple[int, int], list[list[Step]]]]:
    """What every core does in every (image, tick), neuron by neuron, packet by packet."""
    network = mapping.laid_out
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
    between = network.time_steps if mapping.schedule == "layerwise" else 1
    for image, tick in np.ndindex(len(call.eps), ticks):
        work: list[list[tuple[int, ...]]] = [[] for _ in range(mapping.core_count)]
        for name, cores in core_of.items():
            population = network.population_by_name[name]
            channels, height, columns = population.shape
            step = tick - between * network.depth[name]
            for y, x, c in product(range(height), range(columns), range(channels)):
                core = cores[c, y, x]
                running = 0 <= step < network.time_steps
                if population.neuron is not None and population.neuron.v_reset is None:
                    work[core].append((ps["update_idle"],))
                if not running or (name in call.spikes and not call.active[name][step, image, c, y, x]):
                    work[core].append((ps["update_idle"],))
                else:
                    work[core].append((ps["update_active"],))
                if running and name in call.spikes and call.spikes[name][step, image, c, y, x]:
                    work[core].append((ps["spike"],))
                    for (target, _), synapses in sorted(
                        feeds[name, (c, y, x)].items(), key=lambda f: f[0][0]
                    ):
                        served = ps["packet_in"] + synapses * ps[kind[target]]
                        work[core].append((ps["packet_out"], target, served))
        ids = count()  # by source core, then by departure
        yield (
            (image, tick),
            [[Step(w[0], next(ids), *w[1:]) if len(w) > 1 else Step(*w) for w in own] for own in work],
        )


@settings(max_examples=8)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
    compartments=st.sampled_from([20, 40, 1024]),
    tiles=st.sampled_from([1, 8]),
    calibration=st.sampled_from(CALIBRATIONS),
    places=st.sampled_from([1, 2, 16]),
    cycle_ns=st.sampled_from([None, 1.0]),
    schedule=st.sampled_from(["pipelined", "layerwise"]),
)
@example(("conv", "residual"), 3, 20, 1, "boardfit", 1, None, "pipelined")
@example(("depthwise", "shortcut", "cat"), 1, 20, 8, "boardfit", 2, 1.0, "layerwise")
@example(("grouped", "up"), 4, 40, 1, "davies2018", 1, 1.0, "pipelined")
def test_every_tick_equals_plain_loops_and_simpy(
    blocks: tuple[str, ...],
    seed: int,
    compartments: int,
    tiles: int,
    calibration: str,
    places: int,
    cycle_ns: float | None,
    schedule: Schedule,
) -> None:
    """Both levels: one image's ticks, each with all that its cores do, against SimPy."""
    network = random_network(blocks, seed, (4, 4))
    chip = small_loihi({"compartments": compartments}, {"tiles_x": tiles})
    chip = chip.model_copy(update={"noc": routers_of(places, cycle_ns)})
    mapping = map_on(network, chip, schedule=schedule)
    call = play(network, 1, seed)
    counter, figures = CoreCounter(mapping), LOIHI.calibration(calibration)
    counts, ps, place = counter.count(call), in_ps(figures), mapping.placement
    width = int(place.mesh_x.max()) + 1
    mesh = Mesh(width, int(place.mesh_y.max()) + 1, ps["hop_x"], ps["hop_y"])
    tile = np.array([y * width + x for x, y in zip(place.mesh_x, place.mesh_y, strict=True)])
    routers = Routers(mesh, ps["tile_local"], places, round(1000 * (cycle_ns or 0.001)))
    event, cycle, stalled = np.zeros((3, 1, counter.ticks))
    for at, steps in plain_ticks(mapping, call, ps, counter.ticks):
        event[at] = np.maximum(*tick_one_by_one(mesh, tile, ps["tile_local"], steps)).max()
        delivery, done = deliver_one_by_one(routers, tile, steps)
        cycle[at] = np.maximum(done, delivery.served_ps).max()
        stalled[at] = delivery.stalled_ps.sum()
    by_event = EventTimer(mapping, figures).times(call, counts)
    by_cycle = CycleTimer(mapping, figures).times(call, counts)
    np.testing.assert_array_equal(by_event.core_ns, event / 1000)
    np.testing.assert_array_equal(by_cycle.core_ns, cycle / 1000)
    assert by_event.buffers is None and by_cycle.buffers is not None
    np.testing.assert_array_equal(by_cycle.buffers.stalled_ns, stalled / 1000)


@settings(max_examples=400)
@given(
    width=st.integers(1, 4),
    height=st.integers(1, 4),
    cores=st.integers(1, 20),
    service=st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4)),
    steps=st.integers(1, 60),
    longest=st.sampled_from([0, 2, 12]),
    places=st.integers(1, 4),
    cycle=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32),
)
@example(9, 1, 12, (3, 2, 1), 80, 2, 1, 1, 1)
@example(1, 9, 12, (0, 2, 0), 80, 0, 2, 3, 2)
def test_any_tick_equals_simpy(
    width: int,
    height: int,
    cores: int,
    service: tuple[int, int, int],
    steps: int,
    longest: int,
    places: int,
    cycle: int,
    seed: int,
) -> None:
    """Both levels: cores with steps of random length, of which half end with a packet."""
    rng, (x, y, local) = np.random.default_rng(seed), service
    mesh, tile = Mesh(width, height, x, y), rng.integers(0, width * height, cores)
    work: list[list[Step]] = [[] for _ in range(cores)]
    leaving: list[tuple[int, int, int, int]] = []
    worked = np.zeros(cores, np.int64)
    for core in np.sort(rng.integers(0, cores, steps)).tolist():
        takes, target, served = (
            int(n) for n in rng.integers(0, [longest + 1, cores, 4 * longest + 1], endpoint=False)
        )
        worked[core] += takes
        if rng.random() < 0.5:
            work[core].append(Step(takes))
            continue
        work[core].append(Step(takes, len(leaving), target, served))
        leaving.append((int(worked[core]), core, target, served))
    departs, source, target, served = np.array(leaving, np.int64).reshape(-1, 4).T

    arrives = route_packets(mesh, departs, tile[source], tile[target]).time_ps
    arrives[tile[source] == tile[target]] += local
    expected = tick_one_by_one(mesh, tile, local, work)
    np.testing.assert_array_equal(expected, [worked, serve_in_order(arrives, target, served, cores)])

    routers = Routers(mesh, local, places, cycle)
    delivery = deliver(routers, tile, Load(departs, source, target, served))
    found, done = deliver_one_by_one(routers, tile, work)
    np.testing.assert_array_equal(done, delivery.neurons_done(worked))
    np.testing.assert_array_equal(found.served_ps, delivery.served_ps)


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


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_cycle_times_keep_the_bound_and_say_what_filled(mapping: Mapping, tiny_call: Call, name: str) -> None:
    """Small buffers fill and stop cores; what they stop is in the times. Large ones never fill."""
    figures = LOIHI.calibration(name)
    counts = CoreCounter(mapping).count(tiny_call)
    bound = analytic_times(counts, figures)
    small, large = (
        CycleTimer(
            replace(mapping, chip=mapping.chip.model_copy(update={"noc": routers_of(places, None)})), figures
        ).times(tiny_call, counts)
        for places in (2, 100_000)
    )
    for times in (small, large):
        assert (times.core_ns >= bound.core_ns * (1 - 1e-12)).all()
        np.testing.assert_array_equal(times.barrier_ns, bound.barrier_ns)
        assert times.left_out == bound.left_out
    assert small.buffers is not None and large.buffers is not None
    sends = counts.per_core["packet_out"].any(axis=2)
    assert small.buffers.core_peak.max() == small.buffers.router_peak.max() == 2
    assert (small.buffers.stalled_ns[~sends] == 0).all() and small.buffers.stalled_ns.max() > 0
    assert ((small.buffers.stalled_ns == 0) | (small.buffers.routers_full > 0)).all()
    assert not large.buffers.stalled_ns.any() and not large.buffers.held_ns.any()
    assert not large.buffers.cores_full.any() and not large.buffers.routers_full.any()


def test_where_no_buffer_fills_event_stays_within_5_percent_of_cycle() -> None:
    """Convolutions on Loihi's own buffers: ticks that send packets, by whether a buffer filled."""
    calm, pressed = [], []
    figures = LOIHI.calibration("boardfit")
    for blocks, seed, compartments in (
        (("conv", "residual", "down"), 1, 64),
        (("conv", "grouped", "conv"), 2, 256),
        (("depthwise", "conv", "up"), 3, 64),
    ):
        network = random_network(blocks, seed, (12, 12))
        mapping = map_on(network, small_loihi({"compartments": compartments}))
        call = play(network, 2, seed)
        counts = CoreCounter(mapping).count(call)
        event, cycle = (timer(mapping, figures).times(call, counts) for timer in (EventTimer, CycleTimer))
        assert cycle.buffers is not None
        full = (cycle.buffers.routers_full > 0) | (cycle.buffers.cores_full > 0)
        later, sends = cycle.core_ns / event.core_ns - 1, counts.per_core["packet_out"].any(axis=2)
        calm.extend(later[sends & ~full])
        pressed.extend(later[full])
    assert len(calm) >= 8 and np.abs(calm).max() < 0.05
    assert len(pressed) >= 8 and max(pressed) > 0.05  # which is why the level exists


def test_a_run_says_how_it_was_timed(tiny_network: Network, tmp_path: Path) -> None:
    mapping = map_on(tiny_network, small_loihi())
    event = run_sampler(mapping, images=2, timing="event", out=tmp_path / "event", threads=1)
    again = run_sampler(mapping, images=2, timing="event", out=tmp_path / "again", threads=2)
    cycle = run_sampler(mapping, images=2, timing="cycle", out=tmp_path / "cycle", threads=1)
    formula = run_sampler(mapping, images=2, out=tmp_path / "formula", threads=1)
    assert [run.manifest["timing"] for run in (event, cycle, formula)] == ["event", "cycle", "analytic"]
    assert event.counts().equals(formula.counts()) and cycle.counts().equals(formula.counts())
    assert event.latency().equals(again.latency())
    assert (event.latency()["time_ns"] > formula.latency()["time_ns"]).any()
    assert run_facts(event)["buffers"] is None
    use, latency = run_facts(cycle)["buffers"], cycle.latency()
    assert (use["places"], use["ticks"]) == (16, len(latency))
    assert use["core_peak"] == latency["core_peak"].max() > 0
    assert use["stalled_ns"] == latency["stalled_ns"].sum()


def test_the_summary_says_whether_buffers_filled(tiny_network: Network) -> None:
    def line(places: int) -> str:
        chip = small_loihi({"compartments": 40}).model_copy(update={"noc": routers_of(places, None)})
        run = run_sampler(map_on(tiny_network, chip), timing="cycle", threads=1)
        footnotes = run_tables(run)[-1]
        assert isinstance(footnotes, str)
        return next(text for text in footnotes.splitlines() if "buffer" in text)

    assert re.fullmatch(r"no buffer filled: at most [\d]+ of 100000 places were taken", line(100_000))
    assert re.fullmatch(
        r"buffers of 1 packets filled in [\d]+ of [\d]+ ticks: "
        r"cores stood still for [\d,]+\.\d us in all, most in \S+",
        line(1),
    )


@pytest.mark.parametrize(
    "noc", [None, Noc(buffer_packets=Figure(why_unknown="?"), cycle_ns=Figure(why_unknown="?"))]
)
def test_no_cycle_level_without_a_figure_for_buffers(
    tiny_network: Network, tmp_path: Path, noc: Noc | None
) -> None:
    mapping = map_on(tiny_network, small_loihi().model_copy(update={"noc": noc}))
    with pytest.raises(ChipFileError) as error:
        run_sampler(mapping, timing="cycle", out=tmp_path / "a")
    assert str(error.value) == (
        "chip 'loihi' has no value for noc.buffer_packets, which --timing cycle needs: "
        "add one to the chip file, with its source, or use --timing event"
    )
    assert not (tmp_path / "a").exists()
