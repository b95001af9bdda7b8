"""Run a sampler on a mapped model: count and time every sampler step, step by step into its folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nsim.errors import RunError
from nsim.frontends.model import Model
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.detail_steps import parse_detail_steps
from nsim.reports.played_steps import play_steps
from nsim.reports.run import Run
from nsim.reports.run_folder import RunFolder
from nsim.reports.run_manifest import run_manifest
from nsim.reports.stages import all_cores, stages_of
from nsim.reports.step_meter import Timing
from nsim.reports.traced_layers import first_readers, traced_layers
from nsim.reports.workers import Workers
from nsim.simulator.engine import Precision
from nsim.workloads.samplers import build_sampler, initial_state

Progress = Callable[[int, int], None]
"""Called after every sampler step with (steps done, steps in all)."""


def run_sampler(
    mapping: Mapping,
    sampler: str | Any | None = None,
    seed: int = 0,
    images: int = 1,
    calibration: str | None = None,
    out: Path | None = None,
    precision: Precision = "float32",
    timing: Timing = "analytic",
    threads: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    detail_steps: str = "all",
    workers: Workers | None = None,
    figures: bool = False,
) -> Run:
    """Generate images on the chip, writing each sampler step to the run folder as it ends.

    ``sampler``: a text like "ddim:50", or a scheduler object of diffusers or like it, its timesteps set; the
    model's own by default. A model's decoder is called once at the end, as a step of its own.

    Without ``out`` the folder is temporary and goes with the returned Run. The chip makes the images one
    after the other; their events are added up, their times follow each other. Raises RunError for a
    sampler that is not known or a folder that is not empty, before anything is written.

    ``resume``: go on with the run that was stopped in ``out``, at its first unfinished sampler step; the
    folder ends up as if it had never been stopped, byte for byte. RunError when it was begun with other
    settings or versions, or is damaged. One process at a time writes to a folder; a second one is refused.

    ``detail_steps``: sampler steps whose events are counted and timed on the chip, "all", "0,10,20" or
    "n:20" (see `detail_steps`). All steps are played; the totals of the others are extrapolated, and said
    to be. ``workers``: where steps are measured, this process by default; no effect on results.

    ``timing``: "analytic" takes the busiest core's work in a tick as if every packet were there from the
    start (see `analytic_times`); "event" follows every packet from core to core through FIFO links (see
    `EventTimer`), "cycle" through routers with finite buffers and back-pressure (see `CycleTimer`). Spikes,
    events and priced counts are the same; times, and what is paid per time, are not. ChipFileError for
    "cycle" on a chip whose file does not say how large the buffers are.

    ``figures``: draw the run into its folder too.

    ``precision``: of real weights; a mapping whose weights are rounded is played in integers.
    """
    model = mapping.model
    if mapping.rounds.loads:
        raise RunError(
            f"{model.name} on {mapping.chips} chip(s) in {mapping.rounds.loads} rounds: shared chips "
            "are estimated by `nsim map`, not played; leave multiplex out"
        )
    walk, sampler_name = build_sampler(sampler, seed, model)
    if images < 1:
        raise RunError(f"{images} images: at least 1 is needed")
    name = calibration or mapping.chip.default_calibration
    steps = len(walk.timesteps)
    measured = parse_detail_steps(detail_steps, steps)
    precision = precision if mapping.weight_bits is None else "int"
    manifest = run_manifest(mapping, sampler_name, steps, seed, images, name, precision, timing, measured)
    stages = stages_of(mapping, name, timing, precision, threads)
    for meter in stages:
        meter.check()  # what the chip file does not say is refused before anything is written
    path = Path(tempfile.mkdtemp(prefix="nsim-run-")) if out is None else out
    with RunFolder.writing(path, manifest, resume) as folder:
        _write_mapping(folder, mapping)
        done, shape = folder.steps_done, model.network.population_by_name[model.network.image].shape
        x = folder.state(done - 1) if done else initial_state(walk, (images, *shape), seed)
        for step in play_steps(stages, walk, x, done, folder.measured_steps, workers):
            for table, rows in step.tables.items():
                folder.write_step(table, step.index, rows)
            folder.write_state(step.index, step.x)
            x = step.x
            if progress is not None:
                progress(step.index + 1, folder.steps_in_all)
        folder.write_images(as_images(x, model))
        folder.write_manifest({**folder.manifest, "complete": True})
        run = Run(folder)
        if figures:  # after the numbers, which are complete without them; a run gone on with draws them again
            run.plot.save_all(path)
    if out is None:
        weakref.finalize(run, shutil.rmtree, folder.path, ignore_errors=True)
    return run


def _write_mapping(folder: RunFolder, mapping: Mapping) -> None:
    """What is the same for all sampler steps; written again when a run goes on, to the same bytes."""
    if mapping.chip_file.resolve() != (folder.path / "chip.yaml").resolve():
        folder.copy_chip_file(mapping.chip_file)
    folder.write_table("cores", all_cores(mapping))
    grids = [grid for part in mapping.parts for grid in part.grids.values()]
    capacities = [(grid.population, r, most) for grid in grids for r, most in grid.limits.items()]
    folder.write_table("capacities", pd.DataFrame(capacities, columns=["layer", "resource", "available"]))
    parts = list(enumerate(mapping.parts))
    layers = [traced_layers(part.model.network).assign(network=i) for i, part in parts]
    readers = [first_readers(part.model.network, part.grids).assign(network=i) for i, part in parts]
    folder.write_table("traced_layers", pd.concat(layers, ignore_index=True))
    folder.write_table("readers", pd.concat(readers, ignore_index=True))


def as_images(x: np.ndarray, model: Model) -> np.ndarray:
    """Images in [-1, 1]; of tokens that no decoder turned into one, the picture of their indices.

    A decoder's images are meant in [-0.5, 0.5], what exceeds it is cut off (Spiking-Diffusion).
    """
    if model.codes is None:
        return x
    return 2.0 * x / model.codes - 1.0 if model.decoder is None else np.clip(2.0 * x, -1.0, 1.0)
