"""What an axis segment sees of a source axis, by hand and against plain loops."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from nsim.frontends.kernel import Kernel
from nsim.hw_models.mapping.reach import Pattern, SegmentReach, segment_reach, segments


def reach_of(kernel: Kernel, source: int, segment: tuple[int, int]) -> SegmentReach:
    target = kernel.out_size(source, source)[0]
    return segment_reach(kernel.reach(0, source, target), kernel.first_tap(0, source, target), segment)


def test_segments() -> None:
    assert segments(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert segments(6, 3) == [(0, 3), (3, 6)]
    assert segments(2, 5) == [(0, 2)]


def test_3_wide_convolution() -> None:
    """Targets 0 to 3 of 8: sources 0 and 4 at the edges, 1 to 2 whole, 3 without its last target."""
    kernel = Kernel(1, np.ones((1, 1, 3, 3)), padding=(1, 1))
    found = reach_of(kernel, 8, (0, 4))
    assert found.halo == 5
    assert Counter(found.patterns) == Counter(
        [Pattern((2,), 1), Pattern((3,), 2), Pattern((2,), 1), Pattern((1,), 1)]
    )
    inside = reach_of(kernel, 8, (3, 4))
    assert inside == SegmentReach(3, (Pattern((1,), 1),) * 3)  # one target each, but through three taps


def test_gaps_and_blind_segments() -> None:
    dilated = Kernel(1, np.ones((1, 1, 2, 2)), dilation=(3, 3), upsample=2)
    assert reach_of(dilated, 4, (0, 5)).halo == 4
    assert Pattern((1, 2), 1) in reach_of(dilated, 4, (0, 5)).patterns
    padded = Kernel(1, np.ones((1, 1, 1, 1)), padding=(2, 2))
    assert reach_of(padded, 3, (0, 2)) == SegmentReach(0, ())


@example(size=2, stride=3, padding=0, dilation=1, upsample=2, source=4, cut=(0, 2))  # 2 taps or 1, from 0
@given(
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    upsample=st.integers(1, 3),
    source=st.integers(1, 8),
    cut=st.tuples(st.integers(0, 10), st.integers(1, 6)),
)
def test_equals_plain_loops(
    size: int, stride: int, padding: int, dilation: int, upsample: int, source: int, cut: tuple[int, int]
) -> None:
    kernel = Kernel(
        1,
        np.ones((1, 1, size, size)),
        (stride, stride),
        (padding, padding),
        (dilation, dilation),
        upsample=upsample,
    )
    target = kernel.out_size(source, source)[0]
    first, last = min(cut[0], max(target - 1, 0)), min(cut[0] + cut[1], target)
    if first >= last:
        return
    lists: dict[int, dict[int, list[int]]] = {}
    for t in range(first, last):
        for k in range(size):
            at = t * stride + k * dilation - padding
            if 0 <= at < source * upsample:
                lists.setdefault(at // upsample, {}).setdefault(t, []).append(k)
    patterns: dict[tuple, int] = {}
    for targets in lists.values():
        start = min(targets)
        key = tuple((t - start, tuple(taps)) for t, taps in sorted(targets.items()))
        patterns[key] = patterns.get(key, 0) + 1
    expected = []
    for key, sources in patterns.items():
        places = [place for place, _ in key]
        gaps = [i for i, (a, b) in enumerate(pairwise(places), 1) if b > a + 1]
        expected.append(Pattern(tuple(b - a for a, b in pairwise([0, *gaps, len(places)])), sources))
    found = reach_of(kernel, source, (first, last))
    assert found.halo == len(lists)
    assert Counter(found.patterns) == Counter(expected)
    assert [p.targets for p in found.patterns] == [sum(p.stretches) for p in found.patterns]
