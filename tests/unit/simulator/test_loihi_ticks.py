"""Integers as a run on Loihi plays them, against the chip's own tick: registers, activated weights, state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsim.errors import RunError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.frontends.quantize import quantize
from nsim.frontends.synapses import list_synapses
from nsim.hw_models.catalog import load_any_chip, load_chip
from nsim.hw_models.cores.loihi_arithmetic import (
    Compartment,
    activated_weights,
    bias_value,
    play_compartments,
    threshold_value,
)
from nsim.hw_models.mapping.expand import expand
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.simulator.integers import IntegerArithmetic, arithmetic_of
from nsim.simulator.neuron_kernels import integer_threshold
from tests.networks import BLOCKS, random_network

LOIHI = load_chip("loihi")
WIDTHS = LOIHI.arithmetic
assert WIDTHS is not None
ARITHMETIC = arithmetic_of(LOIHI)
FULL = 4096
"""Decay of the current: nothing is left of it in the next tick."""


def on_registers(integers: np.ndarray, shift: int, bits: int) -> np.ndarray:
    """What integer weights come to from mantissas of so many bits and the exponent that goes with them."""
    mantissas = integers.astype(np.int64) << (9 - bits)
    return activated_weights(mantissas, bits - 9 + shift, bits, "mixed", WIDTHS)


def play_on_chip(network: Network, call: Call, name: str, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Spikes and last potentials of a population by the chip's tick, fed the spikes that ``call`` had."""
    population, steps = network.population_by_name[name], network.time_steps
    assert population.neuron is not None and population.unit is not None
    arriving = np.zeros((steps, population.size), np.int64)
    for p in network.incoming(name):
        if p.shift is None:
            continue
        sources, targets, weights = list_synapses(network, p)
        activated = on_registers(weights, p.shift, bits)
        fired = call.spikes[p.source][:, 0].reshape(steps, -1)
        for t in range(steps):
            np.add.at(arriving[t], targets, activated * fired[t, sources])
    assert population.bias is not None
    bias = np.repeat(
        [bias_value(int(b), WIDTHS.weight_shift.value, WIDTHS) for b in population.bias],
        population.size // population.shape[0],
    )
    tau = population.neuron.tau
    group = Compartment(
        decay_u=FULL,
        decay_v=0 if tau is None else FULL - round(FULL * (1 - 1 / tau)),
        threshold=threshold_value(integer_threshold(population.neuron, population.unit) - 1, WIDTHS),
    )
    spikes, _, v = play_compartments(arriving, bias, group)
    return spikes.reshape(steps, *population.shape), v[-1].reshape(population.shape)


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 10_000),
    bits=st.sampled_from([3, 5, 8]),
    tau=st.sampled_from([None, 2.0, 3.0]),
)
def test_every_layer_equals_the_chips_ticks(
    blocks: tuple[str, ...], seed: int, bits: int, tau: float | None
) -> None:
    real = expand(random_network(blocks, seed, (3, 4)))
    neuron = NeuronModel(tau=tau, decay_input=False)
    populations = [p if p.neuron is None else replace(p, neuron=neuron) for p in real.populations]
    network = quantize(replace(real, populations=tuple(populations)), bits)
    x = np.random.default_rng(seed).normal(0.4, 0.6, (1, *network.population_by_name["x"].shape))
    call = Engine(network, "int", 1, ARITHMETIC).call(x, np.zeros(1, int))
    for population in network.neurons:
        if population.name == "n0":  # the image's values are written to it; no spikes come in
            continue
        spikes, potentials = play_on_chip(network, call, population.name, bits)
        np.testing.assert_array_equal(call.spikes[population.name][:, 0], spikes, population.name)
        np.testing.assert_array_equal(call.potentials[population.name][0], potentials, population.name)


@given(
    current=st.lists(st.integers(-131071, 131071), min_size=1, max_size=12), threshold=st.integers(1, 131071)
)
def test_potentials_saturate_where_the_chips_do(current: list[int], threshold: int) -> None:
    """Currents up to the most that does not wrap."""
    steps = len(current)
    neuron = Population("n", "neuron", (1, 1, 1), NeuronModel(float(threshold)), np.zeros(1, int), unit=1.0)
    populations = (Population("x", "source", (1, 1, 1)), neuron)
    encode = Projection("encode", "x", "n", Kernel(1), (0, 1))
    network = Network("saturating", steps, "x", None, "x", populations, (encode,), (), ())
    x = np.array(current, np.float32).reshape(steps, 1, 1, 1, 1)
    call = Engine(network, "int", 1, ARITHMETIC).call(x)
    group = Compartment(FULL, 0, threshold_value(threshold - 1, WIDTHS))
    spikes, _, v = play_compartments(64 * np.array(current)[:, None], np.zeros(1, int), group)
    np.testing.assert_array_equal(call.spikes["n"].ravel(), spikes.ravel())
    assert call.potentials["n"].item() == v[-1, 0]


def test_a_current_that_would_wrap_is_refused() -> None:
    populations = (
        Population("x", "source", (1, 1, 1)),
        Population("n", "neuron", (1, 1, 1), NeuronModel(), np.zeros(1, int), unit=1.0),
    )
    encode = Projection("encode", "x", "n", Kernel(1), (0, 1))
    network = Network("wrapping", 1, "x", None, "x", populations, (encode,), (), ())
    engine = Engine(network, "int", 1, ARITHMETIC)
    engine.call(np.full((1, 1, 1, 1), 131_071.0))
    with pytest.raises(RunError) as error:
        engine.call(np.full((1, 1, 1, 1), -131_072.0))
    assert str(error.value) == (
        "n: a current of 131,072 units; beyond 131,071 the chip's would wrap. Quantise with fewer weight bits"
    )


def test_widths_are_the_chip_files() -> None:
    assert ARITHMETIC == IntegerArithmetic(24, 12, unit_bits=6, current_bits=24)
    assert arithmetic_of(load_any_chip("truenorth")) == IntegerArithmetic(potential_bits=20)
    assert arithmetic_of(load_any_chip("loihi2")) == IntegerArithmetic()
