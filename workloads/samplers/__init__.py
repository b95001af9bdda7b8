"""Diffusion samplers: they ask a denoiser for eps, one call per sampler step, and never look inside it.

The rules are SDDPM's (Cao et al., WACV 2024) where it has one. Constants are computed in float64, gathered at
the step's time and rounded to float32; images are float32 [B, C, H, W]. Samplers follow the protocol of
diffusers' schedulers, so the loop can also stand in the caller's own code::

    x = initial_noise(shape, seed)
    sampler = parse_sampler("ddim:50").build(seed)
    for t in sampler.timesteps:
        x = sampler.step(denoise(x, np.full(len(x), t)), t, x).prev_sample
"""

from nsim.workloads.samplers.absorbing import Absorbing
from nsim.workloads.samplers.analytic import AnalyticDPM
from nsim.workloads.samplers.base import (
    DIFFUSION_STEPS,
    Denoiser,
    Sampler,
    Schedule,
    StepResult,
    initial_noise,
    linear_schedule,
)
from nsim.workloads.samplers.ddim import DDIM
from nsim.workloads.samplers.ddpm import DDPM
from nsim.workloads.samplers.dpm_solver import DPMSolver
from nsim.workloads.samplers.spec import DEFAULT_SAMPLER, SamplerSpec, build_sampler, parse_sampler
from nsim.workloads.samplers.walk import SamplerStep, initial_state, sample, trajectory

__all__ = [
    "DDIM",
    "DDPM",
    "DEFAULT_SAMPLER",
    "DIFFUSION_STEPS",
    "Absorbing",
    "AnalyticDPM",
    "DPMSolver",
    "Denoiser",
    "Sampler",
    "SamplerSpec",
    "SamplerStep",
    "Schedule",
    "StepResult",
    "build_sampler",
    "initial_noise",
    "initial_state",
    "linear_schedule",
    "parse_sampler",
    "sample",
    "trajectory",
]
