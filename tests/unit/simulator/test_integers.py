"""The integer mode: exact sums for any weights, threads and batches, a chip's state, equality with torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from nsim.errors import RunError
from nsim.frontends.kernel import Kernel
from nsim.frontends.lower import lower
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.frontends.quantize import dequantize, quantize
from nsim.hw_models.mapping.expand import expand
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.simulator.integers import IntegerArithmetic
from nsim.simulator.reference import project_naive, update_integers_naive
from nsim.workloads.sddpm import over_time
from nsim.workloads.spiking import IFNode, LIFNode

CHANNELS = 70


def integer_network(kernel: Kernel, size: tuple[int, int], source: str, shift: int = 0) -> Network:
    """Image x, in quarters, drives neurons; they, or the stream x + neurons / 2, are projected to a target.

    Units: neurons and stream 1/4, target 1/8.
    """
    shape, channels = (kernel.c_in, *size), (0, kernel.c_in)
    target = (kernel.c_out, *kernel.out_size(*size))
    identity = Kernel(kernel.c_in)
    populations = (
        Population("x", "source", shape),
        Population("neurons", "neuron", shape, NeuronModel(), unit=0.25),
        Population("stream", "analog", shape, unit=0.25),
        Population("target", "neuron", target, NeuronModel(), np.arange(kernel.c_out) % 5 - 2, unit=0.125),
    )
    projections = (
        Projection("encode", "x", "neurons", identity, channels),
        Projection("half", "neurons", "stream", identity, channels, shift=1),
        Projection("direct", "x", "stream", identity, channels),
        Projection("tested", source, "target", kernel, (0, kernel.c_out), shift=shift),
    )
    return Network("integers", 3, "x", "t", "x", populations, projections, (), ())


def play(network: Network, x: np.ndarray, threads: int = 1) -> Call:
    return Engine(network, "int", threads).call(x, np.zeros(len(x), int), keep_currents=True)


def images(kernel: Kernel, size: tuple[int, int], batch: int = 2) -> np.ndarray:
    return np.random.default_rng(batch).integers(-2, 5, (batch, kernel.c_in, *size)) / 4


@settings(max_examples=60)
@given(
    largest=st.sampled_from([1, 127, 128, 255, 511, 32767, 2**20]),
    c_in=st.integers(1, 70) | st.sampled_from([130, 300]),
    c_out=st.integers(1, 140),
    side=st.integers(1, 3),
    source=st.sampled_from(["neurons", "stream"]),
    loud=st.sampled_from([1, 2**14]),  # streams that fit 16 bits, and that do not
    seed=st.integers(0, 100),
)
def test_sums_are_exact(
    largest: int, c_in: int, c_out: int, side: int, source: str, loud: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.choice([-largest, largest], (c_out, c_in, side, side))  # all at the edge of their range
    kernel = Kernel(c_out, weight, padding=(side // 2, side // 2))
    assume(c_in * side**2 * largest * 8 * loud < 2**30)
    network = integer_network(kernel, (4, 3), source)
    x = images(kernel, (4, 3)) * loud
    call = play(network, x)
    values = call.spikes["neurons"].astype(np.float64)
    if source == "stream":
        values = 4 * x[None] + 2 * values
    expected = project_naive(np.moveaxis(values.reshape(-1, *values.shape[2:]), 1, -1), kernel)
    expected += network.population_by_name["target"].bias
    found = call.currents["target"]
    assert found.dtype == np.int32
    np.testing.assert_array_equal(np.moveaxis(found, 2, -1).reshape(expected.shape), expected)


@pytest.mark.parametrize("shift", [-3, -1, 0, 4])
def test_a_shift_multiplies_by_a_power_of_two_and_rounds_halves_up(shift: int) -> None:
    kernel = Kernel(9, np.random.default_rng(0).integers(-9, 10, (9, 5, 1, 1)))
    x = images(kernel, (4, 3))
    plain = play(integer_network(kernel, (4, 3), "stream"), x).currents["target"]
    found = play(integer_network(kernel, (4, 3), "stream", shift), x).currents["target"]
    bias = (np.arange(9) % 5 - 2)[:, None, None]
    np.testing.assert_array_equal(found - bias, np.floor((plain - bias) * 2.0**shift + 0.5))


def test_same_bytes_for_any_number_of_threads_and_any_batch_split() -> None:
    kernel = Kernel(
        CHANNELS, np.random.default_rng(0).integers(-127, 128, (CHANNELS, 300, 3, 3)), padding=(1, 1)
    )
    network, x = integer_network(kernel, (6, 5), "neurons"), images(kernel, (6, 5), 3)
    one = play(network, x)
    assert 0.05 < one.spikes["target"].mean() < 0.95
    for threads in (2, 3):
        more = play(network, x, threads)
        for name in one.spikes:
            assert more.spikes[name].tobytes() == one.spikes[name].tobytes()
            assert more.potentials[name].tobytes() == one.potentials[name].tobytes()
    alone = [play(network, x[i : i + 1]).currents["target"] for i in range(3)]
    np.testing.assert_array_equal(np.concatenate(alone, axis=1), one.currents["target"])


@given(
    seed=st.integers(0, 1000),
    tau=st.sampled_from([None, 2.0, 3.0, 1.5]),
    soft=st.booleans(),
    strict=st.booleans(),
    subtract=st.none() | st.sampled_from([0.5, 1.5]),
    bits=st.sampled_from([6, 8, 24]),
)
def test_state_leaks_saturates_and_resets_as_a_chip_does(
    seed: int, tau: float | None, soft: bool, strict: bool, subtract: float | None, bits: int
) -> None:
    neuron = NeuronModel(1.0, None if soft else 0.0, tau, False, strict, subtract)
    rng = np.random.default_rng(seed)
    population = Population("n", "neuron", (6, 3, 2), neuron, rng.integers(-20, 21, 6), unit=1 / 16)
    identity = Projection("encode", "x", "n", Kernel(6), (0, 6))
    network = Network(
        "n", 8, "x", "t", "x", (Population("x", "source", (6, 3, 2)), population), (identity,), (), ()
    )
    arithmetic = IntegerArithmetic(bits, 12)
    x = rng.integers(-20, 21, (2, 6, 3, 2)) / 16
    call = Engine(network, "int", 1, arithmetic).call(x, np.zeros(2, int), keep_currents=True)
    kept = 4096 if tau is None else round(4096 * (1 - 1 / tau))
    taken = int(16 * (subtract or 1.0)) if soft else None
    spikes, potentials = update_integers_naive(
        call.currents["n"], 17 if strict else 16, taken, kept, 12, 2 ** (bits - 1) - 1
    )
    np.testing.assert_array_equal(call.spikes["n"], spikes)
    np.testing.assert_array_equal(call.potentials["n"], potentials[-1])


class GridNet(nn.Module):
    """Convolutions of every kind between neurons; weights, inputs and 1 / tau on a power-of-two grid."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv2d(2, 8, 3, padding=1)
        self.first = LIFNode(tau=2.0)
        self.strided = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.second = LIFNode(tau=2.0)
        self.grouped = nn.Conv2d(12, 8, 3, padding=2, dilation=2, groups=4)
        self.third = IFNode(v_reset=0.25)
        self.dense = nn.Conv2d(8, 5, 1)
        self.fourth = LIFNode(tau=4.0, decay_input=False, v_reset=None)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.parameters():
                # sixteenths: three bits below the neurons' own, so that a leak of 1 / 4 stays exact for T = 3
                p.copy_(torch.randint(-12, 17, p.shape, generator=generator) / 16)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        h = x.unsqueeze(0).expand(3, -1, -1, -1, -1)
        h = self.first(over_time(self.encode, h))
        h = self.second(over_time(self.strided, h))
        h = self.third(over_time(self.grouped, h))
        h = self.fourth(over_time(self.dense, h))
        return h.sum(dim=0)


def test_integers_and_floats_on_a_power_of_two_grid_have_the_spikes_of_torch() -> None:
    module = GridNet().eval()
    network = lower(module, (2, 8, 6), 3, "grid")
    network = quantize(network, 16)  # room for the leak's fractions below the weights' sixteenths
    x = np.random.default_rng(0).integers(-8, 9, (2, 2, 8, 6)) / 8
    seen: dict[str, np.ndarray] = {}
    for name in ("first", "second", "third", "fourth"):
        getattr(module, name).register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out.numpy().astype(bool))
        )
    with torch.no_grad():
        module(torch.from_numpy(x).float(), torch.zeros(2, dtype=torch.int64))
    t = np.zeros(2, int)
    integer = Engine(network, "int").call(x, t)
    real = dequantize(network)
    for name, expected in seen.items():
        assert 0.02 < expected.mean() < 0.98, name
        np.testing.assert_array_equal(integer.spikes[name], expected, err_msg=name)
        for precision in ("float32", "float64"):
            call = Engine(real, precision).call(x, t)  # type: ignore[arg-type]
            np.testing.assert_array_equal(call.spikes[name], expected, err_msg=name)


def test_a_laid_out_network_has_the_same_spikes_in_integers_and_in_reals(
    tiny_network: Network, tiny_inputs: tuple[np.ndarray, np.ndarray]
) -> None:
    """Nothing but spikes arrives, so nothing is rounded; the host's currents are put on the grid first."""
    network = quantize(expand(tiny_network))
    assert all(p.shift >= 0 for p in network.projections if p.shift is not None)
    x, t = tiny_inputs
    integer = Engine(network, "int").call(x, t, keep_currents=True)
    real = dequantize(network)
    for name in ("downblocks.0.neuron2", "middleblocks.0.neuron2", "upblocks.0.neuron2"):
        population = network.population_by_name[name]
        fed = [p for p in real.projections if p.target == name]
        values = sum(
            project_naive(_channels_last(integer.spikes[p.source].astype(float)), p.kernel) for p in fed
        )
        own = integer.currents[name] * population.unit
        constant = own - np.moveaxis(np.asarray(values), -1, 1).reshape(own.shape)
        # what is left beside the projections is bias and time embedding: one value per image and channel
        np.testing.assert_array_equal(constant, np.broadcast_to(constant[:1, ..., :1, :1], constant.shape))


def _channels_last(spikes: np.ndarray) -> np.ndarray:
    return np.moveaxis(spikes.reshape(-1, *spikes.shape[2:]), 1, -1)


def test_refuses_reals_for_integers_and_integers_for_reals(tiny_network: Network) -> None:
    with pytest.raises(RunError) as error:
        Engine(tiny_network, "int")
    assert str(error.value) == (
        "tiny: not quantised, so not to be played in int; "
        "quantize() makes integers of real weights, for precision 'int' only"
    )
    with pytest.raises(RunError, match=r"^tiny: quantised, so not to be played in float32; "):
        Engine(quantize(tiny_network))


def test_refuses_currents_beyond_32_bits() -> None:
    kernel = Kernel(1, np.full((1, 2000, 1, 1), 2**20))
    network = integer_network(kernel, (1, 1), "neurons")
    with pytest.raises(RunError) as error:
        play(network, images(kernel, (1, 1)))
    assert str(error.value) == (
        "target: currents could reach 2.1e+09 units, more than the 1,073,741,824 that a sum may hold; "
        "quantise with fewer weight bits"
    )
