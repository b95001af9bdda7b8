"""The event kernels in integers against plain loops, and the vector code that they are made of."""

from __future__ import annotations

from types import FunctionType

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import njit

from nsim.frontends.kernel import Kernel
from nsim.simulator import event_kernels
from nsim.simulator.event_kernels import list_spikes, spike_lists
from nsim.simulator.projector import FOLDED_FROM, Addition, Items, Projector
from nsim.simulator.reference import project_naive
from nsim.simulator.taps import Folded
from nsim.simulator.tasks import Tasks
from nsim.simulator.vector_code import shifted


@st.composite
def integer_kernels(draw: st.DrawFn) -> Kernel:
    """Weights of 2 to 18 bits: in registers of 16 bits they fit 32767, 258, 64, 16 and no rows."""
    groups, upsample = draw(st.sampled_from([1, 1, 1, 2])), draw(st.integers(1, 3))
    c_in, c_out = draw(st.sampled_from([1, 5, 64, 130, 200])), draw(st.sampled_from([1, 40, 130]))
    largest = draw(st.sampled_from([1, 127, 511, 2000, 100_000]))
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    plain = draw(st.booleans())
    steps = st.just(1) if plain else st.integers(1, 2)
    weights = np.random.default_rng(c_in).integers(-largest, largest + 1, (groups * c_out, c_in, *size))
    return Kernel(
        channels=groups * c_out,
        weight=weights,
        stride=draw(st.tuples(steps, steps)),
        padding=draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        dilation=draw(st.tuples(steps, steps)),
        groups=groups,
        upsample=upsample,
    )


@settings(max_examples=60)
@given(
    kernel=integer_kernels(),
    size=st.sampled_from([(1, 1), (3, 5), (8, 8), (9, 10)]),
    images=st.integers(1, 2),
    rate=st.sampled_from([0.05, 0.5, 1.0]),
    threads=st.integers(1, 2),
)
def test_integer_sums_are_those_of_plain_loops(
    kernel: Kernel, size: tuple[int, int], images: int, rate: float, threads: int
) -> None:
    assume(min(kernel.out_size(*size)) >= 1)
    rng = np.random.default_rng(images)
    spikes = (rng.random((2, images, *size, kernel.c_in)) < rate).astype(np.uint8)
    target = np.full((2, images, *kernel.out_size(*size), kernel.c_out), 7, np.int32)
    initial = rng.integers(-5, 6, (images, kernel.c_out)).astype(np.int32)
    bias = np.zeros(kernel.c_out, np.int32)
    addition = Addition(kernel, Items(spikes, True), 1, bias, 0, initial)
    Projector(threads).apply(addition, target, Tasks(threads))
    expected = project_naive(spikes.reshape(-1, *spikes.shape[2:]), kernel).reshape(target.shape)
    np.testing.assert_array_equal(target, 2 * expected + initial[:, None, None])


def test_a_folded_kernel_has_fewer_taps_to_a_target() -> None:
    """Two of three taps of a 3x3 kernel see the same source after up-sampling by 2: 4 of 9 are left."""
    kernel = Kernel(1, np.arange(1, 10).reshape(1, 1, 3, 3), padding=(1, 1), upsample=2)
    assert Folded.fits(kernel) and not Folded.fits(Kernel(1, np.ones((1, 1, 3, 3)), padding=(1, 1)))
    folded = Folded(kernel)
    for axis in (0, 1):
        sources = folded.tap_sources(axis, 5, 10)
        np.testing.assert_array_equal((sources >= 0).sum(axis=0), [1, *[2] * 8, 1])
    assert folded.array.shape == (1, 1, 4, 4) and folded.array[0, 0, 1, 1] == 5 + 6 + 8 + 9
    assert FOLDED_FROM <= 8 * 8  # so that the sizes of the test above are on both sides of it


@pytest.mark.parametrize("compresses", [False, True])
@pytest.mark.parametrize(("channels", "block"), [(3, 3), (64, 64), (200, 128), (300, 128)])
def test_lists_of_spikes(compresses: bool, channels: int, block: int) -> None:
    """With and without the instruction that moves the bytes of a vector together: who spiked, in order."""
    own = dict(event_kernels.__dict__, COMPRESSES=compresses)
    listing = njit(FunctionType(list_spikes.py_func.__code__, own, "list_spikes"))
    spikes = (np.random.default_rng(channels).random((2, 3, 5, channels)) < 0.3).astype(np.uint8)
    index, begin = spike_lists(spikes.shape, block)
    for row in range(3):
        listing(row, row + 1, spikes, index, begin)
    blocks = -(-channels // block)
    for b, t, r in np.ndindex(blocks, 2, 3):
        for x in range(5):
            found = index[b, t, r, begin[b, t, r, x] : begin[b, t, r, x + 1]].astype(int) - x * block
            there = np.flatnonzero(spikes[t, r, x, b * block : (b + 1) * block])
            np.testing.assert_array_equal(found, there)


def test_long_rows_of_spikes_are_listed_in_wider_numbers() -> None:
    index, begin = spike_lists((1, 1, 600, 128), 128)
    assert index.dtype == np.uint32 and index.shape == (1, 1, 1, 600 * 128)
    spikes = np.ones((1, 1, 600, 128), np.uint8)
    list_spikes(0, 1, spikes, index, begin)
    np.testing.assert_array_equal(index[0, 0, 0], np.arange(600 * 128))
    assert begin[0, 0, 0, -1] == 600 * 128


@njit
def _shift(total, scale):  # type: ignore[no-untyped-def]
    return shifted(total, scale)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-70, 0))
def test_halves_are_rounded_up_whatever_the_number(total: int, scale: int) -> None:
    """Where 2**31 + a half would leave 32 bits, too."""
    expected = (2 * total + 2**-scale) // 2 ** (1 - scale)
    assert _shift(np.int32(total), scale) == _shift(np.int64(total), scale) == expected
