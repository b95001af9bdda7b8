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
    dt: Annotated[
        float | None,
        typer.Option("--dt", help="Seconds of a time step, 1e-4 otherwise; of a NIR file read, if unsaid."),
    ] = None,
    time_steps: TimeStepsOption = None,
    weights: WeightsOption = None,
    image: ImageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as a NIR graph, whole or not at all; such a file is a MODEL for all other commands.

    Example: nsim nir my_package.model:make --image 1x28x28 --time-steps 4 --out my.nir
    """
    import nsim
    from nsim.frontends.nir_export import DT, write_nir
    from nsim.frontends.nir_import import is_nir
    from nsim.workloads.factory import parse_image

    shape = None if image is None else parse_image(image)
    given = dt if is_nir(Path(model)) else None
    loaded = nsim.load(model, time_steps, weights=weights, image=shape, dt=given)
    seconds = DT if dt is None else dt
    nodes = write_nir(loaded.network, out, seconds)
    facts = {"model": loaded.name, "nodes": nodes, "dt_s": seconds, "written_to": str(out)}
    show(facts if as_json else [f"{loaded.name}: {nodes} nodes written to {out}"])
