"""The fast neuron update against plain loops, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.simulator.engine import Engine, Precision
from nsim.simulator.neuron_kernels import IF, LIF, LIF_DECAY_INPUT, update_neurons
from nsim.simulator.reference import update_naive

THRESHOLDS = st.floats(0.1, 2)
RESETS = st.none() | st.floats(-0.5, 0)
MODELS = st.builds(NeuronModel, THRESHOLDS, RESETS) | st.builds(
    NeuronModel, THRESHOLDS, RESETS, st.floats(1, 20), st.booleans()
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
    code = IF if neuron.tau is None else LIF_DECAY_INPUT if neuron.decay_input else LIF
    for row in range(shape[1]):
        update_neurons(
            row,
            row + 1,
            current,
            code,
            neuron.tau or 1.0,
            neuron.v_threshold,
            neuron.v_reset or 0.0,
            neuron.v_reset is None,
            spikes,
            active,
            potential,
        )
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
