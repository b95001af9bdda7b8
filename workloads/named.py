"""The papers' sizes by name, with random weights: for what no trained checkpoint at hand answers."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from torch import nn

from nsim.errors import ModelFileError
from nsim.frontends.model import Model
from nsim.frontends.thresholds import Thresholds
from nsim.workloads.lateral import LateralConfig, LateralTransformer
from nsim.workloads.load import sddpm_model, with_model_thresholds
from nsim.workloads.load_lateral import lateral_model
from nsim.workloads.random_weights import WEIGHTS, random_lateral, random_unet
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet

SEED = 0

_CIFAR10 = SDDPMConfig()
_SIZES = {
    "cifar10": _CIFAR10,
    "mnist": replace(_CIFAR10, image_channels=1),
    "celeba": replace(_CIFAR10, image_size=64),
    "lsun": replace(_CIFAR10, image_size=64),
}
NAMED: dict[str, SDDPMConfig | LateralConfig] = {
    **{f"sddpm-{data}": config for data, config in _SIZES.items()},
    **{f"sddpm-{data}-plain": replace(config, residual="plain") for data, config in _SIZES.items()},
    **{f"sdm-{data}": replace(config, temporal=True, time_steps=8) for data, config in _SIZES.items()},
    "lateral": LateralConfig(),
    "lateral-mnist": LateralConfig(image_channels=1, image_size=28, width=384, heads=6, time_steps=2),
}
"""The papers' sizes: SDDPM, also with plain residual blocks for comparison; SDM at its T = 8; the lateral
selection transformer."""


def random_model(
    name: str, time_steps: int | None = None, v_threshold: Thresholds | None = None, seed: int = SEED
) -> Model:
    """One of the NAMED models: the authors' random initialisation, see `random_unet` and `random_lateral`."""
    config = NAMED[name]
    if time_steps is not None:
        if time_steps < 1:
            raise ModelFileError(f"{name}: {time_steps} time steps; there must be 1 or more")
        config = replace(config, time_steps=time_steps)
    weights = f"{WEIGHTS} (seed {seed})"
    module: LateralTransformer | SpikingUNet
    if isinstance(config, LateralConfig):
        module = random_lateral(config, seed)
        model = lateral_model(name, module, weights)
    else:
        module = random_unet(config, seed)
        model = sddpm_model(name, module, weights)
    model = replace(model, sha256=_digest(module))
    return model if v_threshold is None else with_model_thresholds(model, v_threshold)


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in module.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
