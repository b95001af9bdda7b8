"""Relay neurons: where a synapse cannot wait long enough, spikes are fired again on the way, all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import nsim
from nsim.errors import MappingError
from nsim.frontends.network import Network
from nsim.frontends.quantize import quantize
from nsim.hw_models.mapping.expand import expand
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.partition import partition
from nsim.hw_models.mapping.retime import retime
from nsim.hw_models.mapping.schedule import Schedule, timetable
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.link_loads import LinkCounter
from nsim.simulator.timing import analytic_times
from tests.networks import BLOCKS, map_on, model_of, random_network, small_loihi
from tests.unit.hw_models.test_schedule import play, skip_over, tick_by_tick


def longest_delay(network: Network, schedule: Schedule) -> int:
    neurons = {p.name for p in network.neurons}
    times = timetable(network, schedule)
    return max(times.delay(p) for p in network.projections if p.source in neurons)


@pytest.mark.parametrize(
    ("layers", "steps", "limit", "schedule", "relays"),
    [
        (8, 8, 62, "layerwise", 1),  # 9 layers of 8 steps, 7 layers to a hop
        (8, 7, 62, "layerwise", 0),  # 9 x 7 - 1 = 62 ticks
        (8, 8, 8, "pipelined", 0),
        (8, 8, 7, "pipelined", 1),
        (9, 3, 4, "pipelined", 1),  # ten layers in two hops of 5
        (10, 3, 4, "pipelined", 2),
        (6, 3, 0, "pipelined", 6),  # without delays: one in every layer
        (6, 1, 0, "layerwise", 6),
        (6, 3, 2, "layerwise", 6),
    ],
)
def test_as_few_relays_as_the_delay_allows(
    layers: int, steps: int, limit: int, schedule: Schedule, relays: int
) -> None:
    network = skip_over(layers, steps)
    found = retime(network, limit, schedule)
    assert [p.name for p in found.populations if p.relay] == [f"n0.relay{i + 1}" for i in range(relays)]
    assert longest_delay(found, schedule) <= limit
    assert {n: d for n, d in found.depth.items() if "relay" not in n} == network.depth
    if not relays:
        assert found is network


@settings(max_examples=8)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=2, max_size=4).map(tuple),
    seed=st.integers(0, 1000),
    limit=st.integers(0, 3),
)
@example(("residual", "shortcut", "cat", "conv"), 3, 0)
@example(("residual", "residual", "residual", "cat"), 4, 1)
def test_every_spike_is_the_same_and_in_time(blocks: tuple[str, ...], seed: int, limit: int) -> None:
    """In float64, and on a machine that plays tick by tick with no more delay slots than the chip has."""
    network = expand(random_network(blocks, seed, (3, 4)))
    retimed = retime(network, limit, "pipelined")
    call, relayed = play(network, seed), play(retimed, seed)
    machine = tick_by_tick(retimed, timetable(retimed, "pipelined"), relayed)
    for population in retimed.neurons:
        origin = population.relay.origin if population.relay else population.name
        for spikes in (relayed.spikes[population.name], machine[population.name]):
            np.testing.assert_array_equal(spikes, call.spikes[origin], population.name)
    if longest_delay(network, "pipelined") > limit:
        assert any(p.relay for p in retimed.populations)
        assert longest_delay(retimed, "pipelined") <= limit


def test_integers_pass_through_relays_unchanged() -> None:
    network = expand(random_network(("residual", "residual", "cat"), 4, (3, 4)))
    x = np.random.default_rng(1).normal(0.4, 0.6, (2, *network.population_by_name["x"].shape))
    one, other = (
        Engine(quantize(n, 8), "int", threads=1).call(x, np.zeros(2, int))
        for n in (network, retime(network, 0, "pipelined"))
    )
    assert any(spikes.any() for spikes in one.spikes.values())
    for name, spikes in one.spikes.items():
        np.testing.assert_array_equal(other.spikes[name], spikes, name)
    for name in set(other.spikes) - set(one.spikes):
        np.testing.assert_array_equal(other.spikes[name], one.spikes[name.rsplit(".", 1)[0]], name)


@pytest.fixture(scope="module")
def mappings() -> tuple[Mapping, Mapping]:
    """The same network on chips that hold spikes for 62 ticks, and for one."""
    network = random_network(("residual", "residual", "residual", "cat"), 4, (4, 5))
    short = {"compartments": 40, "max_delay": 1, "delays_at_full_compartments": 1}
    chips = small_loihi({"compartments": 40}), small_loihi(short)
    return tuple(map_on(network, chip) for chip in chips)  # type: ignore[return-value]


def test_relays_are_counted_like_any_neuron(mappings: tuple[Mapping, Mapping]) -> None:
    """What the model's own neurons do is the same; relays fire, and are updated, as often as their origin."""
    plain, retimed = mappings
    assert not plain.relays and retimed.relays and retimed.ticks == plain.ticks
    assert (plain.longest_delay > 1, retimed.longest_delay) == (True, 1)
    call = play(plain.model.network, 4)
    one, other = (CoreCounter(m).count(call).per_core for m in mappings)

    def of(counts: dict[str, np.ndarray], mapping: Mapping, event: str, layer: str) -> int:
        return int(counts[event][:, :, mapping.layer_of_core == layer].sum())

    def synapses(counts: dict[str, np.ndarray], mapping: Mapping, layer: str) -> int:
        return sum(of(counts, mapping, f"synaptic_event_{kind}", layer) for kind in ("conv", "dense"))

    for layer in plain.grids:
        for event in ("spike", "update_active"):
            assert of(one, plain, event, layer) == of(other, retimed, event, layer)
        assert synapses(one, plain, layer) == synapses(other, retimed, layer)
    for name in retimed.relays:
        origin = retimed.laid_out.population_by_name[name].relay.origin
        fired = of(one, plain, "spike", origin)
        assert fired > 0
        for count in (
            synapses(other, retimed, name),
            of(other, retimed, "spike", name),
            of(other, retimed, "update_active", name),
            of(other, retimed, "packet_in", name),
        ):
            assert count == fired
    assert other["packet_out"].sum() == other["packet_in"].sum() > one["packet_out"].sum()
    full = CoreCounter(retimed).expect(1.0).per_core
    assert of(full, retimed, "spike", next(iter(retimed.relays))) > 0
    assert set(other) == set(CORE_EVENTS)


def test_relays_at_every_level_of_timing(mappings: tuple[Mapping, Mapping]) -> None:
    """Links see the packets of relays; packet by packet no tick is shorter than by the closed formulas."""
    _, retimed = mappings
    call, boardfit = play(retimed.model.network, 4), retimed.chip.calibration("boardfit")
    counts = CoreCounter(retimed).count(call)
    links = LinkCounter(retimed).count(call)
    hops = {axis: sum(int(links[way].sum()) for way in ways) for axis, ways in
            {"hop_x": ("east", "west"), "hop_y": ("north", "south")}.items()}  # fmt: skip
    assert hops == {axis: int(counts.per_core[axis].sum()) for axis in hops}
    timer = EventTimer(retimed, boardfit)
    packets = [timer.sent(call, image, tick)[1] for image in range(2) for tick in range(counts.ticks)]
    assert sum(len(p.source) for p in packets) == counts.per_core["packet_out"].sum()
    exact, formula = timer.times(call, counts), analytic_times(counts, boardfit)
    assert (exact.core_ns >= formula.core_ns - 1e-6).all()


def test_on_loihi_where_it_used_to_be_refused() -> None:
    """By name, through the front door; and without relays the partition says that they are needed."""
    model = model_of(skip_over(8, 8))
    mapping = nsim.map(model, "loihi", schedule="layerwise")
    assert list(mapping.relays) == ["n0.relay1"]
    first = mapping.times.first_tick
    assert (first["n0.relay1"], first["n9"], mapping.longest_delay) == (2 * 8, 9 * 8, 7 * 8 - 1)
    assert mapping.grids["n0.relay1"].limits["compartments"] == 512  # it waits 15 ticks, the reader 55
    with pytest.raises(MappingError) as error:
        partition(model.network, small_loihi(), "layerwise")
    assert str(error.value) == (
        "n9: spikes wait 71 ticks, the limit is 62; relay neurons are needed (see "
        "nsim.hw_models.mapping.retime)"
    )


def test_what_no_relay_can_help() -> None:
    with pytest.raises(MappingError) as error:
        retime(skip_over(2, 64), 62, "layerwise")
    assert str(error.value) == (
        "hand-built: layer by layer, spikes wait 63 ticks for the next layer, the limit is 62; use "
        "--schedule pipelined, or at most 63 time steps"
    )
