"""Quantising: what becomes of weights, units and biases, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nsim.errors import QuantizeError
from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.frontends.quantize import dequantize, quantize
from nsim.simulator.engine import Engine
from tests.networks import BLOCKS, join, one_layer, random_network


@pytest.fixture(scope="module", params=range(3))
def network(request: pytest.FixtureRequest) -> Network:
    return random_network(BLOCKS, request.param)


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_integers_times_steps_are_the_weights_to_half_a_step(network: Network, bits: int) -> None:
    quantised = quantize(network, bits)
    real = dequantize(quantised)
    seen = 0
    for before, whole, after in zip(
        network.projections, quantised.projections, real.projections, strict=True
    ):
        if before.kernel.is_identity:
            continue
        seen += 1
        assert np.abs(whole.kernel.array).max() <= 2 ** (bits - 1) - 1
        assert whole.scale is None and whole.bias is None
        scale = 1.0 if before.scale is None else before.scale[:, None, None, None]
        wanted = before.kernel.array * scale
        step = np.abs(wanted).max() / (2 ** (bits - 1) - 1)
        step = 2.0 ** np.ceil(np.log2(step))
        assert np.abs(after.kernel.array - wanted).max() <= step / 2 * (1 + 1e-12)
        assert np.abs(whole.kernel.array).max() > 2 ** (bits - 2) - 1  # no bit is wasted
    assert seen >= 8


def test_units_are_powers_of_two_shared_along_a_stream(network: Network) -> None:
    quantised = quantize(network)
    units = {p.name: p.unit for p in quantised.populations}
    assert units.pop("x") is None
    assert all(unit is not None and np.log2(unit) == round(np.log2(unit)) for unit in units.values())
    kinds = network.population_by_name
    passed_on = [
        p
        for p in network.projections
        if kinds[p.source].kind == "analog" and p.kernel.is_identity and kinds[p.target].input_factor == 1
    ]
    assert passed_on
    assert all(units[p.source] == units[p.target] for p in passed_on)


def test_more_bits_come_closer_to_the_real_network(network: Network) -> None:
    x = np.random.default_rng(0).normal(0.4, 0.5, (4, *network.population_by_name["x"].shape))
    t = np.zeros(4, int)
    real = Engine(network, "float64").call(x, t).spikes
    agree = []
    for bits in (3, 6, 16):
        found = Engine(quantize(network, bits), "int").call(x, t).spikes
        agree.append(np.mean([np.mean(found[name] == real[name]) for name in real]))
    assert agree[0] < agree[1] < agree[2]
    assert agree[2] > 0.995


def test_a_leak_that_is_no_power_of_two_goes_into_the_weights() -> None:
    """LIF with tau 3 that decays its input: an identity becomes a weight of 1/3, the bias a third."""
    lif = NeuronModel(tau=3.0)
    network = join(
        [
            Population("a", "neuron", (4, 2, 2), NeuronModel()),
            Population("b", "neuron", (4, 2, 2), lif, np.array([0.0, 0.3, 0.6, 0.9])),
        ],
        [Projection("k", "a", "b", Kernel(4), (0, 4))],
    )
    quantised = quantize(network, 16)
    b = quantised.population_by_name["b"]
    assert b.bias is not None and b.unit is not None
    np.testing.assert_allclose(b.bias * b.unit, [0.0, 0.1, 0.2, 0.3], atol=b.unit / 2)
    (k,) = (p for p in quantised.projections if p.name == "k")
    assert k.kernel.groups == 4 and k.shift == 0
    np.testing.assert_allclose(k.kernel.array * b.unit, 1 / 3, atol=b.unit / 2)
    x = np.random.default_rng(0).normal(0.5, 0.5, (3, 4, 2, 2))
    real = Engine(network, "float64").call(x, np.zeros(3, int)).spikes["b"]
    np.testing.assert_array_equal(Engine(quantised, "int").call(x, np.zeros(3, int)).spikes["b"], real)


def test_silent_weights_stay_silent() -> None:
    network = quantize(one_layer(Kernel(3, np.zeros((3, 2, 1, 1))), (2, 2)))
    assert not network.projections[-1].kernel.array.any()


@pytest.mark.parametrize("bits", [1, 17])
def test_refuses_weight_bits_out_of_range(bits: int) -> None:
    with pytest.raises(QuantizeError) as error:
        quantize(one_layer(Kernel(2), (2, 2)), bits)
    assert str(error.value) == f"weights of {bits} bits; 2 to 16 can be had"


def test_refuses_a_network_quantised_before() -> None:
    network = replace(quantize(one_layer(Kernel(2), (2, 2))), name="mine")
    with pytest.raises(QuantizeError, match=r"^mine is quantised already$"):
        quantize(network)


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_weights_into_a_population_can_share_the_step_of_least_error(bits: int) -> None:
    rng = np.random.default_rng(bits)
    shapes = {"a": 3, "b": 5, "c": 4}
    populations = [Population(n, "neuron", (c, 4, 4), NeuronModel()) for n, c in shapes.items()]
    links = [("a", "b", 0.3), ("a", "c", 1.0), ("b", "c", 0.1)]
    projections = [
        Projection(
            s + t,
            s,
            t,
            Kernel(shapes[t], size * rng.normal(size=(shapes[t], shapes[s], 1, 1))),
            (0, shapes[t]),
        )
        for s, t, size in links
    ]
    real = join(populations, projections)
    shared = quantize(real, bits, one_step_per_target=True)
    largest = 2 ** (bits - 1) - 1
    for target in "bc":
        unit = shared.population_by_name[target].unit
        into = [
            (p, q) for p, q in zip(real.projections, shared.projections, strict=True) if p.target == target
        ]
        assert {q.shift for _, q in into} == {0}
        weights = np.concatenate([p.kernel.array.ravel() for p, _ in into])
        integers = np.concatenate([q.kernel.array.ravel() for _, q in into])
        assert np.abs(integers).max() <= largest
        errors = {
            step: np.square(np.clip(np.rint(weights / step), -largest, largest) * step - weights).sum()
            for step in 2.0 ** np.arange(-12, 5)
        }
        assert unit == min(errors, key=errors.__getitem__)
        assert np.square(integers * unit - weights).sum() == pytest.approx(errors[unit])
