"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nsim.cli_convert import convert
from nsim.cli_footprint import footprint
from nsim.cli_nir import nir
from nsim.cli_options import (
    CalibrationOption,
    ChipOption,
    DaskOption,
    DtOption,
    ImageOption,
    JsonOption,
    ModelArgument,
    MultiplexOption,
    PartialSumsOption,
    PlacementOption,
    PolicyOption,
    PSPOption,
    SamplerOption,
    ScheduleOption,
    ThresholdOption,
    TimeStepsOption,
    TrafficOption,
    WeightBitsOption,
    WeightsOption,
    WorkersOption,
)
from nsim.cli_output import progress_bar, remark, show
from nsim.cli_quantise import quantise
from nsim.cli_reading import compare, export_command, price, report, trace
from nsim.cli_sweep import sweep
from nsim.cli_training import quality, statistics, train
from nsim.cli_workloads import workloads
from nsim.errors import NsimError, RunError

if TYPE_CHECKING:
    from nsim.frontends.model import Model

app = typer.Typer(
    name="nsim",
    help="What does this trained spiking denoiser really cost on this chip?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2, never a traceback.

    A file that cannot be read or written as asked is one too, whichever library found out.
    """
    try:
        app()
    except NsimError as error:
        sys.stderr.write(f"nsim: {error}\n")
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"nsim: {error.filename}: {error.strerror}\n")
        sys.exit(2)


@app.command("map")
def map_command(
    model: ModelArgument,
    chip: ChipOption = "loihi",
    calibration: CalibrationOption = None,
    policy: PolicyOption = "expand",
    placement: PlacementOption = "optimised",
    traffic: TrafficOption = None,
    schedule: ScheduleOption = "pipelined",
    weight_bits: WeightBitsOption = None,
    multiplex: MultiplexOption = None,
    partial_sums: PartialSumsOption = "none",
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    psp: PSPOption = "code",
    weights: WeightsOption = None,
    image: ImageOption = None,
    dt: DtOption = None,
    rate: Annotated[float, typer.Option(help="Firing rate for the static estimate.", min=0, max=1)] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """Lay a model out on a chip: cores, chips, what binds, operations, a static estimate.

    Example: nsim map sddpm-digits --chip loihi
    """
    import nsim
    from nsim.cli_map import show_chip_counts, show_with_policies
    from nsim.hw_models.catalog import can_be_simulated
    from nsim.hw_models.mapping.layout import cut_into_cores
    from nsim.reports.estimate import static_estimates
    from nsim.reports.layout_tables import layout_facts, layout_tables
    from nsim.reports.mapping_tables import mapping_facts, mapping_tables
    from nsim.reports.multiplex import parse_chip_counts

    counts = () if multiplex is None else parse_chip_counts(multiplex)
    at_hand = counts[0] if counts else None
    loaded = _load(model, time_steps, v_threshold, psp, weights, image, dt)
    if can_be_simulated(chip):
        mapping = nsim.map(loaded, chip, policy, placement, traffic, schedule, weight_bits, at_hand)
        if len(counts) > 1:
            show_chip_counts(mapping, counts, placement, rate, calibration, as_json)
            return
        estimates = static_estimates(mapping, rate, mapping.chip.calibration(calibration))
        said = mapping_facts(mapping, estimates) if as_json else mapping_tables(mapping, estimates)
    else:
        layout = cut_into_cores(loaded, chip, policy, schedule, weight_bits, partial_sums, at_hand)
        said = layout_facts(layout, rate) if as_json else layout_tables(layout, rate)
    show_with_policies(said, loaded, chip, rate, calibration, schedule, weight_bits, partial_sums)


@app.command()
def run(
    model: Annotated[
        str | None, typer.Argument(help="Model file, or a bundled model's name (sddpm-digits).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for tables, images and plots.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run that was stopped in this folder.")
    ] = None,
    chip: ChipOption = "loihi",
    calibration: CalibrationOption = None,
    sampler: SamplerOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    images: Annotated[int, typer.Option(help="Images to generate, one after the other.", min=1)] = 1,
    timing: Annotated[
        Literal["analytic", "event", "cycle"],
        typer.Option(
            help="Time ticks by closed formulas, or packet by packet: through queues, or finite buffers."
        ),
    ] = "analytic",
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    psp: PSPOption = "code",
    weights: WeightsOption = None,
    image: ImageOption = None,
    dt: DtOption = None,
    detail_steps: Annotated[
        str, typer.Option(help="Sampler steps to measure on the chip: all, n:20 (spread evenly), 0,10,20.")
    ] = "all",
    policy: PolicyOption = "expand",
    placement: PlacementOption = "optimised",
    traffic: TrafficOption = None,
    schedule: ScheduleOption = "pipelined",
    weight_bits: WeightBitsOption = None,
    threads: Annotated[int | None, typer.Option(help="Threads; no effect on results.", min=1)] = None,
    energy: Annotated[
        str | None, typer.Option(help="Energy models to show side by side, separated by commas, or all.")
    ] = None,
    workers: WorkersOption = None,
    dask: DaskOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate images on the chip, event by event, and account for every sampler step.

    Example: nsim run sddpm-digits --chip loihi --sampler ddim:50 --seed 0 --out runs/a

    Stopped? nsim run --resume runs/a

    Example: nsim run sddpm-digits --timing event --detail-steps n:10 --workers 2 --out runs/b
    """
    import nsim
    from nsim.reports.cost import check_run
    from nsim.reports.energy_models import energy_facts, energy_tables, parse_energy
    from nsim.reports.run_sampler import run_sampler
    from nsim.reports.tables import run_facts, run_tables
    from nsim.reports.workers import Workers

    if resume is not None and model is None:
        _begun_command(resume)
        return
    folder = out if resume is None else resume
    if model is None or folder is None or (out is not None and resume is not None):
        raise RunError("a run needs a MODEL and one folder: --out NEW_FOLDER, or --resume FOLDER to go on")
    loaded = _load(model, time_steps, v_threshold, psp, weights, image, dt)
    mapping = nsim.map(loaded, chip, policy, placement, traffic, schedule, weight_bits)
    models = [] if energy is None else parse_energy(energy, mapping.chip)
    remark(f"{check_run(mapping, sampler, images, timing, detail_steps)} on one thread")
    elsewhere = Workers(workers or 1, dask) if dask or (workers or 1) > 1 else None
    with progress_bar("sampler steps") as progress:
        done = run_sampler(
            mapping,
            sampler,
            seed=seed,
            images=images,
            calibration=calibration,
            out=folder,
            timing=timing,
            threads=threads,
            progress=progress,
            resume=resume is not None,
            detail_steps=detail_steps,
            workers=elsewhere,
            figures=True,
        )
    priced = energy_facts(done, models) if models else {}
    if as_json:
        show({**run_facts(done), "energy_models": priced.get("per_call", [])})
    else:
        show([*run_tables(done), *(energy_tables(priced) if models else []), f"written to {folder}"])


def _begun_command(folder: Path) -> None:
    """Give the command that a run was begun with again, to go on in its folder."""
    from nsim.reports.run_folder import RunFolder

    command = RunFolder(folder).manifest["made_with"]["command"]
    if command[:1] != ["run"]:
        raise RunError(
            f"{folder}: not begun by `nsim run`; go on with it in Python: "
            f"nsim.run(mapping, ..., out={str(folder)!r}, resume=True)"
        )
    app([*command, "--resume", str(folder)])


@app.command()
def reproduce(
    table: Annotated[Literal["sddpm-table3"], typer.Argument(help="Which paper's table.")],
    chip: ChipOption = "loihi",
    seed: Annotated[int, typer.Option(help="Seed of the random weights and the noise.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Print a paper's energy table, ours by every counting convention, and the chip beside it.

    Plays a network of the paper's size (67 million weights, not trained): about a minute and 4 GB.
    Example: nsim reproduce sddpm-table3
    """
    from nsim.reports.cost import check_reproduce
    from nsim.reports.reproduce import sddpm_table3, table3_tables

    remark(f"{check_reproduce()} on one thread")
    with progress_bar("networks") as progress:
        facts = sddpm_table3(chip, seed, progress)
    show(facts if as_json else table3_tables(facts))


@app.command()
def check(
    model: ModelArgument,
    neurons: Annotated[int, typer.Option(help="Neurons sampled in each layer.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the image and of the sampling.", min=0)] = 0,
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play sampled neurons of every layer in Brian2 and compare spikes and potentials.

    Example: nsim check sddpm-digits
    """
    from nsim.reports.check import check_facts, check_model, check_tables

    loaded = _load(model, time_steps, v_threshold)
    result = check_model(loaded, neurons, seed)
    facts = check_facts(loaded, result)
    show(facts if as_json else check_tables(loaded, result))
    if not facts["agrees"]:
        raise typer.Exit(1)


@app.command()
def chips(
    name: Annotated[
        str | None,
        typer.Argument(help="Chip, or rule of the ANN side, to show in full; all are listed otherwise."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the chips, or show every figure of one with its source.

    Example: nsim chips loihi
    """
    from nsim.hw_models.catalog import chip_names, cost_rule_names, load_any_chip, load_cost_rule
    from nsim.reports.chip_tables import chip_list, chip_tables, rule_tables

    rules = [load_cost_rule(n) for n in cost_rule_names() if name in (None, n)]
    loaded = [] if name and rules else [load_any_chip(n) for n in ([name] if name else chip_names())]
    if as_json:
        chips_json = {chip.name: chip.model_dump(mode="json") for chip in loaded}
        show(chips_json | {rule.name: rule.model_dump(mode="json") for rule in rules})
    elif name:
        show(chip_tables(loaded[0]) if loaded else rule_tables(rules[0]))
    else:
        show(chip_list(loaded, rules))


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run; all otherwise.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast nsim is on this machine, each figure beside its rival's in the same run.

    Example: nsim bench noc_event_8x8 sddpm_call_int --json
    """
    from nsim.reports.bench.command import bench_table, run_benchmarks

    found = run_benchmarks(names or [], lambda name: remark(f"{name} ..."))
    show([m.as_dict() for m in found] if as_json else [bench_table(found)], as_json)


@app.command()
def silicon(
    markdown: Annotated[bool, typer.Option(help="Print the table of docs/silicon.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What the chip files predict for published measurements, beside the measurement and the error.

    Example: nsim silicon
    """
    from dataclasses import asdict

    from nsim.reports.silicon import silicon as compare
    from nsim.reports.silicon import silicon_markdown, silicon_tables

    if markdown:
        sys.stdout.write(silicon_markdown() + "\n")
    elif as_json:
        show({"comparisons": [asdict(c) | {"errors": c.errors} for c in compare()]})
    else:
        show(silicon_tables())


app.command("export")(export_command)
for command in (
    *(price, compare, report, trace),
    *(train, statistics, quality, quantise, convert, nir),
    *(sweep, footprint, workloads),
):
    app.command()(command)


def _load(
    model: str,
    time_steps: int | None,
    v_threshold: str | None,
    psp: Literal["code", "paper"] = "code",
    weights: Path | None = None,
    image: str | None = None,
    dt: float | None = None,
) -> Model:
    import nsim
    from nsim.workloads.factory import parse_image

    shape = None if image is None else parse_image(image)
    return nsim.load(model, time_steps, v_threshold, psp, weights, shape, dt)


if __name__ == "__main__":
    main()
