"""SDDPM networks without training: random weights whose BatchNorm statistics make the neurons fire.

With BatchNorm's default statistics a random network is all but silent (mean rate 0.004); with those of one
batch of noise it fires at about 0.2, as a trained one does. For measuring speed and size; never for quality.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.workloads.samplers import DIFFUSION_STEPS
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.twin import twin_counts

WEIGHTS = "random weights, calibrated BatchNorm"
BATCH = 2


def random_sddpm(config: SDDPMConfig, seed: int = 0) -> SpikingUNet:
    """A Spiking U-Net with initial weights and the BatchNorm statistics of one batch of noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = SpikingUNet(config)
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        before = [m.momentum for m in norms]
        for norm in norms:
            norm.momentum = 1.0  # the running statistics become those of this batch
        noise = torch.randn(BATCH, config.image_channels, config.image_size, config.image_size)
        times = torch.arange(1, BATCH + 1) * DIFFUSION_STEPS // (BATCH + 1)
        with torch.no_grad():
            module.train()(noise, times)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
    return module.eval()


def random_model(name: str, config: SDDPMConfig, seed: int = 0) -> Model:
    """`random_sddpm` as a Model, labelled as what it is."""
    module = random_sddpm(config, seed)
    image = (config.image_channels, config.image_size, config.image_size)
    return Model(
        name=name,
        workload="sddpm",
        network=lower(module, image, config.time_steps, name),
        weights=f"{WEIGHTS}, seed {seed}",
        sampler="ddim:50",
        sha256=hashlib.sha256(f"{name} {config} {seed}".encode()).hexdigest(),
        parameters=sum(p.numel() for p in module.parameters()),
        ann_twin_macs=twin_counts(config).macs,
    )


def dense_forwards(config: SDDPMConfig, x: np.ndarray, t: np.ndarray) -> list[Callable[[], torch.Tensor]]:
    """Torch's dense forward pass of the same network in each memory format: what nsim is measured against."""
    module = random_sddpm(config)
    image, times = torch.from_numpy(x), torch.from_numpy(t)

    def forward(module: nn.Module, image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            out: torch.Tensor = module(image, times)
            return out

    last = torch.channels_last
    channels_last = random_sddpm(config)
    for layer in channels_last.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=last)
    return [
        lambda: forward(module, image),
        lambda: forward(channels_last, image.contiguous(memory_format=last)),
    ]
