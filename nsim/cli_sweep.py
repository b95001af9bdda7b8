"""``nsim sweep``: a flag for every axis of the axis table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from nsim.cli_options import DaskOption, JsonOption, WorkersOption
from nsim.cli_output import progress_bar, remark, show
from nsim.errors import SweepError
from nsim.reports.sweep_axes import AXES, Axis


def _of(axis: Axis) -> str:
    return f": {', '.join(axis.choices)}" if axis.choices else ""


def _with_axes(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes ``**axes`` a named option for each; typer reads it from the signature."""
    signature = inspect.signature(command, eval_str=True)
    plain = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            axis.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(
                    help=f"Sweep over {axis.help}{_of(axis)}.", metavar="VALUE,...", show_default=False
                ),
            ],
        )
        for axis in AXES
    ]
    command.__signature__ = signature.replace(parameters=[*plain, *options])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*plain, *options]}
    return command


@_with_axes
def sweep(
    models: Annotated[list[str] | None, typer.Argument(help="Model files, or bundled models' names.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for the table, the points and the plots.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="YAML file of models and values; flags overrule it.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of a stopped sweep to go on with.")] = None,
    quality: Annotated[
        int | None,
        typer.Option(help="Measure the Frechet distance of this many images at every point.", min=2),
    ] = None,
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Keep the run folder of every point.")
    ] = False,
    workers: WorkersOption = None,
    dask: DaskOption = None,
    as_json: JsonOption = False,
    **axes: str | None,
) -> None:
    """Play every combination of models, chips, samplers and so on; one table, curves, Pareto fronts.

    A point that fails is reported and the rest goes on; exit code 1 says that some point failed.

    Example: nsim sweep sddpm-digits --time-steps 2,4,8 --sampler ddim:10,ddim:50 --out sweeps/a

    Example: nsim sweep --plan sweep.yaml --quality 500 --workers 8 --out sweeps/b

    Example: nsim sweep --resume sweeps/b --dask tcp://host:8786
    """
    from nsim.reports.sweep import Sweep
    from nsim.reports.sweep_cost import sweep_cost, workers_that_fit
    from nsim.reports.sweep_plan import plan_sweep
    from nsim.reports.sweep_tables import sweep_facts, sweep_tables
    from nsim.reports.workers import Workers

    if resume is not None:
        new = {"models": models, "out": out, "plan": plan, "quality": quality, "keep_runs": keep_runs, **axes}
        given = ", ".join(name.replace("_", "-") for name, value in new.items() if value)
        if given:
            raise SweepError(f"--resume goes on with the plan in its folder; leave out: {given}")
        begun = Sweep.open(resume)
    else:
        asked = plan_sweep(models or [], axes, quality, plan)
        if out is None:
            raise SweepError("--out is missing: a new folder for the results, for example --out sweeps/a")
        begun = Sweep.new(asked, out, keep_runs)
    points, cost = len(begun.plan.points), sweep_cost(begun.plan)
    count = workers_that_fit(cost, workers, points, elsewhere=dask not in (None, "local"))
    where = f"{count} process(es)" if dask is None else f"dask {dask}"
    remark(f"{points} points, {cost or 'cost unknown'} on one process; runs on {where}")
    with progress_bar("points") as progress:
        begun.run(Workers(count, dask), progress, figures=True)
    facts = sweep_facts(begun)
    show(facts if as_json else [*sweep_tables(begun), f"written to {begun.path}"])
    if facts["points_failed"]:
        raise typer.Exit(1)
