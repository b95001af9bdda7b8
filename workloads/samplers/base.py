"""What every sampler shares: the noise schedule, the protocol, noise that depends on the image alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nsim.errors import RunError

DIFFUSION_STEPS = 1000

Denoiser = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``denoise(x, t) -> eps``: x float32 [B, C, H, W], t int64 [B], eps shaped like x."""


@dataclass(frozen=True)
class Schedule:
    """A noise schedule in float64: ``beta`` [T_d] and ``alpha_bar`` [T_d], the product of 1 - beta."""

    beta: np.ndarray
    alpha_bar: np.ndarray


def linear_schedule(steps: int, beta_first: float = 1e-4, beta_last: float = 0.02) -> Schedule:
    """DDPM's linear schedule (Ho et al. 2020, section 4)."""
    beta = np.linspace(beta_first, beta_last, steps, dtype=np.float64)
    return Schedule(beta, np.cumprod(1.0 - beta))


@dataclass(frozen=True)
class StepResult:
    """What one sampler step leaves: ``prev_sample`` float32 [B, C, H, W], the less noisy image."""

    prev_sample: np.ndarray


class Sampler(Protocol):
    """A walk from noise to image: call the denoiser at each of ``timesteps`` (int64, in calling order)."""

    timesteps: np.ndarray

    def set_timesteps(self, steps: int) -> None: ...

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult: ...


def spread_times(kind: str, steps: int) -> np.ndarray:
    """``steps`` times over the schedule, int64: 50 give 999, 979, ..., 19; a last hop to 0 ends the walk.

    1000 steps give 999 times, since the list then holds the 0 that ends it. RunError outside 1 to 1000.
    """
    if not 1 <= steps <= DIFFUSION_STEPS:
        raise RunError(f"{kind} takes 1 to {DIFFUSION_STEPS} steps, not {steps}; for example {kind}:50")
    # floor(T_d - 1 - k T_d / steps), in integers
    times = DIFFUSION_STEPS - 1 + (-np.arange(steps) * DIFFUSION_STEPS) // steps
    return times[times > 0]


def next_times(times: np.ndarray) -> dict[int, int]:
    """The time that follows each one in the list; 0 follows the last."""
    return dict(zip(times.tolist(), [*times[1:].tolist(), 0], strict=True))


def predicted_x0(alpha_bar: float, eps: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``x0 = sqrt(1 / alpha_bar) x - sqrt(1 / alpha_bar - 1) eps``, in the precision of x."""
    one = x.dtype.type
    return one(np.sqrt(1.0 / alpha_bar)) * x - one(np.sqrt(1.0 / alpha_bar - 1.0)) * eps


def clamped_x0(alpha_bar: float, eps: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`predicted_x0` kept in [-1, 1]."""
    return np.clip(predicted_x0(alpha_bar, eps, x), -1.0, 1.0)


def unit_normal(shape: tuple[int, ...], seed: int, *time: int) -> np.ndarray:
    """Draw unit normal float32 of ``shape``, image i from a generator seeded by (seed, i, *time)."""
    images = [
        np.random.default_rng([seed, i, *time]).standard_normal(shape[1:], dtype=np.float32)
        for i in range(shape[0])
    ]
    return np.stack(images)


def initial_noise(shape: tuple[int, int, int, int], seed: int) -> np.ndarray:
    """Draw x_T [B, C, H, W]: image i from a generator seeded by (seed, i), whatever the batch size."""
    return unit_normal(shape, seed)
