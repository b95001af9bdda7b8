"""Training of the bundled denoisers: DDPM's noise-prediction loss, surrogate gradients, weight averaging."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nsim.errors import TrainError
from nsim.workloads.lateral import LateralConfig
from nsim.workloads.samplers import DIFFUSION_STEPS, linear_schedule
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.state import save_file

BUNDLED_SAMPLER = "ddim-unclamped:50"
"""What a bundled denoiser is sampled with unless its user says otherwise."""

DIGITS_MODEL = SDDPMConfig(
    image_channels=1, image_size=16, channels=32, channel_multipliers=(1, 2), blocks_per_level=1, time_steps=4
)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The learning rate warms up linearly, then falls to zero along a cosine.

    The squared error of eps at diffusion time t is weighted by 1 / SNR(t), which makes it the error of x0,
    kept within ``weight_least`` and ``weight_most``. A spiking U-Net has no path from its input to its
    output, so at high noise, where eps is nearly x_t itself, spikes must carry the image precisely: small
    errors of eps there are large errors of x0, and decide which digit a sample becomes.
    """

    iterations: int = 12_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_iterations: int = 300
    gradient_norm: float = 1.0
    average_decay: float = 0.999
    weight_least: float = 0.2
    weight_most: float = 20.0
    seed: int = 0
    save_every: int = 500


def learning_rate(config: TrainConfig, iteration: int) -> float:
    """Linear warm-up, then half a cosine down to zero at the last iteration."""
    warm = min(1.0, (iteration + 1) / config.warmup_iterations)
    return config.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * iteration / config.iterations))


Save = Callable[[dict[str, torch.Tensor], int], None]
"""Writes the averaged weights of so many iterations as a checkpoint."""


def train(
    out: Path,
    images: np.ndarray,
    model_config: SDDPMConfig,
    config: TrainConfig,
    report: Callable[[int, float], None],
) -> SpikingUNet:
    """Train a Spiking U-Net on ``images`` [N, C, H, W] into the file ``out``; see `train_denoiser`."""
    torch.manual_seed(config.seed)
    model = SpikingUNet(model_config)
    train_denoiser(
        out,
        images,
        model,
        config,
        lambda average, done: save_checkpoint(out, average, "sddpm", model_config, done, config),
        report,
    )
    return model


def train_denoiser(
    out: Path,
    images: np.ndarray,
    model: nn.Module,
    config: TrainConfig,
    save: Save,
    report: Callable[[int, float], None],
) -> None:
    """Train a denoiser ``model(x [B, C, H, W], t [B])`` on ``images`` [N, C, H, W]; it ends up averaged.

    Every ``save_every`` iterations ``save`` is called, and a training state is written beside ``out`` (with
    suffix ``.state``); when it is there, training goes on from it. Every iteration draws from a generator
    seeded by (seed, iteration), so a resumed run sees the batches that an uninterrupted one would.
    ``report(iteration, loss)`` is called after each iteration.
    """
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    start = 0
    state, state_file = begun(out, asdict(config))
    if state is not None:
        model.load_state_dict(state["net_model"])
        optimiser.load_state_dict(state["optim"])
        average, start = state["average"], state["step"]

    data = torch.from_numpy(images)
    alpha_bar = torch.from_numpy(linear_schedule(DIFFUSION_STEPS).alpha_bar).float()
    for iteration in range(start, config.iterations):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, iteration)
        loss = _step(model, optimiser, data, alpha_bar, config, iteration)
        _update_average(average, model, min(config.average_decay, (1 + iteration) / (10 + iteration)))
        report(iteration, loss)
        done = iteration + 1
        if done % config.save_every == 0 or done == config.iterations:
            save_file(
                state_file,
                {
                    "net_model": model.state_dict(),
                    "optim": optimiser.state_dict(),
                    "average": average,
                    "step": done,
                    "train_config": asdict(config),
                },
            )
            save(average, done)
    model.load_state_dict(average)
    model.eval()


def begun(out: Path, settings: dict[str, Any]) -> tuple[dict[str, Any] | None, Path]:
    """The training state beside ``out``, None where there is none yet, and its file.

    Raises TrainError for one that was made with other ``settings``.
    """
    state_file = out.with_suffix(".state")
    if not state_file.exists():
        return None, state_file
    state = torch.load(state_file, weights_only=True)
    if state["train_config"] != settings:
        different = [k for k, v in settings.items() if state["train_config"].get(k) != v]
        raise TrainError(
            f"{state_file}: holds a training run with another {', '.join(different)}; "
            "remove it, or train with the same settings"
        )
    return state, state_file


def _step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: torch.Tensor,
    alpha_bar: torch.Tensor,
    config: TrainConfig,
    iteration: int,
) -> float:
    """One iteration of the DDPM loss: predict the noise mixed into a batch at random diffusion times."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + iteration)
    batch = data[torch.randint(0, len(data), (config.batch_size,), generator=generator)]
    t = torch.randint(0, DIFFUSION_STEPS, (config.batch_size,), generator=generator)
    noise = torch.randn(batch.shape, generator=generator)
    a = alpha_bar[t][:, None, None, None]
    error = torch.mean((model(a.sqrt() * batch + (1 - a).sqrt() * noise, t) - noise) ** 2, dim=(1, 2, 3))
    weight = ((1 - alpha_bar) / alpha_bar).clamp(config.weight_least, config.weight_most)
    loss = torch.mean(error * weight[t]) / weight.mean()
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_norm)
    optimiser.step()
    return loss.item()


@torch.no_grad()
def _update_average(average: dict[str, torch.Tensor], model: nn.Module, decay: float) -> None:
    """Exponential average of weights and of BatchNorm's running statistics."""
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            average[key].lerp_(value, 1.0 - decay)
        else:
            average[key].copy_(value)


@dataclass(frozen=True)
class BundledTraining:
    """How a bundled model is made: settings of its own kind, and what trains with them."""

    config: Any
    trainer: Callable[..., object]

    def run(self, out: Path, progress: Callable[[int, int, float], None]) -> None:
        """Train and write to ``out``; ``progress(done, all, loss)`` per iteration.

        Raises TrainError when scikit-learn's digits are not installed, or for a state of other settings.
        """
        from nsim.workloads.digits import load_digits

        images, iterations = load_digits().train_images, self.config.iterations
        out.parent.mkdir(parents=True, exist_ok=True)
        self.trainer(
            out, images, config=self.config, report=lambda i, loss: progress(i + 1, iterations, loss)
        )


def bundled_training(name: str, seed: int, iterations: int | None) -> BundledTraining:
    """How the bundled model ``name`` is trained from a seed; TrainError for a name that is not bundled."""
    from nsim.workloads.checkpoints import find_checkpoint
    from nsim.workloads.train_lateral import LATERAL_DIGITS, LATERAL_TRAINING, train_lateral
    from nsim.workloads.train_sdm import SDM_DIGITS, SDM_TRAINING, train_sdm
    from nsim.workloads.train_spiking_diffusion import (
        DIGITS_TOKENS,
        TokenTraining,
        train_spiking_diffusion,
    )

    sddpm = find_checkpoint("sddpm-digits")
    trainers: dict[str, tuple[Any, Callable[..., object]]] = {
        "lateral-digits": (LATERAL_TRAINING, partial(train_lateral, model_config=LATERAL_DIGITS)),
        "sddpm-digits": (TrainConfig(), partial(train, model_config=DIGITS_MODEL)),
        "sdm-digits": (SDM_TRAINING, partial(train_sdm, model_config=SDM_DIGITS, sddpm=sddpm)),
        "spiking-diffusion-digits": (
            TokenTraining(),
            partial(train_spiking_diffusion, model_config=DIGITS_TOKENS),
        ),
    }
    if name not in trainers:
        raise TrainError(f"nothing called {name!r} can be trained; known: {', '.join(trainers)}")
    config, trainer = trainers[name]
    return BundledTraining(replace(config, seed=seed, iterations=iterations or config.iterations), trainer)


def save_checkpoint(
    out: Path,
    net_model: dict[str, torch.Tensor],
    workload: str,
    model_config: SDDPMConfig | LateralConfig,
    step: int,
    config: TrainConfig,
    data: str = "scikit-learn digits",
) -> None:
    """Write the authors' file format ({net_model, optim, step, x_T}) plus ``config`` and ``sampler``."""
    shape = (1, model_config.image_channels, model_config.image_size, model_config.image_size)
    content = {
        "net_model": net_model,
        "optim": {},
        "step": step,
        "x_T": torch.randn(shape, generator=torch.Generator().manual_seed(config.seed)),
        "config": {
            "workload": workload,
            "trained": f"{data}, {step} iterations, seed {config.seed}",
            "model": asdict(model_config),
            "training": asdict(config),
        },
        "sampler": BUNDLED_SAMPLER,
    }
    save_file(out, content)
