"""Fine-tuning of an SDM: it begins as the SDDPM it goes on from, and its bundle loads as what was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import nsim
from nsim.errors import ModelFileError
from nsim.workloads.random_weights import random_unet
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.train_sdm import SDM_DIGITS, temporal_state, train_sdm
from nsim.workloads.training import DIGITS_MODEL, TrainConfig, save_checkpoint

TINY = SDDPMConfig(1, 8, 8, (1, 2), blocks_per_level=1, time_steps=3)
TRAINING = TrainConfig(iterations=2, batch_size=4, warmup_iterations=1, save_every=1)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (8, 1, 8, 8)).astype(np.float32)


def ignore(iteration: int, loss: float) -> None:
    """Report to nobody."""


@pytest.fixture
def sddpm(tmp_path: Path) -> Path:
    file = tmp_path / "sddpm.pt"
    save_checkpoint(file, random_unet(TINY, 0).state_dict(), "sddpm", TINY, 5, TRAINING)
    return file


def test_it_begins_as_the_sddpm() -> None:
    config = replace(TINY, temporal=True)
    before = random_unet(TINY, 0)
    after = SpikingUNet(config)
    after.load_state_dict(temporal_state(before.state_dict(), config))
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(after.eval()(x, torch.tensor([3, 800])), before(x, torch.tensor([3, 800])))


def test_the_bundle_is_the_fine_tuned_model(tmp_path: Path, sddpm: Path) -> None:
    out = tmp_path / "sdm.pt"
    module = train_sdm(out, IMAGES, replace(TINY, temporal=True), TRAINING, ignore, sddpm)
    model = nsim.load(out)
    assert (model.workload, model.network.time_steps) == ("sdm", 3)
    assert model.weights == "fine-tuned from sddpm on scikit-learn digits, 2 iterations, seed 0"
    assert not torch.equal(module.conv.tsmp, torch.ones_like(module.conv.tsmp))
    x, t = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double(), torch.tensor([40])
    with torch.no_grad():
        wanted = module.double()(x, t).numpy()
    np.testing.assert_allclose(nsim.simulate(model, x, t).eps, wanted, rtol=1e-9, atol=1e-12)


def test_an_sddpm_of_another_size_is_refused(tmp_path: Path, sddpm: Path) -> None:
    wider = replace(TINY, channels=16, temporal=True)
    with pytest.raises(
        ModelFileError, match=r"sddpm.pt: .* the SDDPM network that this SDM goes on from has"
    ):
        train_sdm(tmp_path / "sdm.pt", IMAGES, wider, TRAINING, ignore, sddpm)


def test_the_bundled_size_is_that_of_the_bundled_sddpm() -> None:
    assert replace(SDM_DIGITS, temporal=False) == DIGITS_MODEL
