"""NIR files: graphs of nir's own API against plain numpy, other libraries' exports against the libraries
themselves, and round trips of nsim's networks."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import nsim
from nsim.errors import ModelFileError, RunError, UnsupportedOpError
from nsim.frontends.lower import lower
from nsim.frontends.network import Network
from nsim.frontends.nir_export import nir_graph, write_nir
from nsim.frontends.nir_import import network_of_nir, read_nir
from nsim.reports.model_statistics import measure_statistics
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine
from nsim.workloads.spiking import IFNode, LIFNode
from tests.command_line import nsim_json

nir = pytest.importorskip("nir")
STEPS, BATCH, DT = 5, 2, 1e-3
rng = np.random.default_rng(0)


def full(shape: Any, value: float) -> np.ndarray:
    return np.full(shape, value)


def lif(shape: Any, tau: float = 4.0, threshold: float = 0.4, r: float = 1.0, rest: float = 0.0) -> Any:
    """A LIF node; ``tau`` in time steps of DT."""
    return nir.LIF(
        tau=full(shape, tau * DT),
        r=full(shape, r),
        v_leak=full(shape, rest),
        v_threshold=full(shape, threshold),
        v_reset=full(shape, rest),
    )


def spiking_if(shape: Any, threshold: float = 0.5, r: float = 1.0, rest: float = 0.0) -> Any:
    return nir.IF(r=full(shape, r), v_threshold=full(shape, threshold), v_reset=full(shape, rest))


def chain(**nodes: Any) -> Any:
    """A graph of nodes one after the other."""
    return nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False)


def vectors(**nodes: Any) -> Any:
    """A chain from 3 inputs to 3 outputs."""
    return chain(image=nir.Input(np.array([3])), **nodes, out=nir.Output(np.array([3])))


def play(graph: Any, x: np.ndarray, **options: Any) -> Call:
    network = network_of_nir(graph, "theirs", **{"time_steps": STEPS, "dt": DT} | options)
    return Engine(network, "float64").call(x)


# ---- plain numpy, one equation after the other --------------------------------------------------


def step_lif(node: Any, currents: np.ndarray) -> np.ndarray:
    """Forward Euler of tau dv/dt = (v_leak - v) + r I, or of dv/dt = r I with r per step: spikes [T, ...]."""
    v = np.broadcast_to(node.v_reset, currents.shape[1:]).astype(float)
    spikes = np.zeros_like(currents)
    for t, current in enumerate(currents):
        if isinstance(node, nir.IF):
            v = v + node.r * current
        else:
            v = v + DT / node.tau * (node.v_leak - v + node.r * current)
        spikes[t] = v > node.v_threshold
        v = np.where(spikes[t] > 0, node.v_reset, v)
    return spikes


def correlate(x: np.ndarray, node: Any) -> np.ndarray:
    """A Conv2d node on [T, B, C, H, W], tap by tap."""
    (sy, sx), (py, px), (dy, dx) = node.stride, node.padding, node.dilation
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (py, py), (px, px)))
    c_out, per_group, kh, kw = node.weight.shape
    rows = (padded.shape[3] - dy * (kh - 1) - 1) // sy + 1
    columns = (padded.shape[4] - dx * (kw - 1) - 1) // sx + 1
    out = np.zeros((*x.shape[:2], c_out, rows, columns))
    for o, i, ky, kx in np.ndindex(node.weight.shape):
        c = o // (c_out // node.groups) * per_group + i
        taps = padded[:, :, c, ky * dy : ky * dy + rows * sy : sy, kx * dx : kx * dx + columns * sx : sx]
        out[:, :, o] += node.weight[o, i, ky, kx] * taps[..., :rows, :columns]
    return out + node.bias[:, None, None]


def pooled(x: np.ndarray, node: Any) -> np.ndarray:
    """A pooling node whose windows do not overlap, without padding."""
    k = node.kernel_size[0]
    t, b, c, h, w = x.shape
    windows = x[..., : h // k * k, : w // k * k].reshape(t, b, c, h // k, k, w // k, k)
    return windows.mean(axis=(4, 6)) if isinstance(node, nir.AvgPool2d) else windows.sum(axis=(4, 6))


def conv_nodes() -> dict[str, Any]:
    two = np.array([2, 2])
    return {
        "image": nir.Input(np.array([2, 9, 8])),
        "conv": nir.Conv2d(
            None, rng.normal(size=(4, 1, 3, 2)), (2, 1), (1, 0), (1, 2), 2, rng.normal(size=4) / 4
        ),
        "first": lif((4, 5, 6), tau=2.5),
        "pool": nir.SumPool2d(two, two, np.array([0, 0])),
        "middle": nir.Conv2d(None, rng.normal(size=(4, 4, 1, 1)) / 4, 1, 0, 1, 1, np.zeros(4)),
        "second": lif((4, 2, 3), tau=3.0, r=2.0, threshold=0.2, rest=-0.1),
        "average": nir.AvgPool2d(two, two, np.array([0, 0])),
        "flat": nir.Flatten(np.array([4, 1, 1]), 0, -1),
        "dense": nir.Affine(rng.normal(size=(5, 4)), rng.normal(size=5) / 4),
        "third": spiking_if(5, r=1 / DT, threshold=0.3),
        "out": nir.Output(np.array([5])),
    }


def test_convolutions_pools_and_neurons_equal_plain_numpy() -> None:
    nodes = conv_nodes()
    nodes["third"] = spiking_if(5, threshold=0.3)
    x = rng.normal(size=(STEPS, BATCH, 2, 9, 8))
    first = step_lif(nodes["first"], correlate(x, nodes["conv"]))
    second = step_lif(nodes["second"], correlate(pooled(first, nodes["pool"]), nodes["middle"]))
    flat = pooled(second[..., :2, :2], nodes["average"]).reshape(STEPS, BATCH, 4)
    third = step_lif(nodes["third"], flat @ nodes["dense"].weight.T + nodes["dense"].bias)
    for read_as in (1.0, 1 / DT):  # both ways to write an IF: r per step, and the equation's
        nodes["third"] = spiking_if(5, threshold=0.3, r=read_as)
        call = play(chain(**nodes), x)
        for name, spikes in (("first", first), ("second", second), ("third", third)):
            assert 0.02 < spikes.mean() < 0.98
            assert (call.spikes[name].reshape(spikes.shape) != spikes.astype(bool)).sum() == 0
        np.testing.assert_allclose(call.eps[..., 0, 0], third.mean(axis=0), rtol=1e-12)


@given(
    tau=st.floats(1.0, 20.0),
    r=st.floats(0.2, 8.0),
    rest=st.floats(-1.0, 0.1),
    threshold=st.floats(0.2, 2.0),
    seed=st.integers(0, 1000),
)
def test_a_leaky_neuron_is_its_equation_stepped_forward(
    tau: float, r: float, rest: float, threshold: float, seed: int
) -> None:
    node = lif(3, tau, threshold, r, rest)
    x = np.random.default_rng(seed).normal(0.5, 1.0, size=(STEPS, BATCH, 3))
    call = play(vectors(neuron=node), x[..., None, None])
    assert (call.spikes["neuron"][..., 0, 0] != step_lif(node, x).astype(bool)).sum() == 0


def test_a_threshold_node_forgets_and_fires_above_its_threshold_only() -> None:
    x = np.array([0.5, 0.25, 0.51])[None, :, None, None]
    call = play(vectors(step=nir.Threshold(full(3, 0.5))), x)
    assert call.spikes["step"][..., 0, 0].tolist() == [[[False, False, True]]] * STEPS


def test_one_dimensional_convolution_and_padding_in_words() -> None:
    weight, x = rng.normal(size=(3, 2, 5)), rng.normal(size=(STEPS, BATCH, 2, 7))
    expected = nn.functional.conv1d(
        torch.from_numpy(x.reshape(-1, 2, 7)), torch.from_numpy(weight), padding=4, dilation=2
    )
    for padding in ("same", 4):
        conv = nir.Conv1d(None, weight, 1, padding, 2, 1, np.zeros(3))
        graph = chain(image=nir.Input(np.array([2, 7])), conv=conv, out=nir.Output(np.array([3, 7])))
        call = play(graph, x[:, :, :, None, :])
        mean = expected.numpy().reshape(STEPS, BATCH, 3, 7).mean(axis=0)
        np.testing.assert_allclose(call.eps[:, :, 0], mean, rtol=1e-12, atol=1e-14)


def test_edges_add_up_scales_multiply_and_graphs_within_graphs_are_opened() -> None:
    inner = nir.NIRGraph(
        {"in": nir.Input(np.array([3])), "cell": spiking_if(3, 0.2), "end": nir.Output(np.array([3]))},
        [("in", "cell"), ("cell", "end")],
    )
    nodes = {
        "image": nir.Input(np.array([3])),
        "once": nir.Scale(np.array([1.0, 2.0, -1.0])),
        "block": inner,
        "dense": nir.Linear(rng.normal(size=(3, 3))),
        "out": nir.Output(np.array([3])),
    }
    edges = [("image", "once"), ("once", "block"), ("image", "block"), ("block", "dense"), ("dense", "out")]
    x = rng.normal(size=(STEPS, BATCH, 3))
    call = play(nir.NIRGraph(nodes, edges), x[..., None, None])
    spikes = step_lif(inner.nodes["cell"], x * np.array([2.0, 3.0, 0.0]))
    assert (call.spikes["block.cell"][..., 0, 0] != spikes.astype(bool)).sum() == 0
    np.testing.assert_allclose(
        call.eps[..., 0, 0], (spikes @ nodes["dense"].weight.T).mean(axis=0), rtol=1e-12
    )


# ---- round trips ----------------------------------------------------------------------------------


class Body(nn.Module):
    """All that NIR can say of a torch model: BatchNorm, groups, a stride, a residual sum, three neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.grouped, self.down = (
            nn.Conv2d(6, 6, (3, 1), padding=(1, 0), groups=2),
            nn.Conv2d(6, 4, 3, 2, bias=False),
        )
        self.first = IFNode(0.7, -0.2)
        self.second, self.third = LIFNode(2.5, False, 0.3), LIFNode(1.7, True, 0.2, -0.1)
        self.covers, self.out = nn.Conv2d(4, 5, 2), nn.Conv2d(5, 3, 1)
        self.fourth = IFNode(0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stream = self.norm(self.encode(x.repeat(STEPS, 1, 1, 1))).unflatten(0, (STEPS, -1))
        spikes = self.first(stream)
        spikes = self.second(self.grouped(spikes.flatten(0, 1)).unflatten(0, (STEPS, -1)) + stream)
        spikes = self.third(self.down(spikes.flatten(0, 1)).unflatten(0, (STEPS, -1)))
        spikes = self.fourth(self.covers(spikes.flatten(0, 1)).unflatten(0, (STEPS, -1)))
        return self.out(spikes.flatten(0, 1)).unflatten(0, (STEPS, -1)).sum(0)


@pytest.fixture(scope="module")
def body() -> Network:
    torch.manual_seed(0)
    module = Body().double()
    nn.init.uniform_(module.norm.running_var, 0.2, 1.0)
    nn.init.normal_(module.norm.bias, 0.0, 0.3)
    return lower(module, (2, 6, 6), STEPS, "body")


def assert_same_call(network: Network, back: Network) -> None:
    """Every spike, the output and every count."""
    x = np.random.default_rng(1).normal(size=(BATCH, 2, 6, 6))
    ours, theirs = (Engine(n, "float64").call(x) for n in (network, back))
    assert [p.name for p in back.neurons] == [p.name for p in network.neurons]
    for name, spikes in ours.spikes.items():
        assert 0.02 < spikes.mean() < 0.98
        assert (spikes != theirs.spikes[name]).sum() == 0
    np.testing.assert_allclose(theirs.eps, ours.eps, rtol=1e-12, atol=1e-14)
    mine, other = (call.counts.drop(columns=["layer", "time_step"]).sum() for call in (ours, theirs))
    assert mine.to_dict() == other.to_dict()


def test_a_network_written_and_read_back_plays_the_same(body: Network, tmp_path: Path) -> None:
    path = tmp_path / "body.nir"
    assert write_nir(body, path) == 12
    graph = read_nir(path)
    assert {type(node).__name__ for node in graph.nodes.values()} == {
        "Input",
        "Conv2d",
        "IF",
        "LIF",
        "Flatten",
        "Affine",
        "Output",
    }
    back = network_of_nir(graph, "body")
    assert back.time_steps == STEPS
    assert_same_call(body, back)
    for a, b in zip(body.neurons, back.neurons, strict=True):
        assert a.neuron is not None and b.neuron is not None
        assert (a.neuron.v_threshold, a.neuron.v_reset, a.neuron.strict, a.neuron.decay_input) == (
            b.neuron.v_threshold,
            b.neuron.v_reset,
            b.neuron.strict,
            b.neuron.decay_input,
        )
        assert (a.neuron.tau or 0.0) == pytest.approx(b.neuron.tau or 0.0, rel=1e-15)


def test_what_was_read_is_written_as_it_was(body: Network) -> None:
    """A second round trip changes nothing more: not a weight, not a name, not an edge."""
    once = nir_graph(body)
    twice = nir_graph(network_of_nir(once, "body"))
    assert twice.edges == once.edges and list(twice.nodes) == list(once.nodes)
    assert twice.metadata == once.metadata
    for name, node in once.nodes.items():
        for field, value in node.to_dict().items():
            np.testing.assert_array_equal(twice.nodes[name].to_dict()[field], value, err_msg=name)


def test_nirs_own_check_accepts_what_is_written(body: Network, tmp_path: Path) -> None:
    """nir takes kernels for square and groups for one, so the layer for which neither is true is changed."""
    projections = tuple(
        replace(p, kernel=replace(p.kernel, weight=rng.normal(size=(6, 6, 3, 3)), padding=(1, 1), groups=1))
        if p.name == "grouped"
        else p
        for p in body.projections
    )
    square = replace(body, projections=projections)
    write_nir(square, tmp_path / "square.nir")
    graph = nir.read(tmp_path / "square.nir", type_check=True)
    assert graph.input_type["x"].tolist() == [2, 6, 6]


def test_a_nir_file_is_a_model_like_any_other(
    body: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "body.nir"
    write_nir(body, path)
    facts = nsim_json(monkeypatch, capsys, "map", str(path), "--placement", "row-major")
    assert facts["model"] == "body" and facts["chips"] == 1
    model = nsim.load(path, v_threshold=0.9)
    assert {p.neuron.v_threshold for p in model.network.neurons if p.neuron} == {0.9}
    assert nsim.simulate(model, np.zeros((1, 2, 6, 6))).eps.shape == (1, 3, 1, 1)
    with pytest.raises(RunError) as error:
        nsim.run(nsim.map(model, placement="row-major"))
    assert str(error.value) == (
        "body (nir) is no denoiser: there is nothing to sample. `nsim map` estimates one call of it, "
        "nsim.simulate plays one"
    )
    again = tmp_path / "again.nir"
    said = nsim_json(monkeypatch, capsys, "nir", str(path), "--out", str(again))
    assert said == {"model": "body", "nodes": 12, "dt_s": 1e-4, "written_to": str(again)}
    assert_same_call(body, nsim.load(again).network)


def test_pooled_spikes_need_no_stream_and_map_on_a_chip(tmp_path: Path) -> None:
    """Of conv, IF, pool, conv, IF, pool, dense, IF nothing is left but spikes and synapses."""
    nodes = {
        "image": nir.Input(np.array([1, 8, 8])),
        "conv1": nir.Conv2d((8, 8), rng.normal(size=(4, 1, 3, 3)), 1, 1, 1, 1, np.zeros(4)),
        "if1": spiking_if((4, 8, 8)),
        "pool1": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "conv2": nir.Conv2d((4, 4), rng.normal(size=(6, 4, 3, 3)) / 4, 1, 1, 1, 1, np.zeros(6)),
        "if2": spiking_if((6, 4, 4)),
        "pool2": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten(np.array([6, 2, 2]), 0, -1),
        "dense": nir.Affine(rng.normal(size=(5, 24)), np.zeros(5)),
        "if3": spiking_if(5, 0.3),
        "out": nir.Output(np.array([5])),
    }
    nir.write(tmp_path / "cnn.nir", chain(**nodes))
    model = nsim.load(tmp_path / "cnn.nir", time_steps=STEPS)
    assert [p.name for p in model.network.populations] == ["image", "if1", "if2", "if3"]
    mapping = nsim.map(model, placement="row-major")
    assert mapping.utilization()["compartments"][0] >= 4 * 64 + 6 * 16 + 5
    x = rng.normal(size=(STEPS, BATCH, 1, 8, 8))
    first = step_lif(nodes["if1"], correlate(x, nodes["conv1"]))
    second = step_lif(nodes["if2"], correlate(pooled(first, nodes["pool1"]), nodes["conv2"]))
    flat = pooled(second, nodes["pool2"]).reshape(STEPS, BATCH, 24)
    third = step_lif(nodes["if3"], flat @ nodes["dense"].weight.T)
    call = Engine(model.network, "float64").call(x)
    for name, spikes in (("if1", first), ("if2", second), ("if3", third)):
        assert 0.02 < spikes.mean() < 0.98
        assert (call.spikes[name].reshape(spikes.shape) != spikes.astype(bool)).sum() == 0


def test_a_graph_that_keeps_the_shape_of_its_image_can_be_sampled(tmp_path: Path) -> None:
    shape = np.array([1, 4, 4])
    graph = chain(
        image=nir.Input(shape),
        conv=nir.Conv2d((4, 4), rng.normal(size=(1, 1, 3, 3)), 1, 1, 1, 1, np.zeros(1)),
        neuron=spiking_if((1, 4, 4)),
        last=nir.Conv2d((4, 4), rng.normal(size=(1, 1, 3, 3)), 1, 1, 1, 1, np.zeros(1)),
        out=nir.Output(shape),
    )
    nir.write(tmp_path / "denoiser.nir", graph)
    model = nsim.load(tmp_path / "denoiser.nir", time_steps=2)
    run = nsim.run(nsim.map(model), sampler="ddim:2")
    assert run.counts()["count"].sum() > 0
    measure_statistics(model, tmp_path / "denoiser.nir", 2, 0, lambda done, total: None)
    again = nsim.load(tmp_path / "denoiser.nir", time_steps=2)
    assert nsim.run(nsim.map(again), sampler="analytic:2").manifest["sampler"] == "analytic:2"


# ---- other libraries' exports ---------------------------------------------------------------------


def library(name: str) -> ModuleType:
    import importlib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0])
        pytest.importorskip("nirtorch")
        return importlib.import_module(name)


def dense(first: Any, second: Any) -> nn.Sequential:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 20), first, nn.Linear(20, 4), second)
    return module.eval()


def assert_rates_equal(graph: Any, theirs: np.ndarray, x: np.ndarray, dt: float) -> None:
    """Mean spikes over time; ``x`` [T, B, 6] float32, ``theirs`` [T, B, 4]."""
    assert 0.02 < theirs.mean() < 0.98
    network = network_of_nir(graph, "theirs", STEPS, dt)
    eps = Engine(network, "float64").call(x[..., None, None]).eps[..., 0, 0]
    np.testing.assert_allclose(eps, theirs.mean(axis=0), atol=1e-6)


def test_snntorch_writes_nsim_reads() -> None:
    snn, export = library("snntorch"), library("snntorch.export_nir")
    first, second = (
        snn.Leaky(
            beta=torch.full((size,), beta),
            threshold=torch.full((size,), threshold),
            reset_mechanism="zero",
            reset_delay=False,
            init_hidden=True,
        )
        for size, beta, threshold in ((20, 0.9, 0.6), (4, 0.6, 0.3))
    )
    module = dense(first, second)
    x = rng.normal(size=(STEPS, BATCH, 6)).astype(np.float32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        graph = export.export_to_nir(module, torch.from_numpy(x[0]), ignore_dims=[0])
        for neuron in (first, second):
            neuron.reset_mem()
        theirs = torch.stack([module(torch.from_numpy(step)) for step in x]).numpy()
    assert_rates_equal(graph, theirs, x, 1e-4)


def test_norse_writes_nsim_reads(tmp_path: Path) -> None:
    """norse 1.1.0 steps by 0.001 s and writes dt tau_mem for tau: its time constants are in units of dt^2."""
    norse, export = library("norse.torch"), library("norse.torch.utils.export_nir")
    fast = norse.LIFBoxParameters(
        tau_mem_inv=torch.full((20,), 300.0), v_th=torch.full((20,), 0.3), v_leak=torch.zeros(20)
    )
    cells = norse.LIFBoxCell(fast), norse.IAFCell(norse.IAFParameters(v_th=torch.full((4,), 0.3)))
    torch.manual_seed(3)
    module = norse.SequentialState(nn.Linear(6, 20), cells[0], nn.Linear(20, 4), cells[1])
    x = 2 * rng.normal(size=(STEPS, BATCH, 6)).astype(np.float32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        graph = export.to_nir(module, torch.from_numpy(x[0, 0]))
        state, spikes = None, []
        for step in x:
            sent, state = module(torch.from_numpy(step), state)
            spikes.append(sent.numpy())
    nir.write(tmp_path / "norse.nir", graph)
    assert_rates_equal(read_nir(tmp_path / "norse.nir"), np.stack(spikes), x, 1e-6)


def test_spikingjelly_writes_nsim_reads() -> None:
    neuron = library("spikingjelly.activation_based.neuron")
    exchange = library("spikingjelly.activation_based.nir_exchange")
    functional = library("spikingjelly.activation_based.functional")
    x = rng.normal(size=(STEPS, BATCH, 6)).astype(np.float32)
    for nodes in (
        (neuron.IFNode(0.8), neuron.LIFNode(3.0, v_threshold=0.2)),
        (neuron.LIFNode(2.0, decay_input=False, v_reset=-0.1), neuron.IFNode(0.3, v_reset=0.1)),
    ):
        module = dense(*nodes)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            graph = exchange.export_to_nir(module, torch.from_numpy(x[0]), dt=DT)
            functional.reset_net(module)
            theirs = torch.stack([module(torch.from_numpy(step)) for step in x]).numpy()
        assert_rates_equal(graph, theirs, x, DT)


# ---- what is refused ------------------------------------------------------------------------------

POTENTIAL = "sends its potential, not spikes; leave it out: the host averages over time what reaches Output"
CURRENT = "has a synaptic current beside its potential, a second state; use LIF"
ONES = np.ones(3)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (nir.LI(ONES, ONES, 0 * ONES), f"(LI): {POTENTIAL}"),
        (nir.I(ONES), f"(I): {POTENTIAL}"),
        (nir.CubaLI(ONES, ONES, ONES, ONES), f"(CubaLI): {POTENTIAL}"),
        (nir.CubaLIF(ONES, ONES, ONES, ONES, ONES), f"(CubaLIF): {CURRENT}"),
        (
            nir.Delay(ONES),
            "(Delay): holds signals back, which no layer of nsim does; leave it out, or delay the input",
        ),
        (
            nir.IF(r=ONES, v_threshold=np.array([0.5, 1.0, 2.0])),
            "(IF): v_threshold differs from neuron to neuron (0.5 to 2), and a population has one; "
            "cut the node up, or scale weights and biases so that one will do",
        ),
        (spiking_if(3, r=2.0), "(IF): r = 2 is neither 1 nor 1 / dt; scale the weights instead"),
        (
            nir.LIF(tau=ONES, r=ONES, v_leak=0.2 * ONES, v_threshold=ONES),
            "(LIF): v_leak = 0.2 is not v_reset = 0, and nsim's neurons rest where they are reset; "
            "give both one value, and add what is missing to the bias of what feeds it",
        ),
        (lif(3, tau=0.5), "(LIF): tau is 0.5 of a time step of 0.001 s; take a dt of at most tau"),
        (
            nir.Affine(np.ones((3, 4)), ONES),
            "(Affine): has weights [3, 4], what reaches it is [3]; put a Flatten before it",
        ),
        (nir.Scale(np.ones(4)), "(Scale): has shape (4,) on [3]"),
        (spiking_if(4), "(IF): has parameters of shape [4], what reaches it is [3]"),
        (
            nir.Conv2d(None, np.ones((1, 3, 1, 1)), 1, 0, 1, 1, np.zeros(1)),
            "(Conv2d): takes 3 channels, [3] reach it",
        ),
    ],
)
def test_a_node_without_a_place_names_itself_and_the_way_out(node: Any, why: str) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        play(vectors(**{"block.3": node}), np.zeros((STEPS, 1, 3, 1, 1)))
    assert str(error.value) == f"block.3 {why}"


def map_node(node: Any) -> Any:
    return chain(image=nir.Input(np.array([2, 4, 4])), node=node, out=nir.Output(np.array([2, 4, 4])))


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (
            nir.Conv2d(None, np.ones((2, 2, 2, 2)), 1, "same", 1, 1, np.zeros(2)),
            "(Conv2d): padding 'same' with a stride, or an even kernel; give it as numbers",
        ),
        (
            nir.Conv2d(None, np.ones((2, 2, 5, 5)), 1, 0, 1, 1, np.zeros(2)),
            "(Conv2d): its kernel is larger than what reaches it, [2, 4, 4]",
        ),
        (nir.Flatten(None, 1, -1), "(Flatten): flattens a part of [2, 4, 4]; flatten all of it"),
        (
            nir.Scale(rng.normal(size=(2, 4, 4))),
            "(Scale): scales the elements of a channel differently; scale channels only",
        ),
    ],
)
def test_a_node_of_maps_without_a_place(node: Any, why: str) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        network_of_nir(map_node(node), "theirs", 1)
    assert str(error.value) == f"node {why}"


def test_what_a_graph_leaves_unsaid_is_asked_for() -> None:
    graph = vectors(cell=lif(3))
    with pytest.raises(ModelFileError) as error:
        network_of_nir(graph, "theirs")
    assert str(error.value) == (
        "theirs: a NIR graph does not say how many time steps it is played for; say it (--time-steps 16)"
    )
    with pytest.raises(ModelFileError) as error:
        network_of_nir(graph, "theirs", 4)
    assert str(error.value) == (
        "cell (LIF): its time constants are in seconds, and the file does not say how long a time step is; "
        "say it (--dt 1e-4 for files of snnTorch and SpikingJelly, 1e-6 for norse's)"
    )
    with pytest.raises(ModelFileError, match=r"^theirs: 0 time steps of 0.1 s; there must be"):
        network_of_nir(graph, "theirs", 0, 0.1)


def test_a_file_written_again_says_what_it_left_unsaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, mine = tmp_path / "theirs.nir", tmp_path / "mine.nir"
    nir.write(theirs, vectors(cell=lif(3, tau=4.0)))
    said = ("--time-steps", "5", "--dt", str(DT), "--out", str(mine))
    nsim_json(monkeypatch, capsys, "nir", str(theirs), *said)
    neuron = nsim.load(mine).network.neurons[0].neuron
    assert neuron is not None and neuron.tau == pytest.approx(4.0, rel=1e-15)
    assert nsim.load(mine, dt=1.0).network.neurons[0].neuron == neuron  # the file's own word holds
    assert nsim.load(mine, time_steps=2).network.time_steps == 2


def test_a_loop_is_named_and_so_is_a_node_that_hangs_loose() -> None:
    nodes = {
        "image": nir.Input(np.array([3])),
        "cell": spiking_if(3),
        "back": nir.Linear(np.eye(3)),
        "out": nir.Output(np.array([3])),
    }
    edges = [("image", "cell"), ("cell", "back"), ("back", "cell"), ("cell", "out")]
    with pytest.raises(UnsupportedOpError) as error:
        network_of_nir(nir.NIRGraph(nodes, edges, type_check=False), "theirs", 1)
    assert str(error.value).partition(": ")[2] == (
        "feeds its spikes back to itself, which nsim's layer by layer play cannot; "
        "take the edge that closes the loop out"
    )
    assert {"cell", "back"} == set(str(error.value).partition(": ")[0].split(" -> "))
    for edges, message in (
        ([("image", "out")], "cell: nothing reaches it; every node but Input has an edge into it"),
        ([("image", "nowhere")], "image -> nowhere: an edge to a node that is not in the graph"),
    ):
        with pytest.raises((UnsupportedOpError, ModelFileError)) as refused:
            network_of_nir(nir.NIRGraph(nodes, edges, type_check=False), "theirs", 1)
        assert str(refused.value) == message
    del nodes["out"]
    with pytest.raises(UnsupportedOpError) as error:
        network_of_nir(nir.NIRGraph(nodes, [], type_check=False), "theirs", 1)
    assert str(error.value) == "theirs: 0 Output nodes (none); a network has one image and one output"


def test_signals_that_do_not_add_up() -> None:
    nodes = {
        "image": nir.Input(np.array([3])),
        "wide": nir.Linear(np.ones((4, 3))),
        "cell": spiking_if(3),
        "out": nir.Output(np.array([3])),
    }
    edges = [("image", "cell"), ("image", "wide"), ("wide", "cell"), ("cell", "out")]
    with pytest.raises(UnsupportedOpError) as error:
        network_of_nir(nir.NIRGraph(nodes, edges, type_check=False), "theirs", 1)
    assert str(error.value) == "cell: signals of shapes [3] and [4] reach it, which do not add up"


def test_what_nir_has_no_word_for_is_named(tiny_network: Network, body: Network) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        nir_graph(tiny_network)
    reasons = str(error.value).removeprefix("tiny: NIR has no word for the diffusion time 't'; ")
    assert reasons.endswith(" more. docs/models.md lists what NIR can say")
    soft = tuple(
        replace(p, neuron=replace(p.neuron, v_reset=None)) if p.name == "second" and p.neuron else p
        for p in body.populations
    )
    with pytest.raises(UnsupportedOpError) as error:
        nir_graph(replace(body, populations=soft))
    assert str(error.value) == (
        "body: NIR has no word for the soft reset of second. docs/models.md lists what NIR can say"
    )
    with pytest.raises(ModelFileError) as unsaid:
        nir_graph(body, dt=0.0)
    assert str(unsaid.value) == "body: a time step of 0 s; it must be longer than 0"


def test_files_that_hold_no_graph(tmp_path: Path, body: Network) -> None:
    import h5py

    path = tmp_path / "other.nir"
    with h5py.File(path, "w") as file:
        file["something"] = 1
    with pytest.raises(ModelFileError, match=rf"^{path}: not a NIR file, or a damaged one \("):
        nsim.load(path)
    nir.write(path, nir.Linear(np.eye(2)))  # a node, no graph
    with pytest.raises(ModelFileError, match=rf"^{path}: not a NIR file, or a damaged one \("):
        nsim.load(path)
    with pytest.raises(ModelFileError, match=r"cannot be written"):
        write_nir(body, tmp_path / "nowhere" / "body.nir")
    with pytest.raises(ModelFileError) as error:
        nsim.load("sddpm-digits", dt=1e-3)
    assert str(error.value) == "sddpm-digits: dt is for NIR files only"


def test_without_the_package_nir(tmp_path: Path, body: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = tmp_path / "body.nir"
    write_nir(body, path)
    monkeypatch.setitem(sys.modules, "nir", None)
    for work, verb in ((lambda: nsim.load(path), "reading"), (lambda: write_nir(body, path), "writing")):
        with pytest.raises(ModelFileError) as error:
            work()
        assert str(error.value) == f"{path}: {verb} NIR takes the package nir; pip install 'nsim[nir]'"
