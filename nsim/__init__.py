"""nsim: what does this trained spiking denoiser really cost on this chip?

model   = nsim.load("model.pt")
mapping = nsim.map(model, chip="loihi")
run     = nsim.run(mapping, sampler="ddim:50", seed=0)
run.energy().groupby("cause").energy_pj.sum()
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

# Before numba is imported: compiled kernels go to the user's cache, not into site-packages, where they
# would outlive an uninstall.
os.environ.setdefault("NUMBA_CACHE_DIR", str(platformdirs.user_cache_path("nsim") / "numba"))

if TYPE_CHECKING:
    import numpy as np

    from nsim.frontends.model import Model
    from nsim.frontends.thresholds import Thresholds
    from nsim.hw_models.mapping.mapping import Mapping
    from nsim.hw_models.mapping.place import Order
    from nsim.hw_models.mapping.policies import Policy
    from nsim.hw_models.mapping.schedule import Schedule
    from nsim.reports.run import Run
    from nsim.reports.step_meter import Timing
    from nsim.reports.workers import Workers
    from nsim.simulator.call import Call
    from nsim.simulator.engine import Precision
    from nsim.workloads.spiking_diffusion import PSPKernel

__version__ = "0.1.0"
__all__ = ["__version__", "load", "map", "run", "simulate"]


def load(
    path: str | Path,
    time_steps: int | None = None,
    v_threshold: Thresholds | None = None,
    psp: PSPKernel = "code",
    weights: str | Path | None = None,
    image: tuple[int, int, int] | None = None,
    dt: float | None = None,
) -> Model:
    """Load a model file (a seed author's checkpoint or a bundle), or a model by name, bundled or random.

    Or anyone's: ``package.module:function`` makes the torch module, ``weights`` is a file with its state
    dict, ``image`` the shape (C, H, W) it denoises, where the module does not say. Or a torch.export program,
    or a NIR file, ``dt`` the seconds of its time step, where the file does not say.

    ``time_steps``: the SNN's T (default: the bundle's, or 4); ``v_threshold``: threshold of every neuron, or
    layer name to threshold, or as text, "1+neuron=0.997"; ``psp``: Spiking-Diffusion's codebook feature, by
    its "code" or its "paper".
    Raises nsim.errors.ModelFileError for what is not a model nsim knows.
    """
    from nsim.errors import ModelFileError
    from nsim.frontends.nir_import import is_nir
    from nsim.workloads.checkpoints import find_checkpoint
    from nsim.workloads.factory import is_factory, load_factory
    from nsim.workloads.load import load_model, with_model_thresholds
    from nsim.workloads.load_nir import load_nir
    from nsim.workloads.named import NAMED, random_model

    if is_factory(str(path)) and not Path(path).exists():
        file = None if weights is None else Path(weights)
        made = load_factory(str(path), file, image, time_steps)
        return made if v_threshold is None else with_model_thresholds(made, v_threshold)
    if weights is not None or image is not None:
        raise ModelFileError(f"{path}: weights and image are for package.module:function only")
    if is_nir(Path(path)):
        made = load_nir(Path(path), time_steps, dt)
        return made if v_threshold is None else with_model_thresholds(made, v_threshold)
    if dt is not None:
        raise ModelFileError(f"{path}: dt is for NIR files only")
    if str(path) in NAMED:
        return random_model(str(path), time_steps, v_threshold)
    return load_model(find_checkpoint(path), time_steps, v_threshold, psp)


def simulate(model: Model, x: Any, t: Any = None, precision: Precision = "float64") -> Call:
    """Play one call of a model's network event by event: ``x`` [B, C, H, W] and ``t`` [B], numpy or torch.

    Returns a Call with ``.eps``, ``.spikes`` (layer name to bool [T, B, C, H, W]) and ``.counts``.
    """
    from nsim.simulator.engine import Engine

    times = None if t is None else _numpy(t)
    return Engine(model.network, precision).call(_numpy(x), times, keep_currents=True)


def map(
    model: Model,
    chip: str = "loihi",
    policy: Policy = "expand",
    placement: Order = "optimised",
    traffic: str | Path | None = None,
    schedule: Schedule = "pipelined",
    weight_bits: int | None = None,
    multiplex: int | None = None,
) -> Mapping:
    """Lay a model out on a chip: a bundled chip's name, or the path of a chip file.

    ``policy``: what becomes of analog streams, "expand" into synapses or carried by the "host".
    ``placement``: "optimised" for few packets times hops, or "row-major"; ``traffic``: a run folder whose
    spikes it is optimised for (all neurons fire alike otherwise). ``schedule``: all layers work at once, one
    time step apart ("pipelined"), or one layer runs all its time steps before the next ("layerwise").
    ``weight_bits``: round each synapse's weight to so many bits and play integers, as the chip would.
    ``multiplex``: play on at most so many chips, loading one again for what does not fit (for estimates).

    Raises nsim.errors.MappingError for what cannot fit.
    """
    from nsim.hw_models.mapping.mapping import map_model

    rate = None
    if traffic is not None:
        from nsim.reports.run import Run
        from nsim.reports.traffic import firing_rates

        rate = firing_rates(Run.open(traffic))
    return map_model(model, str(chip), policy, placement, rate, schedule, weight_bits, multiplex)


def run(
    mapping: Mapping,
    sampler: str | Any | None = None,
    seed: int = 0,
    images: int = 1,
    calibration: str | None = None,
    timing: Timing = "analytic",
    out: str | Path | None = None,
    resume: bool = False,
    detail_steps: str = "all",
    workers: Workers | None = None,
) -> Run:
    """Generate ``images`` images and count, time and price every sampler step on the chip.

    ``sampler`` like "ddim:50", or a scheduler object as diffusers has them, its timesteps set (default: the
    model's own); ``calibration``: one of the chip's sets of figures (default: the chip's); ``timing``: closed
    formulas ("analytic"), or every packet through the mesh, with buffers without bounds ("event") or finite
    ones ("cycle"). With ``out``, everything is written to that new folder step by step; ``resume`` goes on
    with a run that was stopped in it. ``detail_steps``: which sampler steps are measured on the chip, as
    "n:20"; ``workers``: where (see nsim.reports.workers.Workers), this process by default.
    """
    from nsim.reports.run_sampler import run_sampler

    folder = None if out is None else Path(out)
    return run_sampler(
        mapping,
        sampler,
        seed=seed,
        images=images,
        calibration=calibration,
        timing=timing,
        out=folder,
        resume=resume,
        detail_steps=detail_steps,
        workers=workers,
    )


def _numpy(array: Any) -> np.ndarray:
    """A numpy array of a numpy or torch array."""
    import numpy as np

    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
