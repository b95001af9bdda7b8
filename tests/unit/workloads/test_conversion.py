"""ANN-SNN conversion: single layers exactly, whole networks against torch, and how far a network is off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nsim
from nsim.errors import MappingError, ModelFileError, QuantizeError, RunError, UnsupportedOpError
from nsim.frontends.lower import lower
from nsim.frontends.quantize import quantize
from nsim.simulator.brian2_reference import check_call
from nsim.simulator.engine import Engine
from nsim.simulator.reference import update_signed_naive
from nsim.workloads.conversion import convert, dense_macs
from nsim.workloads.quantised_unet import QuantisedConfig, QuantisedReLU, QuantisedUNet
from nsim.workloads.spiking import SignedIFNode
from tests.command_line import nsim_json

SMALL = QuantisedConfig(
    image_channels=1, image_size=8, channels=32, channel_multipliers=(1, 2), blocks_per_level=1
)


def random_ann(config: QuantisedConfig = SMALL, act_alpha: float = 1.5) -> QuantisedUNet:
    torch.manual_seed(0)
    ann = QuantisedUNet(config)
    for name, parameter in ann.named_parameters():
        if name.endswith("act_alpha"):
            nn.init.constant_(parameter, act_alpha)
    return ann.eval()


@pytest.fixture(scope="module")
def ann_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ann") / "ann.pt"
    torch.save({"ema_model": random_ann().state_dict(), "x_T": torch.zeros(1, 1, 8, 8)}, path)
    return path


class Layer(nn.Module):
    """One convolution and one activation, of an image that is the same at every time step."""

    def __init__(self, activation: nn.Module, time_steps: int) -> None:
        super().__init__()
        self.steps = time_steps
        self.conv, self.activation = nn.Conv2d(2, 5, 3, padding=1), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        current = self.conv(x.repeat(self.steps, 1, 1, 1)).unflatten(0, (self.steps, -1))
        return self.activation(current).mean(0)


@settings(max_examples=20)
@given(bits=st.integers(1, 6), alpha=st.floats(0.2, 3.0), seed=st.integers(0, 100))
def test_a_layer_of_constant_input_sends_its_relu_exactly(bits: int, alpha: float, seed: int) -> None:
    """Every output, level for level, in torch and in the engine: from below 0 to beyond the clip."""
    levels = 2**bits - 1
    torch.manual_seed(seed)
    ann = Layer(QuantisedReLU(levels, alpha), 1).double()
    snn = Layer(SignedIFNode(alpha), levels).double()
    snn.load_state_dict(ann.state_dict())
    x = 3 * torch.randn(1, 2, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        wanted, found = ann(x).numpy(), snn(x).numpy()
    step = snn.activation.act_alpha.item() / levels
    assert np.array_equal(np.rint(found / step), np.rint(wanted / step))
    call = Engine(lower(snn, (2, 4, 4), levels, "layer"), "float64").call(x.numpy())
    assert np.array_equal(call.signs["activation"].sum(axis=0), np.rint(wanted / step))
    assert not (call.signs["activation"] < 0).any()
    np.testing.assert_allclose(call.eps, found, rtol=1e-12)


def test_signed_neurons_take_back_what_they_sent_too_much() -> None:
    """Inputs that change: the kernel against plain steps, in both precisions."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = rng.normal(0.3, 1.0, size=(7, 3, 2, 4, 4)).astype(dtype)
        signs, potentials = update_signed_naive(0.75, x)
        assert (signs == 1).mean() > 0.1 and (signs == -1).mean() > 0.02
        assert signs.cumsum(axis=0).min() == 0
        neuron = SignedIFNode(0.75)
        with torch.no_grad():
            sent = neuron(torch.from_numpy(x))
        assert np.array_equal(sent.numpy(), signs * dtype(0.75))

        class Alone(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.neuron = SignedIFNode(0.75)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.neuron(x.repeat(7, 1, 1, 1).unflatten(0, (7, -1))).mean(0)

        precision = "float32" if dtype is np.float32 else "float64"
        call = Engine(lower(Alone(), (2, 4, 4), 7, "alone"), precision).call(x)
        assert np.array_equal(call.signs["neuron"], signs)
        assert np.array_equal(call.spikes["neuron"], signs != 0)
        assert np.array_equal(call.potentials["neuron"], potentials[-1])
        counts = call.counts
        assert counts["spikes"].sum() == np.count_nonzero(signs)


def test_the_whole_network_equals_torch_and_its_group_norms_are_the_hosts() -> None:
    config = replace(SMALL, spiking=True)
    snn = QuantisedUNet(config).double().eval()
    snn.load_state_dict(random_ann().double().state_dict())
    torch.manual_seed(2)
    x, t = torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.tensor([10, 700])
    with torch.no_grad():
        wanted = snn(x, t).numpy()
    network = lower(snn, (1, 8, 8), 3, "snn")
    call = Engine(network, "float64").call(x.numpy(), t.numpy())
    np.testing.assert_allclose(call.eps, wanted, rtol=1e-9, atol=1e-12)
    assert len(network.neurons) == sum(isinstance(m, SignedIFNode) for m in snn.modules()) == 26
    assert any((signs < 0).any() for signs in call.signs.values())
    norms = [op for op in network.host_ops if op.kind == "group_norm"]
    assert len(norms) == sum(isinstance(m, nn.GroupNorm) for m in snn.modules()) == 17
    counts = call.counts
    first = counts[counts["layer"] == norms[0].name]
    assert first["elementwise"].tolist() == [2 * 32 * 8 * 8] * 3  # two images, three time steps


def test_the_authors_size() -> None:
    """Parameters and convolutions' multiply-accumulates as measured on the authors' code."""
    snn = QuantisedUNet(QuantisedConfig(spiking=True))
    assert sum(p.numel() for p in snn.parameters()) == 34_292_295
    assert sum(key.endswith("act_alpha") for key in snn.state_dict()) == 68
    network = lower(snn, (3, 32, 32), 3, "authors")
    dense = sum(m.weight.numel() for m in snn.modules() if isinstance(m, nn.Linear))
    assert round((dense_macs(network) - dense) / 1e9, 3) == 5.711


def test_a_file_is_converted_and_loads(
    ann_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "snn.pt"
    facts = nsim_json(monkeypatch, capsys, "convert", str(ann_file), "--bits", "2", "--out", str(out))
    assert facts["time_steps"] == 3 and facts["activations"] == 26
    assert facts["group_norms_on_host"] == 17
    assert facts["weights"] == (
        "as found in the file, training unknown; converted to spikes, activations of 2 bits"
    )
    layers = {row["layer"]: row for row in facts["layers"]}
    # the time embedding's input is the same at every step, and so is the image behind the first GroupNorm
    for exact in ("time_embedding.timembedding.2", "downblocks.0.block1.1"):
        assert layers[exact]["max_levels"] == 0 and layers[exact]["rate"] > 0.02
    assert facts["eps_error"] > 0 and layers["tail.1"]["mean_levels"] > 0
    model = nsim.load(out)
    assert (model.workload, model.network.time_steps, model.ann_twin_macs) == (
        "ann2snn",
        3,
        facts["ann_macs"],
    )
    call = nsim.simulate(model, np.zeros((1, 1, 8, 8)), np.array([5]))
    assert set(call.signs) == {p.name for p in model.network.neurons}


class Deep(nn.Module):
    """Three convolutions and activations without a norm."""

    def __init__(self, activations: list[nn.Module], time_steps: int) -> None:
        super().__init__()
        self.steps = time_steps
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in activations)
        for conv in self.convs:
            nn.init.normal_(conv.weight, 0.1, 0.4)
        self.activations = nn.ModuleList(activations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.repeat(self.steps, 1, 1, 1)
        for conv, activation in zip(self.convs, self.activations, strict=True):
            x = activation(conv(x).unflatten(0, (self.steps, -1))).flatten(0, 1)
        return x.unflatten(0, (self.steps, -1)).mean(0)


def test_without_norms_more_bits_come_nearer_to_the_ann() -> None:
    """Behind the first layer spikes come when they come; the more of them, the less that matters."""
    torch.manual_seed(5)
    x, errors = torch.randn(2, 2, 6, 6), []
    state = Deep([QuantisedReLU(1, 1.5) for _ in range(3)], 1).state_dict()
    for levels in (3, 15, 63):
        ann = Deep([QuantisedReLU(levels) for _ in range(3)], 1)
        snn = Deep([SignedIFNode() for _ in range(3)], levels)
        for module in (ann, snn):
            module.load_state_dict(state)
        with torch.no_grad():
            wanted = ann(x).numpy()
        found = Engine(lower(snn, (2, 6, 6), levels, "deep")).call(x.numpy()).eps
        errors.append(float(np.abs(found - wanted).mean() / np.abs(wanted).mean()))
    assert errors == sorted(errors, reverse=True) and 0.01 < errors[0] and errors[-1] < errors[0] / 4, errors


class NormOfTheMean(nn.Module):
    """A GroupNorm of [T * B, C, H, W] whose statistics are those of the mean over the T steps."""

    def __init__(self, norm: nn.GroupNorm, time_steps: int) -> None:
        super().__init__()
        self.norm, self.steps = norm, time_steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = x.unflatten(1, (self.norm.num_groups, -1)).unflatten(0, (self.steps, -1))
        mean = groups.mean(0)
        centre = mean.mean((2, 3, 4), keepdim=True)
        variance = mean.var((2, 3, 4), unbiased=False, keepdim=True)
        scaled = ((groups - centre) / torch.sqrt(variance + self.norm.eps)).flatten(0, 1).flatten(1, 2)
        return scaled * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]


class EvenNode(SignedIFNode):
    """A signed neuron whose current is spread evenly over the steps."""

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        return super().forward(current.mean(0, keepdim=True).expand_as(current))


def spiking_variant(ann: QuantisedUNet, norms_of_the_mean: bool, even: bool) -> QuantisedUNet:
    snn = QuantisedUNet(replace(ann.config, spiking=True)).double().eval()
    snn.load_state_dict(ann.state_dict())
    for name, module in list(snn.named_modules()):
        parent, _, own = name.rpartition(".")
        if norms_of_the_mean and isinstance(module, nn.GroupNorm):
            setattr(snn.get_submodule(parent), own, NormOfTheMean(module, snn.config.time_steps))
        elif even and isinstance(module, SignedIFNode):
            module.__class__ = EvenNode
    return snn


@pytest.mark.parametrize("bits", [2, 4])
def test_what_sets_a_whole_network_apart_from_its_ann(bits: int) -> None:
    """GroupNorms of single time steps, and currents that come when they come: without both nothing is left.

    More bits do away with the second, not with the first.
    """
    ann = random_ann(replace(SMALL, bits=bits)).double()
    torch.manual_seed(99)
    x, t = torch.randn(2, 1, 8, 8, dtype=torch.float64), torch.full((2,), 500)
    with torch.no_grad():
        wanted = ann(x, t)
        errors = {
            (norms, even): float((spiking_variant(ann, norms, even)(x, t) - wanted).norm() / wanted.norm())
            for norms in (False, True)
            for even in (False, True)
        }
    assert errors[True, True] < 1e-12
    assert errors[False, True] > 0.3 and errors[False, False] > 0.4
    assert errors[True, False] > 0.6 if bits == 2 else errors[True, False] < 0.4


def test_the_authors_keys_of_the_spiking_network_load_too(ann_file: Path, tmp_path: Path) -> None:
    state = torch.load(ann_file)["ema_model"]
    theirs = {}
    for key, tensor in state.items():
        parts = key.split(".")
        plain = {"main", "shortcut", "head"} & set(parts)
        theirs[key if plain else ".".join([*parts[:-2], "block", *parts[-2:]])] = tensor
    path = tmp_path / "theirs.pt"
    torch.save({"ema_model": theirs, "x_T": torch.zeros(1, 1, 8, 8)}, path)
    convert(ann_file, 2, tmp_path / "ours.pt")
    ours, loaded = nsim.load(tmp_path / "ours.pt"), nsim.load(path, time_steps=3)
    x, t = np.random.default_rng(0).normal(size=(1, 1, 8, 8)), np.array([100])
    assert np.array_equal(nsim.simulate(ours, x, t).eps, nsim.simulate(loaded, x, t).eps)


def test_what_is_refused(ann_file: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    out = tmp_path / "snn.pt"
    for path, bits, message in (
        (
            tiny_checkpoint,
            2,
            f"{tiny_checkpoint}: no activation with an act_alpha in it; what is converted is "
            "a quantised-ReLU U-Net, whose keys end on block1.1.act_alpha",
        ),
        (ann_file, 0, f"{ann_file}: activations of 0 bits; 1 to 8 can be had"),
    ):
        with pytest.raises(ModelFileError) as error:
            convert(path, bits, out)
        assert str(error.value) == message and not out.exists()
    with pytest.raises(ModelFileError) as error:
        nsim.load(ann_file)
    assert str(error.value) == (
        f"{ann_file}: a quantised-ReLU U-Net, an ANN; nsim convert {ann_file} --bits 2 --out FILE makes a "
        "spiking network of it"
    )
    convert(ann_file, 2, out)
    with pytest.raises(
        ModelFileError, match="4 time steps; a network converted from activations of b bits has"
    ):
        nsim.load(out, time_steps=4)
    with pytest.raises(ModelFileError, match="the thresholds of signed neurons are the clips of the ANN's"):
        nsim.load(out, v_threshold=0.9)
    model = nsim.load(out)
    with pytest.raises(MappingError) as refused:
        nsim.map(model)
    assert str(refused.value) == (
        "time_embedding.timembedding.2: its spikes have a sign (ANN-SNN conversion), which no chip of this "
        "version sends. nsim.simulate plays and counts it"
    )
    with pytest.raises(QuantizeError, match="sends spikes of its own height; they stay real"):
        quantize(model.network)
    call = Engine(model.network, "float64").call(np.zeros((1, 1, 8, 8)), np.array([1]), keep_currents=True)
    with pytest.raises(RunError, match="sends signed spikes, for which Brian2 has no threshold"):
        check_call(call)
    with pytest.raises(UnsupportedOpError) as unsupported:
        lower(random_ann(), (1, 8, 8), 1, "ann")
    assert str(unsupported.value) == (
        "time_embedding.timembedding.2: QuantisedReLU: is an ANN's activation; convert the network to spikes "
        "first: nsim convert"
    )
