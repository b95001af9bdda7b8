"""Other libraries' neurons: nsim's spikes and outputs against the library's own forward, in float64.

Each library is optional; see tests/foreign_libraries.txt for how they are installed beside a CPU torch.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.frontends.neurons import neuron_call
from nsim.simulator.engine import Engine
from nsim.workloads.load_program import load_program

STEPS, SHAPE, BATCH = 4, (2, 6, 6), 2


def library(name: str) -> ModuleType:
    """A library's module, or a skipped test; what it warns about at import is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0])
        return importlib.import_module(name)


class Body(nn.Module):
    """Two convolutions and two neurons, with a residual sum; ``every_step``: how a library plays a layer."""

    def __init__(self, first: Any, second: Any, every_step: Callable[[Any], Any] = lambda m: m) -> None:
        super().__init__()
        self.encode, self.norm = every_step(nn.Conv2d(2, 6, 3, padding=1)), every_step(nn.BatchNorm2d(6))
        self.first, self.second = first, second
        self.middle, self.out = every_step(nn.Conv2d(6, 6, 3, padding=1)), every_step(nn.Conv2d(6, 2, 1))


class AllSteps(Body):
    """Time is the first axis of everything."""

    time_axis = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = [-1] * 4
        sizes.insert(self.time_axis, STEPS)
        current = self.norm(self.encode(x.unsqueeze(self.time_axis).expand(*sizes)))
        spikes = _spikes(self.first(current)).to(x.dtype)
        spikes = _spikes(self.second(self.middle(spikes) + current)).to(x.dtype)
        return self.out(spikes).mean(self.time_axis)


class BatchFirst(AllSteps):
    """Time is the second axis."""

    time_axis = 1


class Fused(Body):
    """Time and batch are one axis."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        current = self.norm(self.encode(x.repeat_interleave(STEPS, 0)))
        spikes = self.first(current).to(x.dtype)
        spikes = self.second(self.middle(spikes) + current).to(x.dtype)
        return self.out(spikes).unflatten(0, (x.shape[0], STEPS)).mean(1)


class Loop(Body):
    """One step after the other; states handed along, or kept by the neurons."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state1 = state2 = None
        total: Any = 0
        for _ in range(STEPS):
            current = self.norm(self.encode(x))
            spikes, state1 = _step(self.first, current, state1)
            spikes, state2 = _step(self.second, self.middle(spikes.to(x.dtype)) + current, state2)
            total = total + self.out(spikes.to(x.dtype))
        return total / STEPS


def _spikes(returned: Any) -> Any:
    return returned[0] if isinstance(returned, tuple) else returned


def _step(neuron: Any, current: Any, state: Any) -> tuple[Any, Any]:
    if not neuron_call(neuron, "").returns_state:
        return neuron(current), None
    spikes, state = neuron(current, state)
    return spikes, state


def assert_equal_to_torch(module: nn.Module, as_program: bool = True) -> Network:
    """Every spike of every neuron and the output of ``module``, its weights random, against nsim's.

    ``as_program``: the same spikes from what torch.export writes of the module too, whose neurons are found
    by measurement.
    """
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.2, 1.0)
    module = module.double().eval()
    network = lower(module, SHAPE, STEPS, "theirs")
    x = np.random.default_rng(0).normal(size=(BATCH, *SHAPE))
    program = _exported(module) if as_program else None  # before anything is played: neurons keep their state
    seen: dict[str, list[torch.Tensor]] = {p.name: [] for p in network.neurons}
    for name, calls in seen.items():
        keep = module.get_submodule(name).register_forward_hook
        keep(lambda module, args, out, calls=calls: calls.append(_spikes(out)))
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    call = Engine(network, "float64").call(x)
    assert len(seen) == 2
    for name, calls in seen.items():
        theirs = torch.stack(calls).numpy()
        time = neuron_call(module.get_submodule(name), name).time
        theirs = {
            "none": lambda s: s,
            "first": lambda s: s[0],
            "second": lambda s: s[0].swapaxes(0, 1),
            "fused": lambda s: s[0].reshape(BATCH, STEPS, *s.shape[2:]).swapaxes(0, 1),
        }[time](theirs)
        assert 0.02 < theirs.mean() < 0.98
        assert (call.spikes[name] != theirs.astype(bool)).sum() == 0
    np.testing.assert_allclose(call.eps, expected, rtol=1e-12, atol=1e-14)
    if program is not None:
        read = Engine(program, "float64").call(x)
        assert sum((read.spikes[name] != spikes).sum() for name, spikes in call.spikes.items()) == 0
        np.testing.assert_allclose(read.eps, expected, rtol=1e-12, atol=1e-14)
    return network


def _exported(module: nn.Module) -> Network:
    """The network of the module's torch.export program."""
    example = (torch.zeros(BATCH, *SHAPE, dtype=torch.float64),)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and the libraries' own affair
        path = Path(folder) / "theirs.pt2"
        torch.export.save(torch.export.export(module, example), path)
        return load_program(path).network


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("keeps_state", [False, True])
def test_snntorch_leaky(reset: str, keeps_state: bool) -> None:
    snn = library("snntorch")
    first, second = (
        snn.Leaky(beta=beta, threshold=threshold, reset_mechanism=reset, init_hidden=keeps_state)
        for beta, threshold in ((0.9, 1.0), (0.6, 0.3))
    )
    network = assert_equal_to_torch(Loop(first, second))
    assert all(p.neuron is not None and p.neuron.strict for p in network.neurons)


def test_snntorch_lapicque_and_immediate_reset() -> None:
    snn = library("snntorch")
    immediate = snn.Leaky(beta=0.8, reset_mechanism="zero", reset_delay=False)
    # torch.export stops at a branch on a tensor in snnTorch's immediate reset
    assert_equal_to_torch(Loop(snn.Lapicque(beta=0.5, threshold=0.4), immediate), as_program=False)
    assert_equal_to_torch(Loop(snn.Lapicque(beta=0.5, threshold=0.4), snn.Leaky(beta=0.8)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda snn: snn.Synaptic(0.9, 0.8), "first: Synaptic: has a synaptic current beside its potential"),
        (lambda snn: snn.Leaky(torch.rand(6, 1, 1)), "first: Leaky: beta has 6 values of shape [6, 1, 1]"),
        (
            lambda snn: snn.Leaky(0.5, reset_delay=False),
            "first: Leaky: reset_delay=False with reset 'subtract'",
        ),
        (lambda snn: snn.Leaky(0.5, graded_spikes_factor=2.0), "first: Leaky: graded_spikes_factor is not 1"),
        (lambda snn: snn.Leaky(0.5, state_quant=lambda v: v), "first: Leaky: state_quant is not played"),
        (lambda snn: snn.Leaky(0.5, spike_grad=snn.surrogate.SSO()), "first: Leaky: spike_grad SSO changes"),
        (lambda snn: snn.Lapicque(R=5.0, C=2.0), "first: Lapicque: R = 5 scales its input; set R = 1"),
        (lambda snn: snn.Lapicque(0.5, reset_mechanism="zero"), "first: Lapicque: reset 'zero' also loses"),
    ],
)
def test_snntorch_neurons_that_nsim_cannot_play(make: Callable[[Any], Any], message: str) -> None:
    neuron = make(library("snntorch"))
    _assert_refused(Loop(neuron, neuron), message)


def test_norse_cells_and_layers() -> None:
    norse = library("norse.torch")
    box, cell = norse.LIFBoxCell, library("norse.torch.module.lif_box").LIFBoxParameters
    subtract = library("norse.torch.functional.reset").reset_subtract
    first = box(cell(torch.tensor(300.0), torch.tensor(0.0), torch.tensor(0.2)))
    shifted = cell(torch.tensor(500.0), torch.tensor(0.05), torch.tensor(0.1), reset_method=subtract)
    # a potential counted from v_leak is none of the program's
    assert_equal_to_torch(Loop(first, box(shifted)), as_program=False)
    assert_equal_to_torch(Loop(first, box(first.p)))
    iaf = library("norse.torch.module.iaf")
    parameters = iaf.IAFParameters(torch.tensor(0.5), torch.tensor(-0.1))
    assert_equal_to_torch(Loop(iaf.IAFCell(parameters), iaf.IAFCell(parameters)))
    # a synaptic current that is gone after its step is none
    gone = norse.LIFParameters(torch.tensor(1000.0), torch.tensor(300.0), v_th=torch.tensor(0.2))
    assert_equal_to_torch(AllSteps(norse.LIF(gone), norse.Lift(box(first.p)), norse.Lift))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda norse: norse.LIFCell(),
            "first: LIFCell: tau_syn_inv: the synaptic current keeps 0.8 of itself",
        ),
        (lambda norse: norse.LIFRefracCell(), "first: LIFRefracCell: has a refractory time; use LIFBoxCell"),
        (
            lambda norse: norse.LIFAdExCell(),
            "first: LIFAdExCell: a neuron of norse that nsim cannot play; of",
        ),
        (
            lambda norse: norse.LICell(),
            "first: LICell: sends its potential, not spikes; read the network out",
        ),
    ],
)
def test_norse_neurons_that_nsim_cannot_play(make: Callable[[Any], Any], message: str) -> None:
    neuron = make(library("norse.torch"))
    _assert_refused(Loop(neuron, neuron), message)


def test_sinabs_layers() -> None:
    layers, activation = library("sinabs.layers"), library("sinabs.activation")
    low = {"spike_fn": activation.SingleSpike, "spike_threshold": torch.tensor(0.2)}
    reset = activation.MembraneReset()
    leaky = layers.LIF(5.0, **low), layers.LIF(3.0, norm_input=False, reset_fn=reset, **low)
    assert_equal_to_torch(BatchFirst(*leaky, layers.Repeat))
    integrate = layers.IAF(**low), layers.IAF(reset_fn=activation.MembraneSubtract(0.3), **low)
    assert_equal_to_torch(BatchFirst(*integrate, layers.Repeat))
    fused = (
        layers.IAFSqueeze(num_timesteps=STEPS, **low),
        layers.LIFSqueeze(tau_mem=3.0, num_timesteps=STEPS, **low),
    )
    assert_equal_to_torch(Fused(*fused))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "first: IAFSqueeze: spike_fn MultiSpike sends several spikes in one step; make it with"),
        ({"min_v_mem": -1.0}, "first: IAFSqueeze: min_v_mem: a lowest potential is not played"),
        ({"tau_syn": 2.0}, "first: IAFSqueeze: tau_syn: a synaptic current is a second state"),
        (
            {"batch_size": 1, "num_timesteps": None},
            "first: IAFSqueeze with num_timesteps=-1, batch_size=1; make",
        ),
    ],
)
def test_sinabs_neurons_that_nsim_cannot_play(options: dict[str, Any], message: str) -> None:
    layers, activation = library("sinabs.layers"), library("sinabs.activation")
    spike_fn = activation.SingleSpike if options else activation.MultiSpike
    given = {"num_timesteps": STEPS, "batch_size": None, "spike_fn": spike_fn, **options}
    neuron = layers.IAFSqueeze(**given)
    _assert_refused(Fused(neuron, neuron), message)


def test_spikingjelly_in_both_step_modes() -> None:
    neuron, layer = (library(f"spikingjelly.activation_based.{name}") for name in ("neuron", "layer"))
    first, second = neuron.LIFNode(v_threshold=0.4), neuron.ParametricLIFNode(v_threshold=0.2, v_reset=None)
    assert_equal_to_torch(Loop(first, second))
    several = [
        neuron.LIFNode(v_threshold=0.5, v_reset=-0.1, decay_input=False, step_mode="m"),
        neuron.IFNode(v_threshold=0.5, step_mode="m"),
    ]
    assert_equal_to_torch(AllSteps(*several, layer.SeqToANNContainer))
    single = layer.MultiStepContainer(neuron.LIFNode(v_threshold=0.4))
    multi = AllSteps(single, neuron.IFNode(v_threshold=0.5, step_mode="m"))
    multi.encode, multi.norm = layer.Conv2d(2, 6, 3, padding=1), layer.BatchNorm2d(6)
    multi.middle, multi.out = layer.Conv2d(6, 6, 3, padding=1), layer.Conv2d(6, 2, 1)
    for part in (multi.encode, multi.norm, multi.middle, multi.out):
        part.step_mode = "m"
    assert_equal_to_torch(multi)


def test_spikingjelly_neurons_that_nsim_cannot_play() -> None:
    neuron = library("spikingjelly.activation_based.neuron")
    _assert_refused(AllSteps(neuron.QIFNode(step_mode="m"), None), "first: QIFNode: a neuron of SpikingJelly")
    activation = neuron.LIAFNode(torch.tanh, False, step_mode="m")
    _assert_refused(AllSteps(activation, None), "first: LIAFNode: sends an activation of its potential")


def _assert_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        lower(module, SHAPE, STEPS, "theirs")
    assert str(error.value).startswith(message)
