"""What `nsim quality` does: generate digits with the simulator and measure them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.frontends.quantize import quantize
from nsim.hw_models.mapping.policies import Policy, without_streams
from nsim.reports.run_sampler import Progress
from nsim.simulator.engine import Engine
from nsim.workloads.digits import IMAGE_SIZE
from nsim.workloads.samplers import initial_noise, parse_sampler, trajectory

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

    ``weight_bits``: round the weights to so many bits, as they are laid out by ``policy``.
    """
    shape = model.network.population_by_name[model.network.image].shape
    if shape != (1, IMAGE_SIZE, IMAGE_SIZE):
        raise RunError(
            f"{model.name} makes images of shape {'x'.join(map(str, shape))}; quality is defined for digits "
            f"of 1x{IMAGE_SIZE}x{IMAGE_SIZE} only"
        )
    from nsim.workloads.quality import digit_quality

    spec = parse_sampler(sampler)
    if spec.kind not in ("ddim", "ddim-unclamped", "dpm-solver"):
        # the others' noise depends on an image's place in its batch
        raise RunError(f"sampler {sampler!r}: quality takes ddim:N, ddim-unclamped:N or dpm-solver:N")
    engine = Engine(model.network)
    if weight_bits is not None:
        engine = Engine(quantize(without_streams(model.network, policy), weight_bits), "int")
    noise = initial_noise((images, *shape), seed)
    batches = [noise[i : i + BATCH] for i in range(0, images, BATCH)]
    walk = spec.build(seed)
    made, done, total = [], 0, len(batches) * len(walk.timesteps)
    for x in batches:
        for step in trajectory(lambda x, t: engine.call(x, t).eps, walk, x):
            x = step.x
            done += 1
            progress(done, total)
        made.append(x)
    samples = np.concatenate(made)
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
