"""Spiking-Diffusion (Liu et al., ICASSP 2024) as torch modules: a VQ-SVAE, and SDID, a denoiser of its codes.

State-dict keys and shapes are the authors', so their two files load as they are. An image of 28 x 28 becomes
7 x 7 tokens, indices into a codebook; SDID starts from tokens that are all masked and fills them in over 49
calls; the decoder turns the tokens into an image, once. All neurons are LIF with tau = 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from nsim.workloads.sddpm import READOUT_DECAY, over_time
from nsim.workloads.spiking import LIFNode

SYNAPSE_TAU = 2.0
"""Time constant of the paper's post-synaptic potential, in time steps."""
PSPKernel = Literal["code", "paper"]


@dataclass(frozen=True)
class SpikingDiffusionConfig:
    """Sizes of both networks; the defaults are the authors'.

    ``vae_widths``: channels of the encoder's first two layers; the decoder's are the same, the other way
    round. ``sdid_widths``: channels of conv1 to conv5.

    ``psp``: what the codebook's feature adds to the mean of the spikes. "code": the authors' program, the
    sum over t of 0.8^(T-1-t) s[t], not normalised. "paper": their text, the exponential average
    v[t] = v[t-1] + (s[t] - v[t-1]) / tau_syn with tau_syn = 2, its value after the last step.
    """

    image_size: int = 28
    code_count: int = 128
    code_width: int = 16
    vae_widths: tuple[int, int] = (32, 64)
    sdid_widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 256)
    time_steps: int = 16
    v_threshold: float = 1.0
    psp: PSPKernel = "code"

    @property
    def token_size(self) -> int:
        """Tokens along each side."""
        return self.image_size // 4


def psp_weights(time_steps: int, psp: PSPKernel) -> torch.Tensor:
    """What a spike at each time step adds to the PSP after the last: float32 [T]."""
    powers = torch.arange(time_steps - 1, -1, -1, dtype=torch.float32)
    if psp == "code":
        return torch.pow(torch.tensor(READOUT_DECAY, dtype=torch.float32), powers)
    return torch.pow(torch.tensor(1.0 - 1.0 / SYNAPSE_TAU), powers) / SYNAPSE_TAU


class WeightedSum(nn.Module):
    """``sum_t coef[t] y[t]``; ``coef`` [T, 1, 1, 1, 1] is in the authors' files."""

    def __init__(self, time_steps: int) -> None:
        super().__init__()
        self.coef: torch.Tensor
        self.register_buffer("coef", psp_weights(time_steps, "code")[:, None, None, None, None])

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return torch.sum(y * self.coef, dim=0)


def _convolution(c_in: int, c_out: int, size: int, stride: int, v_threshold: float) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, size, stride=stride, padding=size // 2)
    return [conv, nn.BatchNorm2d(c_out), LIFNode(v_threshold=v_threshold)]


def _transposed(c_in: int, c_out: int, v_threshold: float) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=1)
    return [conv, nn.BatchNorm2d(c_out), LIFNode(v_threshold=v_threshold)]


def run_layers(layers: object, x: torch.Tensor) -> torch.Tensor:
    """Apply a Sequential to x [T, B, C, H, W]: neurons see the time steps, all else sees T and B fused."""
    assert isinstance(layers, nn.Sequential)
    for layer in layers:
        x = layer(x) if isinstance(layer, LIFNode) else over_time(layer, x)
    return x


class _Layers(nn.Module):
    """Layers under the authors' name for them."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.snn_convs = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run_layers(self.snn_convs, x)


class Codebook(nn.Module):
    """The codebook, the feature it is searched with, and the ASG: code vectors to spikes."""

    def __init__(self, config: SpikingDiffusionConfig) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.memout = WeightedSum(config.time_steps)
        self.embeddings = nn.Embedding(config.code_count, config.code_width)
        self.poisson = nn.Sequential(
            *_convolution(config.code_width, config.code_width, 1, 1, config.v_threshold)
        )


class VQSVAE(nn.Module):
    """Image in [-0.5, 0.5] [B, 1, S, S] to its reconstruction; `Encoder` and `Decoder` are its two halves."""

    def __init__(self, config: SpikingDiffusionConfig) -> None:
        super().__init__()
        width, v_th = config.code_width, config.v_threshold
        near, far = config.vae_widths
        self.config = config
        self.encoder = _Layers(
            [
                *_convolution(1, near, 3, 2, v_th),
                *_convolution(near, far, 3, 2, v_th),
                *_convolution(far, width, 1, 1, v_th),
            ]
        )
        self.vq_layer = Codebook(config)
        self.decoder = _Layers(
            [
                *_transposed(width, far, v_th),
                *_transposed(far, near, v_th),
                nn.ConvTranspose2d(near, 1, 3, stride=1, padding=1),
            ]
        )
        self.memout = WeightedSum(config.time_steps)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return Decoder(self)(Encoder(self)(image))


class NearestCode(nn.Module):
    """Index of the code vector nearest to each position's feature: [B, C, H, W] to [B, 1, H, W] (float)."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        z, codes = features.permute(0, 2, 3, 1), self.embeddings.weight
        distance = (z**2).sum(-1, keepdim=True) + (codes**2).sum(1) - 2 * z @ codes.T
        return distance.argmin(-1).unsqueeze(1).to(features.dtype)


class CodeVectors(nn.Module):
    """Code vectors of tokens: [B, 1, H, W] to [B, C, H, W]."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.embeddings(tokens[:, 0].long()).permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """Image [B, 1, S, S] to tokens [B, 1, S/4, S/4]: spikes, their mean and PSP, the nearest code."""

    def __init__(self, vae: VQSVAE) -> None:
        super().__init__()
        self.time_steps = vae.config.time_steps
        self.encoder = vae.encoder
        self.alpha = vae.vq_layer.alpha
        self.psp = vae.vq_layer.memout
        if vae.config.psp == "paper":
            self.psp = WeightedSum(self.time_steps)
            self.psp.coef.copy_(psp_weights(self.time_steps, "paper")[:, None, None, None, None])
        self.nearest = NearestCode(vae.vq_layer.embeddings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.encoder(x.unsqueeze(0).expand(self.time_steps, -1, -1, -1, -1))
        return self.nearest(self.alpha * spikes.mean(0) + (1 - self.alpha) * self.psp(spikes))


class Decoder(nn.Module):
    """Tokens [B, 1, S/4, S/4] to an image in [-1, 1] [B, 1, S, S] (the authors show it plus 0.5, clipped)."""

    def __init__(self, vae: VQSVAE) -> None:
        super().__init__()
        self.time_steps = vae.config.time_steps
        self.codes = CodeVectors(vae.vq_layer.embeddings)
        self.vq_layer = nn.ModuleDict({"poisson": vae.vq_layer.poisson})
        self.decoder = vae.decoder
        self.memout = vae.memout

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.codes(tokens).unsqueeze(0).expand(self.time_steps, -1, -1, -1, -1)
        h = run_layers(self.vq_layer["poisson"], h)
        return torch.tanh(self.memout(self.decoder(h)))


class SDID(nn.Module):
    """Tokens [B, 1, S, S] (K where masked) and diffusion time t [B] (1 to S^2) to logits [B, K, S, S].

    Token indices and t enter as they are, as two planes of numbers.
    """

    def __init__(self, config: SpikingDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        v_th = config.v_threshold
        widths = (2, *config.sdid_widths)
        for i in range(5):
            layers = _convolution(widths[i], widths[i + 1], 3, 1, v_th)
            setattr(self, f"conv{i + 1}", nn.Sequential(*layers))
        self.conv6 = nn.Sequential(nn.Conv2d(widths[5] + widths[1], config.code_count, 3, padding=1))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        plane = t.view(-1, 1, 1, 1).expand(-1, 1, self.config.token_size, self.config.token_size)
        h = torch.cat([x, plane.to(x.dtype)], dim=1)
        h = h.unsqueeze(0).expand(self.config.time_steps, -1, -1, -1, -1)
        first = h = run_layers(self.conv1, h)
        for layers in (self.conv2, self.conv3, self.conv4, self.conv5):
            h = run_layers(layers, h)
        return run_layers(self.conv6, torch.cat([h, first], dim=2)).mean(0)
