"""The neuron dynamics, with Brian2 as the judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.simulator.brian2_reference import check_call, play
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.simulator.neuron_kernels import kernel_parameters, update_neurons
from nsim.simulator.reference import update_naive

THRESHOLDS = st.floats(0.2, 2)
RESETS = st.none() | st.just(0.0) | st.floats(-0.5, 0.1)
SUBTRACT = st.none() | st.floats(0.1, 1)
MODELS = st.builds(NeuronModel, THRESHOLDS, RESETS, strict=st.booleans(), subtract=SUBTRACT) | st.builds(
    NeuronModel,
    THRESHOLDS,
    RESETS,
    st.floats(1.5, 20, exclude_min=True),
    st.booleans(),
    st.booleans(),
    SUBTRACT,
)
STEPS, NEURONS = 12, 300


# no shrinking: every example builds a Brian2 network
@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(neuron=MODELS, seed=st.integers(0, 1000))
def test_brian2_agrees_with_the_loops_and_with_the_fast_kernel(neuron: NeuronModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # input strong enough that every model fires, whatever it leaks
    gain = neuron.v_threshold - (neuron.v_reset or 0.0)
    if neuron.tau is not None and neuron.decay_input:
        gain *= neuron.tau
    currents = rng.normal(0.5 * gain, gain, size=(STEPS, NEURONS))
    spikes, potentials = play(neuron, currents)
    assert 0.05 < spikes.mean() < 0.95

    expected, states = update_naive(neuron, currents)
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_allclose(potentials, states, rtol=1e-9, atol=1e-9)

    fast, active = np.empty((2, STEPS, 1, 1, NEURONS), np.uint8)
    final = np.empty((1, 1, NEURONS))
    model = kernel_parameters(neuron, currents.dtype)
    update_neurons(0, 1, currents[:, None, None, :], *model, fast, active, final)
    np.testing.assert_array_equal(spikes, fast[:, 0, 0])
    np.testing.assert_allclose(potentials[-1], final[0, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("neuron", [NeuronModel(), NeuronModel(1.0, None), NeuronModel(1.0, -0.5)], ids=str)
def test_reaching_the_threshold_is_enough(neuron: NeuronModel) -> None:
    start = neuron.v_reset or 0.0
    currents = np.array([[1.0 - start, 1.0 - start - 2**-40], [0.25, 0.0]])
    spikes, potentials = play(neuron, currents)
    np.testing.assert_array_equal(spikes, [[True, False], [False, False]])
    np.testing.assert_array_equal(potentials, [[start, 1 - 2**-40], [start + 0.25, 1 - 2**-40]])


def layers(*neurons: NeuronModel) -> Network:
    """One layer per neuron model, each fed by the image."""
    shape = (2, 3, 3)
    populations = tuple(Population(f"layer{i}", "neuron", shape, n) for i, n in enumerate(neurons))
    projections = tuple(Projection("p", "x", p.name, Kernel(2), (0, 2)) for p in populations)
    image = Population("x", "source", shape)
    return Network("layers", 5, "x", "t", "x", (image, *populations), projections, (), ())


def test_every_layer_of_a_denoiser_call(tiny_call: Call) -> None:
    table = check_call(tiny_call, per_layer=32)
    assert table["layer"].tolist() == list(tiny_call.spikes)
    assert (table["neuron_model"] == "IF").all() and (table["neurons"] == 32).all()
    assert (table["spikes"] > 0).all()
    assert (table["spike_differences"] == 0).all()
    assert (table["max_potential_error"] < 1e-9).all()


def test_layers_of_several_models_come_back_in_their_order() -> None:
    models = (
        NeuronModel(0.5),
        NeuronModel(0.5, None, 3.0),
        NeuronModel(0.5),
        NeuronModel(0.5, -0.1, 2.0, False),
    )
    x = np.random.default_rng(0).normal(0.5, 0.5, size=(4, 2, 3, 3))
    engine = Engine(layers(*models), "float64", threads=1)
    call = engine.call(x, np.zeros(4, int), keep_currents=True)
    table = check_call(call, per_layer=1000)
    assert table["layer"].tolist() == ["layer0", "layer1", "layer2", "layer3"]
    assert table["neuron_model"].tolist() == ["IF", "LIF", "IF", "LIF"]
    assert table["neurons"].tolist() == [72] * 4
    assert table["spikes"].tolist() == [int(s.sum()) for s in call.spikes.values()]
    assert table["spike_differences"].tolist() == [0] * 4
    assert (table["max_potential_error"] < 1e-9).all()


def test_reports_a_false_spike_and_a_false_potential(tiny_call: Call) -> None:
    name = "middleblocks.0.neuron2"
    size = tiny_call.potentials[name].size
    spikes, potentials = tiny_call.spikes[name].copy(), tiny_call.potentials[name].copy()
    spikes[2, 1, 3, 0, 1] ^= True
    potentials[2, 5, 3, 3] += 0.125
    false = replace(
        tiny_call,
        spikes={**tiny_call.spikes, name: spikes},
        potentials={**tiny_call.potentials, name: potentials},
    )
    table = check_call(false, per_layer=size).set_index("layer")
    wrong = table.loc[name]
    assert (wrong["neurons"], wrong["spike_differences"]) == (size, 1)
    assert wrong["max_potential_error"] == pytest.approx(0.125, abs=1e-9)
    others = table.drop(name)
    assert (others["spike_differences"] == 0).all() and (others["max_potential_error"] < 1e-9).all()


def test_sample_depends_on_the_seed_only(tiny_call: Call) -> None:
    first = check_call(tiny_call, per_layer=8, seed=1)
    assert first.equals(check_call(tiny_call, per_layer=8, seed=1))
    assert not first["spikes"].equals(check_call(tiny_call, per_layer=8, seed=2)["spikes"])


@pytest.mark.parametrize(("precision", "keep"), [("float64", False), ("float32", True)])
def test_needs_a_float64_call_with_its_currents(precision: str, keep: bool) -> None:
    engine = Engine(layers(NeuronModel()), precision, threads=1)  # type: ignore[arg-type]
    call = engine.call(np.zeros((1, 2, 3, 3)), np.zeros(1, int), keep_currents=keep)
    with pytest.raises(ValueError) as error:
        check_call(call)
    assert str(error.value) == (
        "layers: layer 'layer0' has no float64 currents to play in Brian2; "
        'make the call with Engine(network, "float64").call(x, t, keep_currents=True)'
    )
