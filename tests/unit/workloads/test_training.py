"""Training makes the authors' file format, and a resumed run is the uninterrupted one, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nsim.errors import TrainError
from nsim.workloads.samplers import parse_sampler
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.training import TrainConfig, learning_rate, train

TINY = SDDPMConfig(
    image_channels=1, image_size=8, channels=8, channel_multipliers=(1,), blocks_per_level=1, time_steps=2
)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (8, 1, 8, 8)).astype(np.float32)


def config(iterations: int) -> TrainConfig:
    return TrainConfig(iterations=iterations, batch_size=4, warmup_iterations=2, save_every=2)


def ignore(iteration: int, loss: float) -> None:
    """Report to nobody."""


def test_a_short_run_leaves_a_checkpoint_that_loads_safely(tmp_path: Path) -> None:
    out = tmp_path / "tiny.pt"
    losses: list[tuple[int, float]] = []
    model = train(out, IMAGES, TINY, config(3), lambda i, loss: losses.append((i, loss)))
    assert [i for i, _ in losses] == [0, 1, 2]
    assert all(np.isfinite(loss) for _, loss in losses)
    checkpoint = torch.load(out, weights_only=True)
    assert list(checkpoint) == ["net_model", "optim", "step", "x_T", "config", "sampler"]
    assert checkpoint["step"] == 3
    assert checkpoint["x_T"].shape == (1, 1, 8, 8)
    assert SDDPMConfig(**checkpoint["config"]["model"]) == TINY
    parse_sampler(checkpoint["sampler"])
    fresh = SpikingUNet(TINY)
    fresh.load_state_dict(checkpoint["net_model"])
    for key, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.pt", "tiny.state"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.pt", tmp_path / "broken.pt"
    train(whole, IMAGES, TINY, config(4), ignore)

    def interrupt(iteration: int, loss: float) -> None:
        if iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, IMAGES, TINY, config(4), interrupt)
    assert torch.load(broken, weights_only=True)["step"] == 2
    resumed: list[int] = []
    train(broken, IMAGES, TINY, config(4), lambda i, loss: resumed.append(i))
    assert resumed == [2, 3]
    expected = torch.load(whole, weights_only=True)
    found = torch.load(broken, weights_only=True)
    assert found["step"] == expected["step"] == 4
    for key, value in expected["net_model"].items():
        assert torch.equal(found["net_model"][key], value), key


def test_other_settings_do_not_go_on_from_a_state(tmp_path: Path) -> None:
    out = tmp_path / "tiny.pt"
    train(out, IMAGES, TINY, config(2), ignore)
    with pytest.raises(TrainError) as refused:
        train(out, IMAGES, TINY, config(4), ignore)
    assert str(refused.value) == (
        f"{out.with_suffix('.state')}: holds a training run with another iterations; "
        "remove it, or train with the same settings"
    )


def test_learning_rate_warms_up_then_falls_to_zero() -> None:
    settings = TrainConfig(iterations=1000, warmup_iterations=10, learning_rate=2.0)
    rates = [learning_rate(settings, i) for i in range(1001)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[500] == pytest.approx(1.0)
    assert rates[1000] == pytest.approx(0.0)
