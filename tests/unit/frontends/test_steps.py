"""Forwards that loop over time steps, with stand-ins that have SpikingJelly's class names and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nsim.errors import UnsupportedOpError
from nsim.frontends.lower import lower
from nsim.simulator.engine import Engine

STEPS = 3


class IFNode(nn.Module):
    """Stand-in for SpikingJelly's, one step at a time, its potential kept inside."""

    v_threshold, v_reset, step_mode = 0.4, 0.0, "s"

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.v + x
        spikes = (u >= self.v_threshold).to(x)
        self.v = u * (1 - spikes)
        return spikes


class Looped(nn.Module):
    """What all of these have; each reads its steps out in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.fire = nn.Conv2d(1, 4, 3, padding=1), IFNode()
        self.middle, self.again = nn.Conv2d(4, 4, 3, padding=1), IFNode()
        self.out, self.time = nn.Conv2d(8, 1, 1), nn.Embedding(10, 4)

    def step(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        current = self.encode(x)
        spikes = self.fire(current)
        spikes = self.again(self.middle(spikes) + current + self.time(t)[:, :, None, None])
        return self.out(torch.cat([spikes, current], 1))


class Stacked(Looped):
    def forward(self, x, t):
        return torch.stack([self.step(x, t) for _ in range(STEPS)]).mean(0)


class Summed(Looped):
    def forward(self, x, t):
        return sum(self.step(x, t) for _ in range(STEPS)) / STEPS


class FromZeros(Looped):
    def forward(self, x, t):
        total = torch.zeros_like(x)
        for _ in range(STEPS):
            total = total + self.step(x, t)
        return total


class OverASequence(Looped):
    def forward(self, x, t):
        steps = x.unsqueeze(0).expand(STEPS, -1, -1, -1, -1)
        first = self.step(steps[0], t)
        for k in range(1, STEPS):
            first = first + self.step(steps[k], t)
        return first


@pytest.mark.parametrize("model", [Stacked, Summed, FromZeros, OverASequence])
def test_a_loop_over_steps_is_played_as_it_stands(model: type[Looped]) -> None:
    torch.manual_seed(0)
    module = model().double().eval()
    network = lower(module, (1, 6, 4), STEPS, "looped")
    assert [p.name for p in network.neurons] == ["fire", "again"]
    x, t = np.random.default_rng(0).normal(size=(2, 1, 6, 4)), np.array([3, 7])
    call = Engine(network, "float64").call(x, t)
    with torch.no_grad():
        expected = module(torch.from_numpy(x), torch.from_numpy(t)).numpy()
    assert all(0.05 < spikes.mean() < 0.95 for spikes in call.spikes.values())
    np.testing.assert_allclose(call.eps, expected, rtol=1e-12, atol=1e-14)


class TooFewSteps(Looped):
    def forward(self, x, t):
        return self.step(x, t) + self.step(x, t)


class FedBack(Looped):
    def forward(self, x, t):
        out = x
        for _ in range(STEPS):
            out = self.step(out, t)
        return out


class Weighted(Looped):
    def forward(self, x, t):
        total = self.step(x, t)
        for _ in range(1, STEPS):
            total = 0.8 * total + self.step(x, t)
        return total


class LastStep(Looped):
    def forward(self, x, t):
        return [self.step(x, t) for _ in range(STEPS)][-1]


ACROSS = (
    " uses values of more than one time step; between steps only neurons keep a state, and outputs are "
    "stacked, summed or averaged over all steps"
)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            TooFewSteps,
            "fire: plays one step at a time and is called 2 times, the model has 3 time steps; call it once "
            "for each, or set its step_mode to 'm' and give it [T, B, C, H, W]",
        ),
        (FedBack, "fire: 'fire_1'" + ACROSS),
        (Weighted, "the model's forward: 'add_4'" + ACROSS),
        (LastStep, "the model's forward: 'output'" + ACROSS),
    ],
)
def test_what_a_loop_may_not_do_is_said(model: type[Looped], message: str) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        lower(model(), (1, 6, 4), STEPS, "looped")
    assert str(error.value) == message
