"""Spiking-Diffusion's files to Models: `model.pth` (VQ-SVAE), `diff_model.pth` (SDID), or both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from nsim.errors import ModelFileError
from nsim.frontends.load import read_checkpoint, sha256
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.workloads.spiking_diffusion import SDID, VQSVAE, Decoder, Encoder, PSPKernel, SpikingDiffusionConfig
from nsim.workloads.state import UNKNOWN_WEIGHTS, State, load_state

VAE_FILE, SDID_FILE = "model.pth", "diff_model.pth"


def is_vae(state: Mapping[str, Any]) -> bool:
    """True for the keys of a VQ-SVAE."""
    return "vq_layer.embeddings.weight" in state and "encoder.snn_convs.0.weight" in state


def is_sdid(state: Mapping[str, Any]) -> bool:
    """True for the keys of an SDID."""
    return "conv1.0.weight" in state and "conv6.0.weight" in state


def load_folder(folder: Path, psp: PSPKernel = "code") -> Model:
    """The whole of Spiking-Diffusion from a folder with both files: SDID calls, then the decoder."""
    files = [folder / SDID_FILE, folder / VAE_FILE]
    for file in files:
        if not file.is_file():
            raise ModelFileError(
                f"{folder}: a folder is a model when it holds {SDID_FILE} and {VAE_FILE}; "
                f"{file.name} is not there"
            )
    sdid, vae = read_checkpoint(files[0]), read_checkpoint(files[1])
    digest = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    return pipeline(folder, sdid, vae, UNKNOWN_WEIGHTS, digest, psp)


def pipeline(
    path: Path,
    sdid_state: State,
    vae_state: State,
    weights: str,
    digest: str,
    psp: PSPKernel = "code",
    image_size: int = SpikingDiffusionConfig.image_size,
) -> Model:
    """SDID and the decoder as one Model; ModelFileError when they are not of one codebook."""
    config = replace(_vae_config(path, vae_state, psp), image_size=image_size)
    found = sdid_state["conv6.0.weight"].shape[0] if is_sdid(sdid_state) else None
    if found != config.code_count:
        raise ModelFileError(
            f"{path}: an SDID of {found} codes and a codebook of {config.code_count} do not belong together"
        )
    config = _with_sdid(config, sdid_state)
    vae, sdid = _vae(path, config, vae_state), _sdid(path, config, sdid_state)
    return replace(spiking_diffusion_model(path.stem, sdid, vae, weights), sha256=digest)


def spiking_diffusion_model(name: str, sdid: SDID, vae: VQSVAE, weights: str) -> Model:
    """SDID and the decoder of a VQ-SVAE as one Model; ``sha256`` is left empty."""
    config = vae.config
    return Model(
        name=name,
        workload="spiking-diffusion",
        network=lower(sdid, (1, config.token_size, config.token_size), config.time_steps, name),
        weights=weights,
        sampler=f"absorbing:{config.token_size**2}",
        sha256="",
        parameters=_parameters(sdid) + _parameters(vae),
        decoder=_lower_decoder(Decoder(vae), config, name),
        codes=config.code_count,
    )


def load_sdid(path: Path, state: State) -> Model:
    """SDID alone: what it generates are tokens, for want of a decoder."""
    config = _with_sdid(SpikingDiffusionConfig(), state)
    sdid = _sdid(path, config, state)
    return Model(
        name=path.stem,
        workload="sdid",
        network=lower(sdid, (1, config.token_size, config.token_size), config.time_steps, path.stem),
        weights=UNKNOWN_WEIGHTS,
        sampler=f"absorbing:{config.token_size**2}",
        sha256=sha256(path),
        parameters=_parameters(sdid),
        codes=config.code_count,
    )


def load_vae(path: Path, state: State, psp: PSPKernel = "code") -> Model:
    """The VQ-SVAE alone: its encoder, then its decoder; there is nothing to sample."""
    config = _vae_config(path, state, psp)
    vae = _vae(path, config, state)
    image = (1, config.image_size, config.image_size)
    return Model(
        name=path.stem,
        workload="vq-svae",
        network=lower(Encoder(vae), image, config.time_steps, f"{path.stem} encoder"),
        weights=UNKNOWN_WEIGHTS,
        sampler="",
        sha256=sha256(path),
        parameters=_parameters(vae),
        decoder=_lower_decoder(Decoder(vae), config, path.stem),
    )


def _lower_decoder(decoder: Decoder, config: SpikingDiffusionConfig, name: str) -> Network:
    return lower(decoder, (1, config.token_size, config.token_size), config.time_steps, f"{name} decoder")


def _vae_config(path: Path, state: State, psp: PSPKernel) -> SpikingDiffusionConfig:
    if not is_vae(state):
        raise ModelFileError(f"{path}: no VQ-SVAE in it; its keys hold vq_layer.embeddings.weight")
    codes, width = state["vq_layer.embeddings.weight"].shape
    steps = state["memout.coef"].shape[0] if "memout.coef" in state else SpikingDiffusionConfig.time_steps
    widths = [state[f"encoder.snn_convs.{i}.weight"].shape[0] for i in (0, 3)]
    return SpikingDiffusionConfig(
        code_count=codes, code_width=width, vae_widths=(widths[0], widths[1]), time_steps=steps, psp=psp
    )


def _with_sdid(config: SpikingDiffusionConfig, state: State) -> SpikingDiffusionConfig:
    """The configuration with an SDID's own codes and widths."""
    a, b, c, d, e = (state[f"conv{i}.0.weight"].shape[0] for i in range(1, 6))
    return replace(config, code_count=state["conv6.0.weight"].shape[0], sdid_widths=(a, b, c, d, e))


def _vae(path: Path, config: SpikingDiffusionConfig, state: State) -> VQSVAE:
    vae = VQSVAE(config)
    load_state(path, f"a VQ-SVAE of {config.code_count} codes", vae, state)
    return vae.eval()


def _sdid(path: Path, config: SpikingDiffusionConfig, state: State) -> SDID:
    sdid = SDID(config)
    load_state(path, f"an SDID of {config.code_count} codes", sdid, state)
    return sdid.eval()


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
