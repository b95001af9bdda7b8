"""SDM: the authors' names, lowering of the factors, equality with torch, counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import nsim
from nsim.errors import MappingError, QuantizeError
from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.frontends.quantize import quantize
from nsim.hw_models.catalog import load_chip
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.random_weights import random_unet
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from tests.networks import map_on

SMALL = SDDPMConfig(1, 8, 8, (1, 2), blocks_per_level=1, time_steps=5, temporal=True)


@pytest.fixture(scope="module")
def module() -> SpikingUNet:
    """Random weights, factors from 0.8 to 1.2, calibrated BatchNorm, float64."""
    return random_unet(SMALL, seed=3).double()


@pytest.fixture(scope="module")
def network(module: SpikingUNet) -> Network:
    return lower(module, (1, 8, 8), 5, "sdm")


@pytest.fixture(scope="module")
def inputs() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).normal(size=(2, 1, 8, 8)), np.array([10, 900])


@pytest.fixture(scope="module")
def call(network: Network, inputs: tuple[np.ndarray, np.ndarray]) -> Call:
    return Engine(network, "float64", threads=1).call(*inputs)


def test_keys_are_the_authors() -> None:
    network = SpikingUNet(SDDPMConfig(temporal=True, time_steps=8))
    state = network.state_dict()
    assert len(state) == 522
    assert sum(tensor.numel() for name, tensor in network.named_parameters()) == 66_696_949
    factors = {key: tuple(t.shape) for key, t in state.items() if key.endswith(".tsmp")}
    assert len(factors) == 67 and set(factors.values()) == {(8, 1, 1, 1, 1)}
    assert {"conv.tsmconv.weight", "upblocks.0.shortcut.tsmconv.bias", "tail_conv.tsmp"} <= set(state)


def test_equals_torch(module: SpikingUNet, inputs: tuple[np.ndarray, np.ndarray], call: Call) -> None:
    assert all(spikes.any() for spikes in call.spikes.values())
    spikes = {}
    for name, part in module.named_modules():
        if name in call.spikes:
            part.register_forward_hook(lambda part, i, out, name=name: spikes.update({name: out.numpy()}))
    with torch.no_grad():
        expected = module(*map(torch.from_numpy, inputs)).numpy()
    for name, found in call.spikes.items():
        np.testing.assert_array_equal(found, spikes[name], err_msg=name)
    np.testing.assert_allclose(call.eps, expected, rtol=1e-9, atol=1e-12)


def test_factors_are_on_the_projections_and_counted(network: Network, call: Call) -> None:
    p = next(p for p in network.projections if p.name == "downblocks.0.conv1.tsmconv")
    assert p.step_factor is not None and p.step_factor.shape == (5,)
    counts = call.counts[call.counts["layer"] == p.name].set_index("time_step")
    assert (counts["elementwise"] == 2 * 8 * 8 * 8).all()
    assert (counts["ac"] > 0).all() and (counts["mac"] == 0).all()
    assert not any(op.kind == "scale" and "tsm" in op.name for op in network.host_ops)


def test_the_file_loads(module: SpikingUNet, tmp_path: Path, inputs: tuple, call: Call) -> None:
    file = tmp_path / "SDM_TSM.pt"
    torch.save(
        {"net_model": module.state_dict(), "optim": {}, "step": 1, "x_T": torch.zeros(1, 1, 8, 8)}, file
    )
    model = nsim.load(file)
    assert (model.workload, model.network.time_steps) == ("sdm", 5)
    np.testing.assert_allclose(nsim.simulate(model, *inputs).eps, call.eps, rtol=1e-9, atol=1e-12)


def test_what_cannot_hold_factors_says_so(network: Network) -> None:
    from nsim.hw_models.mapping.expand import expand

    with pytest.raises(MappingError, match=r"conv.tsmconv: its weights have a factor for each time step"):
        expand(network)
    with pytest.raises(QuantizeError, match="weights that change with the time step"):
        quantize(network)


def test_a_plain_net_equals_torch_and_has_no_analog_stream_but_the_readout() -> None:
    config = SDDPMConfig(1, 8, 8, (1, 2), blocks_per_level=1, residual="plain")
    module = random_unet(config, seed=1).double()
    network = lower(module, (1, 8, 8), 4, "plain")
    x, t = np.random.default_rng(0).normal(size=(2, 1, 8, 8)), np.array([10, 900])
    call = Engine(network, "float64", threads=1).call(x, t)
    with torch.no_grad():
        expected = module(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    np.testing.assert_allclose(call.eps, expected, rtol=1e-9, atol=1e-12)
    assert sum(p.kind == "neuron" for p in network.populations) == 20
    mac = call.counts[call.counts["mac"] > 0]["layer"].unique().tolist()
    # the image, the time embedding and the tail; every other convolution sees spikes
    assert {name for name in mac if "temb" not in name and "time_embedding" not in name} == {
        "conv",
        "tail_conv",
        "T_output_layer",
    }
    map_on(network, load_chip("loihi"))
