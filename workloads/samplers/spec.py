"""Samplers by name: ``kind:steps``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.workloads.samplers.absorbing import DEFAULT_TEMPERATURE, Absorbing
from nsim.workloads.samplers.analytic import AnalyticDPM, need_statistics
from nsim.workloads.samplers.base import DIFFUSION_STEPS, Sampler, spread_times
from nsim.workloads.samplers.ddim import DDIM
from nsim.workloads.samplers.ddpm import DDPM
from nsim.workloads.samplers.dpm_solver import DPMSolver
from nsim.workloads.samplers.scheduler_object import SchedulerObject

DEFAULT_SAMPLER = "ddim:50"
"""Of a denoiser whose file names none."""

FORMS = {
    "ddim": f"ddim:N (N from 1 to {DIFFUSION_STEPS})",
    "ddim-unclamped": "ddim-unclamped:N",
    "ddpm": f"ddpm:{DIFFUSION_STEPS}",
    "ddpm-small": f"ddpm-small:{DIFFUSION_STEPS}",
    "dpm-solver": "dpm-solver:N",
    "analytic": "analytic:N",
    "absorbing": "absorbing:N or absorbing:N@TEMPERATURE (tokens)",
}
"""How each kind is written."""


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler as a user names it; ``build`` makes the object that walks."""

    kind: str
    steps: int
    temperature: float = DEFAULT_TEMPERATURE

    def __str__(self) -> str:
        own = self.temperature != DEFAULT_TEMPERATURE
        return f"{self.kind}:{self.steps}" + (f"@{self.temperature:g}" if own else "")

    def build(self, seed: int, model: Model | None = None) -> Sampler:
        """Make the sampler with its time list set; ``seed`` feeds its noise, where it has any.

        ``model``: whose statistics (analytic) or tokens (absorbing) it works with. RunError for a number of
        steps that the sampler cannot take, and for a model it cannot work with.
        """
        if (self.kind == "absorbing") != (
            model is not None and model.codes is not None
        ) and model is not None:
            wanted = "absorbing:N" if model.codes is not None else "one of real numbers, such as ddim:50"
            raise RunError(f"{self}: {model.name} is not for this sampler, but for {wanted}")
        sampler = _BUILDERS[self.kind](self, seed, model)
        sampler.set_timesteps(self.steps)
        return sampler


def _absorbing(spec: SamplerSpec, seed: int, model: Model | None) -> Sampler:
    if model is None or model.codes is None:
        raise RunError(f"{spec}: what the tokens are is known only with a model")
    _, height, width = model.network.population_by_name[model.network.image].shape
    return Absorbing(seed, model.codes, height * width, spec.temperature)


def _analytic(spec: SamplerSpec, seed: int, model: Model | None) -> Sampler:
    return AnalyticDPM(seed, need_statistics(None if model is None else model.ms_eps))


_BUILDERS: dict[str, Callable[[SamplerSpec, int, Model | None], Sampler]] = {
    "ddim": lambda spec, seed, model: DDIM(),
    "ddim-unclamped": lambda spec, seed, model: DDIM(clamped=False),
    "ddpm": lambda spec, seed, model: DDPM(seed, "fixedlarge"),
    "ddpm-small": lambda spec, seed, model: DDPM(seed, "fixedsmall"),
    "dpm-solver": lambda spec, seed, model: DPMSolver(),
    "analytic": _analytic,
    "absorbing": _absorbing,
}


def parse_sampler(text: str) -> SamplerSpec:
    """Read a sampler in one of the FORMS.

    Raises RunError for anything else, and for a number of steps the sampler cannot take with any model.
    """
    match = re.fullmatch(r"([a-z-]+):(\d+)(?:@(\d+(?:\.\d+)?))?", text)
    if match is None or match[1] not in FORMS or (match[3] and match[1] != "absorbing"):
        raise RunError(f"sampler {text!r} is none of {', '.join(FORMS.values())}; for example ddim:50")
    spec = SamplerSpec(match[1], int(match[2]), float(match[3] or DEFAULT_TEMPERATURE))
    try:
        if spec.kind == "analytic":
            spread_times(spec.kind, spec.steps)
        elif spec.kind != "absorbing":
            spec.build(seed=0)
        elif spec.steps < 1 or spec.temperature <= 0:
            raise RunError("absorbing takes 1 step or more, and a temperature above 0")
    except RunError as error:
        raise RunError(f"sampler {text!r}: {error}") from None
    return spec


def build_sampler(sampler: str | Any | None, seed: int, model: Model) -> tuple[Sampler, str]:
    """A sampler for a model, and its name: from a text in one of the FORMS or a scheduler object.

    The model's own if it is None. RunError for a model that is no denoiser, and for a sampler that is not one
    or not for this model.
    """
    if not model.sampler:
        raise RunError(
            f"{model.name} ({model.workload}) is no denoiser: there is nothing to sample. "
            "`nsim map` estimates one call of it, nsim.simulate plays one"
        )
    if sampler is None:
        sampler = model.sampler
    if isinstance(sampler, str):
        spec = parse_sampler(sampler)
        return spec.build(seed, model), str(spec)
    scheduler = SchedulerObject(sampler, seed)
    return scheduler, str(scheduler)
