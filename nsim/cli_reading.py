"""Commands that read a run that was made: price, compare, report, export, trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nsim.cli_options import JsonOption, RunArgument
from nsim.cli_output import show


def price(
    folder: RunArgument,
    energy: Annotated[str, typer.Option(help="Energy models, separated by commas, or all.")] = "all",
    as_json: JsonOption = False,
) -> None:
    """Price one run's counts with several energy models, side by side.

    Example: nsim price runs/a --energy boardfit,davies2018,horowitz45,lemaire2022
    """
    from nsim.reports.energy_models import energy_facts, energy_tables, parse_energy
    from nsim.reports.run import Run

    run = Run.open(folder)
    facts = energy_facts(run, parse_energy(energy, run.chip))
    show(facts if as_json else energy_tables(facts))


def compare(
    runs: Annotated[list[str], typer.Argument(help="Run folders, or FOLDER@CALIBRATION.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for a waterfall from the first to each other, and a CSV file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs, calibrations and the ANN twin: costs of a call, ratios, where the difference comes from.

    Example: nsim compare runs/a runs/b runs/a@davies2018 --out compared
    """
    from nsim.reports.compare import compare_facts, compare_tables, open_comparands, write_comparison

    comparands = open_comparands(runs)
    files = [] if out is None else write_comparison(comparands, out)
    if as_json:
        show(compare_facts(comparands))
    else:
        show([*compare_tables(comparands), *(f"written to {file}" for file in files)])


def report(
    folder: RunArgument,
    out: Annotated[Path | None, typer.Option(help="File to write; FOLDER/report.html otherwise.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run as one HTML page: figures, tables, what dominates and why, what is fact and what is not.

    Example: nsim report runs/a
    """
    from nsim.reports.html_report import write_report
    from nsim.reports.run import Run

    file = write_report(Run.open(folder), out or folder / "report.html")
    show({"written_to": str(file)} if as_json else [f"written to {file}"])


def export_command(
    folder: RunArgument,
    form: Annotated[
        Literal["csv", "latex"],
        typer.Option("--format", help="csv: every row; latex: tables added up to fit a page."),
    ] = "csv",
    out: Annotated[Path | None, typer.Option(help="Folder to write to; FOLDER/export otherwise.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's tables (energy, latency, counts, operations, utilization) for other programs.

    Example: nsim export runs/a --format latex
    """
    from nsim.reports.export import export
    from nsim.reports.run import Run

    files = export(Run.open(folder), form, out or folder / "export")
    show({"written_to": list(map(str, files))} if as_json else [f"written to {file}" for file in files])


def trace(
    folder: RunArgument,
    out: Annotated[Path, typer.Option(help="File to write: .json (small) or .perfetto-trace (any size).")],
    step: Annotated[int, typer.Option(help="Sampler step, from 0.", min=0)] = 0,
    model: Annotated[str | None, typer.Option(help="The run's model file, if not a bundled one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write what cores, links and the barrier did in one sampler step, for the viewer at ui.perfetto.dev.

    Example: nsim trace runs/a --step 3 --out step3.perfetto-trace
    """
    from nsim.reports.replay import replay
    from nsim.reports.run import Run
    from nsim.reports.timeline import timeline
    from nsim.reports.trace_files import check_trace_path, write_trace

    check_trace_path(out)
    slices = write_trace(timeline(replay(Run.open(folder), step, model)), out)
    text = f"{slices:,} slices written to {out}; open it at ui.perfetto.dev"
    show({"slices": slices, "written_to": str(out)} if as_json else [text])
