"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nsim.errors import NsimError

if TYPE_CHECKING:
    from nsim.frontends.model import Model

app = typer.Typer(
    name="nsim",
    help="What does this trained spiking denoiser really cost on this chip?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ModelArgument = Annotated[str, typer.Argument(help="Model file, or a bundled model's name (sddpm-digits).")]
ChipOption = Annotated[str, typer.Option(help="Chip name (see `nsim chips`) or path of a chip file.")]
CalibrationOption = Annotated[
    str | None, typer.Option(help="Which of the chip's sets of figures to use; the chip's default otherwise.")
]
TimeStepsOption = Annotated[
    int | None, typer.Option(help="Time steps T of the SNN; the model file's own, or 4, otherwise.")
]
ThresholdOption = Annotated[
    float | None, typer.Option(help="Firing threshold of every neuron (threshold guidance), e.g. 0.997.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print plain JSON instead of tables.")]


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2, never a traceback."""
    try:
        app()
    except NsimError as error:
        sys.stderr.write(f"nsim: {error}\n")
        sys.exit(2)


@app.command("map")
def map_command(
    model: ModelArgument,
    chip: ChipOption = "loihi",
    calibration: CalibrationOption = None,
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    rate: Annotated[float, typer.Option(help="Firing rate for the static estimate.", min=0, max=1)] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """Lay a model out on a chip: cores, chips, what binds, operations, a static estimate.

    Example: nsim map sddpm-digits --chip loihi
    """
    import nsim
    from nsim.reports.estimate import static_estimate
    from nsim.reports.tables import mapping_facts, mapping_tables

    mapping = nsim.map(_load(model, time_steps, v_threshold), chip)
    estimate = static_estimate(mapping, rate, mapping.chip.calibration(calibration))
    _show(mapping_facts(mapping, estimate) if as_json else mapping_tables(mapping, estimate))


@app.command()
def run(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="New folder for tables, images and plots.")],
    chip: ChipOption = "loihi",
    calibration: CalibrationOption = None,
    sampler: Annotated[str | None, typer.Option(help="ddim:N, ddpm:1000 or ddpm-small:1000.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    images: Annotated[int, typer.Option(help="Images to generate, one after the other.", min=1)] = 1,
    timing: Annotated[
        Literal["analytic", "event"],
        typer.Option(help="Time ticks by closed formulas, or packet by packet through the mesh."),
    ] = "analytic",
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    threads: Annotated[int | None, typer.Option(help="Threads; no effect on results.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Generate images on the chip, event by event, and account for every sampler step.

    Example: nsim run sddpm-digits --chip loihi --sampler ddim:50 --seed 0 --out runs/a
    """
    import nsim
    from nsim.reports.run import run_sampler
    from nsim.reports.tables import run_facts, run_tables

    mapping = nsim.map(_load(model, time_steps, v_threshold), chip)
    with _progress("sampler steps") as progress:
        done = run_sampler(
            mapping,
            sampler,
            seed=seed,
            images=images,
            calibration=calibration,
            out=out,
            timing=timing,
            threads=threads,
            progress=progress,
        )
    done.plot.save_all(out)
    _show(run_facts(done) if as_json else [*run_tables(done), f"written to {out}"])


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
    import nsim
    from nsim.reports.check import check_facts, check_tables
    from nsim.simulator.brian2_reference import check_call
    from nsim.workloads.samplers import DIFFUSION_STEPS, initial_noise

    loaded = _load(model, time_steps, v_threshold)
    shape = loaded.network.population_by_name[loaded.network.image].shape
    call = nsim.simulate(loaded, initial_noise((1, *shape), seed), [DIFFUSION_STEPS // 2])
    result = check_call(call, per_layer=neurons, seed=seed)
    facts = check_facts(loaded, result)
    _show(facts if as_json else check_tables(loaded, result))
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
        _show({shown.name: shown.model_dump(mode="json") for shown in (*loaded, *rules)})
    elif name:
        _show(chip_tables(loaded[0]) if loaded else rule_tables(rules[0]))
    else:
        _show(chip_list(loaded, rules))


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="What to train: sddpm-digits.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, or to go on with.")],
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and noise.", min=0)] = 0,
    iterations: Annotated[int | None, typer.Option(help="Iterations in all.", min=1)] = None,
) -> None:
    """Train a bundled model again from a seed; stopped at any point, the same command goes on.

    Example: nsim train sddpm-digits --out sddpm-digits.pt
    """
    from nsim.workloads.training import train_bundled

    with _progress("iterations", show="loss") as progress:
        train_bundled(name, out, seed, iterations, progress)
    _show([f"written to {out}"])


@app.command()
def quality(
    model: ModelArgument,
    sampler: Annotated[str | None, typer.Option(help="ddim:N, ddpm:1000 or ddpm-small:1000.")] = None,
    images: Annotated[int, typer.Option(help="Images to generate.", min=2)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    grid: Annotated[Path | None, typer.Option(help="Write a picture of the first 64 images here.")] = None,
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Frechet distance of generated digits to held-out real ones, with noise and real digits for scale.

    Example: nsim quality sddpm-digits --sampler ddim:50 --images 1000
    """
    from nsim.reports.quality import quality_facts, quality_tables

    loaded = _load(model, time_steps, v_threshold)
    with _progress("sampler steps") as progress:
        facts = quality_facts(loaded, sampler or loaded.sampler, images, seed, grid, progress)
    _show(facts if as_json else quality_tables(facts))


def _load(model: str, time_steps: int | None, v_threshold: float | None) -> Model:
    import nsim

    return nsim.load(model, time_steps, v_threshold)


class _progress:
    """A progress bar on stderr, only on a terminal; the context value is ``callback(done, all, value)``."""

    def __init__(self, what: str, show: str = "") -> None:
        self.what = what
        self.show = show

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import Progress, TextColumn

        console = Console(stderr=True)
        count = TextColumn("{task.completed}/{task.total} {task.fields[value]}")
        columns = [*Progress.get_default_columns(), count]
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.progress.add_task(self.what, total=None, value="")
        self.progress.start()
        return self._advance

    def _advance(self, done: int, total: int, value: float | None = None) -> None:
        text = "" if value is None else f"{self.show} {value:.4f}"
        self.progress.update(self.task, completed=done, total=total, value=text)

    def __exit__(self, *error: object) -> None:
        self.progress.stop()


def _show(content: dict[str, Any] | list[Any]) -> None:
    """JSON for a dict; tables and lines otherwise, at full width when piped."""
    if isinstance(content, dict):
        sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    for item in content:
        console.print(item, markup=False, highlight=False)


if __name__ == "__main__":
    main()
