"""Analytic-DPM (Bao et al. 2022): ancestral sampling with the variance that suits the denoiser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nsim.errors import ModelFileError, RunError
from nsim.workloads.samplers.base import (
    DIFFUSION_STEPS,
    Denoiser,
    StepResult,
    clamped_x0,
    linear_schedule,
    next_times,
    spread_times,
    unit_normal,
)

LAST_DEVIATION = 2.0 * 2.0 / 255.0 * np.sqrt(np.pi / 2.0)
"""Largest standard deviation of the noise of the last hop: two grey levels on average (their appendix)."""


class AnalyticDPM:
    """From time t to s, with a the ratio of alpha_bar and b = 1 - a of that hop::

        x_s ~ N(mean, var),   mean: DDPM's posterior mean of x0 clamped to [-1, 1]
        var = (1 - alpha_bar_s) / (1 - alpha_bar_t) b
              + alpha_bar_s b^2 / (1 - alpha_bar_t)^2 clip((1 - alpha_bar_t) / alpha_bar_t (1 - m_t), 0, 1)

    ``ms_eps`` [T_d] holds m_t, the mean square of the denoiser's eps at each time: what its error is told by
    (see `mean_square_eps`). Noise of image i at time t comes from a generator seeded by (seed, i, t).
    """

    def __init__(self, seed: int, ms_eps: np.ndarray) -> None:
        self._seed = seed
        self._ms_eps = ms_eps
        self._alpha_bar = linear_schedule(DIFFUSION_STEPS).alpha_bar
        self.set_timesteps(DIFFUSION_STEPS)

    def set_timesteps(self, steps: int) -> None:
        """Spread ``steps`` times over the schedule, see `spread_times`."""
        self.timesteps = spread_times("analytic", steps)
        self._next = next_times(self.timesteps)

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """Go from ``x`` at ``t`` to the next time in the list; KeyError when ``t`` is not in it."""
        t, s = int(t), self._next[int(t)]
        here, there = self._alpha_bar[t], self._alpha_bar[s]
        ratio = here / there
        x0 = clamped_x0(here, eps.astype(np.float32), x)
        from_x0 = np.sqrt(there) * (1.0 - ratio) / (1.0 - here)
        from_x = np.sqrt(ratio) * (1.0 - there) / (1.0 - here)
        deviation = np.sqrt(self.variance(t))
        if s == 0:
            deviation = min(deviation, LAST_DEVIATION)
        noise = unit_normal(x.shape, self._seed, t)
        mean = np.float32(from_x0) * x0 + np.float32(from_x) * x
        return StepResult(mean + np.float32(deviation) * noise)

    def variance(self, t: int) -> float:
        """Variance of the hop that begins at ``t``, before the last hop's is capped."""
        here, there = self._alpha_bar[t], self._alpha_bar[self._next[t]]
        beta = 1.0 - here / there
        of_x0 = np.clip((1.0 - here) / here * (1.0 - self._ms_eps[t]), 0.0, 1.0)
        variance = (1.0 - there) / (1.0 - here) * beta + there * beta**2 / (1.0 - here) ** 2 * of_x0
        return float(np.clip(variance, 0.0, 1.0))


def mean_square_eps(
    denoise: Denoiser,
    images: np.ndarray,
    times: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Mean square of eps at every time, float64 [T_d]: measured at ``times``, on lines between them.

    ``images`` [N, C, H, W]: samples of the model itself stand for its data; each is noised to each time
    anew. The noise of image i at time t comes from a generator seeded by (seed, i, t, 1).
    """
    alpha_bar = linear_schedule(DIFFUSION_STEPS).alpha_bar
    order = np.sort(np.asarray(times))
    measured = []
    for t in order.tolist():
        noise = unit_normal(images.shape, seed, t, 1)
        x = np.float32(np.sqrt(alpha_bar[t])) * images + np.float32(np.sqrt(1.0 - alpha_bar[t])) * noise
        eps = denoise(x, np.full(len(x), t, dtype=np.int64))
        measured.append(float(np.mean(eps.astype(np.float64) ** 2)))
        progress(len(measured), len(order))
    return np.interp(np.arange(DIFFUSION_STEPS), order, measured)


def statistics_file(model_file: Path) -> Path:
    """Where the statistics of a model file are kept: beside it, under its whole name.

    So a model's ``.pt`` and its ``.nir`` keep theirs apart.
    """
    return model_file.with_name(f"{model_file.name}.ms_eps.npz")


def save_statistics(path: Path, ms_eps: np.ndarray, model_sha256: str, time_steps: int) -> None:
    """Write the statistics of the model file with that hash, played with that many time steps."""
    np.savez(path, ms_eps=ms_eps, model_sha256=model_sha256, time_steps=time_steps)


def read_statistics(path: Path, model_sha256: str, time_steps: int) -> np.ndarray | None:
    """The statistics beside a model file; None where there are none for so many time steps.

    ModelFileError for another model's.
    """
    if not path.is_file():
        return None
    with np.load(path) as content:
        if str(content["model_sha256"]) != model_sha256:
            raise ModelFileError(
                f"{path}: statistics of another model file, {str(content['model_sha256'])[:12]}; "
                "remove it, and make it again with `nsim statistics`"
            )
        return content["ms_eps"] if content["time_steps"] == time_steps else None


def need_statistics(ms_eps: np.ndarray | None) -> np.ndarray:
    """The statistics, or a RunError that says how to make them."""
    if ms_eps is None:
        raise RunError(
            "analytic: the model has no statistics at these time steps and thresholds; make them with "
            "`nsim statistics MODEL`, which runs the model as its file has it and writes them beside it"
        )
    return ms_eps
