"""Anyone's model by package.module:function, its neurons look-alikes of SpikingJelly's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nsim
from nsim.errors import ModelFileError, UnsupportedOpError

SOURCE = '''
import torch
from torch import nn


class BaseNode(nn.Module):
    """What SpikingJelly's neurons are, as far as anyone outside sees."""

    def __init__(self, v_threshold=1.0, v_reset=0.0, step_mode="m"):
        super().__init__()
        self.v_threshold, self.v_reset, self.step_mode = v_threshold, v_reset, step_mode

    def forward(self, x):
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = self.charge(v, current)
            s = (v >= self.v_threshold).to(x)
            v = v - s * self.v_threshold if self.v_reset is None else v * (1 - s) + s * self.v_reset
            out.append(s)
        return torch.stack(out)


class IFNode(BaseNode):
    def charge(self, v, x):
        return v + x


class ParametricLIFNode(BaseNode):
    decay_input = True

    def __init__(self, **options):
        super().__init__(**options)
        self.w = nn.Parameter(torch.tensor(0.3))

    def charge(self, v, x):
        return v + (x - v) * self.w.sigmoid()


class Mine(IFNode):
    """A subclass is found by its parent's name."""


class Denoiser(nn.Module):
    def __init__(self, neuron=None):
        super().__init__()
        self.conv, self.fire = nn.Conv2d(2, 6, 3, padding=1), Mine()
        self.mid, self.leak = nn.Conv2d(6, 6, 3, padding=1), neuron or ParametricLIFNode(v_reset=None)
        self.out = nn.ConvTranspose2d(6, 2, 2)
        self.temb = nn.Embedding(1000, 6)

    def forward(self, x, t):
        steps = x.unsqueeze(0).expand(3, -1, -1, -1, -1)
        h = self.fire(self.conv(steps.flatten(0, 1)).unflatten(0, (3, x.shape[0])))
        h = self.mid(h.flatten(0, 1)).unflatten(0, (3, x.shape[0])) + self.temb(t)[None, :, :, None, None]
        h = self.leak(h)
        return self.out(h.flatten(0, 1)).unflatten(0, (3, x.shape[0])).mean(0)


def make():
    torch.manual_seed(0)
    return Denoiser()


def make_complete():
    module = make()
    module.image_shape, module.time_steps = (2, 5, 5), 3
    return module


def pooled():
    return Denoiser(nn.Sequential(nn.MaxPool3d(1), IFNode()))


def not_a_module():
    return 3
'''


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_models", raising=False)


def test_equals_torch_with_the_weights_of_a_file(tmp_path: Path) -> None:
    from my_models import make  # type: ignore[import-not-found]

    module = make().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "w.pt")
    model = nsim.load("my_models:make", time_steps=3, weights=tmp_path / "w.pt", image=(2, 5, 5))
    assert (model.workload, model.weights) == ("my_models:make", "from w.pt, training unknown")
    x, t = np.random.default_rng(0).normal(size=(2, 2, 5, 5)), np.array([3, 700])
    call = nsim.simulate(model, x, t)
    assert all(spikes.any() for spikes in call.spikes.values())
    # the factory's module is float32: so are the weights it took from the file
    single = make()
    single.load_state_dict(module.state_dict())
    with torch.no_grad():
        expected = single.double()(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    np.testing.assert_allclose(call.eps, expected, rtol=1e-9, atol=1e-12)


def test_a_module_may_say_its_own_sizes() -> None:
    model = nsim.load("my_models:make_complete", v_threshold=0.9)
    assert model.network.time_steps == 3
    assert {p.neuron.v_threshold for p in model.network.neurons if p.neuron} == {0.9}
    assert model.weights == "as made by my_models:make_complete, training unknown"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_models:make", "my_models:make: the image shape (--image 3x32x32) are not known; say them"),
        ("my_models:absent", "module 'my_models' has no attribute 'absent'; write package.module:function"),
        ("no_such_package:make", "No module named 'no_such_package'; write package.module:function"),
        ("my_models:not_a_module", "my_models:not_a_module: returns a int, not a torch module"),
    ],
)
def test_what_is_wrong_is_said(name: str, message: str) -> None:
    with pytest.raises(ModelFileError) as error:
        nsim.load(name)
    assert message in str(error.value)


def test_an_unsupported_module_names_itself_its_path_and_what_to_do() -> None:
    with pytest.raises(UnsupportedOpError) as error:
        nsim.load("my_models:pooled", time_steps=3, image=(2, 5, 5))
    assert str(error.value).startswith("leak.0: module MaxPool3d (graph node 'leak_0') has no place")
    assert "write it with convolution" in str(error.value)


def test_weights_are_for_factories_only() -> None:
    with pytest.raises(ModelFileError, match=r"weights and image are for package\.module:function only"):
        nsim.load("sddpm-digits", weights="w.pt")
