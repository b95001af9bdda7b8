"""Commands about what a model is worth: train, statistics, quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsim.cli_options import (
    JsonOption,
    ModelArgument,
    PolicyOption,
    ThresholdOption,
    TimeStepsOption,
    WeightBitsOption,
)
from nsim.cli_output import progress_bar, remark, show


def train(
    name: Annotated[
        str,
        typer.Argument(help="sddpm-digits, sdm-digits, spiking-diffusion-digits or lateral-digits."),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, or to go on with.")],
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and noise.", min=0)] = 0,
    iterations: Annotated[int | None, typer.Option(help="Iterations in all.", min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a bundled model again from a seed; stopped at any point, the same command goes on.

    Example: nsim train sddpm-digits --out sddpm-digits.pt
    """
    from nsim.reports.cost import training_cost
    from nsim.workloads.training import bundled_training

    training = bundled_training(name, seed, iterations)
    remark(f"{training_cost(name, training.config.iterations)} on two threads")
    with progress_bar("iterations", value_name="loss") as progress:
        training.run(out, progress)
    show({"name": name, "written_to": str(out), "seed": seed} if as_json else [f"written to {out}"])


def statistics(
    model: ModelArgument,
    images: Annotated[int, typer.Option(help="Images to generate and measure on.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure what the sampler analytic:N needs, on the model's own images, and write it beside it.

    Example: nsim statistics my-sddpm.pt
    """
    import nsim
    from nsim.reports.model_statistics import measure_statistics
    from nsim.workloads.checkpoints import find_checkpoint

    with progress_bar("calls") as progress:
        path, _ = measure_statistics(nsim.load(model), find_checkpoint(model), images, seed, progress)
    show({"written_to": str(path)} if as_json else [f"written to {path}"])


def quality(
    model: ModelArgument,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="ddim:N, ddim-unclamped:N, dpm-solver:N or absorbing:N; the model's own otherwise."
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="Images to generate.", min=2)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    grid: Annotated[Path | None, typer.Option(help="Write a picture of the first 64 images here.")] = None,
    weight_bits: WeightBitsOption = None,
    policy: PolicyOption = "expand",
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Frechet distance of generated digits to held-out real ones, with noise and real digits for scale.

    Example: nsim quality sddpm-digits --images 1000 --grid digits.png
    """
    import nsim
    from nsim.reports.cost import quality_cost
    from nsim.reports.quality import quality_facts, quality_tables

    loaded = nsim.load(model, time_steps, v_threshold)
    remark(f"{quality_cost(loaded, sampler, images)} on one thread")
    with progress_bar("sampler steps") as progress:
        facts = quality_facts(
            loaded, sampler or loaded.sampler, images, seed, grid, progress, weight_bits, policy
        )
    show(facts if as_json else quality_tables(facts))
