"""Training of a small lateral selection transformer, on the loss and the loop of `training`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nsim.workloads.lateral import LateralConfig, LateralTransformer
from nsim.workloads.training import TrainConfig, save_checkpoint, train_denoiser

LATERAL_DIGITS = LateralConfig(
    image_channels=1,
    image_size=16,
    width=64,
    depth=4,
    heads=4,
    time_steps=2,
    mlp_ratio=1,
    mlp_kernel=3,
    v_threshold=0.5,
    attention_threshold=0.25,
)
"""The small size: the paper's N = 3, k = 2 and T_s = 2. Hidden layers as wide as the stream, for neighbours
that meet in them: in 700 iterations the error at small diffusion times falls to half of that of hidden layers
twice as wide without. Half of Spikformer's thresholds, because in two time steps few potentials reach 1."""

LATERAL_TRAINING = TrainConfig(
    iterations=12_000, batch_size=16, learning_rate=8e-3, weight_least=1.0, weight_most=1.0
)
"""All diffusion times alike: this network, unlike the U-Net, has a path from its input to its output."""


def train_lateral(
    out: Path,
    images: np.ndarray,
    model_config: LateralConfig,
    config: TrainConfig,
    report: Callable[[int, float], None],
) -> LateralTransformer:
    """Train one on ``images`` [N, C, H, W] and write the checkpoint to ``out``; see `train_denoiser`.

    All candidates are worked out in training, and what is not selected is 0: routers learn from the weights
    of those that are.
    """
    torch.manual_seed(config.seed)
    model = LateralTransformer(model_config)
    train_denoiser(
        out,
        images,
        model,
        config,
        lambda average, done: save_checkpoint(out, average, "lateral", model_config, done, config),
        report,
    )
    return model
