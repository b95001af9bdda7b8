"""Training of the lateral selection transformer: a bundle that loads as the model that was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import nsim
from nsim.errors import ModelFileError
from nsim.workloads.lateral import LateralConfig, LateralTransformer
from nsim.workloads.train_lateral import train_lateral
from nsim.workloads.training import TrainConfig

TINY = LateralConfig(
    image_channels=1, image_size=8, width=16, depth=2, heads=2, time_steps=2, mlp_ratio=2, v_threshold=0.3
)
TRAINING = TrainConfig(iterations=4, batch_size=4, warmup_iterations=2, save_every=2)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (8, 1, 8, 8)).astype(np.float32)


def ignore(iteration: int, loss: float) -> None:
    """Report to nobody."""


def trained(folder: Path) -> tuple[Path, LateralTransformer]:
    out = folder / "tiny.pt"
    return out, train_lateral(out, IMAGES, TINY, TRAINING, ignore)


def test_a_bundle_is_the_trained_model(tmp_path: Path) -> None:
    out, module = trained(tmp_path)
    model = nsim.load(out)
    assert (model.name, model.workload, model.sampler) == ("tiny", "lateral", "ddim-unclamped:50")
    assert model.weights == "scikit-learn digits, 4 iterations, seed 0"
    assert model.parameters == sum(p.numel() for p in module.parameters())
    x, t = (
        torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double(),
        torch.tensor([9, 700]),
    )
    with torch.no_grad():
        wanted = module.double()(x, t)
    np.testing.assert_allclose(nsim.simulate(model, x, t).eps, wanted.numpy(), rtol=1e-9, atol=1e-12)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path)

    def interrupt(iteration: int, loss: float) -> None:
        if iteration == 2:
            raise KeyboardInterrupt

    broken = tmp_path / "broken.pt"
    with pytest.raises(KeyboardInterrupt):
        train_lateral(broken, IMAGES, TINY, TRAINING, interrupt)
    train_lateral(broken, IMAGES, TINY, TRAINING, ignore)
    expected, found = (torch.load(path, weights_only=True)["net_model"] for path in (whole, broken))
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_time_steps_are_not_in_the_weights(tmp_path: Path) -> None:
    out, module = trained(tmp_path)
    model = nsim.load(out, time_steps=3)
    assert model.network.time_steps == 3
    longer = LateralTransformer(replace(TINY, time_steps=3)).double().eval()
    longer.load_state_dict(module.state_dict())
    x, t = torch.ones(1, 1, 8, 8).double(), torch.tensor([500])
    with torch.no_grad():
        wanted = longer(x, t)
    np.testing.assert_allclose(nsim.simulate(model, x, t).eps, wanted.numpy(), rtol=1e-9, atol=1e-12)


def test_a_bundle_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    out, _ = trained(tmp_path)
    content = torch.load(out, weights_only=True)
    torch.save({"net_model": content["net_model"]}, out)
    with pytest.raises(ModelFileError) as refused:
        nsim.load(out)
    assert str(refused.value) == (
        f"{out}: a lateral selection transformer whose config.model does not say what it is ('model'); "
        "it takes the fields of nsim.workloads.lateral.LateralConfig"
    )
    content["config"]["model"]["width"] = 32
    torch.save(content, out)
    with pytest.raises(ModelFileError) as refused:
        nsim.load(out)
    assert str(refused.value) == (
        f"{out}: position is 1x16x4x4, a lateral selection transformer of width 32 and depth 2 has 1x32x4x4"
    )
