"""What rounding a model's weights loses: spikes and eps, layer by layer, against real numbers.

Every call of a real trajectory is played again in integers from the same image, so that errors do not build
up from one sampler step to the next. A layer's own share is what eps loses when the weights and biases of
that layer alone are rounded and everything else stays real.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.frontends.quantize import dequantize, quantize
from nsim.hw_models.catalog import load_any_chip
from nsim.hw_models.mapping.policies import Policy, without_streams
from nsim.hw_models.spec import CrossbarChip
from nsim.reports.run_sampler import Progress
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.simulator.integers import arithmetic_of
from nsim.workloads.samplers import initial_noise, parse_sampler, trajectory

SAMPLER = "ddim:10"
"""Ten calls from noise to image are enough to tell layers apart."""
COLUMNS = ["layer", "neurons", "rate_real", "rate_rounded", "spike_differences", "agreement", "eps_error"]


@dataclass(frozen=True, eq=False)
class RoundingLoss:
    """Against float64, over ``calls`` calls of ``images`` images, in the integers of ``chip``.

    ``layers``: one row per layer of the layout, in network order: neurons; spikes per neuron and time step,
    real and rounded; spikes that differ, of all neurons, time steps, images and calls, and the share that
    agrees (these are missing for a read-out, which does not spike); eps_error when this layer alone is
    rounded. ``eps_error``, of all layers rounded: root of the mean squared difference of eps, over the root
    of the mean square of eps. ``agreement``: over all neurons.
    """

    layers: pd.DataFrame
    agreement: float
    eps_error: float
    calls: int
    images: int
    chip: str


@dataclass(frozen=True, eq=False)
class _Played:
    """A call and what it was called with."""

    x: np.ndarray
    t: np.ndarray
    call: Call


def rounding_loss(
    model: Model,
    weight_bits: int,
    policy: Policy = "expand",
    sampler: str = SAMPLER,
    images: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
    chip: str = "loihi",
) -> RoundingLoss:
    """Play a trajectory in float64, and each of its calls with weights of ``weight_bits`` bits.

    The weights that are rounded are those of the layout by ``policy``, the integers those of ``chip``; on
    crossbars all weights into a layer share one step (see `quantize`). QuantizeError for bits that cannot be
    had, MappingError for a policy that cannot be, RunError for a sampler that is not known.
    """
    if images < 1:
        raise RunError(f"{images} images: at least 1 is needed")
    real = without_streams(model.network, policy)
    whose = load_any_chip(chip)
    rounded = quantize(real, weight_bits, one_step_per_target=isinstance(whose, CrossbarChip))
    played = _trajectory(real, sampler, images, seed)
    eps = [p.call.eps for p in played]
    integer = Engine(rounded, "int", arithmetic=arithmetic_of(whose))
    again = [integer.call(p.x, p.t) for p in played]
    layers = [p for p in real.populations if p.kind != "source"]
    steps, rows = dequantize(rounded), []
    for i, layer in enumerate(layers, start=1):
        one = Engine(_with_one_layer_of(steps, real, layer.name), "float64")
        own = _eps_error([one.call(p.x, p.t).eps for p in played], eps)
        spikes = [(p.call.spikes, q.spikes) for p, q in zip(played, again, strict=True)]
        rows.append((layer.name, layer.size, *_agreement(spikes, layer.name), own))
        if progress is not None:
            progress(i, len(layers))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    differ = frame["spike_differences"].sum()
    seen = real.time_steps * images * len(played) * sum(p.size for p in real.neurons)
    error = _eps_error([call.eps for call in again], eps)
    return RoundingLoss(frame, float(1 - differ / seen), error, len(played), images, whose.name)


def _trajectory(network: Network, sampler: str, images: int, seed: int) -> list[_Played]:
    engine, played = Engine(network, "float64"), []

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        played.append(_Played(x, t, engine.call(x, t)))
        return played[-1].call.eps

    noise = initial_noise((images, *network.population_by_name[network.image].shape), seed)
    for _ in trajectory(denoise, parse_sampler(sampler).build(seed), noise):
        pass
    return played


def _agreement(
    spikes: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]], layer: str
) -> tuple[float, float, float, float]:
    """(rate real, rate rounded, spikes that differ, share that agrees); missing where nothing spikes."""
    if layer not in spikes[0][0]:
        return (math.nan, math.nan, math.nan, math.nan)
    before = np.stack([real[layer] for real, _ in spikes])
    after = np.stack([rounded[layer] for _, rounded in spikes])
    differ = np.count_nonzero(before != after)
    return float(before.mean()), float(after.mean()), int(differ), float(1 - differ / before.size)


def _eps_error(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Root of the mean squared difference, over the root of the mean square of what is wanted."""
    difference = np.stack(found).astype(np.float64) - np.stack(wanted)
    return float(np.sqrt(np.mean(difference**2) / np.mean(np.stack(wanted) ** 2)))


def _with_one_layer_of(rounded: Network, real: Network, layer: str) -> Network:
    """``real``, but with the weights and biases into one population from ``rounded``."""
    return replace(
        real,
        populations=tuple(
            r if r.name == layer else p for p, r in zip(real.populations, rounded.populations, strict=True)
        ),
        projections=tuple(
            r if r.target == layer else p for p, r in zip(real.projections, rounded.projections, strict=True)
        ),
    )


def rounding_facts(model: Model, weight_bits: int, policy: Policy, loss: RoundingLoss) -> dict[str, Any]:
    """What `nsim quantise` says, as plain values."""
    return {
        "model": model.name,
        "weights": model.weights,
        "weight_bits": weight_bits,
        "policy": policy,
        "chip": loss.chip,
        "calls": loss.calls,
        "images": loss.images,
        "agreement": loss.agreement,
        "eps_error": loss.eps_error,
        "layers": json.loads(loss.layers.to_json(orient="records", double_precision=15)),
    }


def rounding_tables(facts: dict[str, Any]) -> list[Table | str]:
    """What `nsim quantise` prints."""
    table = Table("layer", "neurons", "rate", "rounded", "spikes that differ", "agree", "eps error, alone")
    for row in facts["layers"]:
        spiking = ("read-out", "", "", "")
        if row["agreement"] is not None:
            rates = (f"{row['rate_real']:.3f}", f"{row['rate_rounded']:.3f}")
            spiking = (*rates, f"{row['spike_differences']:,.0f}", f"{row['agreement']:.2%}")
        table.add_row(row["layer"], f"{row['neurons']:,}", *spiking, f"{row['eps_error']:.2%}")
    for column in table.columns[1:]:
        column.justify = "right"
    return [
        f"{facts['model']}, weights: {facts['weights']}, rounded to {facts['weight_bits']} bits as laid out "
        f"by {facts['policy']}, in the integers of {facts['chip']}, against float64",
        table,
        f"{facts['calls']} calls of {facts['images']} image(s), each from where float64 had come to: "
        f"{facts['agreement']:.2%} of spikes and silences agree, eps is off by {facts['eps_error']:.2%} "
        "(root mean square, of its own). The last column rounds one layer alone.",
    ]
