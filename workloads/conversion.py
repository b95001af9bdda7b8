"""ANN-SNN conversion (SDM's route, after Fast-SNN): a U-Net of quantised ReLUs as signed neurons.

A ReLU of b bits, clipped at act_alpha, becomes a signed neuron of threshold act_alpha that is played
T = 2^b - 1 times. For an input that is the same at every step the mean of what the neuron sends is the ReLU's
value, exactly. Behind the first layer inputs are spikes, which come when they come: there the two differ, and
so do GroupNorms, whose statistics are of one time step. Nothing else sets them apart; `deviation` says by how
much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nsim.errors import ModelFileError
from nsim.frontends.load import read_checkpoint, sha256
from nsim.frontends.lower import lower
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.simulator.engine import Engine
from nsim.workloads.quantised_unet import GROUPS, QuantisedConfig, QuantisedReLU, QuantisedUNet
from nsim.workloads.samplers import DEFAULT_SAMPLER, DIFFUSION_STEPS, initial_noise
from nsim.workloads.state import UNKNOWN_WEIGHTS, State, load_state, save_file
from nsim.workloads.unet_shapes import image_size, level_widths

BITS = range(1, 9)
WHAT = "a quantised-ReLU U-Net"


@dataclass(frozen=True, eq=False)
class Conversion:
    """An ANN converted: its network as spikes, and how far that is from the ANN on noise.

    ``layers``: one row per activation: layer, rate (spikes of either sign per neuron and time step), negative
    (share of spikes of -1), mean_levels and max_levels (difference of what the neurons send, over all steps,
    from the ReLU's value, in multiples of act_alpha / T). ``eps_error``: root of the mean squared difference
    of eps, over the root of the mean square of the ANN's.
    """

    model: Model
    bits: int
    layers: pd.DataFrame
    eps_error: float

    @property
    def group_norms(self) -> list[str]:
        """Host ops of every time step that the spikes did not do away with."""
        return [op.name for op in self.model.network.host_ops if op.kind == "group_norm"]

    @property
    def host_elementwise(self) -> int:
        """Elementwise operations of the host in one call of one image, GroupNorms alone."""
        network = self.model.network
        return network.time_steps * sum(o.elementwise for o in network.host_ops if o.kind == "group_norm")


def is_quantised(content: Mapping[str, Any]) -> bool:
    """True for a checkpoint of an ANN of quantised ReLUs, or of one converted."""
    state = _state(content)
    return isinstance(state, Mapping) and any(key.endswith(".act_alpha") for key in state)


def convert(path: Path, bits: int, out: Path, images: int = 1, seed: int = 0) -> Conversion:
    """Convert the ANN in ``path``, of activations of ``bits`` bits, and write it to ``out``.

    The weights stay as they are: the file says ``bits`` beside them. Raises ModelFileError for a file that
    holds no such ANN, and for bits that are not 1 to 8.
    """
    content = read_checkpoint(path)
    if not is_quantised(content):
        raise ModelFileError(
            f"{path}: no activation with an act_alpha in it; what is converted is {WHAT}, "
            "whose keys end on block1.1.act_alpha"
        )
    if bits not in BITS:
        raise ModelFileError(f"{path}: activations of {bits} bits; {BITS[0]} to {BITS[-1]} can be had")
    state, config = _read(path, content, bits)
    trained = content.get("config", {}).get("trained", UNKNOWN_WEIGHTS)
    kept = {
        "net_model": state,
        "x_T": content["x_T"],
        "config": {"bits": bits, "trained": f"{trained}; converted to spikes, activations of {bits} bits"},
    }
    save_file(out, kept)
    model = load_converted(out, read_checkpoint(out))
    ann = QuantisedUNet(config).eval()
    load_state(path, WHAT, ann, state)
    return Conversion(model, bits, *deviation(ann, model.network, images, seed))


def load_converted(path: Path, content: Mapping[str, Any], time_steps: int | None = None) -> Model:
    """The spiking network in a file of `convert`; of one of the authors', ``time_steps`` says the bits."""
    bits = content.get("config", {}).get("bits")
    if bits is None and time_steps is None:
        raise ModelFileError(
            f"{path}: {WHAT}, an ANN; nsim convert {path} --bits 2 --out FILE makes a spiking network of it"
        )
    bits = (time_steps or 0).bit_length() if bits is None else int(bits)
    if time_steps not in (None, 2**bits - 1):
        raise ModelFileError(
            f"{path}: {time_steps} time steps; a network converted from activations of b bits has 2^b - 1, "
            f"{2**bits - 1} for the {bits} it may be"
        )
    state, config = _read(path, content, bits)
    module = QuantisedUNet(replace(config, spiking=True)).eval()
    load_state(path, WHAT, module, state)
    image = (config.image_channels, config.image_size, config.image_size)
    network = lower(module, image, config.levels, path.stem)
    return Model(
        name=path.stem,
        workload="ann2snn",
        network=network,
        weights=content.get("config", {}).get("trained", UNKNOWN_WEIGHTS),
        sampler=DEFAULT_SAMPLER,
        sha256=sha256(path),
        parameters=sum(p.numel() for p in module.parameters()),
        ann_twin_macs=dense_macs(network),
    )


def dense_macs(network: Network) -> int:
    """Multiply-accumulates of one pass with every weight used, padding taps counted: those of the ANN."""
    shapes = network.population_by_name
    return sum(
        p.kernel.dense_operations(shapes[p.target].shape[1:])
        for p in network.projections
        if not p.kernel.is_identity
    )


@torch.no_grad()
def deviation(ann: QuantisedUNet, network: Network, images: int, seed: int) -> tuple[pd.DataFrame, float]:
    """How far the spiking network is from its ANN on noise, in the middle of the diffusion: `Conversion`."""
    seen: dict[str, np.ndarray] = {}
    for name, module in ann.named_modules():
        if isinstance(module, QuantisedReLU):
            module.register_forward_hook(
                lambda module, args, out, name=name: seen.update(
                    {name: (out[0] / module.act_alpha * module.levels).round().numpy()}
                )
            )
    x = initial_noise((images, *network.population_by_name[network.image].shape), seed)
    t = np.full(images, DIFFUSION_STEPS // 2)
    wanted = ann(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    call = Engine(network).call(x, t)
    rows = []
    for name, signs in call.signs.items():
        off = np.abs(signs.sum(axis=0) - seen[name])
        spikes = max(1, np.count_nonzero(signs))
        rows.append((name, (signs != 0).mean(), (signs < 0).sum() / spikes, off.mean(), off.max()))
    columns = ["layer", "rate", "negative", "mean_levels", "max_levels"]
    error = float(np.sqrt(np.mean((call.eps - wanted) ** 2) / np.mean(wanted**2)))
    return pd.DataFrame(rows, columns=columns), error


def _state(content: Mapping[str, Any]) -> Any:
    return content.get("ema_model", content.get("net_model"))


def _read(path: Path, content: Mapping[str, Any], bits: int) -> tuple[State, QuantisedConfig]:
    """The state by the ANN's keys (those of the authors' SNN have a "block" more), and its configuration."""
    state = {_ann_key(key): tensor for key, tensor in _state(content).items()}
    if "head.weight" not in state or "downblocks.0.block1.2.weight" not in state:
        raise ModelFileError(
            f"{path}: not {WHAT}'s: its keys begin head.weight, downblocks.0.block1.2.weight"
        )
    channels, image_channels = state["head.weight"].shape[:2]
    if channels % GROUPS:
        raise ModelFileError(f"{path}: {channels} channels; GroupNorm cuts them into {GROUPS} groups")
    levels = level_widths(path, WHAT, state, "block1.2.weight")
    return state, QuantisedConfig(
        bits=bits,
        image_channels=image_channels,
        image_size=image_size(path, content.get("x_T"), image_channels, len(levels)),
        channels=channels,
        channel_multipliers=tuple(widths[0] // channels for widths in levels),
        blocks_per_level=len(levels[0]),
    )


def _ann_key(key: str) -> str:
    parts = key.split(".")
    return ".".join(parts[:-3] + parts[-2:]) if parts[-3:-2] == ["block"] else key
