"""Kernel geometry against torch's convolution of ones, one-hots and numbered maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional as F

from nsim.frontends.kernel import ComposedWeight, Kernel, behind_pooling, transposed
from nsim.simulator.reference import project_naive

PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def kernels(draw: st.DrawFn) -> tuple[Kernel, tuple[int, int], tuple[int, int]]:
    """A kernel, a source size, and the target size that torch gives it."""
    groups = draw(st.integers(1, 3))
    weight = np.ones((groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)), *draw(PAIRS)))
    kernel = Kernel(
        channels=weight.shape[0],
        weight=weight,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        dilation=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        groups=groups,
        upsample=draw(st.integers(1, 3)),
    )
    source = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    padded = [n * kernel.upsample + 2 * p for n, p in zip(source, kernel.padding, strict=True)]
    spans = [d * (k - 1) + 1 for d, k in zip(kernel.dilation, kernel.size, strict=True)]
    assume(all(n >= span for n, span in zip(padded, spans, strict=True)))
    return kernel, source, tuple(convolve(kernel, torch.ones(1, kernel.c_in, *source)).shape[2:])


def convolve(kernel: Kernel, x: torch.Tensor, padding_value: float = 0.0) -> torch.Tensor:
    """The kernel applied by torch, in float64."""
    x = F.interpolate(x.double(), scale_factor=kernel.upsample, mode="nearest")
    (top, left), weight = kernel.padding, torch.from_numpy(kernel.array)
    x = F.pad(x, (left, left, top, top), value=padding_value)
    return F.conv2d(x, weight, stride=kernel.stride, dilation=kernel.dilation, groups=kernel.groups)


@given(drawn=kernels())
def test_size_and_operations(drawn: tuple[Kernel, tuple[int, int], tuple[int, int]]) -> None:
    kernel, source, target = drawn
    assert kernel.out_size(*source) == target
    # ones times ones: every product adds 1
    ones = torch.ones(1, kernel.c_in, *source)
    assert kernel.taps(source, target) == convolve(kernel, ones).sum().item()
    assert kernel.dense_operations(target) == convolve(kernel, ones, padding_value=1.0).sum().item()


@given(drawn=kernels(), axis=st.sampled_from([0, 1]))
def test_reach_and_first_tap(drawn: tuple[Kernel, tuple[int, int], tuple[int, int]], axis: int) -> None:
    kernel, sources, targets = drawn
    source, target = sources[axis], targets[axis]
    # source index under every up-sampled, padded position; -1 on padding
    under = np.pad(np.repeat(np.arange(source), kernel.upsample), kernel.padding[axis], constant_values=-1)
    reach, first = np.zeros((target, source), int), np.full((target, source), -1)
    for o in range(target):
        for k in reversed(range(kernel.size[axis])):
            s = under[o * kernel.stride[axis] + k * kernel.dilation[axis]]
            if s >= 0:
                reach[o, s] += 1
                first[o, s] = k
    np.testing.assert_array_equal(kernel.reach(axis, source, target), reach)
    np.testing.assert_array_equal(kernel.first_tap(axis, source, target), first)


@given(drawn=kernels())
def test_reach_is_what_torch_joins(drawn: tuple[Kernel, tuple[int, int], tuple[int, int]]) -> None:
    kernel, (height, width), (out_height, out_width) = drawn
    one_channel = replace(kernel, channels=1, weight=kernel.array[:1, :1], groups=1)
    for y in range(height):
        for x in range(width):
            source = torch.zeros(1, 1, height, width)
            source[0, 0, y, x] = 1
            rows, columns = kernel.reach(0, height, out_height)[:, y], kernel.reach(1, width, out_width)[:, x]
            np.testing.assert_array_equal(convolve(one_channel, source)[0, 0], np.outer(rows, columns))


def test_identity() -> None:
    kernel = Kernel(channels=5, upsample=2)
    assert (kernel.is_identity, kernel.size, kernel.c_in, kernel.c_out) == (True, (1, 1), 5, 5)
    assert kernel.out_size(3, 4) == (6, 8)
    np.testing.assert_array_equal(kernel.array, np.ones((5, 1, 1, 1)))
    assert kernel.dense_operations((6, 8)) == 5 * 6 * 8


def test_composed_weight_is_one_convolution_after_another() -> None:
    rng = np.random.default_rng(0)
    bases = [rng.normal(size=(c, 2, 3, 2)) for c in (3, 5)]
    matrices = [rng.normal(size=(4, c)) for c in (3, 5)]
    weight = ComposedWeight(tuple(zip(matrices, bases, strict=True)))
    assert weight.shape == (4, 2, 3, 2)
    kernel = Kernel(channels=4, weight=weight)
    assert (kernel.c_out, kernel.c_in, kernel.size) == (4, 2, (3, 2))
    x = torch.from_numpy(rng.normal(size=(1, 2, 6, 6)))
    expected = sum(
        F.conv2d(F.conv2d(x, torch.from_numpy(base)), torch.from_numpy(matrix)[:, :, None, None])
        for matrix, base in zip(matrices, bases, strict=True)
    )
    torch.testing.assert_close(convolve(kernel, x), expected, rtol=1e-12, atol=1e-12)


def test_geometry_tells_interchangeable_kernels() -> None:
    weight = np.ones((2, 2, 3, 3))
    assert Kernel(2, weight).geometry == Kernel(2, 2 * weight).geometry
    others = [
        Kernel(2, weight[:, :, :2]),
        Kernel(2, weight, stride=(1, 2)),
        Kernel(2, weight, padding=(1, 1)),
        Kernel(2, weight, dilation=(2, 1)),
        Kernel(2, weight, upsample=2),
    ]
    assert len({k.geometry for k in (Kernel(2, weight), *others)}) == 6


@given(data=st.data())
def test_transposed_is_torchs_transposed_convolution(data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 2))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    size, stride, dilation = data.draw(PAIRS), data.draw(pair), data.draw(pair)
    padding = tuple(data.draw(st.integers(0, d * (k - 1))) for d, k in zip(dilation, size, strict=True))
    extra = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    source = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    rng = np.random.default_rng(0)
    c_in, per_group = groups * data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    weight = rng.normal(size=(c_in, per_group, *size))
    x = rng.normal(size=(2, c_in, *source))
    x[rng.random(x.shape) < 0.3] = 0
    try:
        expected = F.conv_transpose2d(
            torch.from_numpy(x),
            torch.from_numpy(weight),
            None,
            stride,
            padding,
            extra,
            groups,
            dilation,
        )
    except RuntimeError:  # nothing is left of the output
        assume(False)
    kernel = transposed(weight, stride, padding, extra, dilation, groups)
    target = kernel.out_size(*source)
    assert (kernel.c_in, kernel.c_out, target) == (c_in, groups * per_group, tuple(expected.shape[2:]))
    found = project_naive(np.moveaxis(x, 1, -1), kernel)
    np.testing.assert_allclose(np.moveaxis(found, -1, 1), expected.numpy(), rtol=1e-12, atol=1e-12)
    ones = F.conv_transpose2d(
        torch.ones(1, c_in, *source),
        torch.ones(weight.shape),
        None,
        stride,
        padding,
        extra,
        groups,
        dilation,
    )
    assert kernel.taps(source, target) == ones.sum().item()
    if min(stride) > 1:  # without a stride it is a convolution like any other
        assert kernel.dense_operations(target) == np.prod(source) * weight.size


@given(
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pool_stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pool_padding=st.integers(0, 1),
    side=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    groups=st.integers(1, 2),
    seed=st.integers(0, 100),
)
def test_a_kernel_behind_a_pool_is_one_kernel(
    size, window, pool_stride, pool_padding, side, stride, padding, groups, seed
) -> None:
    rng = np.random.default_rng(seed)
    pool = Kernel(2, np.full((2, 1, *window), 0.5), pool_stride, (pool_padding, pool_padding), groups=2)
    pooled = pool.out_size(*size)
    kernel = Kernel(4, rng.normal(size=(4, 2 // groups, *side)), stride, padding, groups=groups)
    assume(min(pooled) > 0 and min(kernel.out_size(*pooled)) > 0)
    both = behind_pooling(kernel, pool, size)
    apart = window == pool_stride and pool_padding == 0 and size[0] % window[0] == size[1] % window[1] == 0
    without_gaps = window[0] >= pool_stride[0] and window[1] >= pool_stride[1]
    assert (both is not None) == (without_gaps and (padding == (0, 0) or apart))
    if both is None:
        return
    assert both.out_size(*size) == kernel.out_size(*pooled)
    x = rng.normal(size=(2, *size, 2))
    expected = project_naive(project_naive(x, pool), kernel)
    np.testing.assert_allclose(project_naive(x, both), expected, rtol=1e-12, atol=1e-12)


def test_a_dilated_kernel_stays_behind_its_pool() -> None:
    pool = Kernel(1, np.ones((1, 1, 2, 2)), (2, 2))
    assert behind_pooling(Kernel(1, np.ones((1, 1, 2, 2)), dilation=(2, 1)), pool, (8, 8)) is None
