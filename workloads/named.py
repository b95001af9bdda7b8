"""The papers' sizes by name, with random weights: for what no trained checkpoint at hand answers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from torch import nn

from nsim.errors import ModelFileError
from nsim.frontends.model import Model
from nsim.frontends.thresholds import Thresholds
from nsim.workloads.checkpoints import bundled_names
from nsim.workloads.lateral import LateralConfig
from nsim.workloads.load import sddpm_model, with_model_thresholds
from nsim.workloads.load_lateral import lateral_model
from nsim.workloads.load_spiking_diffusion import pipeline
from nsim.workloads.random_weights import WEIGHTS, random_lateral, random_spiking_diffusion, random_unet
from nsim.workloads.sddpm import SDDPMConfig
from nsim.workloads.spiking_diffusion import SpikingDiffusionConfig

Config = SDDPMConfig | SpikingDiffusionConfig | LateralConfig

SEED = 0

_CIFAR10 = SDDPMConfig()
_SIZES = {
    "cifar10": _CIFAR10,
    "mnist": replace(_CIFAR10, image_channels=1),
    "celeba": replace(_CIFAR10, image_size=64),
    "lsun": replace(_CIFAR10, image_size=64),
}
NAMED: dict[str, Config] = {
    **{f"sddpm-{data}": config for data, config in _SIZES.items()},
    **{f"sddpm-{data}-plain": replace(config, residual="plain") for data, config in _SIZES.items()},
    **{f"sdm-{data}": replace(config, temporal=True, time_steps=8) for data, config in _SIZES.items()},
    "spiking-diffusion-mnist": SpikingDiffusionConfig(),
    "lateral": LateralConfig(),
    "lateral-mnist": LateralConfig(image_channels=1, image_size=28, width=384, heads=6, time_steps=2),
}
"""SDDPM at the papers' sizes, with plain residual blocks for comparison, SDM at its T = 8, Spiking-Diffusion
with its decoder, the lateral selection transformer for CIFAR-10 and for MNIST."""


def random_model(
    name: str, time_steps: int | None = None, v_threshold: Thresholds | None = None, seed: int = SEED
) -> Model:
    """One of the NAMED models: the authors' random initialisation, see `random_weights`."""
    config = NAMED[name]
    if time_steps is not None:
        if time_steps < 1:
            raise ModelFileError(f"{name}: {time_steps} time steps; there must be 1 or more")
        config = replace(config, time_steps=time_steps)
    model = _random(name, config, seed)
    return model if v_threshold is None else with_model_thresholds(model, v_threshold)


def workload_groups() -> list[tuple[str, ...]]:
    """Names of all bundled and NAMED models; those that are equal but for their name together."""
    groups: dict[object, tuple[str, ...]] = {}
    for name in (*bundled_names(), *NAMED):
        key = NAMED.get(name, name)
        groups[key] = (*groups.get(key, ()), name)
    return list(groups.values())


def _random(name: str, config: Config, seed: int) -> Model:
    weights = f"{WEIGHTS} (seed {seed})"
    if isinstance(config, SpikingDiffusionConfig):
        sdid, vae = random_spiking_diffusion(config, seed)
        return pipeline(Path(name), sdid.state_dict(), vae.state_dict(), weights, _digest(sdid, vae))
    if isinstance(config, LateralConfig):
        transformer = random_lateral(config, seed)
        return replace(lateral_model(name, transformer, weights), sha256=_digest(transformer))
    module = random_unet(config, seed)
    return replace(sddpm_model(name, module, weights), sha256=_digest(module))


def _digest(*modules: nn.Module) -> str:
    digest = hashlib.sha256()
    for module in modules:
        for key, tensor in module.state_dict().items():
            digest.update(key.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
