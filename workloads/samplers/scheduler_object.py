"""Schedulers from elsewhere: any object with diffusers' protocol, whatever it computes with."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from nsim.errors import RunError
from nsim.workloads.samplers.base import StepResult, initial_noise


class SchedulerObject:
    """A scheduler of diffusers, or one like it, as a sampler: torch tensors in and out of it, numpy outside.

    ``scheduler.set_timesteps(n)`` must have been called. It gets eps as float32 and, where its ``step`` takes
    a ``generator``, one seeded by the run's seed; ``scale_model_input`` and ``init_noise_sigma`` are
    honoured. Its draws depend on the batch, and those it makes after a stop are not those it would have made.
    """

    def __init__(self, scheduler: Any, seed: int) -> None:
        name = type(scheduler).__name__
        missing = [n for n in ("set_timesteps", "timesteps", "step") if not hasattr(scheduler, n)]
        if missing:
            raise RunError(
                f"sampler {name}: no {', '.join(missing)}; a scheduler has set_timesteps(n), "
                "timesteps and step(eps, t, x).prev_sample"
            )
        times = np.asarray(scheduler.timesteps)
        if not len(times) or (times != np.rint(times)).any():
            raise RunError(
                f"sampler {name}: its timesteps are {_few(times)}, and a denoiser takes whole numbers; "
                "call set_timesteps(n) first, with settings that give whole times"
            )
        self.scheduler = scheduler
        self.timesteps = times.astype(np.int64)
        self._options: dict[str, Any] = {}
        if "generator" in inspect.signature(scheduler.step).parameters:
            import torch

            self._options["generator"] = torch.Generator().manual_seed(seed)

    def __str__(self) -> str:
        return f"{type(self.scheduler).__name__}:{len(self.timesteps)}"

    def set_timesteps(self, steps: int) -> None:
        """Ask the scheduler for another number of steps."""
        self.scheduler.set_timesteps(steps)
        self.timesteps = np.asarray(self.scheduler.timesteps).astype(np.int64)

    def initial(self, shape: tuple[int, int, int, int], seed: int) -> np.ndarray:
        """Unit normal noise times the scheduler's ``init_noise_sigma``."""
        return initial_noise(shape, seed) * np.float32(getattr(self.scheduler, "init_noise_sigma", 1.0))

    def model_input(self, x: np.ndarray, t: int) -> np.ndarray:
        """What the denoiser gets for ``x``: scaled where the scheduler scales."""
        if not hasattr(self.scheduler, "scale_model_input"):
            return x
        import torch

        return np.asarray(self.scheduler.scale_model_input(torch.from_numpy(x), t), np.float32)

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """One step of the scheduler."""
        import torch

        result = self.scheduler.step(
            torch.from_numpy(np.ascontiguousarray(eps, np.float32)), t, torch.from_numpy(x), **self._options
        )
        return StepResult(np.asarray(result.prev_sample, np.float32))


def _few(times: np.ndarray) -> str:
    return f"{', '.join(f'{t:g}' for t in times[:3])}, ..." if len(times) else "not set"
