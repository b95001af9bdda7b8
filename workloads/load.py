"""Model files to Models: recognise a seed workload by its tensors, build it, lower it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nsim.errors import ModelFileError
from nsim.frontends.load import read_checkpoint, sha256
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.twin import twin_counts

DEFAULT_SAMPLER = "ddim:50"
DEFAULT_TIME_STEPS = 4
UNKNOWN_WEIGHTS = "as found in the file, training unknown"


def load_model(path: Path, time_steps: int | None = None, v_threshold: float | None = None) -> Model:
    """Load an SDDPM checkpoint: the authors' dict {net_model, optim, step, x_T}, or a bundle of ours.

    Width, depth and channels come from the tensors' shapes, the resolution from ``x_T``. ``time_steps``:
    the SNN's T, the bundle's own or 4 by default; ``v_threshold``: of every neuron (threshold guidance).
    Raises ModelFileError for a file that holds no SDDPM network.
    """
    content = read_checkpoint(path)
    state = content.get("net_model")
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelFileError(
            f"{path}: no 'net_model' with tensors in it (found {', '.join(map(repr, list(content)[:4]))}); "
            "an SDDPM checkpoint is a dict {net_model, optim, step, x_T}"
        )
    bundle = content.get("config", {})
    own = bundle.get("model", {})
    steps = own.get("time_steps", DEFAULT_TIME_STEPS) if time_steps is None else time_steps
    threshold = own.get("v_threshold", 1.0) if v_threshold is None else v_threshold
    if steps < 1 or threshold <= 0:
        raise ModelFileError(
            f"{path}: {steps} time steps and a threshold of {threshold:g}; both must be above 0"
        )
    config = infer_config(path, state, content.get("x_T"), steps, threshold)
    module = _build(path, config, state)
    image = (config.image_channels, config.image_size, config.image_size)
    twin = twin_counts(config)
    return Model(
        name=path.stem,
        workload="sddpm",
        network=lower(module, image, config.time_steps, path.stem),
        weights=bundle.get("trained", UNKNOWN_WEIGHTS),
        sampler=content.get("sampler", DEFAULT_SAMPLER),
        sha256=sha256(path),
        parameters=sum(p.numel() for p in module.parameters()),
        ann_twin_macs=twin.macs,
    )


def infer_config(
    path: Path, state: Mapping[str, torch.Tensor], x_t: Any, time_steps: int, v_threshold: float
) -> SDDPMConfig:
    """Configuration of the Spiking U-Net that a state dict belongs to."""
    if any(key.endswith(".tsmp") for key in state):
        raise ModelFileError(
            f"{path}: an SDM checkpoint (temporal-wise spiking, '*.tsmp'); only SDDPM is known so far"
        )
    if "conv.weight" not in state or "downblocks.0.conv1.weight" not in state:
        first = ", ".join(list(state)[:3])
        raise ModelFileError(
            f"{path}: {len(state)} tensors that are not an SDDPM Spiking U-Net's (first: {first}); "
            "its keys begin conv.weight, downblocks.0.conv1.weight"
        )
    channels, image_channels = state["conv.weight"].shape[:2]
    levels: list[list[int]] = [[]]
    indices = {int(m[1]) for key in state if (m := re.match(r"downblocks\.(\d+)\.", key))}
    for index in sorted(indices):
        width = state.get(f"downblocks.{index}.conv1.weight")
        if width is None:
            levels.append([])
        else:
            levels[-1].append(width.shape[0])
    if len({len(widths) for widths in levels}) != 1 or any(len(set(widths)) != 1 for widths in levels):
        raise ModelFileError(
            f"{path}: down blocks of widths {levels} are not an SDDPM Spiking U-Net's: "
            "every level has the same number of blocks, all of one width"
        )
    if not isinstance(x_t, torch.Tensor) or x_t.dim() != 4 or x_t.shape[1] != image_channels:
        raise ModelFileError(
            f"{path}: no 'x_T' of shape [N, {image_channels}, size, size], so the image size is unknown; "
            "add one, for example torch.randn(1, channels, size, size)"
        )
    halvings = 2 ** (len(levels) - 1)
    if x_t.shape[2] != x_t.shape[3] or x_t.shape[2] % halvings:
        raise ModelFileError(
            f"{path}: images of {x_t.shape[2]}x{x_t.shape[3]}; this network takes square ones whose side "
            f"divides by {halvings}"
        )
    return SDDPMConfig(
        image_channels=image_channels,
        image_size=x_t.shape[2],
        channels=channels,
        channel_multipliers=tuple(widths[0] // channels for widths in levels),
        blocks_per_level=len(levels[0]),
        time_steps=time_steps,
        v_threshold=v_threshold,
    )


def _build(path: Path, config: SDDPMConfig, state: Mapping[str, torch.Tensor]) -> SpikingUNet:
    """The module with its weights; ModelFileError naming the first tensor that does not fit."""
    with torch.device("meta"):
        wanted = {key: tuple(tensor.shape) for key, tensor in SpikingUNet(config).state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key in (*wanted, *found):
        if wanted.get(key) != found.get(key):
            raise ModelFileError(
                f"{path}: {key} is {_shape(found.get(key))}, an SDDPM Spiking U-Net of width "
                f"{config.channels} and multipliers {config.channel_multipliers} has "
                f"{_shape(wanted.get(key))}"
            )
    module = SpikingUNet(config)
    module.load_state_dict(state)
    return module.eval()


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a scalar"
