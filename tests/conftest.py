"""Shared by all tests: a small random denoiser whose neurons fire, and what it is called with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn

from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet

# the first example of a test may compile a Numba kernel
settings.register_profile("nsim", deadline=None)
settings.load_profile("nsim")


@pytest.fixture(scope="session")
def tiny_unet() -> SpikingUNet:
    """SDDPM's U-Net at 8 x 8 pixels, float64, random weights and BatchNorm statistics: 19 spiking layers."""
    torch.manual_seed(1)
    config = SDDPMConfig(1, image_size=8, channels=8, channel_multipliers=(1, 2), blocks_per_level=1)
    network = SpikingUNet(config).eval().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.2, 1.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.2, 0.3)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias, 0.0, 0.1)
    nn.init.xavier_uniform_(network.tail_conv.weight)
    return network


@pytest.fixture(scope="session")
def tiny_network(tiny_unet: SpikingUNet) -> Network:
    """``tiny_unet``, lowered."""
    return lower(tiny_unet, (1, 8, 8), 4, "tiny")


@pytest.fixture(scope="session")
def tiny_inputs() -> tuple[np.ndarray, np.ndarray]:
    """Three images [3, 1, 8, 8] and their diffusion times."""
    return np.random.default_rng(0).normal(size=(3, 1, 8, 8)), np.array([0, 500, 999])


@pytest.fixture(scope="session")
def tiny_call(tiny_network: Network, tiny_inputs: tuple[np.ndarray, np.ndarray]) -> Call:
    """One float64 call of ``tiny_network``, its neurons' input currents kept."""
    return Engine(tiny_network, "float64", threads=1).call(*tiny_inputs, keep_currents=True)


@pytest.fixture(scope="session")
def cifar10_network() -> Network:
    """SDDPM at the size of the paper's CIFAR-10 model (66.7 million random weights), lowered."""
    return lower(SpikingUNet(SDDPMConfig()), (3, 32, 32), 4, "cifar10")


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_unet: SpikingUNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_unet`` as a file that ``nsim.load`` reads, by any process."""
    path = tmp_path_factory.mktemp("models") / "tiny.pt"
    state = {name: tensor.float() for name, tensor in tiny_unet.state_dict().items()}
    torch.save({"net_model": state, "x_T": torch.zeros(1, 1, 8, 8), "sampler": "ddim:2"}, path)
    return path
