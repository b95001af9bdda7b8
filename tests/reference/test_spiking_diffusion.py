"""Spiking-Diffusion against outputs and spikes computed with its authors' own code, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nsim.frontends.lower import lower
from nsim.hw_models.mapping.expand import expand
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.spiking import LIFNode
from nsim.workloads.spiking_diffusion import SDID, VQSVAE, Decoder, Encoder, SpikingDiffusionConfig

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "reference" / "spiking_diffusion_small"
CONFIG = SpikingDiffusionConfig()

pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="the reference vectors of Spiking-Diffusion are not on this machine"
)


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    with np.load(VECTORS / "sd_ref.npz") as reference:
        return dict(reference)


def loaded(network: nn.Module, name: str) -> nn.Module:
    network.load_state_dict(torch.load(VECTORS / name, weights_only=True))
    # double() casts the read-out weights too; their float32 rounding, which the authors keep, survives it
    return network.eval().double()


@pytest.fixture(scope="module")
def vae() -> VQSVAE:
    return loaded(VQSVAE(CONFIG), "model.pth")


@pytest.fixture(scope="module")
def sdid() -> SDID:
    return loaded(SDID(CONFIG), "diff_model.pth")


def reference_spikes(vectors: dict[str, np.ndarray], name: str) -> np.ndarray:
    shape = tuple(vectors[f"shape/{name}"])
    return np.unpackbits(vectors[f"spikes/{name}"], count=np.prod(shape)).reshape(shape).astype(bool)


def assert_spikes(vectors: dict[str, np.ndarray], spikes: dict[str, np.ndarray], prefix: str, n: int) -> None:
    assert len(spikes) == n
    for name, found in spikes.items():
        np.testing.assert_array_equal(found, reference_spikes(vectors, f"{prefix}.{name}"), err_msg=name)


def torch_call(network: nn.Module, *inputs: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    spikes: dict[str, np.ndarray] = {}
    for name, module in network.named_modules():
        if isinstance(module, LIFNode):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: spikes.update({name: output.numpy()})
            )
    with torch.no_grad():
        return network(*map(torch.from_numpy, inputs)).numpy(), spikes


def test_torch_modules_equal_the_authors(vae: VQSVAE, sdid: SDID, vectors: dict[str, np.ndarray]) -> None:
    tokens, spikes = torch_call(Encoder(vae), vectors["img"].astype(np.float64))
    assert_spikes(vectors, spikes, "vqsvae", 3)
    np.testing.assert_array_equal(tokens.ravel(), vectors["idx64"])
    image, spikes = torch_call(Decoder(vae), tokens)
    assert_spikes(vectors, spikes, "vqsvae", 3)
    np.testing.assert_allclose(image, vectors["recon64"], rtol=1e-12)
    logits, spikes = torch_call(sdid, vectors["tok"].astype(np.float64), vectors["t"])
    assert_spikes(vectors, spikes, "sdid", 5)
    np.testing.assert_allclose(logits, vectors["logits64"], rtol=1e-9)


def play(network: nn.Module, name: str, x: np.ndarray, t: np.ndarray | None = None) -> list[Call]:
    """The network lowered and played in float64, as traced and as laid out for cores."""
    traced = lower(network, x.shape[1:], CONFIG.time_steps, name)
    laid_out = expand(traced)
    assert all(
        p.name in {i for op in traced.host_ops for i in op.inputs}
        for p in laid_out.populations
        if p.kind == "analog"
    )
    return [Engine(n, "float64", threads=1).call(x, t) for n in (traced, laid_out)]


def test_the_simulator_equals_the_authors(vae: VQSVAE, sdid: SDID, vectors: dict[str, np.ndarray]) -> None:
    for call in play(Encoder(vae), "encoder", vectors["img"]):
        tokens = call.eps
        assert_spikes(vectors, call.spikes, "vqsvae", 3)
        np.testing.assert_array_equal(call.eps.ravel(), vectors["idx64"])
    for call in play(Decoder(vae), "decoder", tokens):
        assert_spikes(vectors, call.spikes, "vqsvae", 3)
        np.testing.assert_allclose(call.eps, vectors["recon64"], rtol=1e-9)
    for call in play(sdid, "sdid", vectors["tok"], vectors["t"]):
        assert_spikes(vectors, call.spikes, "sdid", 5)
        np.testing.assert_allclose(call.eps, vectors["logits64"], rtol=1e-9)
