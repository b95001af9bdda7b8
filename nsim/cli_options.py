"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ModelArgument = Annotated[
    str,
    typer.Argument(help="Model file or folder, a name (sddpm-digits), or package.module:function."),
]
WeightsOption = Annotated[
    Path | None, typer.Option(help="State dict for a model given as package.module:function.")
]
ImageOption = Annotated[
    str | None, typer.Option(help="Image such a model denoises, channels x height x width: 3x32x32.")
]
DtOption = Annotated[
    float | None,
    typer.Option("--dt", help="Seconds of a NIR file's time step, where the file does not say: 1e-4."),
]
ChipOption = Annotated[str, typer.Option(help="Chip name (see `nsim chips`) or path of a chip file.")]
CalibrationOption = Annotated[
    str | None, typer.Option(help="Which of the chip's sets of figures to use; the chip's default otherwise.")
]
TimeStepsOption = Annotated[
    int | None, typer.Option(help="Time steps T of the SNN; the model file's own, or 4, otherwise.")
]
ThresholdOption = Annotated[
    str | None,
    typer.Option(help="Firing threshold (threshold guidance): 0.997 for every neuron, or 1+layer=0.997."),
]
PSPOption = Annotated[
    Literal["code", "paper"],
    typer.Option(help="Spiking-Diffusion's codebook feature: as in its authors' code, or as in their paper."),
]
SamplerOption = Annotated[
    str | None,
    typer.Option(
        help="ddim:N, ddim-unclamped:N, dpm-solver:N, analytic:N, ddpm:1000, ddpm-small:1000; "
        "absorbing:N for tokens; the model's own otherwise."
    ),
]
RunArgument = Annotated[Path, typer.Argument(help="Folder of a finished run.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print plain JSON instead of tables.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(help="Processes on this machine; as many as cores and memory allow otherwise.", min=1),
]
DaskOption = Annotated[
    str | None,
    typer.Option(help="Dask scheduler (tcp://host:8786), or `local` for a cluster of --workers processes."),
]
PolicyOption = Annotated[
    Literal["expand", "host", "graded", "colocate"],
    typer.Option(help="Analog streams: synapses from earlier spikes, or through the host."),
]
ScheduleOption = Annotated[
    Literal["pipelined", "layerwise"],
    typer.Option(help="All layers at once, one time step apart, or one layer after the other."),
]
WeightBitsOption = Annotated[
    int | None,
    typer.Option(help="Round weights to so many bits, as laid out, and play integers; real ones otherwise."),
]
PartialSumsOption = Annotated[
    Literal["none", "relay"],
    typer.Option(help="On crossbars: each neuron's sum on one core, or in parts that relays send, slowly."),
]
PlacementOption = Annotated[
    Literal["optimised", "row-major"], typer.Option(help="Where cores go: few packets x hops, or in order.")
]
TrafficOption = Annotated[
    Path | None, typer.Option(help="Run folder whose measured spikes the placement is optimised for.")
]
MultiplexOption = Annotated[
    str | None,
    typer.Option(help="Chips at hand, N: what does not fit takes turns. Several, 1,32,768: a table of them."),
]
