"""DPM-Solver++ (2M), the multistep solver of second order (Lu et al. 2022, algorithm 2)."""

from __future__ import annotations

import numpy as np

from nsim.errors import RunError
from nsim.workloads.samplers.base import (
    DIFFUSION_STEPS,
    StepResult,
    clamped_x0,
    linear_schedule,
    next_times,
    spread_times,
)


class DPMSolver:
    """From time t to s, with a = sqrt(alpha_bar), b = sqrt(1 - alpha_bar), lambda = ln(a / b), h its growth::

        x_s = (b_s / b_t) x_t - a_s (exp(-h) - 1) D,   D = x0_t + (h / (2 h_before)) (x0_t - x0_before)

    The first step, which has nothing before it, takes D = x0_t: a step of DDIM. So does the last hop: spread
    evenly in t, it is many times longer in lambda than the one before it, and extrapolation would overshoot.
    x0 is clamped to [-1, 1]; a step is worked out in float64. Times are DDIM's. A step needs what the one
    before it found, so a walk cannot be taken up in the middle.
    """

    def __init__(self) -> None:
        self._alpha_bar = linear_schedule(DIFFUSION_STEPS).alpha_bar
        self._log_snr = 0.5 * np.log(self._alpha_bar / (1.0 - self._alpha_bar))
        self.set_timesteps(DIFFUSION_STEPS)

    def set_timesteps(self, steps: int) -> None:
        """Spread ``steps`` times over the schedule, see `spread_times`, and forget any walk begun."""
        self.timesteps = spread_times("dpm-solver", steps)
        self._next = next_times(self.timesteps)
        self._before: tuple[int, np.ndarray] | None = None

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """Hop from ``x`` at ``t`` to the next time in the list; KeyError when ``t`` is not in it.

        RunError when the step before this one was not taken on this object.
        """
        t, s = int(t), self._next[int(t)]
        x0 = clamped_x0(self._alpha_bar[t], eps.astype(np.float64), x.astype(np.float64))
        growth = self._log_snr[s] - self._log_snr[t]
        direction = x0
        if t != self.timesteps[0]:
            if self._before is None or self._next[self._before[0]] != t:
                raise RunError(
                    f"dpm-solver: the step to t = {t} was not taken here, and this one needs what it found; "
                    "start the walk from its first time"
                )
            before, x0_before = self._before
            if s != 0:
                ratio = growth / (2.0 * (self._log_snr[t] - self._log_snr[before]))
                direction = x0 + ratio * (x0 - x0_before)
        self._before = t, x0
        keep = np.sqrt((1.0 - self._alpha_bar[s]) / (1.0 - self._alpha_bar[t]))
        add = -np.sqrt(self._alpha_bar[s]) * np.expm1(-growth)
        return StepResult((keep * x + add * direction).astype(np.float32))
