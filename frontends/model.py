"""A model as the rest of nsim sees it: a network and where it came from. No torch inside."""

from __future__ import annotations

from dataclasses import dataclass

from nsim.frontends.network import Network


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded denoiser.

    ``weights`` says in words where the weights come from and stands beside every result; ``sampler`` is
    the file's own choice or the default; ``ann_twin_macs`` counts one call of the same network as an ANN,
    None where no twin is defined.
    """

    name: str
    workload: str
    network: Network
    weights: str
    sampler: str
    sha256: str
    parameters: int
    ann_twin_macs: int | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.workload}; weights: {self.weights})\n{self.network}"
