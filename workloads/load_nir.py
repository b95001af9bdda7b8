"""NIR files to Models: any network that a library writes as a NIR graph."""

from __future__ import annotations

from pathlib import Path

from nsim.frontends.load import sha256
from nsim.frontends.model import Model
from nsim.frontends.nir_import import network_of_nir, read_nir
from nsim.workloads.load import with_statistics
from nsim.workloads.samplers import DEFAULT_SAMPLER
from nsim.workloads.state import UNKNOWN_WEIGHTS


def load_nir(path: Path, time_steps: int | None = None, dt: float | None = None) -> Model:
    """The model in a NIR file, see `network_of_nir`.

    A graph that makes of an image one of the same shape can be sampled as a denoiser without a diffusion
    time; of any other one call can be estimated and played.
    """
    graph = read_nir(path)
    network = network_of_nir(graph, path.stem, time_steps, dt)
    op = next(op for op in network.host_ops if op.name == network.output)
    denoises = op.shape == network.population_by_name[network.image].shape
    model = Model(
        name=path.stem,
        workload="nir",
        network=network,
        weights=UNKNOWN_WEIGHTS,
        sampler=DEFAULT_SAMPLER if denoises else "",
        sha256=sha256(path),
        parameters=sum(_parameters(p.kernel.weight, p.bias) for p in network.projections),
    )
    return with_statistics(model, path)


def _parameters(*arrays: object) -> int:
    return sum(getattr(array, "size", 0) for array in arrays)
