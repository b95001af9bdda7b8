"""Lowering: everything of the model is in the Network once, under its own name; what cannot be is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.simulator.engine import Engine
from nsim.workloads.sddpm import SpikingUNet, Swish, over_time
from nsim.workloads.spiking import IFNode, LIFNode

STEPS = 3
WAY_OUT = (
    " has no place in a Network; write it with convolution, dense, BatchNorm, add, cat, nearest up-sampling "
    "and IF/LIF neurons, or move it to the time embedding or the tail"
)


# ---- SDDPM --------------------------------------------------------------------------------------


def test_populations_and_projections_carry_module_paths(tiny_network: Network) -> None:
    assert [p.name for p in tiny_network.neurons][:6] == [
        "neuron",
        "downblocks.0.neuron1",
        "downblocks.0.neuron2",
        "downblocks.1.neuron",
        "downblocks.2.neuron1",
        "downblocks.2.neuron2",
    ]
    assert [p.name for p in tiny_network.populations if p.kind == "analog"] == [
        "bn_identity",
        "downblocks.0",
        "downblocks.1",
        "downblocks.2",
        "middleblocks.0",
        "upblocks.0.input",
        "upblocks.1.input",
        "upblocks.3.input",
        "upblocks.4.input",
        "upblocks.4",
    ]
    first = "upblocks.1.input"
    assert [(p.name, p.source, p.target_channels) for p in tiny_network.incoming(first)] == [
        ("upblocks.0.conv2", "upblocks.0.neuron2", (0, 16)),
        ("upblocks.0.shortcut", "upblocks.0.input", (0, 16)),
        (f"downblocks.1 -> {first}", "downblocks.1", (16, 24)),
    ]
    assert [(b.host_op, b.target) for b in tiny_network.biases][:2] == [
        ("downblocks.0.temb_proj.1", "downblocks.0.neuron2"),
        ("downblocks.2.temb_proj.1", "downblocks.2.neuron2"),
    ]
    assert (tiny_network.image, tiny_network.diffusion_time) == ("x", "t")


def test_every_layer_is_in_the_network_exactly_once(tiny_unet: SpikingUNet, tiny_network: Network) -> None:
    modules = dict(tiny_unet.named_modules())
    convolutions = {n: m for n, m in modules.items() if isinstance(m, nn.Conv2d | nn.Conv3d)}
    linears = {n: m for n, m in modules.items() if isinstance(m, nn.Linear)}
    norms = {n: m for n, m in modules.items() if isinstance(m, nn.BatchNorm2d)}
    assert (len(convolutions), len(linears), len(norms)) == (27, 10, 22)

    projections = [p for p in tiny_network.projections if not p.kernel.is_identity]
    on_host = [op for op in tiny_network.host_ops if op.kernel is not None]
    kernels = {item.name: item.kernel for item in (*projections, *on_host)}
    assert sorted([p.name for p in projections] + [op.name for op in on_host]) == sorted(convolutions)
    for name, convolution in convolutions.items():
        weight = convolution.weight.detach().numpy()
        np.testing.assert_array_equal(kernels[name].array, weight.reshape(weight.shape[:4]))
    assert sorted(op.name for op in on_host) == ["T_output_layer", "tail_conv"]

    found = {op.name: op.params for op in tiny_network.host_ops if op.kind == "linear"}
    assert sorted(found) == sorted(linears)
    for name, linear in linears.items():
        np.testing.assert_array_equal(found[name]["weight"], linear.weight.detach().numpy())
        np.testing.assert_array_equal(found[name]["bias"], linear.bias.detach().numpy())

    # the statistics are random, so a scale tells which BatchNorm it came from
    scales = [p.scale for p in tiny_network.projections if p.scale is not None]
    scales += [op.params["scale"] for op in tiny_network.host_ops if op.kind == "affine"]
    expected = [m.weight / torch.sqrt(m.running_var + m.eps) for m in norms.values()]
    assert rounded(scales) == rounded([e.detach().numpy() for e in expected])

    neurons = [n for n, m in modules.items() if isinstance(m, IFNode)]
    assert sorted(p.name for p in tiny_network.neurons) == sorted(neurons)
    swishes = [n for n, m in modules.items() if isinstance(m, Swish)]
    assert sorted(op.name for op in tiny_network.host_ops if op.kind == "swish") == sorted(swishes)


def rounded(arrays: list[np.ndarray]) -> Counter[tuple[float, ...]]:
    return Counter(tuple(a.round(10).tolist()) for a in arrays)


def test_depth_counts_spiking_layers_on_the_longest_path(tiny_network: Network) -> None:
    assert [tiny_network.depth[p.name] for p in tiny_network.neurons] == list(range(19))
    assert tiny_network.depth["x"] == 0
    assert tiny_network.depth["upblocks.4.input"] == 17
    assert tiny_network.depth["upblocks.4"] == 19
    assert tiny_network.depth[tiny_network.output] == 19


def test_size_of_the_papers_cifar10_model(cifar10_network: Network) -> None:
    populations = cifar10_network.population_by_name
    driven_by_spikes = sum(
        p.kernel.dense_operations(populations[p.target].shape[1:])
        for p in cifar10_network.projections
        if populations[p.source].kind == "neuron"
    )
    assert driven_by_spikes == 6_200_229_888
    assert len(cifar10_network.neurons) == 51
    assert sum(p.size for p in cifar10_network.neurons) == 3_416_064


# ---- hand-made modules --------------------------------------------------------------------------


class Parts(nn.Module):
    """Layers to build small denoisers of, and the usual way in: image to currents [T, B, 4, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.neuron = IFNode(0.3)
        self.lif = LIFNode(tau=3.0, decay_input=False, v_threshold=0.2, v_reset=None)
        self.tail = nn.Conv2d(4, 1, 3, padding=1)
        self.swish = Swish()
        self.norm = nn.GroupNorm(1, 4)
        self.pool = nn.MaxPool2d(2)
        self.reflect = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.linear, self.dense = nn.Linear(4, 4), nn.Linear(4 * 6 * 4, 4)
        self.fresh = nn.BatchNorm2d(4, track_running_stats=False)
        self.layer_norm = nn.LayerNorm(4)
        self.position = nn.Parameter(torch.randn(1, 4, 6, 4))
        nn.init.normal_(self.bn.running_mean)
        nn.init.normal_(self.bn.bias)

    def current(self, x: torch.Tensor) -> torch.Tensor:
        h = x.unsqueeze(0).expand(STEPS, -1, -1, -1, -1)
        return over_time(self.bn, over_time(self.conv, h))

    def read_out(self, h: torch.Tensor) -> torch.Tensor:
        return over_time(self.tail, h).sum(0)


class HostReadsSpikes(Parts):
    def forward(self, x, t):
        return self.swish(self.neuron(self.current(x))).sum(0)


class HostReadsAffineOfUpsampled(Parts):
    def forward(self, x, t):
        s = self.neuron(self.current(x))
        up = nn.functional.interpolate(s.flatten(0, 1), scale_factor=2, mode="nearest")
        return self.swish(self.bn(up).unflatten(0, (STEPS, s.shape[1]))).sum(0)


class HostValueAtEveryStep(Parts):
    def forward(self, x, t):
        return self.swish(x).unsqueeze(0).expand(STEPS, -1, -1, -1, -1).sum(0)


class SameHostModuleTwice(Parts):
    def forward(self, x, t):
        return self.swish(self.swish(self.read_out(self.neuron(self.current(x)))))


class SumReadTwiceAtTheTop(Parts):
    def forward(self, x, t):
        s = self.neuron(self.current(x))
        h = s + over_time(self.bn, s)
        return self.read_out(self.lif(h) + h)


class UnusedBranch(Parts):
    def forward(self, x, t):
        s, other = self.neuron(self.current(x)), self.lif(self.current(x))
        _ = s + other
        return self.read_out(s)


class NeuronAfterTheHost(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(self.swish(self.current(x))))


class AddsAConstantMap(Parts):
    def forward(self, x, t):
        h = (self.position + self.conv(x)).unsqueeze(0).expand(STEPS, -1, -1, -1, -1)
        return self.read_out(self.neuron(h) + h)


class NormalisesChannels(Parts):
    def forward(self, x, t):
        h = self.swish(self.neuron(self.current(x))).mean(0)
        return self.tail(self.layer_norm(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class DenseOverTheMap(Parts):
    def forward(self, x, t):
        h = self.dense(self.neuron(self.current(x)).flatten(0, 1).flatten(1)).unflatten(1, (4, 1, 1))
        return self.lif(h.unflatten(0, (STEPS, -1))).mean(0)


class GroupNormEveryStep(Parts):
    def forward(self, x, t):
        return self.read_out(self.lif(over_time(self.norm, self.current(x))))


class ScaledByNumbers(Parts):
    def forward(self, x, t):
        s = self.neuron(2.0 * self.current(0.5 * x))
        return 3 * self.read_out(self.lif(1.5 * s))


class SoftResetLif(Parts):
    def forward(self, x, t):
        return self.read_out(self.lif(self.current(x)))


@pytest.mark.parametrize(
    "model",
    [
        HostReadsSpikes,
        HostReadsAffineOfUpsampled,
        HostValueAtEveryStep,
        SameHostModuleTwice,
        SumReadTwiceAtTheTop,
        NeuronAfterTheHost,
        AddsAConstantMap,
        NormalisesChannels,
        DenseOverTheMap,
        GroupNormEveryStep,
        UnusedBranch,
        ScaledByNumbers,
        SoftResetLif,
    ],
)
def test_small_models_compute_what_torch_does(model: type[Parts]) -> None:
    module = model().eval().double()
    x, t = np.random.default_rng(0).normal(size=(2, 1, 6, 4)), np.array([1, 2])
    with torch.no_grad():
        expected = module(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    assert expected.std() > 0.01
    found = Engine(lower(module, (1, 6, 4), STEPS, "small"), "float64", threads=1).call(x, t).eps
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


class SumOfSingleElements(Parts):
    def forward(self, x, t):
        s = self.neuron(self.current(x)).flatten(0, 1).flatten(1)
        h = self.dense(s).unflatten(1, (4, 1, 1)) + self.dense(s).unflatten(1, (4, 1, 1))
        return self.lif(h.unflatten(0, (STEPS, -1))).mean(0)


def test_a_sum_of_single_elements_is_a_neurons_input_not_a_stream() -> None:
    network = lower(SumOfSingleElements(), (1, 6, 4), STEPS, "small")
    assert [p.name for p in network.populations if p.kind == "analog"] == []
    assert [p.kernel.size for p in network.incoming("lif")] == [(6, 4), (6, 4)]


def test_names_of_what_has_no_module_of_its_own() -> None:
    twice = lower(SameHostModuleTwice(), (1, 6, 4), STEPS, "small")
    assert [op.name for op in twice.host_ops] == ["sum_1", "swish", "swish@1"]
    top = lower(SumReadTwiceAtTheTop(), (1, 6, 4), STEPS, "small")
    assert [p.name for p in top.populations] == ["x", "neuron", "bn@1", "lif", "input", "tail"]


# ---- refusals -----------------------------------------------------------------------------------


class GroupNormOfAllSteps(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(self.norm(self.current(x))))


class WithMaxPool(Parts):
    def forward(self, x, t):
        return self.read_out(over_time(self.pool, self.neuron(self.current(x))))


class WithRelu(Parts):
    def forward(self, x, t):
        return self.read_out(torch.relu(self.current(x)))


class ShiftedByANumber(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(self.current(x) + 1.0))


class BranchesOnValues(Parts):
    def forward(self, x, t):
        h = self.current(x)
        return self.read_out(self.neuron(h) if h.sum() > 0 else self.lif(h))


class SameNeuronTwice(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(self.neuron(self.current(x))))


class NeuronWithoutTime(Parts):
    def forward(self, x, t):
        return self.tail(self.neuron(self.conv(x)))


class AddsTheImage(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(self.current(x) + x))


class ReflectPadding(Parts):
    def forward(self, x, t):
        return self.read_out(over_time(self.reflect, self.neuron(self.current(x))))


class LinearOnAMap(Parts):
    def forward(self, x, t):
        return self.read_out(self.linear(self.current(x)))


class WithoutStatistics(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(over_time(self.fresh, self.neuron(self.current(x)))))


class SumsChannels(Parts):
    def forward(self, x, t):
        return self.neuron(self.current(x)).sum(2)


class CutsAnAxis(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(self.current(x).reshape(STEPS, -1, 2, 2, 6, 4)))


class BilinearUpsampling(Parts):
    def forward(self, x, t):
        up = nn.functional.interpolate(self.conv(x), scale_factor=2, mode="bilinear")
        return self.tail(up)


class ThreeInputs(Parts):
    def forward(self, x, t, y):
        return self.read_out(self.neuron(self.current(x + y)))


class ReturnsEveryStep(Parts):
    def forward(self, x, t):
        return over_time(self.tail, self.neuron(self.current(x)))


class ReturnsTwo(Parts):
    def forward(self, x, t):
        return self.read_out(self.neuron(self.current(x))), x


CURRENT = "[T=3, B, C=4, H=6, W=4]"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GroupNormOfAllSteps, f"norm: GroupNorm on {CURRENT} (graph node 'norm')" + WAY_OUT),
        (WithMaxPool, "pool: module MaxPool2d (graph node 'pool')" + WAY_OUT),
        (WithRelu, "the model's forward: operation 'relu' (graph node 'relu')" + WAY_OUT),
        (ShiftedByANumber, "the model's forward: adding a number (graph node 'add')" + WAY_OUT),
        (
            BranchesOnValues,
            "BranchesOnValues cannot be traced: symbolically traced variables cannot be used as inputs to "
            "control flow. Its forward must not branch on tensor values, nor loop over a tensor's sizes: "
            "keep the number of time steps in an attribute.",
        ),
        (
            SameNeuronTwice,
            "neuron: the same neuron module is called twice in one forward; give each place its own",
        ),
        (NeuronWithoutTime, "neuron: a neuron takes [T, B, C, H, W], not [B, C=4, H=6, W=4]"),
        (
            AddsTheImage,
            f"the model's forward: adding [B, C=1, H=6, W=4] to {CURRENT} (graph node 'add')" + WAY_OUT,
        ),
        (ReflectPadding, "reflect: padding (1, 1) (reflect) (graph node 'reflect')" + WAY_OUT),
        (
            LinearOnAMap,
            f"linear: Linear on {CURRENT} outside the time embedding (graph node 'linear')" + WAY_OUT,
        ),
        (WithoutStatistics, "fresh: BatchNorm without running statistics (graph node 'fresh')" + WAY_OUT),
        (
            SumsChannels,
            f"the model's forward: sum of {CURRENT} over dimension 2, not time, (graph node 'sum_1')"
            + WAY_OUT,
        ),
        (
            CutsAnAxis,
            f"the model's forward: reshape of {CURRENT} with (3, -1, 2, 2, 6, 4) cuts an axis "
            "(graph node 'reshape')" + WAY_OUT,
        ),
        (
            BilinearUpsampling,
            "the model's forward: interpolate with {'size': None, 'scale_factor': 2, 'mode': 'bilinear', "
            "'align_corners': None, 'recompute_scale_factor': None, 'antialias': False}, not nearest by a "
            "whole factor, (graph node 'interpolate')" + WAY_OUT,
        ),
        (ThreeInputs, "small: a denoiser takes the image and the diffusion time, this model takes x, t, y"),
        (ReturnsEveryStep, "small: a denoiser returns one tensor [B, C, H, W], not [T=3, B, C=1, H=6, W=4]"),
        (ReturnsTwo, "small: a denoiser returns one tensor [B, C, H, W], not a tuple"),
    ],
)
def test_what_has_no_place_is_refused_by_name(model: type[Parts], message: str) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        lower(model(), (1, 6, 4), STEPS, "small")
    assert str(error.value) == message
