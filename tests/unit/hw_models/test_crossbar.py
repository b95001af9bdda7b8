"""Layers on crossbars: axons, parts, sums and splitters against every single synapse; times; refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nsim
from nsim.errors import MappingError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.frontends.quantize import quantize
from nsim.hw_models.catalog import load_any_chip
from nsim.hw_models.cores.truenorth import levels_of, splitting
from nsim.hw_models.mapping.axons import axon_channels
from nsim.hw_models.mapping.crossbar import CrossbarCut, partition_crossbar
from nsim.hw_models.mapping.crossbar_layer import HeardLayer
from nsim.hw_models.mapping.crossbar_ways import Beside, Times
from nsim.hw_models.mapping.crossbar_work import crossbar_work
from nsim.hw_models.mapping.expand import expand
from nsim.hw_models.mapping.grid import CoreGrid
from nsim.hw_models.mapping.layout import CrossbarLayout, cut_into_cores
from nsim.hw_models.spec import CrossbarChip
from tests.networks import BLOCKS, join, model_of, one_layer, random_network, reduced, synapses

CHIP = load_any_chip("truenorth")
assert isinstance(CHIP, CrossbarChip)


def small_chip(**core: int) -> CrossbarChip:
    return CHIP.model_copy(update={"core": reduced(CHIP.core, **core)})


def hard_reset(network: Network) -> Network:
    populations = (p if p.neuron is None else replace(p, neuron=NeuronModel()) for p in network.populations)
    return replace(network, populations=tuple(populations))


def heard(layer: HeardLayer) -> list[Counter]:
    """For each of a layer's groups of projections, (source neuron, target neuron) to what a spike adds."""
    found = []
    for group in layer.groups:
        weights: Counter = Counter()
        for p in group:
            kernel, first = p.kernel, p.target_channels[0]
            each = kernel.c_in // (kernel.channels if kernel.is_identity else kernel.groups)
            for (pre, post), taps in synapses(p, layer.source(p), layer.population.shape).items():
                for ky, kx in taps:
                    weight = int(kernel.array[post[0] - first, pre[0] % each, ky, kx])
                    weights[pre, post] += int(np.floor(weight * 2.0 ** (p.shift or 0) + 0.5))
        found.append(weights)
    return found


def part_sums(layer: HeardLayer, grid: CoreGrid) -> tuple[dict, np.ndarray]:
    """By single synapses: (sum, squares, above, below) of each neuron [parts, 4]; axons of each core."""
    sums: dict = {}
    used = np.zeros_like(grid.used["axons"])
    for at in np.ndindex(grid.shape):
        cuts = grid.channels[at[2]], grid.rows[at[0]], grid.columns[at[1]]
        own = [*product(*(range(*cut) for cut in cuts))]
        sums |= {post: np.zeros((len(grid.parts), 4), np.int64) for post in own}
        for g, weights in enumerate(heard(layer)):
            reached = np.flatnonzero(axon_channels(layer.groups[g], cuts[0])).tolist()
            on_axons = set()
            for (pre, post), weight in weights.items():
                if post in own:
                    rank = reached.index(pre[0])
                    (k,) = (
                        k for k, part in enumerate(grid.parts) if part and part[g][0] <= rank < part[g][1]
                    )
                    on_axons.add((k, pre))
                    assert sum(layer.levels[i] for i in levels_of(weight, layer.levels)) == weight
                    sums[post][k] += [weight, weight**2, max(weight, 0), max(-weight, 0)]
            for k, _ in on_axons:
                used[(*at, k)] += len(layer.levels)
    return sums, used


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 1000),
    bits=st.sampled_from([2, 4]),
    axons=st.sampled_from([128, 256]),
)
def test_parts_hold_every_synapse_once(blocks: tuple[str, ...], seed: int, bits: int, axons: int) -> None:
    chip = small_chip(axons=axons, neurons=16)
    network = hard_reset(expand(random_network(blocks, seed, (4, 3))))
    try:
        cut = partition_crossbar(network, chip, weight_bits=bits, partial_sums="relay")
    except MappingError as error:  # identities beside small weights
        assert "take axons of" in str(error) or "takes more than" in str(error)
        return
    rounded = quantize(network, bits, one_step_per_target=True)
    for name, grid in cut.grids.items():
        layer, found = HeardLayer(rounded, rounded.population_by_name[name], chip.core), cut.sums[name]
        single, used = part_sums(layer, grid)
        spiking = [k for k, part in enumerate(grid.parts) if part]
        np.testing.assert_array_equal(used[..., spiking], grid.used["axons"][..., spiking])
        assert grid.used["axons"].max() <= axons
        assert grid.used["neurons"].max() <= 16
        kinds: Counter = Counter()
        stacked = np.stack([found.total, found.square, found.above, found.below])
        for i, times in enumerate(found.times):
            kinds[stacked[..., i].T.tobytes()] += int(times)
        assert kinds == Counter(parts.tobytes() for parts in single.values())
        assert cut.gate is not None
        assert found.largest_part <= cut.gate.ticks
        assert found.largest_sum <= cut.gate.height
        full = sum(np.abs(parts[:, 0]).sum() for parts in single.values())
        steady = float(np.abs(found.constant) @ found.times)
        assert found.expected_units(1.0) == pytest.approx(full + steady)
        assert found.expected_units(0.0) == pytest.approx(steady)


def test_units_expected_are_those_of_random_spikes() -> None:
    rng = np.random.default_rng(0)
    network = one_layer(Kernel(6, rng.normal(size=(6, 8, 3, 3)), padding=(1, 1)), (6, 6))
    cut = partition_crossbar(network, CHIP, weight_bits=3, partial_sums="relay")
    rounded = quantize(network, 3, one_step_per_target=True)
    layer, grid = HeardLayer(rounded, rounded.population_by_name["b"], CHIP.core), cut.grids["b"]
    (weights,) = heard(layer)
    dense = np.zeros((8, 6, 6, 6, 6, 6), np.int64)
    for (pre, post), weight in weights.items():
        dense[(*pre, *post)] = weight
    sent = []
    for _ in range(200):
        fired = rng.random((8, 6, 6)) < 0.3
        for part in (part for part in grid.parts if part):
            chosen = slice(*part[0])
            sent.append(np.abs(np.tensordot(fired[chosen], dense[chosen], axes=3)).sum())
    real = sum(sent) / 200
    assert cut.sums["b"].expected_units(0.3) == pytest.approx(real, rel=0.02)


def test_a_layer_that_fits_is_laid_out_whole() -> None:
    """12 channels of 3x3, ternary: 108 inputs over 2 axons each; b's 16 positions on a core each."""
    weight = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (8, 12, 3, 3))
    cut = partition_crossbar(one_layer(Kernel(8, weight), (6, 6)), CHIP, weight_bits=2)
    b = cut.grids["b"]
    assert (b.shape, b.block, b.size) == ((4, 4, 1), (1, 1, 8), 16)
    assert set(b.used["axons"].ravel()) == {216}
    assert cut.gate is None
    assert cut.times == Times(step=1, stride=2, time_steps=3, schedule="pipelined")
    # a's 36 positions reach 1 to 9 blocks each, over 2 axons
    reach = np.outer([1, 2, 3, 3, 2, 1], [1, 2, 3, 3, 2, 1]).ravel()
    wanted = splitting(np.repeat(2 * reach, 12), CHIP.core)
    assert cut.beside == (Beside("a", "splitters", wanted.cores, wanted.neurons),)
    assert cut.messengers == wanted.neurons == 2 * 12 * 144
    work = crossbar_work(cut, 0.5)
    assert work.cells == 0.5 * (16 * np.abs(weight).sum() + wanted.neurons)
    assert work.packets == 0.5 * (12 * 36 + 8 * 16 + wanted.neurons)


def test_what_waits_waits_in_packets_and_then_in_neurons() -> None:
    """Three layers of one neuron behind each other, and the first to all: waits of 0 to 2 layers."""
    names = "abcd"
    populations = [Population(n, "neuron", (1, 1, 1), NeuronModel()) for n in names]
    links = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "c"), ("a", "d")]
    projections = [Projection(f"{s}{t}", s, t, Kernel(1, np.ones((1, 1, 1, 1))), (0, 1)) for s, t in links]
    network = join(populations, projections, time_steps=5)
    cut = partition_crossbar(network, CHIP, weight_bits=2)
    # a reaches three axons or more: a splitter, so two ticks from layer to layer
    assert cut.times == Times(1, 2, 5, "pipelined")
    assert not [b for b in cut.beside if b.task == "waiting"]  # 4 ticks are less than 15
    assert cut.times.ticks(3) == 5 + 3 * 2
    short = partition_crossbar(network, small_chip(max_delay=2), weight_bits=2)
    # to c: 2 layers, 4 ticks, two hops of 2: none waits; to d: 6 ticks, so one more hop
    assert [b.neurons for b in short.beside if b.task == "waiting"] == [1]
    apart = partition_crossbar(network, CHIP, "layerwise", weight_bits=2)
    assert apart.times.ticks(3) == 3 * (2 + 4) + 5
    relay = partition_crossbar(network, CHIP, weight_bits=2, partial_sums="relay")
    assert relay.gate is not None
    assert relay.times.step == relay.times.stride == relay.gate.ticks + 1 + 1
    # by the clock a neuron holds a spike for a time step, but 6 ticks less need none
    assert [b.neurons for b in relay.beside if b.task == "final"] == [1, 1, 1, 1]


def test_a_chain_of_single_neurons_needs_no_splitter() -> None:
    populations = [Population(n, "neuron", (1, 1, 1), NeuronModel()) for n in "abc"]
    projections = [Projection(s + t, s, t, Kernel(1, np.ones((1, 1, 1, 1))), (0, 1)) for s, t in ("ab", "bc")]
    cut = partition_crossbar(join(populations, projections, time_steps=5), CHIP, weight_bits=2)
    assert cut.beside == ()
    assert (cut.times.stride, cut.times.ticks(2), cut.core_count) == (1, 7, 3)


def layer_of(neuron: NeuronModel, c_in: int = 4) -> Network:
    return one_layer(Kernel(2, np.ones((2, c_in, 3, 3))), (5, 5), neuron)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (
            layer_of(NeuronModel()),
            {},
            "hand-built on truenorth: real weights, a crossbar holds integers of at most 9 bits; use "
            "--weight-bits 2 (ternary, 128 inputs for a neuron) to 9 (14 inputs), and --partial-sums relay "
            "for neurons that hear more",
        ),
        (
            layer_of(NeuronModel(), 20),
            {"weight_bits": 2},
            "b: one neuron hears 180 neurons, at most 128 with 2-bit weights (2 of a core's 256 axons each). "
            "1 of 2 layers hear more. Use --partial-sums relay (exact, slow), a model with grouped filters "
            "of so few inputs, or another chip",
        ),
        (
            layer_of(NeuronModel(tau=2.0)),
            {"weight_bits": 2, "partial_sums": "relay"},
            "b: a LIF neuron loses a share of its potential in every time step (tau = 2), a truenorth neuron "
            "a constant: no layout plays it exactly; use a model of IF neurons or another chip",
        ),
        (
            layer_of(NeuronModel(v_reset=None)),
            {"weight_bits": 2, "partial_sums": "relay"},
            "b: a soft reset subtracts the threshold, and with sums in parts the gate with it; use a model "
            "with hard reset or another chip",
        ),
    ],
)
def test_refusals(network: Network, options: dict, message: str) -> None:
    with pytest.raises(MappingError) as error:
        partition_crossbar(network, CHIP, **options)
    assert str(error.value) == message


def test_weights_that_no_axon_holds_are_refused() -> None:
    """An up-sampled spike under four taps of 8 bits; a twin's negative is one more than there is."""
    up = Kernel(2, np.full((2, 1, 3, 3), 127.0), upsample=2, padding=(1, 1))
    with pytest.raises(MappingError) as error:
        partition_crossbar(one_layer(up, (3, 3)), CHIP, weight_bits=8, partial_sums="relay")
    assert str(error.value) == (
        "b: weights of 8 bits take axons of weight 508 and its negative, the most is 255; use fewer "
        "--weight-bits"
    )


def test_a_channel_that_is_too_wide_is_refused() -> None:
    wide = Kernel(2, np.random.default_rng(0).normal(size=(2, 1, 9, 9)), padding=(4, 4))
    with pytest.raises(MappingError) as error:
        partition_crossbar(one_layer(wide, (9, 9)), CHIP, weight_bits=4, partial_sums="relay")
    assert str(error.value) == (
        "b: what one neuron hears of a channel, which is not spread over cores, takes more than the 256 "
        "axons of a core, 4 for each input; use fewer --weight-bits or another chip"
    )


def test_more_synapses_than_cells_are_refused_at_once() -> None:
    """SDDPM for CIFAR-10 would be: weights are not looked at before."""
    network = one_layer(Kernel(4096, np.ones((4096, 512, 3, 3)), padding=(1, 1)), (12, 12))
    with pytest.raises(MappingError) as error:
        partition_crossbar(network, CHIP, weight_bits=2, partial_sums="relay")
    assert str(error.value) == (
        "hand-built on truenorth: sums in parts fill 73,984 crossbars at the very least, the largest system "
        "has 65,536 on 16 chips; use a smaller model or another chip"
    )


def test_the_bundled_model_in_ternary_weights() -> None:
    layout = cut_into_cores(nsim.load("sddpm-digits"), "truenorth", weight_bits=2, partial_sums="relay")
    assert isinstance(layout, CrossbarLayout)
    cut: CrossbarCut = layout.cut
    assert layout.core_count == sum(g.size for g in cut.grids.values()) + sum(b.cores for b in cut.beside)
    assert layout.options == "--weight-bits 2 --partial-sums relay"
    assert cut.gate is not None
    assert cut.times.step == cut.gate.ticks + 2
    assert layout.ticks == (4 + 19) * cut.times.step
    for name, grid in cut.grids.items():
        assert all(grid.used[r].max() <= 256 for r in grid.used), name
    finals = {b.layer: b.neurons for b in cut.beside if b.task == "final"}
    assert finals == {p.name: p.size for p in layout.laid_out.neurons}


def test_sums_in_parts_are_for_crossbars() -> None:
    with pytest.raises(MappingError) as error:
        cut_into_cores(model_of(layer_of(NeuronModel())), "loihi", partial_sums="relay")
    assert str(error.value) == (
        "hand-built on loihi: --partial-sums relay is for crossbars (truenorth, for example); leave it out"
    )
