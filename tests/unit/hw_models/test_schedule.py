"""Schedules: a chip played tick by tick with its delay slots, what waiting takes, what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.mapping.expand import expand
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.mapping.partition import partition
from nsim.hw_models.mapping.schedule import Schedule, Timetable, timetable
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.reference import project_naive, update_naive
from tests.networks import BLOCKS, join, map_on, model_of, random_network, small_loihi

SCHEDULES = get_args(Schedule)


def play(network: Network, seed: int) -> Call:
    x = np.random.default_rng(seed).normal(0.4, 0.6, (2, *network.population_by_name["x"].shape))
    return Engine(network, "float64", threads=1).call(x, np.zeros(2, int), keep_currents=True)


def tick_by_tick(network: Network, times: Timetable, call: Call) -> dict[str, np.ndarray]:
    """Spikes [T, B, C, H, W] of a machine that has a ring of delay slots for each compartment.

    In every tick every population takes what is in its current slot. Those whose turn it is add their
    constant currents and update; what they fire is added to the slots that their targets reach later.
    """
    kinds, batch = network.population_by_name, len(call.eps)
    spiking = [p for p in network.projections if kinds[p.source].kind == "neuron"]
    slots = 1 + max((times.delay(p) + 1 for p in spiking), default=0)
    held = {p.name: np.zeros((slots, batch, *p.shape)) for p in network.populations}
    constant = {n.name: call.currents[n.name] - from_spikes(network, call, n) for n in network.neurons}
    seen = {n.name: np.zeros((0, batch, *n.shape)) for n in network.neurons}
    spikes = {n.name: np.zeros((network.time_steps, batch, *n.shape), bool) for n in network.neurons}
    for tick in range(times.ticks(kinds)):
        now = {name: ring[tick % slots].copy() for name, ring in held.items()}
        for ring in held.values():
            ring[tick % slots] = 0.0
        for neuron in network.neurons:
            name, step = neuron.name, tick - times.first_tick[neuron.name]
            if not 0 <= step < network.time_steps:
                assert not now[name].any(), f"{name} is fed in tick {tick}, when it does not run"
                continue
            seen[name] = np.concatenate([seen[name], (now[name] + constant[name][step])[None]])
            spikes[name][step] = update_naive(neuron.neuron, seen[name])[0][-1]
            for p in spiking:
                if p.source == name:
                    slot = (tick + 1 + times.delay(p)) % slots
                    held[p.target][slot][:, slice(*p.target_channels)] += sent(p, spikes[name][step])
    return spikes


def sent(projection: Projection, spikes: np.ndarray) -> np.ndarray:
    """What spikes [N, C, H, W] add to their targets."""
    sums = project_naive(np.moveaxis(spikes, 1, -1), projection.kernel)
    return np.moveaxis(sums if projection.scale is None else projection.scale * sums, -1, 1)


def from_spikes(network: Network, call: Call, population: Population) -> np.ndarray:
    total = np.zeros((network.time_steps, len(call.eps), *population.shape))
    for p in network.incoming(population.name):
        if network.population_by_name[p.source].kind == "neuron":
            for step, spikes in enumerate(call.spikes[p.source]):
                total[step][:, slice(*p.target_channels)] += sent(p, spikes)
    return total


@settings(max_examples=6)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
    schedule=st.sampled_from(SCHEDULES),
)
@example(("conv", "residual", "shortcut"), 3, "layerwise")
@example(("conv", "residual", "shortcut"), 3, "pipelined")
def test_delay_slots_bring_every_spike_at_its_time(
    blocks: tuple[str, ...], seed: int, schedule: Schedule
) -> None:
    """Currents differ from the engine's in the order of additions, so potentials at a threshold would flip:
    thresholds and weights are random enough that none of them stands there."""
    network = expand(random_network(blocks, seed, (3, 4)))
    call = play(network, seed)
    found = tick_by_tick(network, timetable(network, schedule), call)
    for name, spikes in call.spikes.items():
        np.testing.assert_array_equal(found[name], spikes, name)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_same_events_in_more_ticks(steps: int) -> None:
    """On the same cores: equal totals of all but idle updates, which every tick asks of every neuron."""
    network = replace(random_network(("conv", "residual", "down"), 5), time_steps=steps)
    pipelined = map_on(network, small_loihi({"compartments": 40}))
    layerwise: Mapping = replace(pipelined, schedule="layerwise")
    call = play(network, 5)
    one, other = (CoreCounter(m).count(call).per_core for m in (pipelined, layerwise))
    layers = 1 + max(pipelined.laid_out.depth[name] for name in pipelined.grids)
    assert (pipelined.ticks, layerwise.ticks) == (steps + layers - 1, steps * layers)
    for event in CORE_EVENTS:
        totals = [counts[event].sum(axis=1) for counts in (one, other)]
        if event == "update_idle":
            compartments = np.concatenate([g.used["compartments"].ravel() for g in pipelined.grids.values()])
            totals[0] = totals[0] + (layerwise.ticks - pipelined.ticks) * compartments
        np.testing.assert_array_equal(*totals, event)
    happened = {event for event, counts in one.items() if counts.any()}
    assert {"spike", "update_active", "packet_in", "hop_y"} <= happened
    assert happened & {"synaptic_event_conv", "synaptic_event_dense"}


def skip_over(layers: int, steps: int) -> Network:
    """A chain of single neurons, and a path past ``layers`` of them."""
    names = [f"n{i}" for i in range(layers + 2)]
    chain = [
        Projection(f"{a} -> {b}", a, b, Kernel(1, np.ones((1, 1, 1, 1))), (0, 1)) for a, b in pairwise(names)
    ]
    return join(
        [Population(name, "neuron", (1, 1, 1), NeuronModel()) for name in names],
        [*chain, Projection("skip", names[0], names[-1], Kernel(1), (0, 1))],
        steps,
    )


@pytest.mark.parametrize(
    ("layers", "steps", "in_chain", "at_end"),
    [(1, 4, 1024, 1024), (2, 4, 1024, 512), (3, 4, 1024, 512), (4, 4, 1024, 256), (2, 9, 512, 256)],
)
def test_waiting_takes_compartments(layers: int, steps: int, in_chain: int, at_end: int) -> None:
    """Spikes wait s T - 1 ticks over s layers: 8 slots a compartment are free, then each doubling halves."""
    grids = partition(skip_over(layers, steps), small_loihi(), "layerwise")
    limits = [grid.limits["compartments"] for grid in grids.values()]
    assert limits == [1024] + [in_chain] * layers + [at_end]


def test_waiting_takes_synaptic_memory() -> None:
    """48 synapses of 8 bits and a 20-bit header are 7 words; a delay of 3 ticks takes 2 bits more of each."""
    kernel = Kernel(48, np.ones((48, 1, 1, 1)))
    network = join(
        [
            Population("a", "neuron", (1, 1, 1), NeuronModel()),
            Population("b", "neuron", (48, 1, 1), NeuronModel()),
        ],
        [Projection("a -> b", "a", "b", kernel, (0, 48))],
        time_steps=4,
    )
    words = [partition(network, small_loihi(), s)["b"].used["synaptic_words"].item() for s in SCHEDULES]
    assert words == [-(-(20 + 48 * 8) // 64), -(-(20 + 48 * 10) // 64)] == [7, 8]


def test_mapping_by_name() -> None:
    import nsim

    mapping = nsim.map(model_of(random_network(("conv",), 0)), "loihi", schedule="layerwise")
    assert (mapping.schedule, mapping.ticks) == ("layerwise", 6)
