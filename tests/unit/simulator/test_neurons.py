"""The fast neuron update against plain loops, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.simulator.engine import Engine, Precision
from nsim.simulator.neuron_kernels import integer_threshold, kernel_parameters, update_neurons
from nsim.simulator.reference import update_naive

THRESHOLDS = st.floats(0.1, 2)
RESETS = st.none() | st.floats(-0.5, 0)
SUBTRACT = st.none() | st.floats(0, 2)
MODELS = st.builds(NeuronModel, THRESHOLDS, RESETS, strict=st.booleans(), subtract=SUBTRACT) | st.builds(
    NeuronModel, THRESHOLDS, RESETS, st.floats(1, 20), st.booleans(), st.booleans(), SUBTRACT
)


@given(
    neuron=MODELS,
    precision=st.sampled_from(["float32", "float64"]),
    shape=st.tuples(*(st.integers(1, n) for n in (6, 3, 3, 5))),
    seed=st.integers(0, 1000),
)
def test_update_equals_plain_loops(
    neuron: NeuronModel, precision: Precision, shape: tuple[int, int, int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    current = rng.normal(0.5, 0.8, shape).astype(precision) * rng.integers(0, 2, shape).astype(precision)
    spikes, active = np.full(shape, 7, np.uint8), np.full(shape, 7, np.uint8)
    potential = np.empty(shape[1:], precision)
    parameters = kernel_parameters(neuron, current.dtype)
    for row in range(shape[1]):
        update_neurons(row, row + 1, current, *parameters, spikes, active, potential)
    expected, potentials = update_naive(neuron, current)
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_array_equal(potential, potentials[-1])
    start = np.full((1, *shape[1:]), neuron.v_reset or 0.0, precision)
    before = np.concatenate([start, potentials[:-1]])
    np.testing.assert_array_equal(active, (current != 0) | (before != 0))


@pytest.mark.parametrize(
    "neuron",
    [
        NeuronModel(),
        NeuronModel(0.7, -0.3),
        NeuronModel(0.7, None),
        NeuronModel(0.8, 0.0, 2.0),
        NeuronModel(0.8, -0.2, 3.0),
        NeuronModel(0.8, None, 3.0),
        NeuronModel(0.8, -0.2, 3.0, decay_input=False),
        NeuronModel(0.8, None, 3.0, decay_input=False),
        NeuronModel(0.8, None, 3.0, decay_input=False, strict=True, subtract=1.2),
    ],
    ids=str,
)
def test_engine_plays_every_model(neuron: NeuronModel) -> None:
    """Through a whole call: model parameters reach the kernel, axes come back in the right order."""
    shape, steps = (2, 4, 3), 6
    network = Network(
        name="neurons",
        time_steps=steps,
        image="x",
        diffusion_time="t",
        output="x",
        populations=(Population("x", "source", shape), Population("n", "neuron", shape, neuron)),
        projections=(Projection("p", "x", "n", Kernel(2), (0, 2)),),
        biases=(),
        host_ops=(),
    )
    x = np.random.default_rng(0).uniform(-0.5, 2.0, size=(3, *shape))
    call = Engine(network, "float64", threads=2).call(x, np.zeros(3, int))
    spikes, potentials = update_naive(neuron, np.repeat(x[None], steps, axis=0))
    assert 0.05 < spikes.mean() < 0.95
    np.testing.assert_array_equal(call.spikes["n"], spikes)
    np.testing.assert_array_equal(call.potentials["n"], potentials[-1])
    assert call.spikes["n"].dtype == call.active["n"].dtype == bool
    assert call.currents == {}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_strict_threshold_must_be_passed(precision: str) -> None:
    """At the threshold itself only a neuron that is not strict fires."""
    half = np.array(0.5, precision)
    current = np.stack([half, np.nextafter(half, np.array(1, precision))]).reshape(1, 1, 1, 2)
    for strict, expected in ((False, [True, True]), (True, [False, True])):
        neuron = NeuronModel(0.5, strict=strict)
        spikes, active = np.empty(current.shape, np.uint8), np.empty(current.shape, np.uint8)
        potential = np.empty(current.shape[1:], precision)
        update_neurons(0, 1, current, *kernel_parameters(neuron, current.dtype), spikes, active, potential)
        assert spikes.ravel().astype(bool).tolist() == expected
        assert update_naive(neuron, current)[0].ravel().tolist() == expected
        assert (integer_threshold(neuron, 0.25) == 3) is strict
