"""Training of the bundled Spiking-Diffusion: first the VQ-SVAE on images, then SDID on their tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nsim.workloads.spiking_diffusion import (
    SDID,
    VQSVAE,
    Encoder,
    SpikingDiffusionConfig,
    psp_weights,
    run_layers,
)
from nsim.workloads.state import save_file
from nsim.workloads.training import begun

DIGITS_TOKENS = SpikingDiffusionConfig(
    image_size=16, code_count=64, sdid_widths=(48, 96, 128, 128, 96), time_steps=8
)
"""The bundled size: digits of 16 x 16 in 4 x 4 tokens, half the paper's codes and time steps, narrow SDID."""

TEMPERATURE = 1.0
"""Of the bundle's own sampler: the distribution that SDID was trained to give. Digits are nearer to real ones
than at the 0.65 of the authors' previews."""


@dataclass(frozen=True)
class TokenTraining:
    """One training run: the VQ-SVAE for ``vae_part`` of it, then SDID; for each the learning rate falls to
    zero along a cosine.

    Losses and optimiser are the authors' (`vae_loss`, `sdid_loss`; AdamW). Not theirs: for the first half of
    its training, codes that no image uses are set to features of the batch every ``revive_every`` iterations,
    as few digits leave many codes unused; and codes are put in order before SDID sees them (`order_codes`).
    """

    iterations: int = 6_000
    vae_part: float = 4 / 15
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    revive_every: int = 25
    seed: int = 0
    save_every: int = 100

    @property
    def vae_iterations(self) -> int:
        """Iterations of the VQ-SVAE, which come first."""
        return round(self.vae_part * self.iterations)

    def rate(self, iteration: int) -> float:
        """Learning rate: half a cosine for each network."""
        if iteration < self.vae_iterations:
            part = iteration / self.vae_iterations
        else:
            part = (iteration - self.vae_iterations) / (self.iterations - self.vae_iterations)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * part))


def vae_loss(vae: VQSVAE, images: torch.Tensor, variance: float) -> torch.Tensor:
    """Reconstruction error over the data's variance, codebook, commitment, and the PSP of both spike trains.

    Images [B, 1, S, S] in [-0.5, 0.5]. Codes reach the decoder as spikes of the ASG, gradients pass them by
    (straight through) to the encoder; the paper's post-synaptic potential compares the encoder's spikes with
    the ASG's at every time step.
    """
    steps, layer = vae.config.time_steps, vae.vq_layer
    spikes, features = _encoded(vae, images)
    codes = nearest(vae, features)
    codebook = torch.mean((codes - features.detach()) ** 2)
    commitment = torch.mean((codes.detach() - features) ** 2)
    through = features + (codes - features).detach()
    drawn = run_layers(layer.poisson, through.unsqueeze(0).expand(steps, -1, -1, -1, -1))
    psp = torch.mean((post_synaptic(drawn) - post_synaptic(spikes)) ** 2)
    made = torch.tanh(vae.memout(vae.decoder(drawn)))
    return torch.mean((made - images) ** 2) / variance + codebook + 0.25 * commitment + 0.25 * psp


def _encoded(vae: VQSVAE, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The encoder's spikes [T, B, C, H, W], and the features made of them [B, C, H, W]."""
    layer = vae.vq_layer
    spikes = vae.encoder(images.unsqueeze(0).expand(vae.config.time_steps, -1, -1, -1, -1))
    return spikes, layer.alpha * spikes.mean(0) + (1 - layer.alpha) * layer.memout(spikes)


def nearest(vae: VQSVAE, features: torch.Tensor) -> torch.Tensor:
    """The code vectors nearest to features [B, C, H, W]."""
    index = code_index(vae, features)
    return vae.vq_layer.embeddings(index).permute(0, 3, 1, 2)


def code_index(vae: VQSVAE, features: torch.Tensor) -> torch.Tensor:
    """Index of the code vector nearest to features [B, C, H, W]: int64 [B, H, W]."""
    flat = features.permute(0, 2, 3, 1)
    return torch.cdist(flat.flatten(0, 2), vae.vq_layer.embeddings.weight).argmin(1).view(flat.shape[:3])


def post_synaptic(spikes: torch.Tensor) -> torch.Tensor:
    """The paper's post-synaptic potential at every time step of spikes [T, ...]."""
    steps = len(spikes)
    kernel = psp_weights(steps, "paper")
    decay = torch.zeros(steps, steps)
    for step in range(steps):
        decay[step, : step + 1] = kernel[steps - 1 - step :]
    return torch.einsum("st,t...->s...", decay, spikes)


def sdid_loss(sdid: SDID, tokens: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Cross entropy of masked tokens [B, 1, S, S] at random times t, each masked with probability t / T_d.

    Weighted by 1 - (t - 1) / T_d. The authors' weight, 1 - t / T_d, is 0 where all are masked, which is where
    sampling starts.
    """
    config = sdid.config
    cells = config.token_size**2
    t = torch.randint(1, cells + 1, (len(tokens),), generator=generator)
    masked = torch.rand(tokens.shape, generator=generator) < (t / cells).view(-1, 1, 1, 1)
    seen = torch.where(masked, config.code_count, tokens).float()
    error = nn.functional.cross_entropy(sdid(seen, t), tokens[:, 0], reduction="none")
    weight = (1.0 - (t - 1) / cells).view(-1, 1, 1) * masked[:, 0]
    return (weight * error).sum() / masked.sum().clamp(min=1)


def train_spiking_diffusion(
    out: Path,
    images: np.ndarray,
    model_config: SpikingDiffusionConfig,
    config: TokenTraining,
    report: Callable[[int, float], None],
) -> tuple[SDID, VQSVAE]:
    """Train both networks on ``images`` [N, 1, S, S] in [-1, 1] and write them to ``out`` as one bundle.

    A training state beside it (suffix ``.state``) is written every ``save_every`` iterations, and gone on
    with when it is there: a resumed run sees the batches that an uninterrupted one would.
    ``report(iteration, loss)`` is called after each iteration.
    """
    torch.manual_seed(config.seed)
    sdid, vae = SDID(model_config).train(), VQSVAE(model_config).train()
    parameters = [*vae.parameters(), *sdid.parameters()]
    optimiser = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    state, state_file = begun(out, asdict(config))
    start = 0
    if state is not None:
        vae.load_state_dict(state["vq_svae"])
        sdid.load_state_dict(state["sdid"])
        optimiser.load_state_dict(state["optim"])
        start = state["step"]

    data = torch.from_numpy(images) / 2.0
    variance = float(data.var())
    tokens: torch.Tensor | None = None
    for iteration in range(start, config.iterations):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + iteration)
        batch = torch.randint(0, len(data), (config.batch_size,), generator=generator)
        if iteration < config.vae_iterations:
            _revive(vae, data[batch], config, iteration, generator)
            loss = vae_loss(vae, data[batch], variance)
        else:
            if iteration == config.vae_iterations:
                order_codes(vae)
            if tokens is None:
                tokens = tokens_of(vae, data)
            loss = sdid_loss(sdid, tokens[batch], generator)
        for group in optimiser.param_groups:
            group["lr"] = config.rate(iteration)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        report(iteration, loss.item())
        done = iteration + 1
        if done % config.save_every == 0 or done == config.iterations:
            both = {"vq_svae": vae.state_dict(), "sdid": sdid.state_dict()}
            progress = {"optim": optimiser.state_dict(), "step": done, "train_config": asdict(config)}
            save_file(state_file, {**both, **progress})
            save_file(out, {**both, **_bundle(model_config, config, done)})
    return sdid.eval(), vae.eval()


@torch.no_grad()
def tokens_of(vae: VQSVAE, images: torch.Tensor) -> torch.Tensor:
    """Tokens int64 [B, 1, S, S] of images in [-0.5, 0.5]; leaves the VQ-SVAE in inference mode."""
    encoder = Encoder(vae.eval())
    return torch.cat([encoder(part) for part in images.split(256)]).long()


@torch.no_grad()
def order_codes(vae: VQSVAE) -> None:
    """Number the codes along their first principal component.

    SDID sees indices as numbers, so near ones should be alike; to the VQ-SVAE their order is nothing.
    """
    codes = vae.vq_layer.embeddings.weight
    centred = codes - codes.mean(dim=0)
    along = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[0]
    codes.copy_(codes[along.argsort()])


@torch.no_grad()
def _revive(
    vae: VQSVAE, images: torch.Tensor, config: TokenTraining, iteration: int, generator: torch.Generator
) -> None:
    """Set codes that this batch does not use to features of it, in the first half of the training."""
    if iteration % config.revive_every or iteration > config.vae_iterations // 2:
        return
    _, features = _encoded(vae, images)
    used = torch.bincount(code_index(vae, features).flatten(), minlength=vae.config.code_count) > 0
    found = features.permute(0, 2, 3, 1).flatten(0, 2)
    unused = torch.nonzero(~used).flatten()
    vae.vq_layer.embeddings.weight[unused] = found[
        torch.randint(len(found), unused.shape, generator=generator)
    ]


def _bundle(model_config: SpikingDiffusionConfig, config: TokenTraining, step: int) -> dict[str, object]:
    return {
        "config": {
            "workload": "spiking-diffusion",
            "trained": f"scikit-learn digits, {step} iterations, seed {config.seed}",
            "model": asdict(model_config),
            "training": asdict(config),
        },
        "sampler": f"absorbing:{model_config.token_size**2}@{TEMPERATURE:g}",
    }
