"""Untrained networks whose neurons fire: random weights, BatchNorm statistics calibrated on noise.

For counting, and measuring speed, at sizes no trained weights are at hand for; never for quality. With
BatchNorm's default statistics such a network is nearly silent; calibrated, its mean firing rate is about 0.2,
which no one has shown to be that of a trained one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nsim.workloads.lateral import LateralConfig, LateralTransformer
from nsim.workloads.samplers import DIFFUSION_STEPS
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.spiking_diffusion import SDID, VQSVAE, SpikingDiffusionConfig

WEIGHTS = "random, BatchNorm statistics calibrated on noise; not trained"
"""What stands beside every number from such a network."""


@torch.no_grad()
def calibrate_batch_norm(module: nn.Module, *inputs: torch.Tensor) -> None:
    """Set every BatchNorm's running statistics to those of one batch, layer after layer, in one forward pass.

    Leaves the module in inference mode. Weights are not touched: nothing is trained.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over batches seen: one
    module.eval()
    for norm in norms:
        norm.train()
    module(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def random_unet(config: SDDPMConfig, seed: int) -> SpikingUNet:
    """A Spiking U-Net with weights by its own initialisation from ``seed``, SDM's factors from 0.8 to 1.2.

    Every BatchNorm takes the mean and variance of its inputs for one noise image at the middle of the
    diffusion, all time steps together.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = SpikingUNet(config)
        if config.temporal:
            for key, parameter in module.named_parameters():
                if key.endswith(".tsmp"):
                    nn.init.uniform_(parameter, 0.8, 1.2)
        noise = torch.randn(1, config.image_channels, config.image_size, config.image_size)
        calibrate_batch_norm(module, noise, torch.tensor([DIFFUSION_STEPS // 2]))
    return module


def random_spiking_diffusion(config: SpikingDiffusionConfig, seed: int) -> tuple[SDID, VQSVAE]:
    """SDID and VQ-SVAE with weights by their own initialisation from ``seed``, calibrated alike.

    The VQ-SVAE on one noise image, SDID on random tokens, half of them masked, halfway through the diffusion.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sdid, vae = SDID(config), VQSVAE(config)
        calibrate_batch_norm(vae, torch.rand(1, 1, config.image_size, config.image_size) - 0.5)
        side = config.token_size
        tokens = torch.randint(config.code_count, (1, 1, side, side))
        masked = torch.where(torch.rand(1, 1, side, side) < 0.5, config.code_count, tokens)
        calibrate_batch_norm(sdid, masked.float(), torch.tensor([side**2 // 2]))
    return sdid, vae


def dense_forwards(config: SDDPMConfig, x: np.ndarray, t: np.ndarray) -> list[Callable[[], torch.Tensor]]:
    """Torch's dense forward pass of the same network in each memory format: what nsim is measured against."""
    module = random_unet(config, seed=0)
    image, times = torch.from_numpy(x), torch.from_numpy(t)

    def forward(module: nn.Module, image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            out: torch.Tensor = module(image, times)
            return out

    last = torch.channels_last
    channels_last = random_unet(config, seed=0)
    for layer in channels_last.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=last)
    return [
        lambda: forward(module, image),
        lambda: forward(channels_last, image.contiguous(memory_format=last)),
    ]


def random_lateral(config: LateralConfig, seed: int) -> LateralTransformer:
    """A lateral selection transformer with weights by its own initialisation from ``seed``, calibrated alike.

    As initialised, lateral neurons have no say (strength 0): what is selected does not change within a call.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = LateralTransformer(config)
        noise = torch.randn(1, config.image_channels, config.image_size, config.image_size)
        calibrate_batch_norm(module, noise, torch.tensor([DIFFUSION_STEPS // 2]))
    return module
