"""What `nsim quality` does: generate digits with the simulator and measure them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.frontends.network import Network
from nsim.frontends.quantize import quantize
from nsim.hw_models.mapping.policies import Policy, without_streams
from nsim.reports.run_sampler import Progress, as_images
from nsim.simulator.engine import Engine
from nsim.workloads.digits import IMAGE_SIZE
from nsim.workloads.samplers import Absorbing, SamplerSpec, initial_state, parse_sampler, trajectory

BATCH = 50
GRID = 64


def quality_facts(
    model: Model,
    sampler: str,
    images: int,
    seed: int,
    grid: Path | None,
    progress: Progress,
    weight_bits: int | None = None,
    policy: Policy = "expand",
) -> dict[str, Any]:
    """Generate ``images`` digits, measure them, and draw the first 64 to ``grid``; plain values.

    Tokens are decoded first. ``weight_bits``: round the weights to so many bits, as they are laid out by
    ``policy``.
    """
    shape = _image_shape(model)
    if shape != (1, IMAGE_SIZE, IMAGE_SIZE):
        raise RunError(
            f"{model.name} makes images of shape {'x'.join(map(str, shape))}; quality is defined for digits "
            f"of 1x{IMAGE_SIZE}x{IMAGE_SIZE} only"
        )
    from nsim.workloads.quality import digit_quality

    spec = parse_sampler(sampler)
    if spec.kind not in ("ddim", "ddim-unclamped", "dpm-solver", "absorbing"):
        # the others' noise depends on an image's place in its batch
        raise RunError(
            f"sampler {sampler!r}: quality takes ddim:N, ddim-unclamped:N, dpm-solver:N, or, for tokens, "
            "absorbing:N"
        )
    samples = _generate(model, spec, images, seed, progress, weight_bits, policy)
    if grid is not None:
        from nsim.reports import plots

        figure = plots.samples(samples[:GRID], f"{model.name}, {sampler}, seed {seed}")
        plots.save(figure, grid.with_suffix(""))
    measured = digit_quality(samples)
    return {
        "model": model.name,
        "weights": model.weights,
        "weight_bits": weight_bits,
        "sampler": sampler,
        "seed": seed,
        "images": images,
        "frechet_samples_to_held_out": measured.fd_samples,
        "frechet_noise_to_held_out": measured.fd_noise,
        "frechet_between_halves_of_real": measured.fd_halves,
        "samples_over_noise": measured.fd_samples / measured.fd_noise,
        "samples_over_halves": measured.fd_samples / measured.fd_halves,
        "classifier_accuracy_held_out": measured.classifier_accuracy,
    }


def _image_shape(model: Model) -> tuple[int, ...]:
    """Shape of what the model makes in the end."""
    if model.decoder is None:
        return model.network.population_by_name[model.network.image].shape
    return next(op.shape for op in model.decoder.host_ops if op.name == model.decoder.output)


def _generate(
    model: Model,
    spec: SamplerSpec,
    images: int,
    seed: int,
    progress: Progress,
    weight_bits: int | None,
    policy: Policy,
) -> np.ndarray:
    """Images [N, 1, H, W] in [-1, 1], played a batch at a time."""
    engines = [_engine(network, weight_bits, policy) for network in model.networks]
    walk = spec.build(seed, model)
    start = initial_state(walk, (images, *model.network.population_by_name[model.network.image].shape), seed)
    made, done, total = [], 0, -(-images // BATCH) * len(walk.timesteps)
    for first in range(0, images, BATCH):
        x = start[first : first + BATCH]
        if isinstance(walk, Absorbing):
            walk.first_image = first
        for step in trajectory(lambda x, t: engines[0].call(x, t).eps, walk, x):
            x = step.x
            done += 1
            progress(done, total)
        made.append(x if model.decoder is None else engines[1].call(x).eps)
    return as_images(np.concatenate(made), model)


def _engine(network: Network, weight_bits: int | None, policy: Policy) -> Engine:
    if weight_bits is None:
        return Engine(network)
    return Engine(quantize(without_streams(network, policy), weight_bits), "int")


def quality_tables(facts: dict[str, Any]) -> list[Table | str]:
    """The distances on the scale they are read on."""
    table = Table("Frechet distance", "value", "against noise", "against real halves")
    noise, halves = facts["frechet_noise_to_held_out"], facts["frechet_between_halves_of_real"]
    for label, key in (
        (f"{facts['images']} samples to held-out digits", "frechet_samples_to_held_out"),
        ("noise to held-out digits", "frechet_noise_to_held_out"),
        ("two halves of the real digits", "frechet_between_halves_of_real"),
    ):
        value = facts[key]
        table.add_row(label, f"{value:.2f}", f"{value / noise:.4f}", f"{value / halves:.2f}")
    for i in (1, 2, 3):
        table.columns[i].justify = "right"
    bits = facts["weight_bits"]
    rounded = "" if bits is None else f", rounded to {bits} bits"
    return [
        f"{facts['model']}, {facts['sampler']}, seed {facts['seed']}; weights: {facts['weights']}{rounded}",
        table,
        "features: a small classifier of the training digits "
        f"(accuracy on held-out digits {facts['classifier_accuracy_held_out']:.3f})",
    ]
