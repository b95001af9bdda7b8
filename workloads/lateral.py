"""A spiking transformer that selects its substructures (Feng et al., arXiv 2503.23767), as a torch module.

No code of the paper is public, and its text leaves much open: this is a model as specified by the paper, and
every choice that is ours is a field of `LateralConfig` with its reason. Given by the paper: patches of 2, the
widths, depths and heads of `LateralConfig`'s defaults, N = 3 candidates of which k = 2 are kept in each
layer, the lateral correction (`LateralRouter`), LIF neurons with hard reset, a decoder that averages over
the time steps, T_d = 1000.

Tokens are maps: [T, B, C, H, W] with C features of H x W tokens, so that linear layers on tokens are 1x1
convolutions. The residual stream is a real number per feature, token and time step; every branch thresholds
it with neurons of its own, so that all weights of the blocks meet spikes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from nsim.workloads.sddpm import TimeEmbedding, over_time
from nsim.workloads.spiking import LIFNode, fire


@dataclass(frozen=True)
class LateralConfig:
    """Size of the network, and the choices that the paper leaves open; the defaults are its CIFAR-10 model.

    ``substructure``: what a candidate S_j is. "mlp": the block's MLP is the sum of selected ones, so that the
    parts a block is made of are what is selected. "linear": width to width beside an MLP that always runs,
    the experts of Switch-DiT, on whose gate (N = 3, k = 2, weights not normalised again) the paper builds.
    ``mlp_ratio``: hidden over outer width, 4 as in DiT, Spikformer and nearly every transformer.
    ``mlp_kernel``: of an MLP's first layer. 1 as there: tokens meet in the attention only. With 3, as in the
    first stages of Meta-SpikeFormer (Yao et al., arXiv 2404.03663), neighbouring tokens meet directly.
    ``tau``, ``v_threshold``, ``attention_threshold``: Spikformer's neurons; the paper gives its equations
    without values.
    ``attention_scale``: Spikformer's factor on q k^T v, in place of a softmax.
    ``attention_order``: which product comes first. Both give the same integers; "queries first" is
    Spikformer's (N^2 products of tokens), "keys first" is linear in tokens. Only the counts differ.
    ``router_tau``: of the lateral neurons, whose thresholds are learned; as ``tau``.

    Not options, for want of a reason to choose otherwise: BatchNorm as the blocks' norm (Spikformer's; it
    folds into weights, where a LayerNorm would need the host in every layer); the diffusion time as a
    current to each block's first neurons (SDDPM's way; a token of its own or adaLN would multiply);
    a learned position embedding, one convolution as patch encoder, and at the end LayerNorm and one
    transposed convolution (DiT's, U-ViT's); no long skips. A substructure that is not selected keeps its
    neurons' state, as a torch module that is not called.
    """

    image_channels: int = 3
    image_size: int = 32
    patch: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    candidates: int = 3
    selected: int = 2
    time_steps: int = 4
    substructure: Literal["mlp", "linear"] = "mlp"
    mlp_ratio: int = 4
    mlp_kernel: Literal[1, 3] = 1
    tau: float = 2.0
    v_threshold: float = 1.0
    attention_threshold: float = 0.5
    attention_scale: float = 0.125
    attention_order: Literal["queries first", "keys first"] = "queries first"
    router_tau: float = 2.0

    @property
    def token_size(self) -> int:
        """Tokens along each side."""
        return self.image_size // self.patch

    def neuron(self, v_threshold: float | None = None) -> LIFNode:
        """One of the blocks' neurons."""
        return LIFNode(tau=self.tau, v_threshold=self.v_threshold if v_threshold is None else v_threshold)


class TokenLinear(nn.Module):
    """A linear layer on every token (or ``kernel`` x ``kernel`` of them), and BatchNorm: [T, B, C, H, W] to
    [T, B, C', H, W]."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1) -> None:
        super().__init__()
        self.linear = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return over_time(self.norm, over_time(self.linear, x))


class SpikingAttention(nn.Module):
    """``(q k^T) v * scale`` per head, of spikes [T, B, C, H, W]; no softmax. All sums are whole numbers."""

    def __init__(self, heads: int, scale: float, order: Literal["queries first", "keys first"]) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale
        self.order = order

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        shape = q.shape
        q, k, v = (s.flatten(3).unflatten(2, (self.heads, -1)) for s in (q, k, v))  # [T, B, heads, d, tokens]
        if self.order == "queries first":
            out = v @ (k.transpose(-1, -2) @ q)
        else:
            out = (v @ k.transpose(-1, -2)) @ q
        return (out * self.scale).reshape(shape)


class LateralRouter(nn.Module):
    r"""Weights of the candidates at every time step: logits l [B, N] to [T, B, N], 0 where not selected.

    With lateral neurons of state m, learned matrix :math:`\Lambda`, strength :math:`\gamma` and thresholds:
    :math:`\delta_t = \gamma\,\mathrm{LIF}(\Lambda l, m_{t-1})`; the weights at time step t are
    :math:`\mathrm{softmax}(l - \delta_t)`, kept for the ``selected`` largest (of equals the first), not
    normalised again. :math:`\gamma` starts at 0, :math:`\Lambda` at ones without the diagonal.
    """

    def __init__(self, candidates: int, selected: int, time_steps: int, tau: float) -> None:
        super().__init__()
        self.selected = selected
        self.time_steps = time_steps
        self.tau = tau
        self.mapping = nn.Parameter(torch.ones(candidates, candidates) - torch.eye(candidates))
        self.strength = nn.Parameter(torch.zeros(()))
        self.threshold = nn.Parameter(torch.ones(candidates))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        current = logits @ self.mapping.T
        v = torch.zeros_like(current)
        weights = []
        for _ in range(self.time_steps):
            u = v + (current - v) / self.tau
            spikes = fire(u - self.threshold)
            v = torch.where(spikes.detach() > 0, 0.0, u)
            p = torch.softmax(logits - self.strength * spikes, dim=-1)
            largest = p.argsort(dim=-1, descending=True, stable=True)[..., : self.selected]
            weights.append(p * torch.zeros_like(p).scatter(-1, largest, 1.0))
        return torch.stack(weights)


class MLP(nn.Module):
    """``LIF, linear, norm, LIF, linear, norm``; with ``weight`` [T, B] only where it is not 0, times it."""

    def __init__(self, config: LateralConfig) -> None:
        super().__init__()
        hidden = config.mlp_ratio * config.width
        self.neuron = config.neuron()
        self.expand = TokenLinear(config.width, hidden, config.mlp_kernel)
        self.hidden_neuron = config.neuron()
        self.contract = TokenLinear(hidden, config.width)

    def forward(self, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        if weight is None:
            return self.contract(self.hidden_neuron(self.expand(self.neuron(x))))
        hidden = self.hidden_neuron(self.expand(self.neuron(x, weight)), weight)
        return self.contract(hidden) * weight[:, :, None, None, None]


class Linear(nn.Module):
    """``LIF, linear, norm``, only where ``weight`` [T, B] is not 0, times it."""

    def __init__(self, config: LateralConfig) -> None:
        super().__init__()
        self.neuron = config.neuron()
        self.linear = TokenLinear(config.width, config.width)

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self.linear(self.neuron(x, weight)) * weight[:, :, None, None, None]


class Block(nn.Module):
    """Attention, for "linear" substructures an MLP, and the selected candidates, each added to the stream."""

    def __init__(self, config: LateralConfig) -> None:
        super().__init__()
        width = config.width
        self.embedding = nn.Sequential(nn.SiLU(), nn.Linear(width, width))
        self.neuron = config.neuron()
        self.query, self.query_neuron = TokenLinear(width, width), config.neuron()
        self.key, self.key_neuron = TokenLinear(width, width), config.neuron()
        self.value, self.value_neuron = TokenLinear(width, width), config.neuron()
        self.attention = SpikingAttention(config.heads, config.attention_scale, config.attention_order)
        self.attention_neuron = config.neuron(config.attention_threshold)
        self.output = TokenLinear(width, width)
        self.mlp = MLP(config) if config.substructure == "linear" else None
        candidate = MLP if config.substructure == "mlp" else Linear
        self.gate = nn.Sequential(nn.SiLU(), nn.Linear(width, config.candidates))
        self.router = LateralRouter(config.candidates, config.selected, config.time_steps, config.router_tau)
        self.candidates = nn.ModuleList(candidate(config) for _ in range(config.candidates))

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        current = self.embedding(temb)[None, :, :, None, None]
        s = self.neuron(x + current)
        q = self.query_neuron(self.query(s))
        k = self.key_neuron(self.key(s))
        v = self.value_neuron(self.value(s))
        x = x + self.output(self.attention_neuron(self.attention(q, k, v)))
        if self.mlp is not None:
            x = x + self.mlp(x + current)
        weights = self.router(self.gate(temb))
        out = x
        for i, candidate in enumerate(self.candidates):
            out = out + candidate(x + current, weights[:, :, i])
        return out


class LateralTransformer(nn.Module):
    """The denoiser: image x_t [B, C, S, S] and diffusion time t [B] (int64) to eps [B, C, S, S]."""

    def __init__(self, config: LateralConfig) -> None:
        super().__init__()
        self.config = config
        width, size = config.width, config.token_size
        self.time_embedding = TimeEmbedding(width // 4)
        self.patches = nn.Conv2d(config.image_channels, width, config.patch, stride=config.patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, width, size, size))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.ConvTranspose2d(width, config.image_channels, config.patch, stride=config.patch)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        temb = self.time_embedding(t)
        h = self.patches(x) + self.position
        h = h.unsqueeze(0).expand(self.config.time_steps, -1, -1, -1, -1)
        for block in self.blocks:
            h = block(h, temb)
        h = self.norm(h.mean(0).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(h)
