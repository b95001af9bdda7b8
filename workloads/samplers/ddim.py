"""DDIM without noise (Song et al. 2021), as its paper and as SDDPM's code have it."""

from __future__ import annotations

import numpy as np

from nsim.workloads.samplers.base import (
    DIFFUSION_STEPS,
    StepResult,
    linear_schedule,
    next_times,
    predicted_x0,
    spread_times,
)


class DDIM:
    """Deterministic sampling, eta = 0 (Song et al. 2021, eq. 12): ``x_s = a_s x0 + sqrt(1 - a_s^2) eps``.

    ``a_s`` is sqrt(alpha_bar_s) and s the next time in the list. The walk ends on reaching 0: the denoiser
    is never called at t = 0.

    ``clamped``: whether x0 is kept in [-1, 1] at every step, as SDDPM's code does; eps is not computed again
    after it. Without, as in the paper, only the image that the last hop leaves is. At high noise an error of
    eps is a far larger one of x0: clamped, it no longer averages out, and images come out too bright.
    """

    def __init__(self, clamped: bool = True) -> None:
        self.clamped = clamped
        self._alpha_bar = linear_schedule(DIFFUSION_STEPS).alpha_bar
        self.set_timesteps(DIFFUSION_STEPS)

    def set_timesteps(self, steps: int) -> None:
        """Spread ``steps`` times over the schedule, see `spread_times`."""
        self.timesteps = spread_times("ddim" if self.clamped else "ddim-unclamped", steps)
        self._next = next_times(self.timesteps)

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """Hop from ``x`` at ``t`` to the next time in the list; KeyError when ``t`` is not in it."""
        eps = eps.astype(np.float32)  # a denoiser played in float64 answers in float64
        following = self._next[int(t)]
        alpha_bar = self._alpha_bar[following]
        x0 = predicted_x0(self._alpha_bar[t], eps, x)
        if self.clamped:
            x0 = np.clip(x0, -1.0, 1.0)
        hopped = np.float32(np.sqrt(alpha_bar)) * x0 + np.float32(np.sqrt(1.0 - alpha_bar)) * eps
        return StepResult(hopped if self.clamped or following else np.clip(hopped, -1.0, 1.0))
