"""Training of the bundled SDM: temporal-wise spiking, fine-tuned from the bundled SDDPM as its paper does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nsim.frontends.load import read_checkpoint
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.state import load_state
from nsim.workloads.training import DIGITS_MODEL, TrainConfig, save_checkpoint, train_denoiser

SDM_DIGITS = replace(DIGITS_MODEL, temporal=True)
SDM_TRAINING = TrainConfig(
    iterations=120, learning_rate=2e-4, warmup_iterations=12, average_decay=0.98, save_every=40
)


def temporal_state(state: Mapping[str, torch.Tensor], config: SDDPMConfig) -> dict[str, torch.Tensor]:
    """The state of an SDDPM network as that of the SDM network ``config``: same function, all factors 1."""
    wanted = SpikingUNet(config).state_dict()
    return {key: state.get(key.replace(".tsmconv.", "."), ones) for key, ones in wanted.items()}


def train_sdm(
    out: Path,
    images: np.ndarray,
    model_config: SDDPMConfig,
    config: TrainConfig,
    report: Callable[[int, float], None],
    sddpm: Path,
) -> SpikingUNet:
    """Fine-tune all weights and factors from the checkpoint ``sddpm`` of that size; see `train_denoiser`."""
    model = SpikingUNet(model_config)
    state = temporal_state(read_checkpoint(sddpm)["net_model"], model_config)
    load_state(sddpm, "the SDDPM network that this SDM goes on from", model, state)
    data = f"fine-tuned from {sddpm.stem} on scikit-learn digits"
    train_denoiser(
        out,
        images,
        model,
        config,
        lambda average, done: save_checkpoint(out, average, "sdm", model_config, done, config, data),
        report,
    )
    return model
