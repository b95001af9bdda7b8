"""Spiking generators that are not denoisers, by the layers and settings of the code their authors released.

Neither is trained, loaded or played here: what is known of them is the size of what generates an image.
Neither code says how often neurons fire or what an image costs: their energy is that of an assumed rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nsim.hw_models.catalog import load_cost_rule

NO_ENERGY = "the released code states neither a firing rate nor an energy"


@dataclass(frozen=True)
class Layer:
    """A linear layer (``kernel`` 1), or a transposed convolution on ``positions`` inputs; all have a bias.

    ``norm``: a BatchNorm and LIF neurons behind it, ``outputs`` of them.
    """

    c_in: int
    c_out: int
    kernel: int = 1
    positions: int = 1
    outputs: int = 0
    norm: bool = True

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one time step, if every input were dense; taps on padding included."""
        return self.c_in * self.c_out * self.kernel**2 * self.positions

    @property
    def parameters(self) -> int:
        """Weights, biases, and two per channel of a norm."""
        return self.c_in * self.c_out * self.kernel**2 + self.c_out * (3 if self.norm else 1)


@dataclass(frozen=True)
class ReleasedModel:
    """What its authors' code says of one generator: it makes an image in one pass of ``time_steps``."""

    name: str
    paper: str
    data: str
    source: str
    time_steps: int
    layers: tuple[Layer, ...]

    def facts(self, rate: float) -> dict[str, Any]:
        """Plain values: sizes, and its energy at ``rate`` if all its layers were fed by spikes."""
        macs = self.time_steps * sum(layer.macs for layer in self.layers)
        ac_pj = load_cost_rule("ann45").ac_pj.value
        assert ac_pj is not None
        return {
            "name": self.name,
            "paper": self.paper,
            "data": self.data,
            "source": self.source,
            "time_steps": self.time_steps,
            "parameters": sum(layer.parameters for layer in self.layers),
            "neurons": sum(layer.outputs for layer in self.layers),
            "dense_macs": macs,
            "energy_pj": None,
            "why_unknown": NO_ENERGY,
            "energy_pj_at_rate": {"A": ac_pj * rate * macs},
        }


RELEASED = (
    ReleasedModel(
        name="FSVAE",
        paper="Kamata et al., AAAI 2022",
        data="CIFAR-10, 3x32x32",
        source="kamata1729/FullySpikingVAE @ 86f2e6b: NetworkConfigs/CIFAR10.yaml, fsvae.py, fsvae_prior.py",
        time_steps=16,
        layers=(
            # the prior, which draws 128 latents of 20 candidates each, then the decoder
            Layer(128, 256, outputs=256),
            Layer(256, 512, outputs=512),
            Layer(512, 2560, outputs=2560),
            Layer(128, 1024, outputs=1024),
            Layer(256, 128, 3, positions=2**2, outputs=128 * 4**2),
            Layer(128, 64, 3, positions=4**2, outputs=64 * 8**2),
            Layer(64, 32, 3, positions=8**2, outputs=32 * 16**2),
            Layer(32, 32, 3, positions=16**2, outputs=32 * 32**2),
            Layer(32, 3, 3, positions=32**2, norm=False),
        ),
    ),
    ReleasedModel(
        name="SGAD",
        paper="Feng et al., arXiv 2305.10246",
        data="CelebA, 3x64x64",
        source="Brain-Cog-Lab/sgad @ b7b8b0c: sgad_celeba.yaml, generators.py; without its attention scoring",
        time_steps=16,
        layers=(
            Layer(20, 1024, outputs=1024),
            Layer(1024, 8192, outputs=8192),
            Layer(128, 64, 4, positions=8**2, outputs=64 * 16**2),
            Layer(64, 32, 4, positions=16**2, outputs=32 * 32**2),
            Layer(32, 3, 4, positions=32**2, norm=False),
        ),
    ),
)
