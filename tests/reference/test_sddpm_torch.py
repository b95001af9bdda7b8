"""Our SDDPM module against outputs and spikes computed with the authors' own code, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.spiking import IFNode

ROOT = Path(__file__).parents[2]
VECTORS = ROOT.parent / "shared" / "reference" / "sddpm_small"
NAME = "sddpm_ch32_12_img16_T4_s0"
CONFIG = SDDPMConfig(
    image_channels=1, image_size=16, channels=32, channel_multipliers=(1, 2), blocks_per_level=1, time_steps=4
)

pytestmark = pytest.mark.skipif(
    not VECTORS.exists(), reason="the reference vectors of the small SDDPM are not on this machine"
)


def test_output_and_every_spike_equal_the_authors_code() -> None:
    with np.load(VECTORS / f"{NAME}.npz") as reference:
        vectors = dict(reference)
    # double() casts the readout weights too; their float32 rounding, which the authors keep, survives it
    network = SpikingUNet(CONFIG).eval().double()
    network.load_state_dict(torch.load(VECTORS / f"{NAME}.pt", weights_only=True)["net_model"])
    spikes: dict[str, np.ndarray] = {}
    for name, module in network.named_modules():
        if isinstance(module, IFNode):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: spikes.update({name: output.numpy()})
            )
    with torch.no_grad():
        eps = network(torch.from_numpy(vectors["x"]).double(), torch.from_numpy(vectors["t"])).numpy()

    assert list(spikes) == vectors["neuron_order"].tolist()
    for name, found in spikes.items():
        key = name.replace(".", "/")
        shape = tuple(vectors[f"shape/{key}"])
        expected = np.unpackbits(vectors[f"spikes/{key}"], count=np.prod(shape)).reshape(shape)
        assert np.array_equal(found, expected), name
    np.testing.assert_allclose(eps, vectors["y64"], rtol=1e-12)
