"""SDDPM's module: the authors' size, names and shapes."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from nsim.workloads.sddpm import MembraneReadout, SDDPMConfig, SpikingUNet, TimeEmbedding
from nsim.workloads.spiking import IFNode

STATE_DICT = Path(__file__).parents[3].parent / "shared" / "design" / "sddpm_state_dict.csv"


@pytest.fixture(scope="module")
def cifar10() -> SpikingUNet:
    with torch.device("meta"):
        return SpikingUNet(SDDPMConfig())


def test_size_of_the_papers_model(cifar10: SpikingUNet) -> None:
    assert sum(p.numel() for p in cifar10.parameters()) == 66_696_413
    assert len(cifar10.state_dict()) == 455
    assert sum(isinstance(m, IFNode) for m in cifar10.modules()) == 51


def test_state_dict_is_the_authors(cifar10: SpikingUNet) -> None:
    if not STATE_DICT.exists():
        pytest.skip("the list of the authors' state-dict entries is not on this machine")
    with STATE_DICT.open(newline="") as file:
        expected = [(row["key"], row["shape"], row["dtype"]) for row in csv.DictReader(file)]
    state = cifar10.state_dict()
    found = [(k, "x".join(map(str, v.shape)), str(v.dtype)) for k, v in state.items()]
    assert sorted(found) == sorted(expected)


def test_time_embedding_interleaves_sine_and_cosine() -> None:
    table = TimeEmbedding(8).timembedding[0].weight
    for t, pair in ((0, 0), (1, 0), (17, 1), (999, 3)):
        angle = t * math.exp(-2 * pair / 8 * math.log(1e4))
        # 999 in float32 is good to 6e-5
        assert table[t, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-4)
        assert table[t, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-4)
    assert not table.requires_grad


def test_readout_weighs_late_time_steps_more() -> None:
    y = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(4, 1, 1, 1, 1)
    assert MembraneReadout(4)(y).item() == pytest.approx(0.512 + 6.4 + 80 + 1000, rel=1e-6)


def test_no_state_is_carried_from_one_call_to_the_next() -> None:
    torch.manual_seed(0)
    config = SDDPMConfig(
        image_channels=1,
        image_size=8,
        channels=8,
        channel_multipliers=(1, 2),
        blocks_per_level=1,
        v_threshold=0.1,
    )
    network = SpikingUNet(config).eval()
    assert {m.v_threshold for m in network.modules() if isinstance(m, IFNode)} == {0.1}
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 900])
    with torch.no_grad():
        first = network(x, t)
        assert first.shape == x.shape
        assert torch.equal(network(x, t), first)
        assert not torch.equal(network(x, t.flip(0)), first)
