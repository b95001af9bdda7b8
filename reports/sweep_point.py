"""What a worker does for a sweep: play one point on its chip, or measure the quality of its images."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nsim
from nsim.hw_models.mapping.mapping import Mapping
from nsim.provenance import provenance
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.reports.sweep_axes import AXES, Axis, Value
from nsim.reports.sweep_plan import Point

Arguments = tuple[tuple[str, Any], ...]
"""Keywords and values, as a cache can take them."""

MEASURES: dict[str, type] = {
    "weights": str,
    "model_sha256": str,
    "chip_sha256": str,
    "cores": int,
    "chips": int,
    "sampler_steps": int,
    "energy_pj": float,
    "time_ns": float,
    "energy_pj_per_image": float,
    "time_ns_per_image": float,
    "energy_unknown": str,
    "energy_uncosted": str,
    "time_left_out": str,
    "ac_as_traced": int,
    "graded_ac_as_traced": int,
    "mac_as_traced": int,
    "spike_products_as_traced": int,
    "ac_as_laid_out": int,
    "mac_on_host": int,
    "spike_products_on_host": int,
    "spikes": int,
    "firing_rate": float,
    "papers_rule_energy_pj": float,
    "nsim_version": str,
    "revision": str,
}
"""Columns of what a point measured, for all its images together; units in the names."""
QUALITY_MEASURES: dict[str, type] = {
    "quality_images": int,
    "frechet_distance": float,
    "frechet_distance_of_noise": float,
    "frechet_distance_of_real_halves": float,
}


@dataclass(frozen=True)
class Task:
    """One point to play (``quality_images`` None), or the quality of its images to measure.

    ``keep``: folder to keep the run in; ``threads``: of the simulation, no effect on results.
    """

    point: Point
    quality_images: int | None = None
    keep: Path | None = None
    threads: int | None = None


def work(task: Task, _: None) -> dict[str, Any]:
    """Do a task: what it measured, as plain values."""
    return play(task) if task.quality_images is None else measure_quality(task)


def play(task: Task) -> dict[str, Any]:
    """Run one point: the values its run used for every axis, and all of MEASURES."""
    mapping = mapping_of(task.point)
    part = None if task.keep is None else task.keep.with_name(f"{task.keep.name}.{uuid.uuid4().hex}.part")
    try:
        run = run_sampler(mapping, out=part, threads=task.threads, **dict(_arguments(task.point, "run")))
        measured = {axis.name: _used(run, axis, task.point[axis.name]) for axis in AXES} | measures(run)
        if part is not None and task.keep is not None:
            _keep(part, task.keep)
        return measured
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def measures(run: Run) -> dict[str, Any]:
    """What a run says in one line: MEASURES."""
    manifest, report, counts = run.manifest, run.report, run.counts().groupby("event")["count"].sum()
    operations, time_ns = run.operations().sum(numeric_only=True), float(run.latency()["time_ns"].sum())
    made_with = provenance()
    return {
        "weights": manifest["model"]["weights"],
        "model_sha256": manifest["model"]["sha256"],
        "chip_sha256": manifest["chip_sha256"],
        "cores": int(manifest["cores"]),
        "chips": int(manifest["chips"]),
        "sampler_steps": int(manifest["sampler_steps"]),
        "energy_pj": report.total_pj,
        "time_ns": time_ns,
        "energy_pj_per_image": report.total_pj / run.images,
        "time_ns_per_image": time_ns / run.images,
        "energy_unknown": " ".join(report.unknown),
        "energy_uncosted": " ".join(report.uncosted),
        "time_left_out": " ".join(run.times_left_out),
        "ac_as_traced": int(operations["ac"]),
        "graded_ac_as_traced": int(operations["graded_ac"]),
        "mac_as_traced": int(operations["mac"]),
        "spike_products_as_traced": int(operations["spike_product"]),
        "ac_as_laid_out": int(counts[counts.index.str.startswith("synaptic_event")].sum()),
        "mac_on_host": int(counts.get("host_mac", 0)),
        "spike_products_on_host": int(counts.get("host_spike_product", 0)),
        "spikes": int(operations["spikes"]),
        "firing_rate": float(operations["spikes"] / operations["updates"]),
        "papers_rule_energy_pj": run.papers_rule.energy_pj * run.denoiser.calls,
        "nsim_version": made_with["nsim"],
        "revision": made_with["revision"] or "",
    }


def measure_quality(task: Task) -> dict[str, Any]:
    """Generate ``quality_images`` digits with a point's model and sampler, and measure them."""
    from nsim.reports.quality import quality_facts

    point, images = task.point, task.quality_images
    assert images is not None
    model = nsim.load(str(point["model"]), **dict(_arguments(point, "load")))
    sampler, seed, layout = point["sampler"] or model.sampler, point["seed"], dict(_arguments(point, "map"))
    facts = quality_facts(
        model,
        str(sampler),
        images,
        int(seed or 0),
        None,
        lambda done, total: None,
        layout["weight_bits"],
        layout["policy"],
    )
    return {
        "quality_images": images,
        "frechet_distance": facts["frechet_samples_to_held_out"],
        "frechet_distance_of_noise": facts["frechet_noise_to_held_out"],
        "frechet_distance_of_real_halves": facts["frechet_between_halves_of_real"],
    }


def quality_point(point: Point) -> Point:
    """The part of a point that its images depend on, which is all that quality depends on.

    The number of images that are played on the chip is no part of it: quality makes its own. Neither is
    the policy while weights are real: only rounded ones depend on how they are laid out.
    """
    part = {"model": point["model"], **{a.name: point[a.name] for a in AXES if a.makes_images}}
    return part if point["weight_bits"] is not None else {**part, "policy": None}


def mapping_of(point: Point) -> Mapping:
    """The model of a point on its chip; neighbours in a sweep share it."""
    return _mapping(str(point["model"]), _arguments(point, "load"), _arguments(point, "map"))


@lru_cache(maxsize=1)
def _mapping(model: str, load: Arguments, on: Arguments) -> Mapping:
    return nsim.map(nsim.load(model, **dict(load)), **dict(on))


def _arguments(point: Point, stage: str) -> Arguments:
    return tuple((axis.name, point[axis.name]) for axis in AXES if axis.stage == stage)


def _used(run: Run, axis: Axis, asked: Value) -> Any:
    """The value a run used where the point left it to the model or the chip."""
    if asked is not None or not axis.used:
        return asked
    value: Any = run.manifest
    for key in axis.used:
        value = value[key]
    if isinstance(value, list):  # one value, or none that would describe the run
        return value[0] if len(value) == 1 else None
    return value


def _keep(part: Path, folder: Path) -> None:
    """Move a finished run into place; where a twin of this task was quicker, its equal run stays."""
    try:
        os.rename(part, folder)
    except OSError:
        if not folder.is_dir():
            raise
