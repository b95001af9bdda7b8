"""DDPM's ancestral sampling (Ho et al. 2020), as SDDPM's code has it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nsim.errors import RunError
from nsim.workloads.samplers.base import (
    DIFFUSION_STEPS,
    StepResult,
    clamped_x0,
    linear_schedule,
    unit_normal,
)


class DDPM:
    """Ancestral sampling (Ho et al. 2020, eq. 7): the posterior mean of x0 clamped to [-1, 1], plus noise.

    ``fixedlarge`` takes beta_t as the variance (the posterior's at t = 1 in place of beta_0),
    ``fixedsmall`` the posterior's. No noise at t = 0, where the mean is x0 itself. The noise of image i
    at time t comes from a generator seeded by (seed, i, t): a step depends on nothing but its arguments,
    so a walk can be taken up again in the middle, and an image is the same in a batch of any size.
    """

    def __init__(self, seed: int, variance: Literal["fixedlarge", "fixedsmall"] = "fixedlarge") -> None:
        self._seed = seed
        schedule = linear_schedule(DIFFUSION_STEPS)
        beta, self._alpha_bar = schedule.beta, schedule.alpha_bar
        before = np.concatenate([[1.0], self._alpha_bar[:-1]])
        self._x0_weight = np.sqrt(before) * beta / (1.0 - self._alpha_bar)
        self._x_weight = np.sqrt(1.0 - beta) * (1.0 - before) / (1.0 - self._alpha_bar)
        posterior = beta * (1.0 - before) / (1.0 - self._alpha_bar)
        rest = beta[1:] if variance == "fixedlarge" else posterior[1:]
        self._log_variance = np.log(np.concatenate([posterior[1:2], rest]))
        self.set_timesteps(DIFFUSION_STEPS)

    def set_timesteps(self, steps: int) -> None:
        """Take all times, 999 to 0; no other number is right, since the coefficients are one-step ones."""
        if steps != DIFFUSION_STEPS:
            raise RunError(
                f"ddpm is right only with all {DIFFUSION_STEPS} steps, not {steps}: its coefficients are "
                f"one-step ones; take ddpm:{DIFFUSION_STEPS}, or ddim:N for fewer steps"
            )
        self.timesteps = np.arange(steps)[::-1]

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """Go from ``x`` at ``t`` to t - 1."""
        x0 = clamped_x0(self._alpha_bar[t], eps.astype(np.float32), x)
        mean = np.float32(self._x0_weight[t]) * x0 + np.float32(self._x_weight[t]) * x
        if t == 0:
            return StepResult(mean)
        deviation = np.exp(np.float32(0.5) * np.float32(self._log_variance[t]))
        return StepResult(mean + deviation * unit_normal(x.shape, self._seed, int(t)))
