"""Lowering and engine against outputs and spikes computed with SDDPM's authors' own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.hw_models.mapping.expand import expand
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "reference" / "sddpm_small"
NAME = "sddpm_ch32_12_img16_T4_s0"
CONFIG = SDDPMConfig(1, image_size=16, channels=32, channel_multipliers=(1, 2), blocks_per_level=1)

pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="the reference vectors of the small SDDPM are not on this machine"
)


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    with np.load(VECTORS / f"{NAME}.npz") as reference:
        return dict(reference)


@pytest.fixture(scope="module")
def network() -> Network:
    module = SpikingUNet(CONFIG)
    module.load_state_dict(torch.load(VECTORS / f"{NAME}.pt", weights_only=True)["net_model"])
    return lower(module, (1, 16, 16), CONFIG.time_steps, NAME)


@pytest.fixture(scope="module")
def call(network: Network, vectors: dict[str, np.ndarray]) -> Call:
    return Engine(network, "float64", threads=1).call(vectors["x"], vectors["t"], keep_currents=True)


def reference_spikes(vectors: dict[str, np.ndarray], name: str) -> np.ndarray:
    key = name.replace(".", "/")
    shape = tuple(vectors[f"shape/{key}"])
    return np.unpackbits(vectors[f"spikes/{key}"], count=np.prod(shape)).reshape(shape).astype(bool)


def assert_is_the_authors(call: Call, vectors: dict[str, np.ndarray]) -> None:
    assert list(call.spikes) == vectors["neuron_order"].tolist()
    assert len(call.spikes) == 19
    for name, found in call.spikes.items():
        key = name.replace(".", "/")
        np.testing.assert_array_equal(found, reference_spikes(vectors, name), err_msg=name)
        np.testing.assert_array_equal(found.sum((2, 3, 4)), vectors[f"count/{key}"], err_msg=name)
        np.testing.assert_allclose(
            call.potentials[name], vectors[f"v/{key}"], rtol=1e-9, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(call.eps, vectors["y64"], rtol=1e-9)


def test_float64_call(call: Call, vectors: dict[str, np.ndarray]) -> None:
    assert_is_the_authors(call, vectors)


def test_expanded_float64_call(network: Network, vectors: dict[str, np.ndarray]) -> None:
    expanded = expand(network)
    assert [p.name for p in expanded.populations if p.kind == "analog"] == ["upblocks.4"]
    assert_is_the_authors(Engine(expanded, "float64", threads=1).call(vectors["x"], vectors["t"]), vectors)


def test_float32_differs_only_where_a_potential_is_at_the_threshold(
    network: Network, call: Call, vectors: dict[str, np.ndarray]
) -> None:
    """Float32 potentials are good to 1e-5; a layer is compared while those before it had the same spikes."""
    single = Engine(network, "float32", threads=1).call(vectors["x"], vectors["t"], keep_currents=True)
    compared = 0
    for name, expected in call.spikes.items():
        np.testing.assert_allclose(
            single.currents[name], call.currents[name], rtol=0, atol=1e-5, err_msg=name
        )
        v, at_threshold = np.zeros(expected.shape[1:]), np.zeros(expected.shape, bool)
        for step, current in enumerate(call.currents[name]):
            u = v + current
            at_threshold[step] = at_threshold[step - 1] | (np.abs(u - 1) < 1e-5)
            v = np.where(u >= 1, 0, u)
        different = single.spikes[name] != expected
        assert not (different & ~at_threshold).any(), name
        compared += 1
        if different.any():
            break
    assert compared >= 3
    if compared == len(call.spikes):
        np.testing.assert_allclose(single.eps, vectors["y32"], rtol=0, atol=2e-5)
