"""What `nsim statistics` does: measure the mean square of a model's eps, for Analytic-DPM, and keep it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.reports.run_sampler import Progress
from nsim.simulator.engine import Engine
from nsim.workloads.samplers import initial_noise, parse_sampler, trajectory
from nsim.workloads.samplers.analytic import mean_square_eps, save_statistics, statistics_file
from nsim.workloads.samplers.base import spread_times

TIMES = 50


def measure_statistics(
    model: Model, model_file: Path, images: int, seed: int, progress: Progress
) -> tuple[Path, np.ndarray]:
    """Generate ``images`` images with ddim:50, noise them to 50 times, and save the mean squares of eps.

    The images stand for the data: nothing but the model itself is needed. Written beside the model file,
    where loading finds it. RunError for a model of tokens, or one that no file holds.
    """
    if model.codes is not None or not model.sampler:
        raise RunError(
            f"{model.name}: Analytic-DPM is for denoisers of real numbers, not for {model.workload}"
        )
    if not model_file.is_file():
        raise RunError(
            f"{model.name}: no file holds this model, so there is no place beside it; name a model file"
        )
    engine = Engine(model.network)
    walk = parse_sampler(f"ddim:{TIMES}").build(seed)
    times = spread_times("analytic", TIMES)
    x = initial_noise((images, *model.network.population_by_name[model.network.image].shape), seed)
    total = len(walk.timesteps) + len(times)

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        return engine.call(x, t).eps

    for step in trajectory(denoise, walk, x):
        x = step.x
        progress(step.index + 1, total)
    begun = len(walk.timesteps)
    found = mean_square_eps(denoise, x, times, seed, lambda done, _: progress(begun + done, total))
    path = statistics_file(model_file)
    save_statistics(path, found, model.sha256, model.network.time_steps)
    return path, found
