"""One sampler step of a finished run, played again from its folder and the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

import nsim
from nsim.errors import RunError
from nsim.hw_models.mapping.mapping import Mapping, map_model
from nsim.hw_models.spec import Calibration
from nsim.reports.run_checks import read_table
from nsim.reports.step_meter import engine_of
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CoreCounter, EventCounts
from nsim.workloads.samplers import build_sampler, initial_state

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
    measured = run.folder.measured_steps
    if step not in measured:
        steps = run.folder.steps_in_all
        which = f"0 to {steps - 1}" if len(measured) == steps else ", ".join(map(str, measured))
        raise RunError(f"sampler step {step}: the run measured the steps {which}")
    model, network = _model(run, model_file), int(step >= run.manifest["sampler_steps"])
    mapping = _mapping(run, model, network)
    call = _call(run, model, mapping, step, network)
    counts = CoreCounter(mapping).count(call)
    _compare(run, step, network, counts)
    return Replay(mapping, run.calibration, call, counts)


def _mapping(run: Run, model: Model, network: int) -> Mapping:
    """The run's layout of a network, with every core where the run had it."""
    manifest = run.manifest
    cores = run.cores[run.cores["network"] == network]
    mapping = map_model(
        model,
        str(run.folder.path / "chip.yaml"),
        policy=manifest["policy"],
        order="row-major",
        schedule=manifest["schedule"],
        weight_bits=manifest["weight_bits"],
    ).parts[network]
    if mapping.core_count != len(cores):
        raise RunError(
            f"{run.folder.path}: laid out on {len(cores):,} cores then, on {mapping.core_count:,} now; the "
            f"run was made by another nsim than this ({manifest['made_with']['nsim']})"
        )
    where = {name: cores[name].to_numpy() for name in ("tile_x", "tile_y")}
    chip = cores["chip"].to_numpy() - cores["chip"].min()
    return replace(mapping, placement=replace(mapping.placement, chip=chip, **where))


def _model(run: Run, model_file: str | None) -> Model:
    """The run's model, loaded again as it was."""
    from nsim.workloads.checkpoints import bundled_names
    from nsim.workloads.named import NAMED

    wanted = run.manifest["model"]
    if model_file is None and wanted["name"] not in (*bundled_names(), *NAMED):
        raise RunError(
            f"the run's model {wanted['name']!r} is not a bundled one; say where it is with --model"
        )
    name = model_file or wanted["name"]
    model = nsim.load(name, wanted["time_steps"], wanted["v_threshold_by_layer"] or wanted["v_threshold"][0])
    if model.sha256 != wanted["sha256"]:
        raise RunError(
            f"{name}: not the model of the run, which has SHA-256 {wanted['sha256'][:12]}...; "
            "give the right file with --model"
        )
    return model


def _call(run: Run, model: Model, mapping: Mapping, step: int, network: int) -> Call:
    """The call of a step, from the images that the one before it left."""
    manifest, seed = run.manifest, run.manifest["seed"]
    walk, _ = build_sampler(manifest["sampler"], seed, model)
    shape = (run.images, *model.network.population_by_name[model.network.image].shape)
    x = run.folder.state(step - 1) if step else initial_state(walk, shape, seed)
    times = None if network else np.full(len(x), walk.timesteps[step])
    return engine_of(mapping, manifest["precision"]).call(x, times)


def _compare(run: Run, step: int, network: int, counts: EventCounts) -> None:
    """Refuse a replay that differs from the run by a single event of a single core in a single tick."""
    then = read_table(run.folder.path / "events" / f"{step:04d}.parquet")
    own = (run.cores["network"] == network).to_numpy()
    for event, now in counts.per_core.items():
        by_tick = then[event].to_numpy().reshape(-1, len(own))
        if not np.array_equal(by_tick[:, own], now.sum(axis=0)):
            raise RunError(
                f"{run.folder.path}: played again, sampler step {step} has other counts of {event}; the run "
                f"was made by another nsim than this ({run.manifest['made_with']['nsim']}), or where sums "
                "round otherwise"
            )
