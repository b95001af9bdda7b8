"""A model as the rest of nsim sees it: a network and where it came from. No torch inside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nsim.frontends.network import Network


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded denoiser.

    ``weights`` says in words where the weights come from and stands beside every result; ``sampler`` is
    the file's own choice or the default; ``ann_twin_macs`` counts one call of the same network as an ANN, and
    ``ann_twin_parameters`` its parameters, None where no twin is defined.

    ``network`` is what every sampler step calls. ``decoder``, where there is one, turns what the sampler ends
    on into the image, in one call. ``codes``: the network denoises tokens, each one of that many codes or
    masked, and answers with their logits; None for one that denoises real numbers. ``ms_eps`` [T_d]: mean
    square of eps at every diffusion time, where it has been measured.
    """

    name: str
    workload: str
    network: Network
    weights: str
    sampler: str
    sha256: str
    parameters: int
    ann_twin_macs: int | None = None
    ann_twin_parameters: int | None = None
    decoder: Network | None = None
    codes: int | None = None
    ms_eps: np.ndarray | None = None

    @property
    def networks(self) -> tuple[Network, ...]:
        """Its networks, in the order in which they are called."""
        return (self.network,) if self.decoder is None else (self.network, self.decoder)

    @property
    def decoder_alone(self) -> Model | None:
        """Its decoder as a model of its own."""
        if self.decoder is None:
            return None
        return replace(self, name=f"{self.name}, decoder", network=self.decoder, decoder=None, codes=None)

    def __str__(self) -> str:
        title = f"{self.name} ({self.workload}; weights: {self.weights})"
        return "\n".join([title, *map(str, self.networks)])
