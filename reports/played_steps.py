"""The steps of a run, in order: the walk played once, then the decoder; chosen steps measured anywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nsim.errors import RunError
from nsim.reports.step_meter import StepMeter, Table
from nsim.reports.workers import Workers
from nsim.simulator.call import Call
from nsim.workloads.samplers import Sampler, trajectory

Stages = tuple[StepMeter, ...]
"""The denoiser, and the decoder of a model that has one."""


@dataclass(frozen=True)
class PlayedStep:
    """A step done: the images [B, C, H, W] it left, and its tables; "operations" is always among them."""

    index: int
    x: np.ndarray
    tables: dict[str, Table]


@dataclass(frozen=True)
class CallTask:
    """One call to play: of network ``stage``, images ``x`` at diffusion time ``t`` (None for a decoder)."""

    stage: int
    x: np.ndarray
    t: int | None

    def play(self, stages: Stages) -> Call:
        """Play the call, nothing measured."""
        times = None if self.t is None else np.full(len(self.x), self.t)
        return stages[self.stage].engine.call(self.x, times)


@dataclass(frozen=True)
class _Step:
    """A step as played: the images it left, and the call it made."""

    index: int
    x: np.ndarray
    task: CallTask
    call: Call


def play_steps(
    stages: Stages,
    walk: Sampler,
    x: np.ndarray,
    first: int,
    measured: Collection[int],
    workers: Workers | None,
) -> Iterator[PlayedStep]:
    """Play from ``x``, the input of step ``first``; the tables are the same wherever they are made.

    The decoder's call is the step after the walk's last, numbered like one. Without ``workers`` a step is
    measured as it is played. With them the whole trajectory is played first, which is quick, and then each of
    its ``measured`` steps is played again by some worker.
    """
    played = _then_decode(stages, walk, x, first)
    if workers is not None:
        yield from _measured_elsewhere(stages, played, measured, workers)
        return
    for step in played:
        tables = stages[step.task.stage].measure(step.call) if step.index in measured else {}
        yield PlayedStep(
            step.index, step.x, {"operations": stages[step.task.stage].operations(step.call), **tables}
        )


def measure(task: CallTask, stages: Stages) -> dict[str, Table]:
    """What a worker does."""
    return stages[task.stage].measure(task.play(stages))


def _then_decode(stages: Stages, walk: Sampler, x: np.ndarray, first: int) -> Iterator[_Step]:
    """The steps of a walk from ``x``, then the decoder's, from the last image."""
    made: list[tuple[CallTask, Call]] = []

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        task = CallTask(0, x, int(t[0]))
        made.append((task, task.play(stages)))
        return made[-1][1].eps

    for step in trajectory(denoise, walk, x, first):
        x = step.x
        yield _Step(step.index, x, *made.pop())
    steps = len(walk.timesteps)
    if len(stages) > 1 and first <= steps:
        task = CallTask(1, x, None)
        call = task.play(stages)
        yield _Step(steps, call.eps, task, call)


def _measured_elsewhere(
    stages: Stages, played: Iterator[_Step], measured: Collection[int], workers: Workers
) -> Iterator[PlayedStep]:
    done, tasks, step_of_task = [], [], []
    for step in played:
        done.append(
            PlayedStep(step.index, step.x, {"operations": stages[step.task.stage].operations(step.call)})
        )
        if step.index in measured:
            tasks.append(step.task)
            step_of_task.append(step.index)
    tables: dict[int, dict[str, Table]] = {}
    # none of what this process has made for itself
    fresh = tuple(replace(meter, threads=workers.threads) for meter in stages)
    outcomes = workers.run(measure, tasks, shared=fresh)
    for played_step in done:  # in order, since a run goes on after its last finished step
        index = played_step.index
        while index in step_of_task and index not in tables:
            task, outcome = next(outcomes)
            if outcome.error is not None:
                raise RunError(f"sampler step {step_of_task[task]}: {outcome.error}")
            tables[step_of_task[task]] = outcome.value
        yield replace(played_step, tables={**played_step.tables, **tables.pop(index, {})})
