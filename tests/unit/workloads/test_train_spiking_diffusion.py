"""Training of Spiking-Diffusion: losses against their formulas, a bundle of another image size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import nsim
from nsim.simulator.engine import Engine
from nsim.workloads.random_weights import random_spiking_diffusion
from nsim.workloads.spiking_diffusion import SDID, Decoder, NearestCode, SpikingDiffusionConfig
from nsim.workloads.train_spiking_diffusion import (
    TokenTraining,
    code_index,
    order_codes,
    post_synaptic,
    sdid_loss,
    tokens_of,
    train_spiking_diffusion,
    vae_loss,
)

TINY = SpikingDiffusionConfig(
    image_size=8, code_count=6, code_width=4, vae_widths=(4, 8), sdid_widths=(4, 8, 8, 8, 4), time_steps=3
)
TRAINING = TokenTraining(iterations=6, vae_part=0.5, batch_size=4, save_every=2)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (10, 1, 8, 8)).astype(np.float32)


def ignore(iteration: int, loss: float) -> None:
    """Report to nobody."""


def test_a_bundle_is_both_trained_networks_at_their_size(tmp_path: Path) -> None:
    out = tmp_path / "tiny.pt"
    sdid, vae = train_spiking_diffusion(out, IMAGES, TINY, TRAINING, ignore)
    model = nsim.load(out)
    assert (model.workload, model.sampler, model.codes) == ("spiking-diffusion", "absorbing:4@1", 6)
    assert model.weights == "scikit-learn digits, 6 iterations, seed 0"
    assert (model.network.time_steps, model.network.population_by_name["x"].shape) == (3, (1, 2, 2))
    tokens = torch.tensor([[[[0, 5], [2, 3]]]])
    with torch.no_grad():
        image = Decoder(vae).double()(tokens).numpy()
        logits = sdid.double()(tokens.double(), torch.tensor([3])).numpy()
    assert model.decoder is not None and image.shape == (1, 1, 8, 8)
    found = Engine(model.decoder, "float64").call(tokens.numpy())
    np.testing.assert_allclose(found.eps, image, rtol=1e-9, atol=1e-12)
    found = nsim.simulate(model, tokens, torch.tensor([3]))
    np.testing.assert_allclose(found.eps, logits, rtol=1e-9, atol=1e-12)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.pt", tmp_path / "broken.pt"
    train_spiking_diffusion(whole, IMAGES, TINY, TRAINING, ignore)

    def interrupt(iteration: int, loss: float) -> None:
        if iteration == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_spiking_diffusion(broken, IMAGES, TINY, TRAINING, interrupt)
    resumed: list[int] = []
    train_spiking_diffusion(broken, IMAGES, TINY, TRAINING, lambda i, loss: resumed.append(i))
    assert resumed == [4, 5]
    expected, found = (torch.load(path, weights_only=True) for path in (whole, broken))
    for part in ("vq_svae", "sdid"):
        for key, value in expected[part].items():
            assert torch.equal(found[part][key], value), key


def test_each_network_has_its_own_cosine() -> None:
    config = TokenTraining(iterations=100, vae_part=0.75, learning_rate=1.0)
    assert config.vae_iterations == 75
    assert [config.rate(i) for i in (0, 75)] == [1.0, 1.0]
    assert config.rate(74) < 0.01 and config.rate(99) < 0.01


def test_the_post_synaptic_potential_is_the_papers_recursion() -> None:
    spikes = torch.randint(0, 2, (5, 2, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    v, found = torch.zeros_like(spikes[0]), post_synaptic(spikes)
    for step, s in enumerate(spikes):
        v = v + (s - v) / 2.0
        torch.testing.assert_close(found[step], v)


def test_codes_are_the_encoders() -> None:
    _, vae = random_spiking_diffusion(TINY, 0)
    features = torch.rand(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = NearestCode(vae.vq_layer.embeddings)(features)[:, 0].long()
    assert torch.equal(code_index(vae, features), expected)


def test_codes_in_order_are_the_same_codes() -> None:
    _, vae = random_spiking_diffusion(TINY, 0)
    images = torch.from_numpy(IMAGES) / 2.0
    before, tokens = vae.vq_layer.embeddings.weight.detach().clone(), tokens_of(vae, images)
    order_codes(vae)
    after, again = vae.vq_layer.embeddings.weight, tokens_of(vae, images)
    assert torch.equal(before[tokens], after[again])
    along = np.linalg.svd((before - before.mean(0)).numpy(), full_matrices=False)[2][0]
    steps = np.diff(after.detach().numpy() @ along)
    assert (steps > 0).all() or (steps < 0).all()


def test_tokens_are_indices_of_codes() -> None:
    _, vae = random_spiking_diffusion(TINY, 0)
    tokens = tokens_of(vae, torch.from_numpy(IMAGES) / 2.0)
    assert tokens.shape == (10, 1, 2, 2) and 0 <= tokens.min() <= tokens.max() < 6


def test_the_losses_reach_every_weight() -> None:
    sdid, vae = random_spiking_diffusion(TINY, 0)
    vae_loss(vae.train(), torch.from_numpy(IMAGES) / 2.0, 0.1).backward()
    tokens = torch.randint(0, 6, (10, 1, 2, 2))
    sdid_loss(sdid.train(), tokens, torch.Generator().manual_seed(0)).backward()
    for module in (vae, sdid):
        missed = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
        assert missed == []


def test_sdid_is_asked_for_masked_tokens_only() -> None:
    """One that gives every code the same logit is off by ln K at each, weighted by 1 - (t - 1) / T_d."""
    sdid = SDID(TINY)
    torch.nn.init.zeros_(sdid.conv6[0].weight)
    torch.nn.init.zeros_(sdid.conv6[0].bias)
    tokens = torch.randint(0, 6, (64, 1, 2, 2))
    found = sdid_loss(sdid, tokens, torch.Generator().manual_seed(1)).item()
    generator = torch.Generator().manual_seed(1)
    t = torch.randint(1, 5, (64,), generator=generator)
    masked = torch.rand(tokens.shape, generator=generator) < (t / 4).view(-1, 1, 1, 1)
    weight = (1 - (t - 1) / 4).view(-1, 1, 1, 1).expand_as(masked)
    assert found == pytest.approx(math.log(6) * float(weight[masked].sum() / masked.sum()), rel=1e-5)
