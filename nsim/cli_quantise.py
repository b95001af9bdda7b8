"""``nsim quantise``: what fewer bits for a weight lose."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from nsim.cli_options import JsonOption, ModelArgument, ThresholdOption, TimeStepsOption
from nsim.cli_output import progress_bar, show


def quantise(
    model: ModelArgument,
    weight_bits: Annotated[int, typer.Option(help="Bits of a weight, its sign included.")] = 8,
    policy: Annotated[
        Literal["expand", "host"], typer.Option(help="Whose synapses are rounded: see `nsim map --policy`.")
    ] = "expand",
    chip: Annotated[
        str, typer.Option(help="Whose integers; on crossbars all weights into a layer share one step.")
    ] = "loihi",
    sampler: Annotated[str, typer.Option(help="Trajectory whose calls are compared.")] = "ddim:10",
    images: Annotated[int, typer.Option(help="Images of the trajectory.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    time_steps: TimeStepsOption = None,
    v_threshold: ThresholdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a model of rounded weights with the real one: spikes and eps, layer by layer.

    Example: nsim quantise sddpm-digits --weight-bits 6
    """
    import nsim
    from nsim.reports.rounding import rounding_facts, rounding_loss, rounding_tables

    loaded = nsim.load(model, time_steps, v_threshold)
    with progress_bar("layers") as progress:
        loss = rounding_loss(loaded, weight_bits, policy, sampler, images, seed, progress, chip)
    facts = rounding_facts(loaded, weight_bits, policy, loss)
    show(facts if as_json else rounding_tables(facts))
