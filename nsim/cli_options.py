"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
PlacementOption = Annotated[
    Literal["optimised", "row-major"], typer.Option(help="Where cores go: few packets x hops, or in order.")
]
TrafficOption = Annotated[
    Path | None, typer.Option(help="Run folder whose measured spikes the placement is optimised for.")
]
