"""Neurons against a loop over Python floats, and the surrogate gradient against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nsim.workloads.spiking import IFNode, LIFNode

currents = st.lists(st.floats(-2, 2), min_size=1, max_size=12)
thresholds = st.floats(0.1, 2)


def run(node: torch.nn.Module, current: list[float]) -> list[float]:
    """Spikes of one neuron, in float64 so that Python's floats round the same way."""
    return node(torch.tensor(current, dtype=torch.float64)[:, None])[:, 0].tolist()


@given(current=currents, v_threshold=thresholds, v_reset=st.floats(-0.5, 0))
def test_if_node(current: list[float], v_threshold: float, v_reset: float) -> None:
    v, spikes = v_reset, []
    for x in current:
        u = v + x
        spikes.append(float(u >= v_threshold))
        v = v_reset if u >= v_threshold else u
    assert run(IFNode(v_threshold, v_reset), current) == spikes


@given(
    current=currents,
    tau=st.floats(1, 10),
    decay_input=st.booleans(),
    v_threshold=thresholds,
    v_reset=st.none() | st.floats(-0.5, 0),
)
def test_lif_node(
    current: list[float], tau: float, decay_input: bool, v_threshold: float, v_reset: float | None
) -> None:
    rest = 0.0 if v_reset is None else v_reset
    v, spikes = rest, []
    for x in current:
        u = v + (x - (v - rest)) / tau if decay_input else v - (v - rest) / tau + x
        fired = u >= v_threshold
        spikes.append(float(fired))
        v = u if not fired else u - v_threshold if v_reset is None else v_reset
    assert run(LIFNode(tau, decay_input, v_threshold, v_reset), current) == spikes


@pytest.mark.parametrize("node", [IFNode(v_threshold=1.0), LIFNode(tau=1.0, v_threshold=1.0)])
def test_reaching_the_threshold_is_enough(node: torch.nn.Module) -> None:
    assert run(node, [1.0, 1.0 - 1e-15, 1.0]) == [1.0, 0.0, 1.0]


def explicit_if(current: torch.Tensor, v_threshold: float, v_reset: float) -> torch.Tensor:
    """The same neuron for autograd: a step forwards, ``atan(pi (u - v_th)) / pi`` backwards."""
    v = torch.full_like(current[0], v_reset)
    spikes = []
    for x in current:
        u = v + x
        smooth = torch.atan(math.pi * (u - v_threshold)) / math.pi
        s = (u >= v_threshold).to(u) + smooth - smooth.detach()
        v = u * (1 - s) + v_reset * s
        spikes.append(s)
    return torch.stack(spikes)


@pytest.mark.parametrize(("v_threshold", "v_reset"), [(1.0, 0.0), (0.7, -0.3)])
def test_surrogate_gradient(v_threshold: float, v_reset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(6, 200, dtype=torch.float64, generator=generator).add_(0.4).requires_grad_()
    weights = torch.randn(6, 200, dtype=torch.float64, generator=generator)
    spikes = IFNode(v_threshold, v_reset)(current)
    assert 0.1 < spikes.mean().item() < 0.9
    (found,) = torch.autograd.grad((spikes * weights).sum(), current)
    (expected,) = torch.autograd.grad((explicit_if(current, v_threshold, v_reset) * weights).sum(), current)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
