"""The U-Net of SDM's ANN-SNN route (Cao et al., TAI 2024, after Fast-SNN), as an ANN and converted to spikes.

DDPM's layout with GroupNorm, and a ReLU of b bits where DDPM has Swish; no attention. Converted, every such
ReLU is a signed neuron and everything is played T = 2^b - 1 times; GroupNorm stays, in every time step. Both
have one state dict, whose keys are the authors' (of the ANN).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from nsim.workloads.samplers import DIFFUSION_STEPS
from nsim.workloads.spiking import SignedIFNode

GROUPS = 32


@dataclass(frozen=True)
class QuantisedConfig:
    """Size of the U-Net; the defaults are the authors' (34,292,295 parameters; convolutions: 5.711 GMAC).

    ``bits`` of an activation; ``spiking``: signed neurons in place of the ReLUs, ``time_steps`` of them.
    """

    bits: int = 2
    spiking: bool = False
    image_channels: int = 3
    image_size: int = 32
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks_per_level: int = 2

    @property
    def levels(self) -> int:
        """Steps of an activation between 0 and its clip, which is also the spiking network's T."""
        return 2**self.bits - 1

    @property
    def time_steps(self) -> int:
        """Times that the network is played: 1 as an ANN."""
        return self.levels if self.spiking else 1


class QuantisedReLU(nn.Module):
    """``x`` clipped to [0, act_alpha] and rounded to a multiple of act_alpha / levels, halves up.

    In training the rounding passes gradients through.
    """

    def __init__(self, levels: int, act_alpha: float = 6.0) -> None:
        super().__init__()
        self.levels = levels
        self.act_alpha = nn.Parameter(torch.tensor(act_alpha))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled = (x / self.act_alpha).clamp(0.0, 1.0) * self.levels
        rounded = torch.floor(scaled + 0.5)
        return (scaled + (rounded - scaled).detach()) * (self.act_alpha / self.levels)


def _activation(config: QuantisedConfig) -> nn.Module:
    return SignedIFNode() if config.spiking else QuantisedReLU(config.levels)


def _activate(activation: nn.Module, x: torch.Tensor, time_steps: int) -> torch.Tensor:
    """An activation of [T * B, ...], which sees the time steps apart."""
    return activation(x.unflatten(0, (time_steps, -1))).flatten(0, 1)


def _dense(linear: nn.Module, x: torch.Tensor, width: int) -> torch.Tensor:
    """A dense layer on maps of single elements, [N, C, 1, 1]."""
    return linear(x.flatten(1)).unflatten(1, (width, 1, 1))


class _TimeEmbedding(nn.Module):
    """Frozen sine/cosine table, dense, activation, dense: t [B] to [T * B, 4 * channels, 1, 1]."""

    def __init__(self, config: QuantisedConfig) -> None:
        super().__init__()
        self.steps, self.width = config.time_steps, 4 * config.channels
        c = config.channels
        frequency = torch.exp(-torch.arange(0, c, 2) / c * math.log(10000))
        angle = torch.arange(DIFFUSION_STEPS)[:, None] * frequency
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).view(DIFFUSION_STEPS, c)
        self.timembedding = nn.Sequential(
            nn.Embedding.from_pretrained(table, freeze=True),
            nn.Linear(c, self.width),
            _activation(config),
            nn.Linear(self.width, self.width),
        )
        self.channels = c

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        table, first, activation, second = self.timembedding
        h = table(t).unflatten(1, (self.channels, 1, 1)).repeat(self.steps, 1, 1, 1)
        h = _activate(activation, _dense(first, h, self.width), self.steps)
        return _dense(second, h, self.width)


class _ResidualBlock(nn.Module):
    """``norm, activation, conv, + dense(activation(time)), norm, activation, conv, + shortcut(x)``."""

    def __init__(self, c_in: int, c_out: int, config: QuantisedConfig) -> None:
        super().__init__()
        self.steps, self.width = config.time_steps, c_out
        self.block1 = nn.Sequential(
            nn.GroupNorm(GROUPS, c_in), _activation(config), nn.Conv2d(c_in, c_out, 3, padding=1)
        )
        self.temb_proj = nn.Sequential(_activation(config), nn.Linear(4 * config.channels, c_out))
        self.block2 = nn.Sequential(
            nn.GroupNorm(GROUPS, c_out),
            _activation(config),
            nn.Dropout(0.1),
            nn.Conv2d(c_out, c_out, 3, padding=1),
        )
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        h = _normed(self.block1, x, self.steps)
        h = h + _dense(self.temb_proj[1], _activate(self.temb_proj[0], temb, self.steps), self.width)
        return _normed(self.block2, h, self.steps) + self.shortcut(x)


def _normed(block: nn.Sequential, x: torch.Tensor, time_steps: int) -> torch.Tensor:
    """GroupNorm, activation, and what follows."""
    norm, activation, *rest = block
    x = _activate(activation, norm(x), time_steps)
    for layer in rest:
        x = layer(x)
    return x


class _Down(nn.Module):
    """A convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        return self.main(x)


class _Up(nn.Module):
    """Nearest up-sampling by 2, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        return self.main(F.interpolate(x, scale_factor=2, mode="nearest"))


class QuantisedUNet(nn.Module):
    """The denoiser eps(x [B, C, H, W], t [B]): one pass as an ANN, the mean of T passes spiking."""

    def __init__(self, config: QuantisedConfig) -> None:
        super().__init__()
        self.config = config
        c, wide = config.channels, [config.channels * m for m in config.channel_multipliers]
        self.time_embedding = _TimeEmbedding(config)
        self.head = nn.Conv2d(config.image_channels, c, 3, padding=1)
        skips, now = [c], c
        self.downblocks = nn.ModuleList()
        for level, width in enumerate(wide):
            for _ in range(config.blocks_per_level):
                self.downblocks.append(_ResidualBlock(now, width, config))
                now = width
                skips.append(now)
            if level < len(wide) - 1:
                self.downblocks.append(_Down(now))
                skips.append(now)
        self.middleblocks = nn.ModuleList(_ResidualBlock(now, now, config) for _ in range(2))
        self.upblocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(wide))):
            for _ in range(config.blocks_per_level + 1):
                self.upblocks.append(_ResidualBlock(now + skips.pop(), width, config))
                now = width
            if level > 0:
                self.upblocks.append(_Up(now))
        self.tail = nn.Sequential(
            nn.GroupNorm(GROUPS, now),
            _activation(config),
            nn.Conv2d(now, config.image_channels, 3, padding=1),
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        steps = self.config.time_steps
        temb = self.time_embedding(t)
        h = self.head(x.repeat(steps, 1, 1, 1))
        skips = [h]
        for block in self.downblocks:
            h = block(h, temb)
            skips.append(h)
        for block in self.middleblocks:
            h = block(h, temb)
        for block in self.upblocks:
            h = block(torch.cat([h, skips.pop()], dim=1) if isinstance(block, _ResidualBlock) else h, temb)
        return _normed(self.tail, h, steps).unflatten(0, (steps, -1)).mean(0)
