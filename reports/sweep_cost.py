"""What a sweep will take, estimated from its first point's network, and how many processes fit."""

from __future__ import annotations

import os

from nsim.errors import NsimError, SweepError
from nsim.frontends.model import Model
from nsim.reports.cost import GB, Cost, Size, available_bytes, call_cost, run_cost
from nsim.reports.quality import BATCH
from nsim.reports.sweep_plan import Point, SweepPlan
from nsim.reports.sweep_point import mapping_of, quality_point
from nsim.workloads.samplers import parse_sampler


def sweep_cost(plan: SweepPlan) -> Cost | None:
    """Time of all points on one process and memory of the largest, as if all had the first one's network.

    None where the first point cannot be loaded or mapped: its error is reported when its turn comes.
    """
    try:
        mapping = mapping_of(plan.points[0])
    except NsimError:
        return None
    size = Size.of(mapping.played, mapping)
    costs = [_point_cost(point, size, mapping.model) for point in plan.points]
    if plan.quality is not None:
        batch, batches = min(BATCH, plan.quality), -(-plan.quality // BATCH)
        different = {tuple(quality_point(point).values()): point for point in plan.points}
        for point in different.values():
            calls = batches * _sampler_steps(point, mapping.model)
            costs.append(call_cost(size, _time_steps(point, mapping.model), batch, calls))
    return Cost(sum(cost.seconds for cost in costs), max(cost.bytes for cost in costs))


def workers_that_fit(cost: Cost | None, asked: int | None, points: int, elsewhere: bool) -> int:
    """Processes to start: as asked, or one for each core, no more than points, no more than memory holds.

    SweepError, with the number that fits, where more are asked for. ``elsewhere``: on a cluster, whose
    memory is not known here.
    """
    if elsewhere or cost is None:
        return asked or 1
    free = available_bytes()
    fit = int(free // cost.bytes)
    if fit < (asked or 1):
        way_out = (
            f"--workers {fit} fits" if fit else "not even one fits: sweep fewer --images, or smaller models"
        )
        raise SweepError(
            f"{asked or 1} process(es) of about {cost.bytes / GB:.1f} GB of memory each (estimate) do not "
            f"fit into the {free / GB:.1f} GB that are free; {way_out}"
        )
    return asked or min(os.cpu_count() or 1, points, fit)


def _point_cost(point: Point, size: Size, model: Model) -> Cost:
    steps = _sampler_steps(point, model)
    timing, images = str(point["timing"]), int(point["images"] or 1)
    return run_cost(size, _time_steps(point, model), steps, steps, images, timing)


def _time_steps(point: Point, model: Model) -> int:
    return int(point["time_steps"] or model.network.time_steps)


def _sampler_steps(point: Point, model: Model) -> int:
    """Steps of a point's sampler; 0 where its name is wrong, which its turn will tell."""
    try:
        return parse_sampler(str(point["sampler"] or model.sampler)).steps
    except NsimError:
        return 0
