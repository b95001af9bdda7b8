"""Model files to Models: recognise a seed workload by its tensors, build it, lower it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nsim.errors import ModelFileError
from nsim.frontends.load import read_checkpoint, sha256
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.frontends.pt2.archive import is_program
from nsim.frontends.thresholds import Thresholds, with_thresholds
from nsim.workloads.load_program import load_program
from nsim.workloads.samplers import DEFAULT_SAMPLER
from nsim.workloads.samplers.analytic import read_statistics, statistics_file
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.spiking_diffusion import PSPKernel, SpikingDiffusionConfig
from nsim.workloads.state import UNKNOWN_WEIGHTS, load_state
from nsim.workloads.twin import twin_counts
from nsim.workloads.unet_shapes import image_size, level_widths

DEFAULT_TIME_STEPS = 4


def load_model(
    path: Path, time_steps: int | None = None, v_threshold: Thresholds | None = None, psp: PSPKernel = "code"
) -> Model:
    """Load a seed author's file or a bundle of ours, recognised by what is in it.

    SDDPM and SDM: the dict {net_model, optim, step, x_T}; Spiking-Diffusion: the bare state dict of its
    VQ-SVAE or of its SDID, or a folder with both files; or a bundle {vq_svae, sdid, config} of ours, or one
    of a lateral selection transformer, {net_model, config, sampler}.
    ``time_steps``: the SNN's T, the file's own or 4 by default; ``v_threshold``: of every neuron, or by layer
    (threshold guidance); ``psp``: see `SpikingDiffusionConfig`. Raises ModelFileError for anything else.
    """
    if time_steps is not None and time_steps < 1:
        raise ModelFileError(f"{path}: {time_steps} time steps; there must be 1 or more")
    model = _load_folder(path, psp) if path.is_dir() else _load_file(path, time_steps, psp)
    model = with_statistics(model, path)
    if time_steps not in (None, model.network.time_steps):
        raise ModelFileError(
            f"{path}: {model.workload} has its {model.network.time_steps} time steps in its weights, "
            f"{time_steps} cannot be had"
        )
    return model if v_threshold is None else with_model_thresholds(model, v_threshold)


def with_statistics(model: Model, path: Path) -> Model:
    """The model of a file with the statistics that `nsim statistics` wrote beside it, if it did."""
    steps = model.network.time_steps
    return replace(model, ms_eps=read_statistics(statistics_file(path), model.sha256, steps))


def with_model_thresholds(model: Model, v_threshold: Thresholds) -> Model:
    """The model with other firing thresholds in all its networks: another denoiser, so without statistics."""
    network, *decoder = with_thresholds(model.networks, v_threshold)
    return replace(model, network=network, decoder=decoder[0] if decoder else None, ms_eps=None)


def _load_folder(path: Path, psp: PSPKernel) -> Model:
    from nsim.workloads.load_spiking_diffusion import load_folder

    return load_folder(path, psp)


def _load_file(path: Path, time_steps: int | None, psp: PSPKernel) -> Model:
    from nsim.workloads import conversion
    from nsim.workloads import load_spiking_diffusion as spiking_diffusion
    from nsim.workloads.load_lateral import is_lateral, load_lateral

    if is_program(path):
        return load_program(path, time_steps)
    content = read_checkpoint(path)
    if is_lateral(content):
        return load_lateral(path, content, time_steps)
    if spiking_diffusion.is_vae(content):
        return spiking_diffusion.load_vae(path, content, psp)
    if spiking_diffusion.is_sdid(content):
        return spiking_diffusion.load_sdid(path, content)
    if "vq_svae" in content and "sdid" in content:
        bundle = content.get("config", {})
        model = spiking_diffusion.pipeline(
            path,
            content["sdid"],
            content["vq_svae"],
            bundle.get("trained", UNKNOWN_WEIGHTS),
            sha256(path),
            psp,
            bundle.get("model", {}).get("image_size", SpikingDiffusionConfig.image_size),
        )
        return replace(model, sampler=content.get("sampler", model.sampler))
    if conversion.is_quantised(content):
        return conversion.load_converted(path, content, time_steps)
    return _load_sddpm(path, content, time_steps)


def _load_sddpm(path: Path, content: dict[str, Any], time_steps: int | None) -> Model:
    """SDDPM or SDM: width, depth and channels from the tensors' shapes, the resolution from ``x_T``."""
    state = content.get("net_model")
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelFileError(
            f"{path}: no 'net_model' with tensors in it (found {', '.join(map(repr, list(content)[:4]))}); "
            "a model file is SDDPM's or SDM's dict {net_model, optim, step, x_T}, or a bare state dict of "
            "Spiking-Diffusion"
        )
    bundle = content.get("config", {})
    own = bundle.get("model", {})
    steps = own.get("time_steps", DEFAULT_TIME_STEPS) if time_steps is None else time_steps
    config = infer_config(path, state, content.get("x_T"), steps, own.get("v_threshold", 1.0))
    config = replace(config, residual=own.get("residual", config.residual))
    what = f"an SDDPM Spiking U-Net of width {config.channels} and multipliers {config.channel_multipliers}"
    module = SpikingUNet(config)
    load_state(path, what, module, state)
    model = sddpm_model(
        path.stem, module, bundle.get("trained", UNKNOWN_WEIGHTS), content.get("sampler", DEFAULT_SAMPLER)
    )
    return replace(model, sha256=sha256(path))


def sddpm_model(name: str, module: SpikingUNet, weights: str, sampler: str = DEFAULT_SAMPLER) -> Model:
    """A Spiking U-Net as a Model, its ANN twin counted; ``sha256`` is left empty."""
    config = module.config
    twin = twin_counts(config)
    image = (config.image_channels, config.image_size, config.image_size)
    return Model(
        name=name,
        workload="sdm" if config.temporal else "sddpm",
        network=lower(module, image, config.time_steps, name),
        weights=weights,
        sampler=sampler,
        sha256="",
        parameters=sum(p.numel() for p in module.parameters()),
        ann_twin_macs=twin.macs,
        ann_twin_parameters=twin.parameters,
    )


def infer_config(
    path: Path, state: Mapping[str, torch.Tensor], x_t: Any, time_steps: int, v_threshold: float
) -> SDDPMConfig:
    """Configuration of the Spiking U-Net that a state dict belongs to."""
    temporal = "conv.tsmp" in state
    if temporal:
        time_steps = state["conv.tsmp"].shape[0]
        state = {key.replace(".tsmconv.", "."): tensor for key, tensor in state.items()}
    if "conv.weight" not in state or "downblocks.0.conv1.weight" not in state:
        first = ", ".join(list(state)[:3])
        raise ModelFileError(
            f"{path}: {len(state)} tensors that are not an SDDPM Spiking U-Net's (first: {first}); "
            "its keys begin conv.weight, downblocks.0.conv1.weight"
        )
    channels, image_channels = state["conv.weight"].shape[:2]
    levels = level_widths(path, "an SDDPM Spiking U-Net", state, "conv1.weight")
    size = image_size(path, x_t, image_channels, len(levels))
    return SDDPMConfig(
        image_channels=image_channels,
        image_size=size,
        channels=channels,
        channel_multipliers=tuple(widths[0] // channels for widths in levels),
        blocks_per_level=len(levels[0]),
        time_steps=time_steps,
        v_threshold=v_threshold,
        temporal=temporal,
    )
