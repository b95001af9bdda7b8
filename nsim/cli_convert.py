"""``nsim convert``: an ANN of quantised ReLUs as a spiking network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nsim.cli_options import JsonOption
from nsim.cli_output import show


def convert(
    ann: Annotated[Path, typer.Argument(help="Checkpoint of a quantised-ReLU U-Net (keys with act_alpha).")],
    bits: Annotated[int, typer.Option(help="Bits of its activations; the spiking network has T = 2^b - 1.")],
    out: Annotated[Path, typer.Option(help="Model file to write.")],
    images: Annotated[int, typer.Option(help="Noise images to compare the two on.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Convert an ANN to signed integrate-and-fire neurons; say how far they are from it, layer by layer.

    Example: nsim convert ann.pt --bits 2 --out snn.pt
    """
    from nsim.reports.conversion_tables import conversion_facts, conversion_tables
    from nsim.workloads.conversion import convert as convert_file

    done = convert_file(ann, bits, out, images, seed)
    show(conversion_facts(done, out) if as_json else conversion_tables(done, out))
