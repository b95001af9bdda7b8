"""SDDPM's Spiking U-Net (Cao et al., WACV 2024) as a torch module, from the published description.

SDM (Cao et al., TAI 2024) is the same network with temporal-wise spiking: a learnable factor per convolution
and time step.

State-dict keys and shapes are the authors', so their checkpoint files load as they are. Tensors inside
are [T, B, C, H, W]; convolutions see T and B fused; the same image enters at every time step (direct
coding). Residual and skip streams are real numbers: every residual block thresholds them with neurons
of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from nsim.workloads.samplers import DIFFUSION_STEPS
from nsim.workloads.spiking import IFNode

READOUT_DECAY = 0.8


@dataclass(frozen=True)
class SDDPMConfig:
    """Size of a Spiking U-Net; the defaults are the paper's CIFAR-10 model (66,696,413 parameters).

    ``temporal``: SDM's factors, which fix ``time_steps``. ``residual``: SDDPM's pre-spike blocks, or, for
    comparison, plain ones as in a ResNet, whose neurons come after the sums: streams are spikes then.
    """

    image_channels: int = 3
    image_size: int = 32
    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 2, 4)
    blocks_per_level: int = 2
    time_steps: int = 4
    v_threshold: float = 1.0
    temporal: bool = False
    residual: Literal["pre-spike", "plain"] = "pre-spike"

    def convolution(self, c_in: int, c_out: int, size: int = 3, stride: int = 1) -> nn.Module:
        """A convolution of this network, padded to keep the map's size: SDM's has factors."""
        conv = nn.Conv2d(c_in, c_out, size, stride=stride, padding=size // 2)
        return TemporalConv(conv, self.time_steps) if self.temporal else conv


def over_time(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply ``layer`` to every time step of x [T, B, ...]: fuse T and B, apply, split them again."""
    return layer(x.flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[1]))


class TemporalConv(nn.Module):
    """Temporal-wise spiking: ``y[t] = p[t] (W x[t] + b)``, p learnable, 1 at first; the authors' names."""

    def __init__(self, conv: nn.Conv2d, time_steps: int) -> None:
        super().__init__()
        self.tsmconv = conv
        self.tsmp = nn.Parameter(torch.ones(time_steps, 1, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return over_time(self.tsmconv, x) * self.tsmp


def convolve(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply a network's convolution to x [T, B, C, H, W]."""
    return layer(x) if isinstance(layer, TemporalConv) else over_time(layer, x)


class Swish(nn.Module):
    """``x * sigmoid(x)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)


class TimeEmbedding(nn.Module):
    """Frozen sine/cosine table (interleaved), then Linear, Swish, Linear: [B] to [B, 4 * channels]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        frequency = torch.exp(-torch.arange(0, channels, 2) / channels * math.log(10000))
        angle = torch.arange(DIFFUSION_STEPS)[:, None] * frequency
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).view(DIFFUSION_STEPS, channels)
        self.timembedding = nn.Sequential(
            nn.Embedding.from_pretrained(table, freeze=True),
            nn.Linear(channels, 4 * channels),
            Swish(),
            nn.Linear(4 * channels, 4 * channels),
        )

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        return self.timembedding(t)


class ResidualBlock(nn.Module):
    """``IF, conv, BN, + time embedding, IF, conv, BN, + shortcut(x)``; no activation after the sum.

    Plain: ``conv, BN, + time embedding, IF, conv, BN, + shortcut(x), IF``.
    """

    def __init__(self, c_in: int, c_out: int, config: SDDPMConfig) -> None:
        super().__init__()
        self.plain = config.residual == "plain"
        self.neuron1 = IFNode(config.v_threshold)
        self.conv1 = config.convolution(c_in, c_out)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.temb_proj = nn.Sequential(Swish(), nn.Linear(4 * config.channels, c_out))
        self.neuron2 = IFNode(config.v_threshold)
        self.conv2 = config.convolution(c_out, c_out)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Identity() if c_in == c_out else config.convolution(c_in, c_out, 1)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        h = over_time(self.bn1, convolve(self.conv1, x if self.plain else self.neuron1(x)))
        h = h + self.temb_proj(temb)[None, :, :, None, None]
        h = self.neuron1(h) if self.plain else self.neuron2(h)
        h = over_time(self.bn2, convolve(self.conv2, h))
        h = h + (x if isinstance(self.shortcut, nn.Identity) else convolve(self.shortcut, x))
        return self.neuron2(h) if self.plain else h


class DownBlock(nn.Module):
    """``IF, conv stride 2, BN``; plain: ``conv, BN, IF``."""

    def __init__(self, channels: int, config: SDDPMConfig) -> None:
        super().__init__()
        self.plain = config.residual == "plain"
        self.neuron = IFNode(config.v_threshold)
        self.conv = config.convolution(channels, channels, stride=2)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        h = over_time(self.bn, convolve(self.conv, x if self.plain else self.neuron(x)))
        return self.neuron(h) if self.plain else h


class UpBlock(nn.Module):
    """``IF, nearest x2 of the spikes, conv, BN``; plain: ``nearest x2, conv, BN, IF``."""

    def __init__(self, channels: int, config: SDDPMConfig) -> None:
        super().__init__()
        self.plain = config.residual == "plain"
        self.neuron = IFNode(config.v_threshold)
        self.conv = config.convolution(channels, channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        s = x if self.plain else self.neuron(x)
        up = nn.functional.interpolate(s.flatten(0, 1), scale_factor=2, mode="nearest")
        h = over_time(self.bn, convolve(self.conv, up.unflatten(0, (s.shape[0], s.shape[1]))))
        return self.neuron(h) if self.plain else h


class MembraneReadout(nn.Module):
    """``eps = sum_t 0.8^(T-1-t) y[t]``: no parameters, not normalised, weights rounded to float32."""

    def __init__(self, time_steps: int) -> None:
        super().__init__()
        powers = torch.arange(time_steps - 1, -1, -1, dtype=torch.float32)
        weights = torch.pow(torch.tensor(READOUT_DECAY, dtype=torch.float32), powers)
        self.weights: torch.Tensor
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return torch.sum(y * self.weights[:, None, None, None, None], dim=0)


class SpikingUNet(nn.Module):
    """SDDPM's denoiser: image x_t [B, C, H, W] and diffusion time t [B] (int64) to eps [B, C, H, W]."""

    def __init__(self, config: SDDPMConfig) -> None:
        super().__init__()
        self.config = config
        ch = config.channels
        self.time_embedding = TimeEmbedding(ch)
        self.conv = config.convolution(config.image_channels, ch)
        self.bn = nn.BatchNorm2d(ch)
        self.neuron = IFNode(config.v_threshold)
        self.conv_identity = config.convolution(ch, ch)
        self.bn_identity = nn.BatchNorm2d(ch)
        if config.residual == "plain":
            self.neuron_identity = IFNode(config.v_threshold)

        skips, now = [ch], ch
        down: list[nn.Module] = []
        levels = len(config.channel_multipliers)
        for level, multiplier in enumerate(config.channel_multipliers):
            for _ in range(config.blocks_per_level):
                down.append(ResidualBlock(now, ch * multiplier, config))
                now = ch * multiplier
                skips.append(now)
            if level < levels - 1:
                down.append(DownBlock(now, config))
                skips.append(now)
        self.downblocks = nn.ModuleList(down)
        self.middleblocks = nn.ModuleList([ResidualBlock(now, now, config) for _ in range(2)])
        up: list[nn.Module] = []
        for level, multiplier in reversed(list(enumerate(config.channel_multipliers))):
            for _ in range(config.blocks_per_level + 1):
                up.append(ResidualBlock(now + skips.pop(), ch * multiplier, config))
                now = ch * multiplier
            if level > 0:
                up.append(UpBlock(now, config))
        self.upblocks = nn.ModuleList(up)

        self.tail_bn = nn.BatchNorm2d(now)
        self.tail_swish = Swish()
        self.tail_conv = config.convolution(now, config.image_channels)
        # The authors' layer: a Conv3d over (H, W, T) whose kernel is 1 along T, so one 3x3 per time step.
        self.T_output_layer = nn.Conv3d(
            config.image_channels, config.image_channels, (3, 3, 1), padding=(1, 1, 0)
        )
        self.last_bn = nn.BatchNorm2d(config.image_channels)
        self.last_swish = Swish()
        self.readout = MembraneReadout(config.time_steps)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier-uniform weights and zero biases, except two layers left at torch's default."""
        for name, module in self.named_modules():
            if name.startswith(("conv_identity", "T_output_layer")):
                continue
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=1e-5 if name.startswith("tail_conv") else 1.0)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        temb = self.time_embedding(t)
        h = x.unsqueeze(0).expand(self.config.time_steps, -1, -1, -1, -1)
        h = self.neuron(over_time(self.bn, convolve(self.conv, h)))
        h = over_time(self.bn_identity, convolve(self.conv_identity, h))
        if self.config.residual == "plain":
            h = self.neuron_identity(h)
        skips = [h]
        for block in self.downblocks:
            h = block(h, temb)
            skips.append(h)
        for block in self.middleblocks:
            h = block(h, temb)
        for block in self.upblocks:
            if isinstance(block, ResidualBlock):
                h = torch.cat([h, skips.pop()], dim=2)
            h = block(h, temb)
        y = self.tail_swish(over_time(self.tail_bn, h))
        y = convolve(self.tail_conv, y)
        z = self.T_output_layer(y.permute(1, 2, 3, 4, 0)).permute(4, 0, 1, 2, 3)
        z = self.last_swish(over_time(self.last_bn, z))
        return self.readout(z + y)
