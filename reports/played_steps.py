"""The sampler steps of a run, in order: the trajectory played once, chosen steps measured anywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nsim.errors import RunError
from nsim.reports.step_meter import StepMeter, Table
from nsim.reports.workers import Workers
from nsim.simulator.engine import Call
from nsim.workloads.samplers import Sampler, trajectory


@dataclass(frozen=True)
class PlayedStep:
    """A step done: the images [B, C, H, W] it left, and its tables; "operations" is always among them."""

    index: int
    x: np.ndarray
    tables: dict[str, Table]


@dataclass(frozen=True)
class MeasureTask:
    """One denoiser call to play again and measure: images ``x`` at diffusion time ``t``."""

    x: np.ndarray
    t: int


def play_steps(
    meter: StepMeter,
    walk: Sampler,
    x: np.ndarray,
    first: int,
    measured: Collection[int],
    workers: Workers | None,
) -> Iterator[PlayedStep]:
    """Play from ``x``, the input of step ``first``; the tables are the same wherever they are made.

    Without ``workers`` a step is measured as it is played. With them the whole trajectory is played first,
    which is quick, and then each of its ``measured`` steps is played again by some worker.
    """
    if workers is None:
        yield from _measured_here(meter, walk, x, first, measured)
    else:
        yield from _measured_elsewhere(meter, walk, x, first, measured, workers)


def measure(task: MeasureTask, meter: StepMeter) -> dict[str, Table]:
    """What a worker does."""
    return meter.measure(meter.engine.call(task.x, np.full(len(task.x), task.t)))


def _measured_here(
    meter: StepMeter, walk: Sampler, x: np.ndarray, first: int, measured: Collection[int]
) -> Iterator[PlayedStep]:
    calls: list[Call] = []

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        calls.append(meter.engine.call(x, t))
        return calls[-1].eps

    for step in trajectory(denoise, walk, x, first):
        call = calls.pop()
        tables = meter.measure(call) if step.index in measured else {}
        yield PlayedStep(step.index, step.x, {"operations": meter.operations(call), **tables})


def _measured_elsewhere(
    meter: StepMeter, walk: Sampler, x: np.ndarray, first: int, measured: Collection[int], workers: Workers
) -> Iterator[PlayedStep]:
    played = list(_measured_here(meter, walk, x, first, ()))
    inputs = [x, *(step.x for step in played[:-1])]
    chosen = [i for i, step in enumerate(played) if step.index in measured]
    tasks = [MeasureTask(inputs[i], int(walk.timesteps[played[i].index])) for i in chosen]
    tables: dict[int, dict[str, Table]] = {}
    fresh = replace(meter, threads=workers.threads)  # none of what this process has made for itself
    outcomes = workers.run(measure, tasks, shared=fresh)
    for i, step in enumerate(played):  # in order, since a run goes on after its last finished step
        while i in chosen and i not in tables:
            done, outcome = next(outcomes)
            if outcome.error is not None:
                raise RunError(f"sampler step {played[chosen[done]].index}: {outcome.error}")
            tables[chosen[done]] = outcome.value
        yield PlayedStep(step.index, step.x, {**step.tables, **tables.pop(i, {})})
