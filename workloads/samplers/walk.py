"""The sampler loop: ask the denoiser, step, yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nsim.workloads.samplers.absorbing import Absorbing
from nsim.workloads.samplers.base import Denoiser, Sampler, initial_noise
from nsim.workloads.samplers.scheduler_object import SchedulerObject
from nsim.workloads.samplers.spec import SamplerSpec


@dataclass(frozen=True)
class SamplerStep:
    """One step done: its place in the time list, the time t it started from, and the image it left."""

    index: int
    t: int
    x: np.ndarray


def trajectory(denoise: Denoiser, sampler: Sampler, x: np.ndarray, first: int = 0) -> Iterator[SamplerStep]:
    """Walk from ``x``, yielding after every step; ``first`` > 0 takes a walk up again from that index."""
    for index, t in enumerate(sampler.timesteps[first:].tolist(), first):
        seen = sampler.model_input(x, t) if isinstance(sampler, SchedulerObject) else x
        eps = denoise(seen, np.full(len(x), t, dtype=np.int64))
        x = sampler.step(eps, t, x).prev_sample
        yield SamplerStep(index, t, x)


def initial_state(sampler: Sampler, shape: tuple[int, int, int, int], seed: int) -> np.ndarray:
    """What a walk starts from: the sampler's own choice (all masked, scaled noise), or unit normal noise."""
    if isinstance(sampler, Absorbing | SchedulerObject):
        return sampler.initial(shape, seed)
    return initial_noise(shape, seed)


def sample(
    denoise: Denoiser,
    sampler: SamplerSpec,
    shape: tuple[int, int, int, int],
    seed: int,
    on_step: Callable[[SamplerStep], None] | None = None,
) -> np.ndarray:
    """Make images float32 [B, C, H, W] from noise; ``on_step`` is called after every sampler step."""
    walk = sampler.build(seed)
    x = initial_state(walk, shape, seed)
    for step in trajectory(denoise, walk, x):
        x = step.x
        if on_step is not None:
            on_step(step)
    return x
