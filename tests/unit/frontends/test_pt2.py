"""torch.export programs: the same network as from the module, and nothing guessed or run."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nsim
from nsim.errors import ModelFileError, UnsupportedOpError
from nsim.frontends.load import read_checkpoint
from nsim.frontends.lower import lower
from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons import read_neuron
from nsim.simulator.engine import Engine
from nsim.workloads.sddpm import SDDPMConfig, SpikingUNet
from nsim.workloads.spiking import IFNode, LIFNode, SignedIFNode, fire
from tests.command_line import nsim_exit_code, nsim_json

STEPS = 3


class Net(nn.Module):
    """Two layers and two neurons over [T, B, C, H, W]."""

    def __init__(self, first: nn.Module, second: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.first = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), first
        self.down, self.second = nn.Conv2d(4, 4, 3, stride=4, padding=1), second or IFNode(0.3)
        self.up = nn.ConvTranspose2d(4, 2, 2, 2, bias=False)
        self.temb = nn.Sequential(nn.Embedding(1000, 4), nn.SiLU(), nn.Linear(4, 4))
        nn.init.uniform_(self.norm.running_var, 0.2, 1.0)
        nn.init.normal_(self.norm.running_mean, 0.0, 0.2)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        split = (STEPS, x.shape[0])
        h = x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1).flatten(0, 1)
        h = self.norm(self.conv(h)).unflatten(0, split) + self.temb(t)[None, :, :, None, None]
        h = self.second(self.down(self.first(h).flatten(0, 1)).unflatten(0, split))
        h = nn.functional.interpolate(h.flatten(0, 1), scale_factor=2.0)
        return self.up(h).unflatten(0, split).mean(0)


def exported(module: nn.Module, path: Path, batch: int = 1, open_batch: bool = False) -> Path:
    """``module`` as a file, exported with an image of 2 x 8 x 8 and a diffusion time."""
    sizes = {"x": {0: torch.export.Dim("batch", min=2)}, "t": {0: torch.export.Dim("batch", min=2)}}
    example = (torch.zeros(batch, 2, 8, 8), torch.zeros(batch, dtype=torch.long))
    program = torch.export.export(module.eval(), example, dynamic_shapes=sizes if open_batch else None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # torch's own, of a shared storage
        torch.export.save(program, path)
    return path


def neuron_of(module: nn.Module, path: Path) -> NeuronModel:
    """What the first neuron is read as."""
    model = nsim.load(exported(Net(module), path))
    neuron = model.network.population_by_name["first"].neuron
    assert neuron is not None
    return neuron


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.pt2"


@pytest.mark.parametrize(("temporal", "batch"), [(False, 1), (True, 2)])
def test_a_spiking_u_net_is_the_network_of_its_module(path: Path, temporal: bool, batch: int) -> None:
    torch.manual_seed(0)
    config = SDDPMConfig(2, 8, 8, (1, 2), 1, 4, v_threshold=0.3, temporal=temporal)
    module = SpikingUNet(config).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.normal_(part.running_mean, 0.0, 0.1)
    model = nsim.load(exported(module, path, batch))
    expected = lower(module, (2, 8, 8), 4, "net")
    for items in ("populations", "projections", "host_ops"):
        names = [[item.name for item in getattr(network, items)] for network in (model.network, expected)]
        assert names[0] == names[1]
    assert model.parameters == sum(p.numel() for p in module.parameters())
    x, t = np.random.default_rng(0).normal(size=(3, 2, 8, 8)), np.array([3, 700, 20])
    call, reference = (Engine(network, "float64").call(x, t) for network in (model.network, expected))
    assert all((call.spikes[name] == spikes).all() for name, spikes in reference.spikes.items())
    assert sum(spikes.sum() for spikes in reference.spikes.values()) > 1000
    assert np.array_equal(call.eps, reference.eps)
    assert call.counts.equals(reference.counts)


@pytest.mark.parametrize("open_batch", [False, True])
def test_equals_torch(path: Path, open_batch: bool) -> None:
    module = Net(LIFNode(3.0, v_threshold=0.2, v_reset=None), LIFNode(1.6, False, 0.15, -0.1))
    model = nsim.load(exported(module, path, batch=2, open_batch=open_batch))
    assert str(model).startswith("net (torch.export program; weights: from net.pt2, training unknown)")
    x, t = np.random.default_rng(0).normal(size=(3, 2, 8, 8)), np.array([3, 700, 20])
    call = nsim.simulate(model, x, t)
    assert all(0.02 < spikes.mean() < 0.9 for spikes in call.spikes.values())
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    np.testing.assert_allclose(call.eps, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "module",
    [
        IFNode(0.7),
        IFNode(1.0, -0.25),
        LIFNode(),
        LIFNode(2.0, False, 2.0),
        LIFNode(1.3, True, 0.4, None),
        LIFNode(5.0, False, 1.0, 0.5),
        LIFNode(2.5, False, 0.3, None),
    ],
    ids=repr,
)
def test_neurons_are_what_they_were(module: nn.Module, path: Path) -> None:
    assert neuron_of(module, path) == read_neuron(module, "first")


class Heaviside(nn.Module):
    """A surrogate function in a module of its own."""

    def __init__(self, at: float = 1.0) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.heaviside(x, torch.tensor(self.at))


class Own(nn.Module):
    """Beta, a threshold tensor for the layer, a surrogate module, reset in place."""

    def __init__(self, at: float = 1.0) -> None:
        super().__init__()
        self.beta, self.theta = nn.Parameter(torch.tensor(0.75)), nn.Parameter(torch.tensor([0.5]))
        self.surrogate = Heaviside(at)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, out = torch.zeros(x.shape[1:]), []
        for current in x:
            v = self.beta * v + current
            out.append(self.surrogate(v - self.theta))
            v = v - out[-1] * self.theta
        return torch.cat([spikes[None] for spikes in out])


@pytest.mark.parametrize("at", [1.0, 0.0])
def test_a_class_that_nobody_knows_is_measured(path: Path, at: float) -> None:
    """With a surrogate function in a module of its own, and a spike or none on the threshold."""
    assert neuron_of(Own(at), path) == NeuronModel(0.5, None, 4.0, False, strict=at == 0.0)


class Step(nn.Module):
    """A neuron of one step, which is handed its potential, as snnTorch's."""

    def forward(self, x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        v = 0.9 * v + x - (v > 0.4).to(x) * 0.4
        return (v > 0.4).to(x), v


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.neuron, self.out = nn.Conv2d(2, 4, 1), Step(), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        v: Any = torch.zeros(())
        total: Any = 0
        for _ in range(STEPS):
            spikes, v = self.neuron(self.conv(x), v)
            total = total + self.out(spikes)
        return total / STEPS


def test_a_loop_over_time_steps(path: Path) -> None:
    torch.manual_seed(1)
    module = Loop()
    model = nsim.load(exported(module, path))
    assert model.network.time_steps == STEPS
    (population,) = model.network.neurons
    assert population.neuron == NeuronModel(0.4, None, 1 / (1 - 0.9), False, True, 0.4 / 0.9)
    x = np.random.default_rng(0).normal(size=(2, 2, 8, 8))
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(x), None).numpy()
    call = nsim.simulate(model, x, np.array([1, 2]))
    assert 0.05 < call.spikes["neuron"].mean() < 0.9
    np.testing.assert_allclose(call.eps, expected, rtol=1e-9, atol=1e-12)


class Almost(nn.Module):
    """A LIF but for what ``change`` does to (u, spike, step)."""

    def __init__(self, change: Callable[..., Any], sent: Callable[..., Any] = lambda u, s: s) -> None:
        super().__init__()
        self.change, self.sent = change, sent

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, out = torch.zeros_like(x[0]), []
        for step, current in enumerate(x):
            u = v + (current - v) / 2.0
            s = fire(u - 1.0)
            out.append(self.sent(u, s))
            v = self.change(u * (1.0 - s), s, step)
        return torch.stack(out)


class ThresholdEach(nn.Module):
    """A threshold for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.arange(1.0, 5.0)[:, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([(current >= self.theta).to(x) for current in x])


class InPlace(nn.Module):
    """Adds its potential to its current, where it lies."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, out = torch.zeros_like(x[0]), []
        for step in range(STEPS):
            u = x[step].add_(v)
            out.append((u >= 1.0).to(x))
            v = u * (1.0 - out[-1])
        return torch.stack(out)


NOT_A_NEURON = "its spikes are not those of an IF or LIF neuron"


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (Almost(lambda u, s, step: u.clamp(min=-30.0)), NOT_A_NEURON),
        (Almost(lambda u, s, step: u - 0.001 * s), NOT_A_NEURON),
        (Almost(lambda u, s, step: u if step < 1 else 0.5 * u), NOT_A_NEURON),
        (Almost(lambda u, s, step: u, lambda u, s: s * 0.5), NOT_A_NEURON),
        (Almost(lambda u, s, step: u - 0.01 * u.roll(1, 1)), "beside operation aten.roll.default"),
        (Almost(lambda u, s, step: u - 0.01 * u.sum(1, keepdim=True)), NOT_A_NEURON),
        (
            ThresholdEach(),
            "it reads 4 different numbers of shape [4, 1, 1], and nsim plays one for the layer",
        ),
        (SignedIFNode(0.5), NOT_A_NEURON),
        (InPlace(), "it writes into its current, which others may read"),
    ],
)
def test_what_is_nearly_a_neuron_is_refused(module: nn.Module, why: str, path: Path) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        nsim.load(exported(Net(module), path))
    assert str(error.value).startswith(f"{path}: first") and why in str(error.value)
    assert "package.module:function" in str(error.value) and "\n" not in str(error.value)


def test_other_work_is_refused_with_its_module(path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort(-1).values

    with pytest.raises(UnsupportedOpError) as error:
        nsim.load(exported(Net(IFNode(), nn.Sequential(IFNode(), Sorted())), path))
    assert str(error.value) == (
        f"{path}: second.1 (Sorted): operation aten.sort.default of a torch.export program has no place in a "
        "Network; write it with torch's layers and IF/LIF neurons, or give the module that was exported, "
        "package.module:function"
    )
    with pytest.raises(
        UnsupportedOpError, match=r"net\.pt2: no neurons, which are modules of their own, in it$"
    ):
        nsim.load(exported(Net(nn.Tanh(), nn.Tanh()), path))


def test_the_command_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(Net(IFNode(0.3)), path)
    facts = nsim_json(monkeypatch, capsys, "map", str(path), "--v-threshold", "0.2")
    assert facts["model"] == "net"
    exported(Net(SignedIFNode()), path)
    assert nsim_exit_code(monkeypatch, "map", str(path)) == 2
    assert capsys.readouterr().err.count("\n") < 5
    with pytest.raises(ModelFileError, match="was exported with 3 time steps, 4 cannot be had; export"):
        nsim.load(exported(Net(IFNode()), path), time_steps=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(Net(IFNode()), tmp_path_factory.mktemp("whole") / "net.pt2")


def changed(whole: Path, path: Path, ending: str, change: Callable[[bytes], bytes | None]) -> None:
    """Write the archive again, the member with this ending changed, or left out."""
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in members if name.endswith(ending))
    new = change(members.pop(name))
    with zipfile.ZipFile(path, "w") as archive:
        for other, content in (members | ({} if new is None else {name: new})).items():
            archive.writestr(other, content)


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    """The member with one text in place of another, which it must have."""

    def change(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode())

    return change


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        (
            "data/weights/weight_0",
            lambda content: content[:-4],
            "ValueError: strides is incompatible with shape",
        ),
        ("data/weights/weight_0", lambda content: None, "KeyError: "),
        ("models/model.json", lambda content: content[:500], "JSONDecodeError: "),
        ("models/model.json", lambda content: b"[]", "TypeError: "),
        (
            "models/model.json",
            replaced('"name": "x"', '"name": "x=print(1)"'),
            "ValueError: a value called 'x=",
        ),
        ("models/model.json", replaced(",first,", ',f\\"+print(1)+\\",'), "ValueError: a module path 'f\"+"),
        ("models/model.json", replaced('"sizes"', '"size"'), "KeyError: 'sizes'"),
        (
            "weights_config.json",
            replaced('"use_pickle": false', '"use_pickle": true'),
            "pickled; nsim reads plain",
        ),
        ("byteorder", replaced("little", "big"), "its numbers are big-endian"),
        ("weights_config.json", replaced('"dtype": 7', '"dtype": 10'), "of torch type 10; nsim reads plain"),
    ],
)
def test_a_damaged_program_is_said_to_be_one(
    member: str, change: Callable[[bytes], bytes | None], message: str, whole: Path, path: Path
) -> None:
    """Also one whose names are Python, which nothing may run, and one with a pickle in it."""
    changed(whole, path, member, change)
    with pytest.raises((ModelFileError, UnsupportedOpError)) as error:
        nsim.load(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_a_flipped_bit_is_noticed(whole: Path, path: Path) -> None:
    with zipfile.ZipFile(whole) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith("weight_0"))
    content = bytearray(whole.read_bytes())
    content[info.header_offset + 300] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="Bad CRC-32"):
        nsim.load(path)


def test_what_is_no_program_of_this_torch(whole: Path, path: Path) -> None:
    with pytest.raises(
        ModelFileError, match="a model of its own and no file of weights; give it as the model"
    ):
        read_checkpoint(whole)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", json.dumps({}))
    with pytest.raises(UnsupportedOpError, match="an old torch, whose weights are pickled; export it again"):
        nsim.load(path)
