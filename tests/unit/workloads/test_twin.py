"""The twin's counts against the papers' figures and against the spiking network's own layers."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from torch import nn

from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.twin import twin_counts

CONFIGS = [
    SDDPMConfig(),
    SDDPMConfig(image_channels=1, image_size=16, channels=32, channel_multipliers=(1, 2), blocks_per_level=1),
    SDDPMConfig(image_size=64, channels=64, channel_multipliers=(1, 3, 3), blocks_per_level=3, time_steps=1),
]


def test_the_papers_cifar10_baseline() -> None:
    twin = twin_counts(SDDPMConfig())
    assert twin.parameters == 67_602_691  # 64.47 x 2^20, SDDPM Table 3
    assert twin.conv_macs == 6_345_719_808
    assert twin.attention_conv_macs == 4 * 512 * 512 * 4 * 4
    assert twin.attention_matmul_macs == 2 * 512 * 16 * 16
    assert twin.linear_macs == 3_801_088
    assert twin.macs == 6_345_719_808 + 3_801_088 + 262_144
    assert 29.19 <= twin.macs * 4.6e-9 <= 29.23  # mJ at 4.6 pJ per MAC
    assert round((twin.macs + twin.conv_outputs) * 4.6e-9, 2) == 29.23


@pytest.mark.parametrize("config", CONFIGS)
def test_the_twin_shares_the_spiking_networks_layers(config: SDDPMConfig) -> None:
    """Run the spiking network without data and add up its layers; the known differences make the twin."""
    with torch.device("meta"):
        network = SpikingUNet(config).eval()
        images = torch.empty(1, config.image_channels, config.image_size, config.image_size)
        times = torch.zeros(1, dtype=torch.int64)
    count: Counter[str] = Counter()

    def add(name: str, layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if isinstance(layer, nn.Conv2d) and name != "conv_identity":  # the twin has no second input conv
            count["conv"] += output[0].numel() * layer.weight[0].numel()
            count["outputs"] += output[0].numel()
        elif isinstance(layer, nn.Linear):
            count["linear"] += layer.weight.numel()
            count["linear inputs"] += layer.in_features
        if name.endswith(("conv1", "conv2", "tail_conv")):  # the convolutions that GroupNorm and Swish feed
            count["activations"] += inputs[0][0].numel()

    for name, module in network.named_modules():
        module.register_forward_hook(partial(add, name))
    network(images, times)

    twin = twin_counts(config)
    middle = config.channels * config.channel_multipliers[-1]
    positions = (config.image_size // 2 ** (len(config.channel_multipliers) - 1)) ** 2
    assert twin.attention_conv_macs == 4 * middle**2 * positions
    assert twin.attention_matmul_macs == 2 * middle * positions**2
    assert twin.softmax_elements == positions**2
    assert twin.conv_macs == count["conv"] + twin.attention_conv_macs
    assert twin.conv_outputs == count["outputs"] + 4 * middle * positions
    assert twin.linear_macs == count["linear"]
    assert twin.norm_elements == count["activations"] + middle * positions
    # all linear layers but the first, which reads the table, read a Swish
    assert twin.swish_elements == count["activations"] + count["linear inputs"] - config.channels
