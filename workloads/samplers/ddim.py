"""DDIM without noise (Song et al. 2021), as SDDPM's code has it."""

from __future__ import annotations

import numpy as np

from nsim.workloads.samplers.base import (
    DIFFUSION_STEPS,
    StepResult,
    clamped_x0,
    linear_schedule,
    next_times,
    spread_times,
)


class DDIM:
    """Deterministic sampling, eta = 0 (Song et al. 2021, eq. 12): ``x_s = a_s x0 + sqrt(1 - a_s^2) eps``.

    ``a_s`` is sqrt(alpha_bar_s) and s the next time in the list. x0 is clamped to [-1, 1]; eps is not
    computed again after the clamp. The walk ends on reaching 0: the denoiser is never called at t = 0.
    """

    def __init__(self) -> None:
        self._alpha_bar = linear_schedule(DIFFUSION_STEPS).alpha_bar
        self.set_timesteps(DIFFUSION_STEPS)

    def set_timesteps(self, steps: int) -> None:
        """Spread ``steps`` times over the schedule, see `spread_times`."""
        self.timesteps = spread_times("ddim", steps)
        self._next = next_times(self.timesteps)

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """Hop from ``x`` at ``t`` to the next time in the list; KeyError when ``t`` is not in it."""
        eps = eps.astype(np.float32)  # a denoiser played in float64 answers in float64
        alpha_bar = self._alpha_bar[self._next[int(t)]]
        x0 = clamped_x0(self._alpha_bar[t], eps, x)
        return StepResult(np.float32(np.sqrt(alpha_bar)) * x0 + np.float32(np.sqrt(1.0 - alpha_bar)) * eps)
