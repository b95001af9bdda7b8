"""Core blocks against brute force: every single synapse of small layers is looked at."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nsim.errors import MappingError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.mapping.expand import expand
from nsim.hw_models.mapping.partition import RESOURCES, CoreGrid, cores_per_chip, partition
from nsim.hw_models.spec import ChipSpec
from tests.networks import (
    BLOCKS,
    Neuron,
    join,
    one_layer,
    owners,
    random_network,
    small_loihi,
    synapses_into,
)


def words_of(compartments: list[tuple[int, int]], weight_bits: int) -> int:
    """Words of a list of (row, compartment): a new entry at every gap, row and 60 synapses, 20 bits each."""
    bits, before, in_entry = 0, None, 0
    for row, compartment in sorted(compartments):
        if before != (row, compartment - 1) or in_entry == 60:
            bits, in_entry = bits + 20, 0
        bits, before, in_entry = bits + weight_bits, (row, compartment), in_entry + 1
    words, left = -(-bits // 64), bits % 64
    return words + 1 if left == 0 or left >= 59 else words


def brute_force(network: Network, grids: dict[str, CoreGrid], crossing: int) -> dict[str, dict[int, int]]:
    """What every core uses of every resource, by the definitions."""
    used: dict[str, dict[int, int]] = {resource: defaultdict(int) for resource in RESOURCES}
    core_of = {name: owners(grid, network.population_by_name[name].shape) for name, grid in grids.items()}
    for name, grid in grids.items():
        population = network.population_by_name[name]
        soft = population.neuron is not None and population.neuron.v_reset is None
        first_of: dict[int, Neuron] = {}
        for neuron, core in core_of[name].items():
            used["compartments"][core] += 2 if soft else 1
            first_of[core] = min(neuron, first_of.get(core, neuron))
        columns = {core: len({n[2] for n, c in core_of[name].items() if c == core}) for core in first_of}
        channels = {core: len({n[0] for n, c in core_of[name].items() if c == core}) for core in first_of}
        axons: dict[int, dict[tuple, int]] = defaultdict(lambda: defaultdict(int))
        for projection, pairs in synapses_into(network, name):
            delay = network.depth[name] - network.depth[projection.source] - 1
            weight_bits = 8 + (len(f"{delay:b}") if delay else 0)
            lists: dict[tuple[int, Neuron], list] = defaultdict(list)
            for (pre, post), taps in pairs.items():
                lists[core_of[name][post], pre].append((post, taps))
            stored: dict[tuple, int] = {}
            for (core, pre), targets in lists.items():
                first = first_of[core]
                places = [
                    (y, ((y - first[1]) * columns[core] + x - first[2]) * channels[core] + c - first[0])
                    for (c, y, x), _ in targets
                ]
                words = words_of(places, weight_bits)
                top, left = min(n[1] for n, _ in targets), min(n[2] for n, _ in targets)
                pattern = tuple(sorted((c, y - top, x - left, taps) for (c, y, x), taps in targets))
                axons[core][projection.source, projection.kernel.geometry, pre] += words
                stored[(core, pre[0], pattern) if grid.shared_lists else (core, pre)] = words
            for (core, *_), words in stored.items():
                used["synaptic_words"][core] += words
        for core, own in axons.items():
            used["input_axons"][core] = len(own)
            used["words_per_axon"][core] = max(own.values())
            for source, _, pre in own:
                cost = (2 if grid.shared_lists else 1) + crossing
                used["output_axons"][core_of[source][pre]] += cost
    return used


def check(network: Network, chip: ChipSpec) -> dict[str, CoreGrid]:
    """Partition a laid-out network and compare with brute force."""
    grids = partition(network, chip)
    cores = sum(grid.size for grid in grids.values())
    expected = brute_force(network, grids, crossing=int(cores > cores_per_chip(chip)))
    ids = [core for grid in grids.values() for core in grid.core_ids.ravel()]
    assert ids == list(range(cores))
    for grid in grids.values():
        for resource in RESOURCES:
            found = dict(zip(grid.core_ids.ravel(), grid.used[resource].ravel(), strict=True))
            wanted = {core: expected[resource][core] for core in found}
            assert found == wanted, (grid.population, resource, grid.block, grid.shared_lists)
            assert grid.used[resource].max() <= grid.limits[resource]
    return grids


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    upsample = draw(st.integers(1, 2))
    if draw(st.integers(0, 7)) == 0:
        return Kernel(draw(st.integers(1, 4)), upsample=upsample)
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    c_in, c_out = draw(st.integers(1, 2)), draw(st.integers(1, 6 // groups))
    return Kernel(
        groups * c_out,
        np.ones((groups * c_out, c_in, *size)),
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        groups=groups,
        upsample=upsample,
    )


@settings(max_examples=60)
@given(
    kernel=kernels(),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    margins=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    compartments=st.sampled_from([4, 9, 20, 1024]),
    words=st.sampled_from([100, 16383]),
    tiles=st.sampled_from([1, 8]),
)
@example(Kernel(10, np.ones((10, 2, 1, 1)), groups=2), (1, 1), (0, 0), 4, 16383, 8)  # a block over two groups
@example(Kernel(20, np.ones((20, 1, 1, 2)), dilation=(1, 3), upsample=2), (1, 2), (0, 0), 1024, 16383, 8)
def test_a_layer_uses_what_its_synapses_need(
    kernel: Kernel,
    size: tuple[int, int],
    margins: tuple[int, int],
    compartments: int,
    words: int,
    tiles: int,
) -> None:
    assume(min(kernel.out_size(*size)) >= 1)
    chip = small_loihi({"compartments": compartments, "synaptic_words": words}, {"tiles_x": tiles})
    check(one_layer(kernel, size, None, *margins), chip)


@settings(max_examples=15)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
    compartments=st.sampled_from([20, 50, 1024]),
)
@example(("conv", "residual"), 3, 20)
def test_a_network_uses_what_its_synapses_need(blocks: tuple[str, ...], seed: int, compartments: int) -> None:
    check(expand(random_network(blocks, seed)), small_loihi({"compartments": compartments}))


def test_lists_are_shared_unless_output_axons_are_scarce() -> None:
    """72 source neurons and one core: 72 output axons, or 144 to share lists."""
    network = one_layer(Kernel(4, np.ones((4, 2, 3, 3)), padding=(1, 1)), (6, 6))
    roomy = check(network, small_loihi())
    scarce = check(network, small_loihi({"output_axons": 143}))
    assert roomy["a"].used["output_axons"].tolist() == [[[144]]]
    assert scarce["a"].used["output_axons"].tolist() == [[[72]]]
    assert roomy["b"].shared_lists and not scarce["b"].shared_lists
    assert roomy["b"].used["synaptic_words"].item() < scarce["b"].used["synaptic_words"].item()


def test_a_block_that_no_spike_reaches() -> None:
    """Padding wider than the kernel: the outermost targets hear nothing."""
    network = one_layer(Kernel(1, np.ones((1, 1, 1, 1)), padding=(2, 2)), (1, 1))
    grid = check(network, small_loihi({"compartments": 5}))["b"]
    assert grid.used["input_axons"].ravel().tolist() == [0, 0, 1, 0, 0]
    assert grid.used["words_per_axon"].ravel().tolist() == [0, 0, 1, 0, 0]


def test_paths_that_share_an_axon_share_its_words() -> None:
    """60 synapses take 8 words; twice from one source with one geometry: one axon of 16 words."""
    weight = np.ones((60, 1, 1, 1))
    network = join(
        [
            Population("a", "neuron", (1, 1, 1), NeuronModel()),
            Population("b", "neuron", (120, 1, 1), NeuronModel()),
        ],
        [Projection(f"p{i}", "a", "b", Kernel(60, weight), (60 * i, 60 * i + 60)) for i in (0, 1)],
    )
    grid = check(network, small_loihi())["b"]
    assert {r: int(n.item()) for r, n in grid.used.items()} == {
        "compartments": 120,
        "input_axons": 1,
        "output_axons": 0,
        "synaptic_words": 16,
        "words_per_axon": 16,
    }
    assert check(network, small_loihi({"max_words_per_axon": 15}))["b"].size == 2


def test_soft_reset_takes_two_compartments() -> None:
    kernel = Kernel(1, np.ones((1, 1, 1, 1)))
    hard = check(one_layer(kernel, (32, 32)), small_loihi())["b"]
    soft = check(one_layer(kernel, (32, 32), NeuronModel(v_reset=None)), small_loihi())["b"]
    assert (hard.size, soft.size) == (1, 2)
    assert int(soft.used["compartments"].sum()) == 2 * int(hard.used["compartments"].sum()) == 2048


def test_several_chips_cost_one_more_output_entry_for_every_destination() -> None:
    network = one_layer(Kernel(2, np.ones((2, 2, 3, 3)), padding=(1, 1)), (4, 4))
    one = check(network, small_loihi({"compartments": 8}, {"tiles_x": 1, "tiles_y": 2}))["a"]
    two = check(network, small_loihi({"compartments": 8}, {"tiles_x": 1, "tiles_y": 1}))["a"]
    assert one.size == two.size == 4
    np.testing.assert_array_equal(two.used["output_axons"], 2 * one.used["output_axons"])


def skip_over(layers: int) -> Network:
    """A chain of ``layers`` + 2 neurons, and a skip from the first to the last."""
    names = [f"n{i}" for i in range(layers + 2)]
    one = Kernel(1, np.ones((1, 1, 1, 1)))
    chain = [Projection(f"to {b}", a, b, one, (0, 1)) for a, b in pairwise(names)]
    return join(
        [Population(name, "neuron", (1, 1, 1), NeuronModel()) for name in names],
        [*chain, Projection("skip", names[0], names[-1], Kernel(1), (0, 1))],
    )


@pytest.mark.parametrize(
    ("layers", "compartments"), [(7, 1024), (8, 512), (15, 512), (16, 256), (31, 256), (32, 128), (62, 128)]
)
def test_long_skips_take_compartments(layers: int, compartments: int) -> None:
    grids = check(skip_over(layers), small_loihi())
    assert [grid.limits["compartments"] for grid in grids.values()] == [1024] * (layers + 1) + [compartments]


def test_too_long_a_skip() -> None:
    with pytest.raises(MappingError) as error:
        partition(skip_over(63), small_loihi())
    assert str(error.value) == (
        "n64: a skip path must wait 63 ticks, the limit is 62; relay neurons are needed, which this version "
        "cannot place"
    )


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (
            {"input_axons": 17},
            "b: one neuron alone needs 18 input axons, a core has 17; "
            "use a chip with larger cores or a model with less fan-in (expanded residual streams count)",
        ),
        (
            {"output_axons": 26},
            "a: one neuron alone needs 27 output axons, a core has 26; "
            "use a chip with larger cores or a model with less fan-out (expanded residual streams count)",
        ),
        (
            {"synaptic_words": 17},
            "b: one neuron alone needs 18 synaptic words, a core has 17; "
            "use a chip with larger cores or a model with less fan-in (expanded residual streams count)",
        ),
        (
            {"weight_bits": 2580, "max_words_per_axon": 40},
            "b: one neuron alone needs 41 words per axon, a core has 40; "
            "use a chip with larger cores or a model with less fan-in (expanded residual streams count)",
        ),
    ],
)
def test_what_cannot_fit_names_layer_need_and_limit(core: dict[str, int], message: str) -> None:
    """3 channels, 3x3 taps, 2 source channels: fan-in 18; blocks of one neuron, so 27 destinations."""
    network = one_layer(Kernel(3, np.ones((3, 2, 3, 3)), padding=(1, 1)), (3, 3))
    with pytest.raises(MappingError) as error:
        partition(network, small_loihi({"compartments": 1, **core}))
    assert str(error.value) == message


def test_soft_reset_does_not_fit_one_compartment() -> None:
    network = one_layer(Kernel(1, np.ones((1, 1, 1, 1))), (1, 1), NeuronModel(v_reset=None))
    with pytest.raises(MappingError) as error:
        partition(network, small_loihi({"compartments": 1}))
    assert str(error.value) == (
        "b: one neuron alone needs 2 compartments, a core has 1; "
        "use a chip with larger cores or a model with less fan-in (expanded residual streams count)"
    )
