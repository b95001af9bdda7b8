"""``nsim footprint``: several models on several chips in one table."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nsim.cli_options import JsonOption, TimeStepsOption
from nsim.cli_output import progress_bar, show


def footprint(
    models: Annotated[list[str], typer.Argument(help="Model files, or names (sddpm-digits).")],
    chip: Annotated[
        str, typer.Option(help="Chips, separated by commas; all bundled ones by default.")
    ] = "all",
    rate: Annotated[float, typer.Option(help="Firing rate of every neuron.", min=0, max=1)] = 0.2,
    time_steps: TimeStepsOption = None,
    markdown: Annotated[bool, typer.Option(help="Print the table of docs/footprint.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Lay models out on every chip: cores, operations, energy and time, and what is refused and why.

    Example: nsim footprint sddpm-digits spiking-diffusion-mnist --chip loihi,loihi2
    """
    import nsim
    from nsim.hw_models.catalog import chip_names
    from nsim.reports.all_chips import all_chips_facts, all_chips_markdown, all_chips_tables, on_all_chips

    chips = chip_names() if chip == "all" else chip.split(",")
    loaded = [nsim.load(model, time_steps) for model in models]
    with progress_bar("models on chips") as progress:
        rows = on_all_chips(loaded, chips, rate, progress)
    if markdown:
        sys.stdout.write(all_chips_markdown(rows, rate) + "\n")
    else:
        show(all_chips_facts(rows, rate) if as_json else all_chips_tables(rows, rate))
