"""``nsim nir``: a model as a NIR graph, for other simulators and chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsim.cli_options import ImageOption, JsonOption, ModelArgument, TimeStepsOption, WeightsOption
from nsim.cli_output import show


def nir(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="NIR file to write.")],
    dt: Annotated[float, typer.Option("--dt", help="Seconds of a time step.")] = 1e-4,
    time_steps: TimeStepsOption = None,
    weights: WeightsOption = None,
    image: ImageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as a NIR graph, whole or not at all; such a file is a MODEL for all other commands.

    Example: nsim nir my_package.model:make --image 1x28x28 --time-steps 4 --out my.nir
    """
    import nsim
    from nsim.frontends.nir_export import write_nir
    from nsim.workloads.factory import parse_image

    shape = None if image is None else parse_image(image)
    loaded = nsim.load(model, time_steps, weights=weights, image=shape)
    nodes = write_nir(loaded.network, out, dt)
    facts = {"model": loaded.name, "nodes": nodes, "dt_s": dt, "written_to": str(out)}
    show(facts if as_json else [f"{loaded.name}: {nodes} nodes written to {out}"])
