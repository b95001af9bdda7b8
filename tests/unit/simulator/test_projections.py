"""Projections as the engine computes them, against plain loops and against torch.

Weights, scales and inputs are small multiples of powers of two, so every sum is exact in float32 whatever
its order: results must be equal to the last bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nsim.frontends.kernel import Kernel
from nsim.frontends.network import Network, NeuronModel, Population, Projection
from nsim.simulator.call import Call
from nsim.simulator.engine import Engine, Precision
from nsim.simulator.reference import project_naive


def one_projection(
    kernel: Kernel, size: tuple[int, int], steps: int, source: str = "neurons", first: int = 0, spare: int = 0
) -> Network:
    """``source`` (image x, its ``neurons``, or the ``stream`` = x + neurons / 2) projected to ``target``.

    The target has ``first`` channels before and ``spare`` after those that the projection reaches.
    """
    shape = (kernel.c_in, *size)
    target = (first + kernel.c_out + spare, *kernel.out_size(*size))
    identity = Kernel(kernel.c_in)
    channels, reached = (0, kernel.c_in), (first, first + kernel.c_out)
    rng = np.random.default_rng(kernel.c_out)
    return Network(
        name="one projection",
        time_steps=steps,
        image="x",
        diffusion_time="t",
        output="x",
        populations=(
            Population("x", "source", shape),
            Population("neurons", "neuron", shape, NeuronModel()),
            Population("stream", "analog", shape),
            Population("target", "neuron", target, NeuronModel()),
        ),
        projections=(
            Projection("encode", "x", "neurons", identity, channels),
            Projection("half", "neurons", "stream", identity, channels, scale=np.full(kernel.c_in, 0.5)),
            Projection("direct", "x", "stream", identity, channels),
            Projection(
                "tested",
                source,
                "target",
                kernel,
                reached,
                scale=rng.choice([0.5, 1.0, 2.0], kernel.c_out),
                bias=rng.integers(-4, 5, kernel.c_out) / 4,
            ),
        ),
        biases=(),
        host_ops=(),
    )


def play(network: Network, x: np.ndarray, precision: Precision = "float32", threads: int = 1) -> Call:
    engine = Engine(network, precision, threads)
    return engine.call(x, np.zeros(len(x), int), keep_currents=True)


def source_values(call: Call, source: str, x: np.ndarray) -> np.ndarray:
    """What the tested projection reads, [T, B, C, H, W] in float64."""
    constant = np.repeat(x[None], call.network.time_steps, axis=0)
    spikes = call.spikes["neurons"].astype(np.float64)
    return {"x": constant, "neurons": spikes, "stream": constant + spikes / 2}[source]


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    upsample = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels = st.integers(1, 70 // groups) if groups > 1 else st.integers(1, 70) | st.just(130)
    c_in, c_out = draw(channels), draw(st.integers(1, 70 // groups))
    if draw(st.integers(0, 5)) == 0:
        return Kernel(channels=c_in, upsample=upsample)
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return Kernel(
        channels=groups * c_out,
        weight=rng.integers(-8, 9, (groups * c_out, c_in, *size)) / 8,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        groups=groups,
        upsample=upsample,
    )


def dyadic_images(kernel: Kernel, size: tuple[int, int], batch: int) -> np.ndarray:
    """Quarters from -0.5 to 1: at threshold 1 some neurons fire every step, some rarely, some never."""
    return np.random.default_rng(batch).integers(-2, 5, (batch, kernel.c_in, *size)) / 4


@settings(max_examples=60)
@given(
    kernel=kernels(),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    batch=st.integers(1, 3),
    steps=st.integers(1, 4),
    source=st.sampled_from(["neurons", "neurons", "stream", "x"]),
    margins=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    precision=st.sampled_from(["float32", "float64"]),
)
def test_equals_plain_loops_to_the_last_bit(
    kernel: Kernel,
    size: tuple[int, int],
    batch: int,
    steps: int,
    source: str,
    margins: tuple[int, int],
    precision: Precision,
) -> None:
    assume(min(kernel.out_size(*size)) >= 1)
    network = one_projection(kernel, size, steps, source, *margins)
    x = dyadic_images(kernel, size, batch)
    call = play(network, x, precision)
    tested = network.projections[-1]
    values = np.moveaxis(source_values(call, source, x), 2, -1)
    expected = project_naive(values.reshape(-1, *values.shape[2:]), kernel) * tested.scale + tested.bias

    found = np.moveaxis(call.currents["target"], 2, -1)
    assert found.dtype == precision
    first, last = tested.target_channels
    np.testing.assert_array_equal(found[..., first:last].reshape(expected.shape), expected)
    assert not found[..., :first].any() and not found[..., last:].any()


@pytest.mark.parametrize("source", ["neurons", "stream", "x"])
@pytest.mark.parametrize(
    "kernel",
    [
        Kernel(64, np.empty((64, 33, 3, 3)), padding=(1, 1)),
        Kernel(17, np.empty((17, 130, 3, 3)), stride=(2, 2), padding=(1, 1)),
        Kernel(70, np.empty((70, 5, 1, 1))),
        Kernel(6, np.empty((6, 4, 3, 2)), stride=(1, 2), dilation=(2, 1), groups=3),
        Kernel(8, np.empty((8, 16, 3, 3)), padding=(1, 1), upsample=2),
    ],
    ids=["same", "stride", "1x1", "groups", "upsample"],
)
def test_equals_torch_to_the_last_bit(kernel: Kernel, source: str) -> None:
    rng = np.random.default_rng(0)
    kernel = replace(kernel, weight=rng.integers(-8, 9, kernel.array.shape) / 8)
    network = one_projection(kernel, (7, 6), 4, source)
    x = dyadic_images(kernel, (7, 6), 2)
    call = play(network, x)
    values = torch.from_numpy(source_values(call, source, x)).float().flatten(0, 1)
    if source == "neurons":
        assert 0.1 < values.mean() < 0.9
    up = F.interpolate(values, scale_factor=kernel.upsample, mode="nearest")
    options = (None, kernel.stride, kernel.padding, kernel.dilation, kernel.groups)
    convolved = F.conv2d(up, torch.from_numpy(kernel.array).float(), *options).numpy()
    tested = network.projections[-1]
    scaled = convolved * tested.scale[:, None, None] + tested.bias[:, None, None]
    found = call.currents["target"]
    np.testing.assert_array_equal(found.reshape(convolved.shape), scaled.astype(np.float32))


@pytest.mark.parametrize("source", ["neurons", "stream", "x"])
def test_any_weights_agree_to_rounding_and_never_depend_on_threads_or_batch(source: str) -> None:
    rng = np.random.default_rng(0)
    kernel = Kernel(70, rng.normal(size=(70, 133, 3, 3)), padding=(1, 1), stride=(2, 1))
    network = one_projection(kernel, (9, 5), 3, source)
    x = rng.normal(0.4, 0.5, size=(3, 133, 9, 5))

    exact = play(network, x, "float64")
    tested = network.projections[-1]
    values = np.moveaxis(source_values(exact, source, x), 2, -1)
    expected = project_naive(values.reshape(-1, *values.shape[2:]), kernel) * tested.scale + tested.bias
    found = np.moveaxis(exact.currents["target"], 2, -1).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)

    currents = play(network, x).currents["target"]
    for threads in (2, 3, 5):
        assert play(network, x, threads=threads).currents["target"].tobytes() == currents.tobytes()
    alone = [play(network, x[i : i + 1], threads=2).currents["target"] for i in range(3)]
    assert np.concatenate(alone, axis=1).tobytes() == currents.tobytes()


def test_order_of_additions_is_the_documented_one() -> None:
    """Source channel block, kernel row, kernel column, source channel; from zero, in float32."""
    rng = np.random.default_rng(0)
    kernel = Kernel(3, rng.normal(size=(3, 200, 2, 2)))
    network = one_projection(kernel, (2, 2), 2)
    call = play(network, rng.normal(0.6, 0.6, size=(1, 200, 2, 2)))
    tested = network.projections[-1]
    weights = kernel.array.astype(np.float32)
    for step, spikes in enumerate(call.spikes["neurons"][:, 0]):
        total = np.zeros(3, np.float32)
        for block in (range(128), range(128, 200)):
            for ky, kx in np.ndindex(2, 2):
                for c in block:
                    if spikes[c, ky, kx]:
                        total = total + weights[:, c, ky, kx]
        expected = total * tested.scale.astype(np.float32) + tested.bias.astype(np.float32)
        np.testing.assert_array_equal(call.currents["target"][step, 0, :, 0, 0], expected)


@pytest.mark.parametrize("spans", [((0, 4), (2, 6)), ((2, 6), (0, 4)), ((1, 5), (5, 7)), ((0, 8), (3, 5))])
def test_projections_that_overlap_in_channels_add_up_on_the_bias(
    spans: tuple[tuple[int, int], ...],
) -> None:
    """Whichever comes first into a channel, and into whichever none comes: the bias is there once."""
    shape, bias = (8, 3, 2), np.arange(8) / 4
    network = Network(
        name="overlap",
        time_steps=2,
        image="x",
        diffusion_time="t",
        output="x",
        populations=(
            Population("x", "source", (4, 3, 2)),
            Population("neurons", "neuron", (4, 3, 2), NeuronModel()),
            Population("target", "neuron", shape, NeuronModel(), bias),
        ),
        projections=(
            Projection("encode", "x", "neurons", Kernel(4), (0, 4)),
            *(
                Projection(
                    f"p{k}", "neurons", "target", Kernel(b - a, np.ones((b - a, 4, 1, 1)) * (k + 1)), (a, b)
                )
                for k, (a, b) in enumerate(spans)
            ),
        ),
        biases=(),
        host_ops=(),
    )
    x = np.random.default_rng(0).integers(0, 5, (3, 4, 3, 2)) / 4
    call = Engine(network, "float64", threads=2).call(x, np.zeros(3, int), keep_currents=True)
    expected = np.broadcast_to(bias[:, None, None], call.currents["target"].shape).copy()
    for k, (a, b) in enumerate(spans):
        expected[:, :, a:b] += (k + 1) * call.spikes["neurons"].sum(axis=2, keepdims=True)
    np.testing.assert_array_equal(call.currents["target"], expected)
