"""Events per tick and core against brute force: every synapse of every spike is looked at."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import HostBias, HostOp, Network, NeuronModel, Population, Projection
from nsim.hw_models.mapping.mapping import Mapping, with_places
from nsim.hw_models.mapping.policies import Policy
from nsim.hw_models.mapping.schedule import Schedule
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter
from nsim.simulator.engine import Engine
from nsim.simulator.host_counts import calls_beside_cores
from nsim.simulator.round_counts import ROUND_EVENTS, counter_of
from tests.networks import BLOCKS, join, map_on, owners, random_network, small_loihi, synapses_into


def in_rounds(mapping: Mapping) -> tuple[list[int], list[int], dict[tuple[str, int], int]]:
    """Round of every core, ticks of every round, and first tick of every layer in every round it is in."""
    network, ends = mapping.laid_out, mapping.round_ends
    rounds = [next(r for r, end in enumerate(ends) if core < end) for core in range(mapping.core_count)]
    of_layer = {n: {rounds[core] for core in grid.core_ids.flat} for n, grid in mapping.grids.items()}
    between = network.time_steps if mapping.schedule == "layerwise" else 1
    ticks, first = [], {}
    for r in range(len(ends)):
        here = {n: between * network.depth[n] for n in mapping.grids if r in of_layer[n]}
        heard = {p.source for p in network.projections if p.target in here} & {
            p.name for p in network.neurons
        }
        wait = any(min(of_layer[source]) < r for source in heard)
        start = min(here.values()) if r else 0
        first |= {(n, r): tick - start + wait for n, tick in here.items()}
        ticks.append(network.time_steps + max(here.values()) - start + wait)
    return rounds, ticks, first


def brute_force(mapping: Mapping, call: Call) -> dict[str, np.ndarray]:
    """Events [B, ticks of the longest round, cores], spike by spike and synapse by synapse."""
    network = mapping.laid_out
    batch = len(call.eps)
    rounds, ticks, first_tick = in_rounds(mapping)
    shape = (batch, max(ticks), mapping.core_count)
    counts = {e: np.zeros(shape, np.int64) for e in ROUND_EVENTS}
    core_of = {n: owners(g, network.population_by_name[n].shape) for n, g in mapping.grids.items()}
    place = mapping.cores.set_index("core")
    at = {
        core: (
            chip,
            chip % mapping.placement.chips_x * mapping.placement.tiles_x + x,
            chip // mapping.placement.chips_x * mapping.placement.tiles_y + y,
        )
        for core, chip, x, y in zip(place.index, place.chip, place.tile_x, place.tile_y, strict=True)
    }
    fed: dict[tuple, list] = defaultdict(list)
    reached: dict[tuple, set] = defaultdict(set)
    for name, grid in mapping.grids.items():
        kind = "synaptic_event_conv" if grid.shared_lists else "synaptic_event_dense"
        for projection, pairs in synapses_into(network, name):
            for pre, post in pairs:
                core = core_of[name][post]
                fed[projection.source, pre].append((kind, core, name))
                reached[projection.source, pre].add((core, projection.kernel.geometry, name))
    for name, cores in core_of.items():
        spiking = name in call.spikes
        per_neuron = 1
        if spiking and network.population_by_name[name].neuron.v_reset is None:
            per_neuron = 2
        for core in cores.values():
            counts["update_idle"][:, : ticks[rounds[core]], core] += per_neuron
        for neuron, core in cores.items():
            for step in range(network.time_steps):
                tick = first_tick[name, rounds[core]] + step
                for image in range(batch):
                    if not spiking or call.active[name][(step, image, *neuron)]:
                        counts["update_active"][image, tick, core] += 1
                        counts["update_idle"][image, tick, core] -= 1
                    if not spiking or not call.spikes[name][(step, image, *neuron)]:
                        continue
                    counts["spike"][image, tick, core] += 1

                    def heard(
                        target: int, layer: str, core: int = core, tick: int = tick, step: int = step
                    ) -> int:
                        """The tick in which the spike comes to a core."""
                        if rounds[target] == rounds[core]:
                            return tick
                        return first_tick[layer, rounds[target]] + step - 1

                    for kind, target, layer in fed[name, neuron]:
                        counts[kind][image, heard(target, layer), target] += 1
                    later = {
                        target for target, _, _ in reached[name, neuron] if rounds[target] != rounds[core]
                    }
                    for event in ("packet_out", "host_read"):
                        counts[event][image, tick, core] += bool(later)
                    for target, _, layer in reached[name, neuron]:
                        counts["packet_in"][image, heard(target, layer), target] += 1
                        if target in later:
                            counts["host_write"][image, heard(target, layer), target] += 1
                            continue
                        (chip, x, y), (to_chip, to_x, to_y) = at[core], at[target]
                        counts["packet_out"][image, tick, core] += 1
                        counts["hop_x"][image, tick, core] += abs(to_x - x)
                        counts["hop_y"][image, tick, core] += abs(to_y - y)
                        counts["tile_local"][image, tick, core] += (x, y) == (to_x, to_y)
                        counts["chip_crossing"][image, tick, core] += chip != to_chip
    return counts


def play(network: Network, images: int, seed: int) -> Call:
    x = np.random.default_rng(seed).normal(0.4, 0.6, (images, *network.population_by_name["x"].shape))
    return Engine(network, "float64", threads=1).call(x, np.zeros(images, int))


@settings(max_examples=12)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
    compartments=st.sampled_from([20, 40, 1024]),
    words=st.sampled_from([400, 16383]),
    tiles=st.sampled_from([1, 8]),
    policy=st.sampled_from(["expand", "host"]),
    schedule=st.sampled_from(["pipelined", "layerwise"]),
    chips=st.sampled_from([None, 1, 2]),
)
@example(("conv", "residual"), 3, 20, 16383, 1, "expand", "pipelined", None)
@example(("depthwise", "shortcut", "cat"), 1, 20, 400, 1, "expand", "layerwise", None)
@example(("residual", "shortcut", "cat"), 2, 20, 400, 1, "host", "pipelined", None)
@example(("conv", "residual"), 3, 20, 16383, 1, "expand", "layerwise", 1)
@example(("depthwise", "shortcut", "cat"), 1, 20, 400, 1, "expand", "pipelined", 1)
@example(("residual", "shortcut", "cat"), 2, 20, 400, 1, "host", "pipelined", 2)
def test_every_event_of_every_tick_and_core(
    blocks: tuple[str, ...],
    seed: int,
    compartments: int,
    words: int,
    tiles: int,
    policy: Policy,
    schedule: Schedule,
    chips: int | None,
) -> None:
    network = random_network(blocks, seed, (4, 5))
    shape = {"tiles_x": tiles, "tiles_y": 1, "cores_per_tile": 2} if chips else {"tiles_x": tiles}
    chip = small_loihi({"compartments": compartments, "synaptic_words": words}, shape)
    mapping = with_places(map_on(network, chip, policy, schedule), "row-major", multiplex=chips)
    call = play(network, 2, seed)
    fired = np.concatenate([spikes.ravel() for spikes in call.spikes.values()])
    assume(0.05 < fired.mean() < 0.97)
    counter = counter_of(mapping)
    streams = sum(block in ("residual", "shortcut", "cat") for block in blocks)
    steps, depth = network.time_steps, len(blocks) + (streams if policy == "host" else 0)
    if mapping.regime == "resident":
        assert counter.ticks == (steps + depth if schedule == "pipelined" else steps * (1 + depth))
    counter.count(play(network, 2, seed + 1))  # whose memory the next one gets
    counts = counter.count(call).per_core
    expected = brute_force(mapping, call)
    kinds = CORE_EVENTS if mapping.regime == "resident" else ROUND_EVENTS
    assert tuple(counts) == kinds
    for event in kinds:
        assert counts[event].dtype == np.int64
        np.testing.assert_array_equal(counts[event], expected[event], event)


def test_paths_that_share_an_axon_send_one_packet_even_when_the_first_reaches_less() -> None:
    """Spikes added to their own 1x1 convolution: the identity feeds one channel, the convolution all."""
    kernel = Kernel(2, np.ones((2, 2, 1, 1)))
    network = join(
        [
            Population("a", "neuron", (2, 1, 1), NeuronModel()),
            Population("b", "neuron", (2, 1, 1), NeuronModel()),
        ],
        [Projection("same", "a", "b", Kernel(2), (0, 2)), Projection("mixed", "a", "b", kernel, (0, 2))],
    )
    mapping = map_on(network, small_loihi({"compartments": 1}))
    assert [grid.size for grid in mapping.grids.values()] == [2, 2]
    assert mapping.grids["a"].used["output_axons"].ravel().tolist() == [2, 2]
    assert mapping.grids["b"].used["input_axons"].ravel().tolist() == [2, 2]
    counts = CoreCounter(mapping).expect(1.0).per_core
    steps = network.time_steps
    assert counts["packet_out"].sum(axis=(0, 1)).tolist() == [2 * steps, 2 * steps, 0, 0]
    assert counts["packet_in"].sum(axis=(0, 1)).tolist() == [0, 0, 2 * steps, 2 * steps]
    assert counts["synaptic_event_dense"].sum(axis=(0, 1)).tolist() == [0, 0, 3 * steps, 3 * steps]


def test_full_rate_is_a_call_in_which_every_neuron_fires(tiny_network: Network) -> None:
    counter = CoreCounter(map_on(tiny_network, small_loihi()))
    ones = {p.name: np.ones((tiny_network.time_steps, 1, *p.shape), bool) for p in tiny_network.neurons}
    call = Call(tiny_network, np.zeros((1, 1, 8, 8)), ones, ones, {})
    counted, full, half = counter.count(call), counter.expect(1.0), counter.expect(0.5)
    assert counted.beside == full.beside == half.beside
    for event in CORE_EVENTS:
        assert full.per_core[event].dtype == np.float64
        np.testing.assert_array_equal(full.per_core[event], counted.per_core[event], event)
        if not event.startswith("update"):
            np.testing.assert_array_equal(2 * half.per_core[event], full.per_core[event], event)
    assert counted.ticks == tiny_network.time_steps + 19


def test_what_happens_beside_the_cores() -> None:
    """Each number worked out by hand."""
    kernel = Kernel(2, np.ones((2, 1, 3, 3)), padding=(1, 1))
    read = Kernel(1, np.ones((1, 2, 1, 1)))
    network = Network(
        name="beside",
        time_steps=5,
        image="x",
        diffusion_time="t",
        output="out",
        populations=(
            Population("x", "source", (1, 4, 4)),
            Population("a", "neuron", (2, 4, 4), NeuronModel()),
            Population("b", "neuron", (2, 4, 4), NeuronModel()),
            Population("y", "analog", (1, 4, 4)),
        ),
        projections=(
            Projection("encode", "x", "a", kernel, (0, 2)),
            Projection("ab", "a", "b", Kernel(2), (0, 2)),
            Projection("by", "b", "y", read, (0, 1)),
        ),
        biases=(HostBias("embed", "b"),),
        host_ops=(
            HostOp("embed", "linear", ("t",), (3,), (2,), False, {"weight": np.ones((2, 3))}),
            HostOp("swish", "swish", ("y",), (1, 4, 4), (1, 4, 4), True),
            HostOp("out", "sum_over_time", ("swish",), (1, 4, 4), (1, 4, 4), True),
        ),
    )
    mapping = map_on(
        network, small_loihi({"compartments": 16}, {"tiles_x": 1, "tiles_y": 1, "cores_per_tile": 2})
    )
    assert mapping.chips == 3
    taps = 10 * 10  # along each axis of 4: 3 + 3 + 2 + 2 taps within the image
    assert calls_beside_cores(mapping) == {
        ("embed", "host_mac"): 6,
        ("swish", "host_elementwise"): 5 * 16,
        ("swish", "host_read"): 5 * 16,
        ("out", "host_elementwise"): 5 * 16,
        ("encode", "host_mac"): 2 * taps,
        ("encode", "host_write"): 2 * 16,
        ("a", "bias_write"): 2 * 32,
        ("embed", "host_write"): 2,
        ("b", "bias_write"): 2 * 32,
        ("chip", "state_reset"): 3,
    }
