"""The Network itself: what it refuses, the order it is played in, and how it prints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.kernel import Kernel
from nsim.frontends.lower import lower
from nsim.frontends.network import HostBias, HostOp, Network, Population, Projection
from nsim.frontends.neurons import neuron_call, read_neuron
from nsim.workloads.sddpm import over_time
from nsim.workloads.spiking import IFNode, LIFNode


class Small(nn.Module):
    """One of everything that a Network can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.encode = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fire = IFNode()
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.deep = LIFNode()
        self.up = nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        h = over_time(self.encode, x.unsqueeze(0).expand(2, -1, -1, -1, -1))
        s = self.fire(over_time(self.bn, h) + self.embed(t)[None, :, :, None, None])
        d = self.deep(over_time(self.down, s))
        d = nn.functional.interpolate(d.flatten(0, 1), scale_factor=2, mode="nearest")
        d = d.unflatten(0, (s.shape[0], s.shape[1]))
        return over_time(self.up, torch.cat([d, s], dim=2)).sum(0)


TABLE = """\
small: T = 2, 2 spiking layers, 320 neurons, 4 projections, 2 host ops

name        what                              shape  from          weights  dense operations / step
---------------------------------------------------------------------------------------------------
x           source                            1x8x8
embed       embedding (host, once)            4      t
fire        IF                                4x8x8
  encode    conv 3x3                                 x             36       2,304
  embed     host bias                                embed
deep        LIF                               4x4x4
  down      conv 3x3 /2                              fire          144      2,304
up          analog                            1x8x8
  up[deep]  conv 1x1                                 deep (up x2)  4        256
  up[fire]  conv 1x1                                 fire          4        256
sum_1       sum_over_time (host, every step)  1x8x8  up"""


@pytest.fixture(scope="module")
def small() -> Network:
    return lower(Small(), (1, 8, 8), 2, "small")


def test_prints_as_a_table(small: Network) -> None:
    assert str(small) == TABLE


def test_graph_and_order(small: Network) -> None:
    order = [item.name for item in small.execution_order]
    assert sorted(order) == sorted(item.name for item in (*small.populations, *small.host_ops))
    place = {name: i for i, name in enumerate(["t", *order])}
    assert small.graph.number_of_edges() == 4 + 1 + 2
    assert all(place[a] < place[b] for a, b in small.graph.edges())
    assert small.depth == {"t": 0, "embed": 0, "x": 0, "fire": 0, "deep": 1, "up": 2, "sum_1": 2}


POPULATIONS = (Population("x", "source", (1, 4, 4)), Population("y", "analog", (1, 4, 4)))
SCALE = HostOp("s", "swish", ("y",), (1, 4, 4), (1, 4, 4), every_step=True)
PLAIN = Network("n", 2, "x", "t", "s", POPULATIONS, (), (), (SCALE,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"populations": (*POPULATIONS, POPULATIONS[0])}, "two populations or host ops share a name"),
        (
            {"projections": (Projection("p", "x", "z", Kernel(1), (0, 1)),)},
            "projection 'p' names no population: 'z'",
        ),
        (
            {"host_ops": (replace(SCALE, inputs=("z",)),)},
            "host op 's' reads 'z', which is not in the network",
        ),
        ({"biases": (HostBias("s", "z"),)}, "bias 's' -> 'z' has a loose end"),
    ],
)
def test_refuses_loose_ends(change: dict[str, tuple], message: str) -> None:
    with pytest.raises(ValueError) as error:
        replace(PLAIN, **change)
    assert str(error.value) == message


def test_host_op_counts() -> None:
    weight = np.ones((5, 3, 3, 3))
    convolution = HostOp(
        "c", "conv", ("x",), (3, 4, 4), (5, 4, 4), True, kernel=Kernel(5, weight, padding=(1, 1))
    )
    # of the 12 taps a row has along one axis, 2 fall on padding
    assert (convolution.macs, convolution.elementwise) == (10 * 10 * 5 * 3, 0)
    linear = HostOp("l", "linear", ("t",), (3,), (7,), False, params={"weight": np.ones((7, 3))})
    assert (linear.macs, linear.elementwise) == (21, 0)
    assert (SCALE.macs, SCALE.elementwise) == (0, 16)


class IzhikevichNode(nn.Module):
    v_threshold, v_reset = 1.0, 0.0


class ParametricLIFNode(nn.Module):
    """As SpikingJelly has it: 1 / tau = sigmoid(w)."""

    v_threshold, v_reset, decay_input, step_mode = 1.0, None, True, "m"

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.w = nn.Parameter(-torch.log(torch.tensor(tau - 1.0)))


def test_reads_neuron_parameters() -> None:
    found = read_neuron(LIFNode(tau=3.0, decay_input=False, v_threshold=0.5, v_reset=None), "n")
    assert (found.kind, found.tau, found.decay_input, found.v_threshold, found.v_reset) == (
        "LIF",
        3.0,
        False,
        0.5,
        None,
    )
    assert read_neuron(IFNode(0.5, -0.25), "n") == type(found)(v_threshold=0.5, v_reset=-0.25)
    with pytest.raises(UnsupportedOpError) as error:
        read_neuron(IzhikevichNode(), "block.neuron")
    assert str(error.value) == (
        "block.neuron: IzhikevichNode: has a state beside its potential; use LIFNode or IFNode"
    )
    with pytest.raises(UnsupportedOpError) as error:
        read_neuron(nn.ReLU(), "block.relu")
    assert str(error.value) == (
        "block.relu: ReLU is not a neuron nsim can read; known are IAF, IAFCell, IAFSqueeze, IFNode, LIF, "
        "LIFBoxCell, LIFCell, LIFNode, LIFSqueeze, Lapicque, Leaky, MultiStepIFNode, MultiStepLIFNode, "
        "MultiStepParametricLIFNode, ParametricLIFNode, SignedIFNode"
    )


def test_reads_a_learned_tau_and_where_time_is() -> None:
    module = ParametricLIFNode(tau=2.5)
    found = read_neuron(module, "n")
    assert found.tau == pytest.approx(2.5, rel=1e-6)
    assert (found.v_reset, found.decay_input) == (None, True)
    assert neuron_call(module, "n").time == "first"
    module.step_mode = "s"
    assert neuron_call(module, "n").time == "none"


class Quadratic(LIFNode):
    def neuronal_charge(self, x: torch.Tensor) -> None: ...


def test_a_subclass_with_dynamics_of_its_own_is_refused() -> None:
    with pytest.raises(UnsupportedOpError) as error:
        read_neuron(Quadratic(), "block.n")
    assert str(error.value) == (
        "block.n: Quadratic: changes neuronal_charge of LIFNode, so its dynamics are not known; use LIFNode "
        "as it is"
    )
