"""Untrained Spiking U-Nets whose neurons fire: random weights, BatchNorm statistics calibrated on noise.

For counting at sizes no trained weights are at hand for. With BatchNorm's default statistics such a network
is nearly silent; calibrated, its mean firing rate is about 0.2, which no one has shown to be that of a
trained one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet

if TYPE_CHECKING:
    import torch

WEIGHTS = "random, BatchNorm statistics calibrated on noise; not trained"
"""What stands beside every number from such a network."""


def calibrated_unet(config: SDDPMConfig, seed: int, images: int = 1) -> SpikingUNet:
    """A Spiking U-Net with weights by its own initialisation from ``seed``.

    Every BatchNorm takes the mean and variance of its inputs over ``images`` noise images at the middle of
    the diffusion, all time steps together, in one forward pass.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = SpikingUNet(config).train()
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            module(noise(config, images), torch.full((images,), 500))
    return module.eval()


def noise(config: SDDPMConfig, images: int) -> torch.Tensor:
    """Images of unit normal noise [images, C, H, W] from torch's generator."""
    import torch

    return torch.randn(images, config.image_channels, config.image_size, config.image_size)
