"""A torch.export program as a model: its own sizes, its own time steps."""

from __future__ import annotations

from pathlib import Path

from nsim.errors import ModelFileError, UnsupportedOpError
from nsim.frontends.load import sha256
from nsim.frontends.lower import lower_graph
from nsim.frontends.model import Model
from nsim.frontends.pt2.archive import read_program, reading
from nsim.frontends.pt2.graph import to_graph
from nsim.workloads.samplers import DEFAULT_SAMPLER


def load_program(path: Path, time_steps: int | None = None) -> Model:
    """Read and lower a ``.pt2`` file: a denoiser ``(x [B, C, H, W], t [B])``, or one without ``t``.

    Image and time steps are those it was exported with. Raises ModelFileError for a damaged file, and for
    other ``time_steps``; UnsupportedOpError, with the file and the module's path, for what has no place in a
    Network.
    """
    program = read_program(path)
    with reading(path):
        shape = program.shapes[program.inputs[0]] if program.inputs else ()
        if len(shape) != 4:
            raise UnsupportedOpError(f"its first input is {list(shape)}, not an image [B, C, H, W]")
        graph, steps = to_graph(program)
        if time_steps not in (None, steps):
            raise ModelFileError(
                f"{path}: was exported with {steps} time steps, {time_steps} cannot be had; export it again"
            )
        network = lower_graph(graph, (shape[1], shape[2], shape[3]), steps, path.stem, shape[0])
    return Model(
        name=path.stem,
        workload="torch.export program",
        network=network,
        weights=f"from {path.name}, training unknown",
        sampler=DEFAULT_SAMPLER,
        sha256=sha256(path),
        parameters=program.parameters,
    )
