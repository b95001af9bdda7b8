"""The `expand` policy: no real numbers between cores, the same spikes, the synapses that it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nsim.errors import MappingError
from nsim.frontends.kernel import ComposedWeight, Kernel
from nsim.frontends.lower import lower
from nsim.frontends.network import HostBias, HostOp, Network, NeuronModel, Population, Projection
from nsim.hw_models.mapping.expand import expand
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.sddpm import over_time
from nsim.workloads.spiking import IFNode


def test_keeps_every_spike_of_sddpm(
    tiny_network: Network, tiny_call: Call, tiny_inputs: tuple[np.ndarray, np.ndarray]
) -> None:
    expanded = expand(tiny_network)
    assert [p.name for p in expanded.populations if p.kind == "analog"] == ["upblocks.4"]
    assert {p.source for p in expanded.projections} <= {"x"} | set(tiny_call.spikes)
    assert expanded.depth == {name: tiny_network.depth[name] for name in expanded.depth}
    call = Engine(expanded, "float64", threads=1).call(*tiny_inputs)
    for name, expected in tiny_call.spikes.items():
        assert 0.02 < expected.mean() < 0.9, name
        np.testing.assert_array_equal(call.spikes[name], expected, err_msg=name)
        np.testing.assert_allclose(
            call.potentials[name], tiny_call.potentials[name], rtol=1e-9, atol=1e-12, err_msg=name
        )
    np.testing.assert_allclose(call.eps, tiny_call.eps, rtol=1e-9)


def test_synapses_of_the_papers_cifar10_model(cifar10_network: Network) -> None:
    expanded = expand(cifar10_network)
    populations = expanded.population_by_name
    merged = by_path = 0
    for projection in expanded.projections:
        target = populations[projection.target]
        if populations[projection.source].kind != "neuron" or target.kind != "neuron":
            continue
        weight = projection.kernel.weight
        paths = len(weight.parts) if isinstance(weight, ComposedWeight) else 1
        operations = projection.kernel.dense_operations(target.shape[1:])
        merged += operations
        by_path += operations * paths
    assert by_path == 15_590_227_968
    assert merged == 14_155_776_000


class Streams(nn.Module):
    """A stream with BatchNorm on it, which meets its own spikes again behind a 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encode = nn.Conv2d(1, 4, 3, padding=1)
        self.first = IFNode(0.3)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.second = IFNode(0.3)
        self.square = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.shortcut = nn.Conv2d(8, 4, 1)
        self.third = IFNode(0.3)
        self.tail = nn.Conv2d(4, 1, 1)
        nn.init.normal_(self.bn.running_mean, 0, 0.5)
        nn.init.uniform_(self.bn.running_var, 0.3, 2)
        nn.init.normal_(self.bn.bias, 0.1, 0.3)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        h = x.unsqueeze(0).expand(3, -1, -1, -1, -1)
        a = self.first(over_time(self.encode, h))
        b = self.second(over_time(self.grouped, a))
        stream = over_time(self.square, b) + over_time(self.encode, h)
        stream = stream + over_time(self.bn, stream)
        joined = over_time(self.shortcut, torch.cat([stream, a], dim=2)) + over_time(self.square, b)
        c = self.third(joined + stream)
        return over_time(self.tail, c).sum(0)


def test_keeps_spikes_through_norms_concatenation_and_paths_that_meet_again() -> None:
    network = lower(Streams().eval().double(), (1, 6, 5), 3, "streams")
    inputs = np.random.default_rng(0).normal(size=(2, 1, 6, 5)), np.array([1, 2])
    call = Engine(network, "float64", threads=1).call(*inputs)
    expanded = expand(network)
    assert [p.name for p in expanded.populations] == ["x", "first", "second", "third", "tail"]
    again = Engine(expanded, "float64", threads=1).call(*inputs)
    for name, expected in call.spikes.items():
        assert 0.02 < expected.mean() < 0.9, name
        np.testing.assert_array_equal(again.spikes[name], expected, err_msg=name)
        np.testing.assert_allclose(again.potentials[name], call.potentials[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(again.eps, call.eps, rtol=1e-9)


# ---- refusals -----------------------------------------------------------------------------------

SHAPE = (2, 4, 4)


def through(kernel: Kernel, behind: Kernel | None = None, host_current: bool = False) -> Network:
    """Spikes ``s`` to an analog ``stream`` (identity, or ``behind``), then ``kernel`` to neurons ``n``."""
    target = (kernel.c_out, *kernel.out_size(4, 4))
    return Network(
        name="through",
        time_steps=2,
        image="x",
        diffusion_time="t",
        output="x",
        populations=(
            Population("x", "source", SHAPE),
            Population("s", "neuron", SHAPE, NeuronModel()),
            Population("stream", "analog", SHAPE),
            Population("n", "neuron", target, NeuronModel()),
        ),
        projections=(
            Projection("in", "x", "s", Kernel(2), (0, 2)),
            Projection("behind", "s", "stream", behind or Kernel(2), (0, 2)),
            Projection("block.conv", "stream", "n", kernel, (0, kernel.c_out)),
        ),
        biases=(HostBias("embed", "stream"),) if host_current else (),
        host_ops=(HostOp("embed", "embedding", ("t",), (), (2,), False, {"table": np.ones((5, 2))}),),
    )


POINT, SQUARE = np.ones((2, 2, 1, 1)), np.ones((2, 2, 3, 3))


@pytest.mark.parametrize(
    ("kernel", "size"),
    [
        (Kernel(2, SQUARE, padding=(1, 1)), "3x3"),
        (Kernel(2, POINT, padding=(1, 1)), "1x1"),
        (Kernel(2, POINT, stride=(2, 2)), "1x1"),
        (Kernel(2, POINT[:, :1], groups=2), "1x1"),
        (Kernel(2, upsample=2), "1x1"),
    ],
    ids=["3x3", "padding", "stride", "groups", "upsample"],
)
def test_refuses_a_convolution_that_cannot_be_composed(kernel: Kernel, size: str) -> None:
    with pytest.raises(MappingError) as error:
        expand(through(kernel))
    assert str(error.value) == (
        f"block.conv: {size} convolution of the analog stream 'stream' cannot be expanded into synapses from "
        "earlier spikes; only sums and 1x1 convolutions without stride, padding and groups can"
    )


def test_refuses_a_grouped_convolution_behind_a_shortcut() -> None:
    with pytest.raises(MappingError) as error:
        expand(through(Kernel(2, POINT), behind=Kernel(2, POINT[:, :1], groups=2)))
    assert str(error.value) == ("behind: a grouped convolution behind a 1x1 shortcut cannot be expanded")


def test_a_host_computed_current_can_only_be_passed_on_unchanged() -> None:
    passed = expand(through(Kernel(2), host_current=True))
    assert passed.biases == (HostBias("embed", "n"),)
    with pytest.raises(MappingError) as error:
        expand(through(Kernel(2, POINT), host_current=True))
    assert str(error.value) == (
        "block.conv: the analog stream 'stream' holds the host-computed current 'embed', which cannot be "
        "followed through a convolution"
    )


def test_leaves_a_network_without_streams_as_it_is() -> None:
    network = through(Kernel(2))
    direct = replace(
        network,
        populations=tuple(p for p in network.populations if p.kind != "analog"),
        projections=(network.projections[0], Projection("c", "s", "n", Kernel(2, POINT), (0, 2))),
    )
    expanded = expand(direct)
    assert [vars(p) for p in expanded.populations] == [vars(p) for p in direct.populations]
    assert [vars(p) for p in expanded.projections] == [vars(p) for p in direct.projections]
