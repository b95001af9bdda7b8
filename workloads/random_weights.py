"""Untrained Spiking U-Nets whose neurons fire: random weights, BatchNorm statistics calibrated on noise.

For counting and timing at sizes no trained weights are at hand for; never for quality. With BatchNorm's
default statistics such a network is nearly silent (mean rate 0.004); calibrated, its mean firing rate is
about 0.2, which no one has shown to be that of a trained one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.twin import twin_counts

WEIGHTS = "random, BatchNorm statistics calibrated on noise; not trained"
"""What stands beside every number from such a network."""


def random_unet(config: SDDPMConfig, seed: int = 0) -> SpikingUNet:
    """A Spiking U-Net with weights by its own initialisation from ``seed``.

    Every BatchNorm takes the mean and variance of its inputs over one noise image at the middle of the
    diffusion, all time steps together, in one forward pass.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = SpikingUNet(config).train()
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0
        with torch.no_grad():
            module(noise(config), torch.tensor([500]))
    return module.eval()


def noise(config: SDDPMConfig) -> torch.Tensor:
    """One image of unit normal noise [1, C, H, W] from torch's generator."""
    return torch.randn(1, config.image_channels, config.image_size, config.image_size)


def random_model(name: str, config: SDDPMConfig, seed: int = 0) -> Model:
    """`random_unet` as a Model, labelled as what it is."""
    module = random_unet(config, seed)
    image = (config.image_channels, config.image_size, config.image_size)
    return Model(
        name=name,
        workload="sddpm",
        network=lower(module, image, config.time_steps, name),
        weights=f"{WEIGHTS} (seed {seed})",
        sampler="ddim:50",
        sha256=hashlib.sha256(f"{name} {config} {seed}".encode()).hexdigest(),
        parameters=sum(p.numel() for p in module.parameters()),
        ann_twin_macs=twin_counts(config).macs,
    )


def dense_forwards(config: SDDPMConfig, x: np.ndarray, t: np.ndarray) -> list[Callable[[], torch.Tensor]]:
    """Torch's dense forward pass of the same network in each memory format: what nsim is measured against."""
    module = random_unet(config)
    image, times = torch.from_numpy(x), torch.from_numpy(t)

    def forward(module: nn.Module, image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            out: torch.Tensor = module(image, times)
            return out

    last = torch.channels_last
    channels_last = random_unet(config)
    for layer in channels_last.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=last)
    return [
        lambda: forward(module, image),
        lambda: forward(channels_last, image.contiguous(memory_format=last)),
    ]
