"""The ANN twin of an SDDPM network: the same U-Net as the papers' ANN baseline, counted, never run.

The twin is DDPM's U-Net as the baseline's code (pytorch-ddpm) lays it out: GroupNorm and Swish where the
spiking one has BatchNorm and IF neurons, no second convolution at the input, one convolution at the
output, and one self-attention in the first middle block, there even when no level asks for attention.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from nsim.workloads.sddpm import DIFFUSION_STEPS, SDDPMConfig


@dataclass(frozen=True)
class TwinCounts:
    """Exact counts of one evaluation of one image; a MAC is one multiply-accumulate.

    Convolutions are counted dense, padding taps included, as the papers' counters do.
    """

    conv_macs: int
    """All convolutions, the attention's four 1x1 ones included."""
    attention_conv_macs: int
    """The attention's four 1x1 convolutions: query, key, value, output."""
    attention_matmul_macs: int
    """Query times key, and weights times value."""
    linear_macs: int
    """The time embedding's MLP and one projection per residual block."""
    conv_outputs: int
    """Elements that convolutions put out: one bias addition each."""
    norm_elements: int
    """Elements through GroupNorm."""
    swish_elements: int
    """Elements through Swish."""
    softmax_elements: int
    """Attention weights."""
    parameters: int
    """Frozen time-embedding table included."""

    @property
    def macs(self) -> int:
        """Every multiply-accumulate: convolutions, linear layers, attention products."""
        return self.conv_macs + self.linear_macs + self.attention_matmul_macs


class _Walk:
    """Adds up one layer after the other; feature maps are ``channels`` x ``size`` x ``size``."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def conv(self, c_in: int, c_out: int, kernel: int, size_out: int) -> int:
        macs = c_in * c_out * kernel**2 * size_out**2
        self.count["conv_macs"] += macs
        self.count["conv_outputs"] += c_out * size_out**2
        self.count["parameters"] += c_in * c_out * kernel**2 + c_out
        return macs

    def linear(self, n_in: int, n_out: int) -> None:
        self.count["linear_macs"] += n_in * n_out
        self.count["parameters"] += n_in * n_out + n_out

    def norm(self, channels: int, size: int) -> None:
        self.count["norm_elements"] += channels * size**2
        self.count["parameters"] += 2 * channels

    def swish(self, elements: int) -> None:
        self.count["swish_elements"] += elements

    def residual(self, c_in: int, c_out: int, size: int, time_channels: int) -> None:
        """``GN, Swish, conv, + Linear(Swish(time)), GN, Swish, conv, + shortcut``."""
        for c in (c_in, c_out):
            self.norm(c, size)
            self.swish(c * size**2)
            self.conv(c, c_out, 3, size)
        self.swish(time_channels)
        self.linear(time_channels, c_out)
        if c_in != c_out:
            self.conv(c_in, c_out, 1, size)

    def attention(self, channels: int, size: int) -> None:
        """``GN; query, key, value, output: 1x1 convs; softmax(query key) value`` over all positions."""
        self.norm(channels, size)
        for _ in range(4):
            self.count["attention_conv_macs"] += self.conv(channels, channels, 1, size)
        self.count["attention_matmul_macs"] += 2 * channels * size**4
        self.count["softmax_elements"] += size**4


def twin_counts(config: SDDPMConfig) -> TwinCounts:
    """Count the ANN twin of ``config``; its time steps and threshold have no part in it.

    Check: the paper's CIFAR-10 model gives 6.350 GMAC, at 4.6 pJ each 29.21 mJ (SDDPM Table 3: 29.23).
    """
    walk = _Walk()
    ch, size, levels = config.channels, config.image_size, len(config.channel_multipliers)
    t_ch = 4 * ch
    walk.count["parameters"] += DIFFUSION_STEPS * ch
    walk.linear(ch, t_ch)
    walk.swish(t_ch)
    walk.linear(t_ch, t_ch)

    walk.conv(config.image_channels, ch, 3, size)
    skips, now = [ch], ch
    for level, multiplier in enumerate(config.channel_multipliers):
        for _ in range(config.blocks_per_level):
            walk.residual(now, ch * multiplier, size, t_ch)
            now = ch * multiplier
            skips.append(now)
        if level < levels - 1:
            size = (size + 1) // 2
            walk.conv(now, now, 3, size)
            skips.append(now)
    walk.residual(now, now, size, t_ch)
    walk.attention(now, size)
    walk.residual(now, now, size, t_ch)
    for level, multiplier in reversed(list(enumerate(config.channel_multipliers))):
        for _ in range(config.blocks_per_level + 1):
            walk.residual(now + skips.pop(), ch * multiplier, size, t_ch)
            now = ch * multiplier
        if level > 0:
            size *= 2
            walk.conv(now, now, 3, size)

    walk.norm(now, size)
    walk.swish(now * size**2)
    walk.conv(now, config.image_channels, 3, size)
    return TwinCounts(**walk.count)
