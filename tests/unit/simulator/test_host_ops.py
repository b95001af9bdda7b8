"""Host ops against torch, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import HostOp, HostOpKind, Network, Population
from nsim.simulator.engine import Engine
from nsim.simulator.host_ops import evaluate

DTYPE = np.dtype(np.float64)
rng = np.random.default_rng(0)
MAPS = rng.normal(size=(4, 2, 3, 6, 5))
"""[T, B, C, H, W], as torch has them."""
FEATURES = rng.normal(size=(2, 7))


def op(
    kind: HostOpKind,
    shape: tuple[int, ...],
    params: dict[str, np.ndarray] | None = None,
    kernel: Kernel | None = None,
) -> HostOp:
    return HostOp("op", kind, ("a",), (), shape, True, params or {}, kernel)


def on_maps(host_op: HostOp, *inputs: np.ndarray) -> np.ndarray:
    """Evaluate with channels last, as the engine holds maps; the answer as torch has it."""
    found = evaluate(host_op, [np.ascontiguousarray(np.moveaxis(x, 2, -1)) for x in inputs], DTYPE)
    return np.moveaxis(found, -1, 2)


def assert_close(found: np.ndarray, expected: torch.Tensor) -> None:
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-14)


def test_embedding() -> None:
    table, t = rng.normal(size=(10, 4)), np.array([3, 0, 9])
    assert_close(
        evaluate(op("embedding", (4,), {"table": table}), [t], DTYPE),
        F.embedding(torch.from_numpy(t), torch.from_numpy(table)),
    )


@pytest.mark.parametrize("biased", [True, False])
def test_linear(biased: bool) -> None:
    weight, bias = rng.normal(size=(5, 7)), rng.normal(size=5)
    params = {"weight": weight} | ({"bias": bias} if biased else {})
    expected = F.linear(
        torch.from_numpy(FEATURES), torch.from_numpy(weight), torch.from_numpy(bias) if biased else None
    )
    assert_close(evaluate(op("linear", (5,), params), [FEATURES], DTYPE), expected)


def test_swish_and_sigmoid() -> None:
    assert_close(on_maps(op("swish", (3, 6, 5)), MAPS), F.silu(torch.from_numpy(MAPS)))
    assert_close(evaluate(op("swish", (7,)), [FEATURES], DTYPE), F.silu(torch.from_numpy(FEATURES)))
    assert_close(on_maps(op("sigmoid", (3, 6, 5)), MAPS), torch.sigmoid(torch.from_numpy(MAPS)))


@pytest.mark.parametrize("biased", [True, False])
def test_convolution(biased: bool) -> None:
    """By the engine, which keeps a host convolution's tiles like any other's."""
    layer = nn.Conv2d(3, 70, (3, 2), stride=(2, 1), padding=(1, 0), bias=biased).double()
    kernel = Kernel(70, layer.weight.detach().numpy(), (2, 1), (1, 0))
    params = {"bias": layer.bias.detach().numpy()} if biased else {}
    conv = HostOp("conv", "conv", ("x",), (3, 6, 5), (70, 3, 4), False, params, kernel)
    image = Population("x", "source", (3, 6, 5))
    network = Network("one conv", 4, "x", "t", "conv", (image,), (), (), (conv,))
    with torch.no_grad():
        expected = layer(torch.from_numpy(MAPS[0]))
    assert_close(Engine(network, "float64").call(MAPS[0], np.zeros(2, int)).eps, expected)


def test_affine_is_batch_norm() -> None:
    norm = nn.BatchNorm2d(3).double().eval()
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    scale = (1 / torch.sqrt(norm.running_var + norm.eps)).numpy()
    params = {"scale": scale, "bias": -norm.running_mean.numpy() * scale}
    with torch.no_grad():
        expected = norm(torch.from_numpy(MAPS).flatten(0, 1)).unflatten(0, (4, 2))
    assert_close(on_maps(op("affine", (3, 6, 5), params), MAPS), expected)


def test_add_multiply_scale_and_sum_over_time() -> None:
    other, shape = rng.normal(size=MAPS.shape), (3, 6, 5)
    a, b = torch.from_numpy(MAPS), torch.from_numpy(other)
    assert_close(on_maps(op("add", shape), MAPS, other), a + b)
    assert_close(on_maps(op("multiply", shape), MAPS, other), a * b)
    per_step = np.array([0.512, 0.64, 0.8, 1.0])
    expected = a * torch.from_numpy(per_step)[:, None, None, None, None]
    assert_close(on_maps(op("scale", shape, {"per_step": per_step}), MAPS), expected)
    assert_close(on_maps(op("sum_over_time", shape), MAPS), a.sum(0, keepdim=True))


def test_answers_in_the_precision_asked_for() -> None:
    weight = rng.normal(size=(5, 7))
    single = FEATURES.astype(np.float32)
    found = evaluate(op("linear", (5,), {"weight": weight, "bias": weight[:, 0]}), [single], np.dtype("f4"))
    assert found.dtype == np.float32
    assert evaluate(op("swish", (7,)), [single], np.dtype("f4")).dtype == np.float32
