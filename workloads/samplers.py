"""Diffusion samplers: they ask a denoiser for eps, one call per sampler step, and never look inside it.

The rules are SDDPM's (Cao et al., WACV 2024). Constants are computed in float64, gathered at the step's
time and rounded to float32; images are float32 [B, C, H, W]. Samplers follow the protocol of diffusers'
schedulers, so the loop can also stand in the caller's own code::

    x = initial_noise(shape, seed)
    sampler = parse_sampler("ddim:50").build(seed)
    for t in sampler.timesteps:
        x = sampler.step(denoise(x, np.full(len(x), t)), t, x).prev_sample
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

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


class DDIM:
    """Deterministic sampling, eta = 0 (Song et al. 2021, eq. 12): ``x_s = a_s x0 + sqrt(1 - a_s^2) eps``.

    ``a_s`` is sqrt(alpha_bar_s) and s the next time in the list. x0 is clamped to [-1, 1]; eps is not
    computed again after the clamp. The walk ends on reaching 0: the denoiser is never called at t = 0.
    """

    def __init__(self) -> None:
        self._alpha_bar = linear_schedule(DIFFUSION_STEPS).alpha_bar
        self.set_timesteps(DIFFUSION_STEPS)

    def set_timesteps(self, steps: int) -> None:
        """Spread ``steps`` times over the schedule: 50 give 999, 979, ..., 19 and a last hop to 0.

        1000 steps give 999 calls, since the list then holds the 0 that ends it.
        """
        if not 1 <= steps <= DIFFUSION_STEPS:
            raise RunError(f"ddim takes 1 to {DIFFUSION_STEPS} steps, not {steps}; for example ddim:50")
        # floor(T_d - 1 - k T_d / steps), in integers
        times = DIFFUSION_STEPS - 1 + (-np.arange(steps) * DIFFUSION_STEPS) // steps
        self.timesteps = times[times > 0]
        self._next = dict(zip(self.timesteps.tolist(), [*self.timesteps[1:].tolist(), 0], strict=True))

    def step(self, eps: np.ndarray, t: int, x: np.ndarray) -> StepResult:
        """Hop from ``x`` at ``t`` to the next time in the list; KeyError when ``t`` is not in it."""
        eps = eps.astype(np.float32)  # a denoiser played in float64 answers in float64
        alpha_bar = self._alpha_bar[self._next[int(t)]]
        x0 = _clamped_x0(self._alpha_bar[t], eps, x)
        return StepResult(np.float32(np.sqrt(alpha_bar)) * x0 + np.float32(np.sqrt(1.0 - alpha_bar)) * eps)


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
        x0 = _clamped_x0(self._alpha_bar[t], eps.astype(np.float32), x)
        mean = np.float32(self._x0_weight[t]) * x0 + np.float32(self._x_weight[t]) * x
        if t == 0:
            return StepResult(mean)
        deviation = np.exp(np.float32(0.5) * np.float32(self._log_variance[t]))
        return StepResult(mean + deviation * _normal(x.shape, self._seed, int(t)))


def _clamped_x0(alpha_bar: float, eps: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``x0 = sqrt(1 / alpha_bar) x - sqrt(1 / alpha_bar - 1) eps``, clamped to [-1, 1]."""
    x0 = np.float32(np.sqrt(1.0 / alpha_bar)) * x - np.float32(np.sqrt(1.0 / alpha_bar - 1.0)) * eps
    return np.clip(x0, np.float32(-1.0), np.float32(1.0))


def _normal(shape: tuple[int, ...], seed: int, *time: int) -> np.ndarray:
    """Draw unit normal float32 of ``shape``, image i from a generator seeded by (seed, i, *time)."""
    images = [
        np.random.default_rng([seed, i, *time]).standard_normal(shape[1:], dtype=np.float32)
        for i in range(shape[0])
    ]
    return np.stack(images)


def initial_noise(shape: tuple[int, int, int, int], seed: int) -> np.ndarray:
    """Draw x_T [B, C, H, W]: image i from a generator seeded by (seed, i), whatever the batch size."""
    return _normal(shape, seed)


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler as a user names it, ``kind:steps``; ``build`` makes the object that walks."""

    kind: Literal["ddim", "ddpm", "ddpm-small"]
    steps: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.steps}"

    def build(self, seed: int) -> Sampler:
        """Make the sampler with its time list set; ``seed`` feeds DDPM's noise, DDIM has none."""
        sampler: Sampler
        if self.kind == "ddim":
            sampler = DDIM()
        else:
            sampler = DDPM(seed, "fixedlarge" if self.kind == "ddpm" else "fixedsmall")
        sampler.set_timesteps(self.steps)
        return sampler


def parse_sampler(text: str) -> SamplerSpec:
    """Read ``ddim:N``, ``ddpm:1000`` (fixedlarge variance) or ``ddpm-small:1000`` (fixedsmall).

    Raises RunError for anything else, and for a number of steps the sampler cannot take.
    """
    match = re.fullmatch(r"(ddim|ddpm|ddpm-small):(\d+)", text)
    if match is None:
        raise RunError(
            f"sampler {text!r} is none of ddim:N (N from 1 to {DIFFUSION_STEPS}), ddpm:{DIFFUSION_STEPS}, "
            f"ddpm-small:{DIFFUSION_STEPS}; for example ddim:50"
        )
    spec = SamplerSpec(match[1], int(match[2]))  # type: ignore[arg-type]  # the pattern holds the three kinds
    try:
        spec.build(seed=0)
    except RunError as error:
        raise RunError(f"sampler {text!r}: {error}") from None
    return spec


@dataclass(frozen=True)
class SamplerStep:
    """One step done: its place in the time list, the time t it started from, and the image it left."""

    index: int
    t: int
    x: np.ndarray


def trajectory(denoise: Denoiser, sampler: Sampler, x: np.ndarray, first: int = 0) -> Iterator[SamplerStep]:
    """Walk from ``x``, yielding after every step; ``first`` > 0 takes a walk up again from that index."""
    for index, t in enumerate(sampler.timesteps[first:].tolist(), first):
        eps = denoise(x, np.full(len(x), t, dtype=np.int64))
        x = sampler.step(eps, t, x).prev_sample
        yield SamplerStep(index, t, x)


def sample(
    denoise: Denoiser,
    sampler: SamplerSpec,
    shape: tuple[int, int, int, int],
    seed: int,
    on_step: Callable[[SamplerStep], None] | None = None,
) -> np.ndarray:
    """Make images float32 [B, C, H, W] from noise; ``on_step`` is called after every sampler step."""
    x = initial_noise(shape, seed)
    for step in trajectory(denoise, sampler.build(seed), x):
        x = step.x
        if on_step is not None:
            on_step(step)
    return x
