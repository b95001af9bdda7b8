"""Core blocks against brute force: every single synapse of small layers is looked at."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nsim.errors import MappingError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.hw_models.mapping.expand import expand
from nsim.hw_models.mapping.grid import RESOURCES, CoreGrid
from nsim.hw_models.mapping.partition import partition
from nsim.hw_models.spec import ChipSpec, Core, PopulationAxons
from tests.networks import (
    BLOCKS,
    Neuron,
    join,
    one_layer,
    owners,
    random_network,
    reduced,
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


def channel_signatures(network: Network) -> dict[str, dict[int, frozenset]]:
    """For every source channel, the channels that it feeds through each projection.

    An expanded stream gives several consumers projections of one name: the target is part of what one is.
    """
    fed: dict[str, dict[int, set]] = defaultdict(lambda: defaultdict(set))
    for population in network.populations:
        for projection, pairs in synapses_into(network, population.name):
            for pre, post in pairs:
                fed[projection.source][pre[0]].add((projection.name, projection.target, post[0]))
    return {name: {c: frozenset(f) for c, f in channels.items()} for name, channels in fed.items()}


def brute_force(
    network: Network, grids: dict[str, CoreGrid], crossing: int, core: Core
) -> dict[str, dict[int, int]]:
    """What every core uses of every resource, by the definitions."""
    alike = channel_signatures(network)
    most = core.population_axons.neurons_max.value if core.population_axons else 1
    used: dict[str, dict[int, int]] = {resource: defaultdict(int) for resource in RESOURCES}
    core_of = {name: owners(grid, network.population_by_name[name].shape) for name, grid in grids.items()}
    for name in grids:
        population = network.population_by_name[name]
        soft = population.neuron is not None and population.neuron.v_reset is None
        first_of: dict[int, Neuron] = {}
        for neuron, core in core_of[name].items():
            used["compartments"][core] += 2 if soft else 1
            first_of[core] = min(neuron, first_of.get(core, neuron))
        columns = {core: len({n[2] for n, c in core_of[name].items() if c == core}) for core in first_of}
        channels = {core: len({n[0] for n, c in core_of[name].items() if c == core}) for core in first_of}
        axons: dict[int, dict[tuple, int]] = defaultdict(lambda: defaultdict(int))
        members: dict[tuple, set[Neuron]] = defaultdict(set)
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
                stored[core, pre[0], pattern] = words
                sharing = (projection.source, projection.kernel.geometry, core_of[projection.source][pre])
                members[core, sharing, pre[1:], alike[projection.source][pre[0]]].add(pre)
            for (core, *_), words in stored.items():
                used["synaptic_words"][core] += words
        for core, own in axons.items():
            used["words_per_axon"][core] = max(own.values())
        for (receiver, (_, _, sender), *_), group in members.items():
            sizes = [min(most, len(group) - i) for i in range(0, len(group), most)]
            used["input_axons"][receiver] += len(sizes)
            used["output_axons"][sender] += sum((1 if n == 1 else 2) + crossing for n in sizes)
    return used


def check(network: Network, chip: ChipSpec) -> dict[str, CoreGrid]:
    """Partition a laid-out network and compare with brute force."""
    grids = partition(network, chip)
    cores = sum(grid.size for grid in grids.values())
    expected = brute_force(network, grids, int(cores > chip.cores), chip.core)
    ids = [core for grid in grids.values() for core in grid.core_ids.ravel()]
    assert ids == list(range(cores))
    for grid in grids.values():
        for resource in RESOURCES:
            found = dict(zip(grid.core_ids.ravel(), grid.used[resource].ravel(), strict=True))
            wanted = {core: expected[resource][core] for core in found}
            assert found == wanted, (grid.population, resource, grid.block, grid.shared_lists)
            assert grid.used[resource].max() <= grid.limits[resource]
    return grids


def with_population_axons(chip: ChipSpec, neurons_max: int | None) -> ChipSpec:
    """The chip with groups of so many neurons per axon, or with discrete axons only."""
    axons = chip.core.population_axons
    assert axons is not None
    changed = None if neurons_max is None else cast(PopulationAxons, reduced(axons, neurons_max=neurons_max))
    return chip.model_copy(update={"core": chip.core.model_copy(update={"population_axons": changed})})


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
    atoms=st.sampled_from([None, 2, 512]),
)
@example(
    Kernel(10, np.ones((10, 2, 1, 1)), groups=2), (1, 1), (0, 0), 4, 16383, 8, 2
)  # a block over two groups
@example(
    Kernel(20, np.ones((20, 1, 1, 2)), dilation=(1, 3), upsample=2), (1, 2), (0, 0), 1024, 16383, 8, None
)
def test_a_layer_uses_what_its_synapses_need(
    kernel: Kernel,
    size: tuple[int, int],
    margins: tuple[int, int],
    compartments: int,
    words: int,
    tiles: int,
    atoms: int | None,
) -> None:
    assume(min(kernel.out_size(*size)) >= 1)
    chip = small_loihi({"compartments": compartments, "synaptic_words": words}, {"tiles_x": tiles})
    chip = with_population_axons(chip, atoms)
    check(one_layer(kernel, size, None, *margins), chip)


@settings(max_examples=15)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
    compartments=st.sampled_from([20, 50, 1024]),
    atoms=st.sampled_from([None, 3, 512]),
)
@example(("conv", "residual"), 3, 20, 512)
@example(("grouped", "cat", "grouped"), 5, 50, 512)
@example(("residual", "shortcut"), 0, 20, 3)  # an identity and a dense path of one name, from one source
def test_a_network_uses_what_its_synapses_need(
    blocks: tuple[str, ...], seed: int, compartments: int, atoms: int | None
) -> None:
    chip = with_population_axons(small_loihi({"compartments": compartments}), atoms)
    check(expand(random_network(blocks, seed)), chip)


def test_channels_of_a_position_share_axons() -> None:
    """36 positions of 2 channels, one core: 36 population axons of 2 output entries, or 72 discrete ones."""
    network = one_layer(Kernel(4, np.ones((4, 2, 3, 3)), padding=(1, 1)), (6, 6))
    shared = check(network, small_loihi())
    alone = check(network, with_population_axons(small_loihi(), None))
    assert shared["a"].used["output_axons"].tolist() == alone["a"].used["output_axons"].tolist() == [[[72]]]
    assert shared["b"].used["input_axons"].tolist() == [[[36]]]
    assert alone["b"].used["input_axons"].tolist() == [[[72]]]
    assert shared["b"].used["synaptic_words"].item() == alone["b"].used["synaptic_words"].item()
    assert shared["b"].shared_lists and alone["b"].shared_lists


def test_channels_with_other_targets_have_axons_of_their_own() -> None:
    """A depthwise consumer beside a dense one: no two channels reach the same cores."""
    kernels = {"dense": Kernel(4, np.ones((4, 4, 1, 1))), "depthwise": Kernel(4)}
    for names in (["dense"], ["dense", "depthwise"]):
        network = join(
            [Population("a", "neuron", (4, 2, 2), NeuronModel())]
            + [Population(name, "neuron", (4, 2, 2), NeuronModel()) for name in names],
            [Projection(name, "a", name, kernels[name], (0, 4)) for name in names],
        )
        axons = check(network, small_loihi())["dense"].used["input_axons"]
        assert axons.tolist() == [[[4 if names == ["dense"] else 16]]]


def test_a_source_is_cut_no_finer_than_its_consumers_have_axons() -> None:
    """12 channels per position on cores of 8: three or two axons for each of 4 positions."""
    network = one_layer(Kernel(2, np.ones((2, 12, 2, 2))), (2, 2))
    chip = small_loihi({"compartments": 8})
    free = check(network, chip)
    assert (free["a"].block, free["b"].used["input_axons"].item()) == ((2, 1, 4), 12)
    tight = check(network, chip.model_copy(update={"core": reduced(chip.core, input_axons=8)}))
    assert (tight["a"].block, tight["b"].used["input_axons"].item()) == ((1, 1, 6), 8)


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
    np.testing.assert_array_equal(2 * two.used["output_axons"], 3 * one.used["output_axons"])


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
        "n64: spikes wait 63 ticks, the limit is 62; relay neurons are needed (see "
        "nsim.hw_models.mapping.retime)"
    )


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (
            {"input_axons": 17},
            "b: one neuron alone needs 18 input axons, a core has 17; "
            "use a chip with larger cores or a model with less fan-in"
            ", or --policy host if streams were expanded",
        ),
        (
            {"output_axons": 26},
            "a: one neuron alone needs 27 output axons, a core has 26; "
            "use a chip with larger cores or a model with less fan-out"
            ", or --policy host if streams were expanded",
        ),
        (
            {"synaptic_words": 17},
            "b: one neuron alone needs 18 synaptic words, a core has 17; "
            "use a chip with larger cores or a model with less fan-in"
            ", or --policy host if streams were expanded",
        ),
        (
            {"weight_bits": 2580, "max_words_per_axon": 40},
            "b: one neuron alone needs 41 words per axon, a core has 40; "
            "use a chip with larger cores or a model with less fan-in"
            ", or --policy host if streams were expanded",
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
        "use a chip with larger cores or a model with less fan-in"
        ", or --policy host if streams were expanded"
    )
