"""One sampler step of a finished run, played again from its folder and the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nsim.errors import RunError
from nsim.frontends.load import sha256
from nsim.hw_models.mapping.mapping import Mapping, map_model
from nsim.hw_models.spec import Calibration
from nsim.reports.run_folder import read_table
from nsim.reports.step_meter import engine_of
from nsim.simulator.core_counts import CoreCounter, EventCounts
from nsim.simulator.engine import Call
from nsim.workloads.samplers import initial_noise, parse_sampler

if TYPE_CHECKING:
    from nsim.frontends.model import Model
    from nsim.reports.run import Run


@dataclass(frozen=True, eq=False)
class Replay:
    """A sampler step once more, all images of it."""

    mapping: Mapping
    calibration: Calibration
    call: Call
    counts: EventCounts


def replay(run: Run, step: int, model_file: str | None = None) -> Replay:
    """Play sampler step ``step`` of a run again, from the images that the step before it left.

    ``model_file``: where the run's model is; a bundled model is found by its name. Raises RunError for a
    step that the run did not measure, for another model than the run's, and when what is counted now is not
    what the run counted.
    """
    measured = run.measured_steps.tolist()
    if step not in measured:
        steps = run.manifest["sampler_steps"]
        which = f"0 to {steps - 1}" if len(measured) == steps else ", ".join(map(str, measured))
        raise RunError(f"sampler step {step}: the run measured the steps {which}")
    mapping = _mapping(run, _model(run, model_file))
    call = _call(mapping, run, step)
    counts = CoreCounter(mapping).count(call)
    _compare(run, step, counts)
    return Replay(mapping, run.calibration, call, counts)


def _mapping(run: Run, model: Model) -> Mapping:
    """The run's layout, with every core where the run had it."""
    manifest, cores = run.manifest, run.cores
    mapping = map_model(
        model,
        str(run.folder.path / "chip.yaml"),
        policy=manifest["policy"],
        order="row-major",
        schedule=manifest["schedule"],
        weight_bits=manifest["weight_bits"],
    )
    if mapping.core_count != len(cores):
        raise RunError(
            f"{run.folder.path}: laid out on {len(cores):,} cores then, on {mapping.core_count:,} now; the "
            f"run was made by another nsim than this ({manifest['made_with']['nsim']})"
        )
    where = {name: cores[name].to_numpy() for name in ("chip", "tile_x", "tile_y")}
    return replace(mapping, placement=replace(mapping.placement, **where))


def _model(run: Run, model_file: str | None) -> Model:
    from nsim.workloads.checkpoints import bundled_names, find_checkpoint
    from nsim.workloads.load import load_model

    wanted = run.manifest["model"]
    if model_file is None and wanted["name"] not in bundled_names():
        raise RunError(
            f"the run's model {wanted['name']!r} is not a bundled one; say where it is with --model"
        )
    path = find_checkpoint(model_file or wanted["name"])
    if path.is_file() and sha256(path) != wanted["sha256"]:
        raise RunError(
            f"{path}: not the model of the run, which has SHA-256 {wanted['sha256'][:12]}...; "
            "give the right file with --model"
        )
    thresholds = wanted["v_threshold"]
    return load_model(path, wanted["time_steps"], thresholds[0] if len(thresholds) == 1 else None)


def _call(mapping: Mapping, run: Run, step: int) -> Call:
    manifest, network = run.manifest, mapping.played
    shape = (run.images, *network.population_by_name[network.image].shape)
    x = run.folder.state(step - 1) if step else initial_noise(shape, manifest["seed"])
    times = parse_sampler(manifest["sampler"]).build(manifest["seed"]).timesteps
    return engine_of(mapping, manifest["precision"]).call(x, np.full(len(x), times[step]))


def _compare(run: Run, step: int, counts: EventCounts) -> None:
    """Refuse a replay that differs from the run by a single event of a single core in a single tick."""
    then = read_table(run.folder.path / "events" / f"{step:04d}.parquet")
    for event, now in counts.per_core.items():
        if not np.array_equal(then[event].to_numpy(), now.sum(axis=0).ravel()):
            raise RunError(
                f"{run.folder.path}: played again, sampler step {step} has other counts of {event}; the run "
                f"was made by another nsim than this ({run.manifest['made_with']['nsim']}), or where sums "
                "round otherwise"
            )
