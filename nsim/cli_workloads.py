"""``nsim workloads``: all workloads in one table."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nsim.cli_options import JsonOption
from nsim.cli_output import progress_bar, remark, show


def workloads(
    names: Annotated[
        list[str] | None, typer.Argument(help="Workloads; all bundled and named ones otherwise.")
    ] = None,
    chip: Annotated[
        str | None, typer.Option(help="Chips, separated by commas; all bundled ones otherwise.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Firing rate of the static estimates.", min=0, max=1)] = 0.2,
    markdown: Annotated[bool, typer.Option(help="Print the tables of docs/workloads.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Set all workloads side by side: size, operations, energy by counting convention and by chip, latency.

    Networks of the papers' sizes have random weights, and take seconds to a minute for each chip.

    Example: nsim workloads sddpm-digits sddpm-cifar10 --chip loihi
    """
    import nsim
    from nsim.hw_models.catalog import chip_names, load_any_chip
    from nsim.reports.workload_tables import markdown as as_markdown
    from nsim.reports.workload_tables import notes, workload_grids
    from nsim.reports.workloads import table_cost, workload_table
    from nsim.workloads.named import workload_groups

    groups = [(name,) for name in names] if names else workload_groups()
    chips = chip.split(",") if chip else chip_names()
    for wanted in chips:
        load_any_chip(wanted)
    remark(f"{len(groups)} workloads on {len(chips)} chips: {table_cost(groups, chips)}")
    with progress_bar("chips") as progress:
        table = workload_table(groups, chips, rate, nsim.load, progress)
    if markdown:
        sys.stdout.write(as_markdown(table) + "\n")
    elif as_json:
        show(table.facts())
    else:
        show([*(grid.rich() for grid in workload_grids(table)), *notes(table)])
