"""Which source positions reach which part of a population, one axis at a time.

Height and width of a convolution are independent, so everything a core block needs to know (halo, synapse
lists, synapses per source position) is a product of two small per-axis facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Pattern:
    """Relative targets of a source index within a segment: lengths of its stretches of consecutive ones.

    ``sources``: how many source indices have just these targets, with these weights.
    """

    stretches: tuple[int, ...]
    sources: int

    @property
    def targets(self) -> int:
        """Number of targets."""
        return sum(self.stretches)


@dataclass(frozen=True)
class SegmentReach:
    """What one axis segment of a target population sees of a source axis.

    ``halo``: source indices that reach it; ``patterns``: the distinct (kernel tap, relative target) lists
    among them, each stored once when it is shared.
    """

    halo: int
    patterns: tuple[Pattern, ...]


def segments(size: int, step: int) -> list[tuple[int, int]]:
    """Cut range(size) into steps; the last may be shorter."""
    return [(a, min(size, a + step)) for a in range(0, size, step)]


def segment_reach(taps: np.ndarray, first_tap: np.ndarray, segment: tuple[int, int]) -> SegmentReach:
    """Reach of targets ``segment`` = [a, b); ``taps`` [target, source] as from `Kernel.reach`.

    ``first_tap`` [target, source] is the kernel index of the first tap that joins the two, so that two
    sources with the same relative targets but other weights count as two patterns.
    """
    a, b = segment
    inside = taps[a:b] > 0
    halo = np.flatnonzero(inside.any(axis=0))
    seen: dict[tuple[tuple[int, int, int], ...], Pattern] = {}
    for source in halo:
        targets = np.flatnonzero(inside[:, source])
        key = tuple(
            (int(t - targets[0]), int(first_tap[a + t, source]), int(taps[a + t, source])) for t in targets
        )
        ends = [0, *(np.flatnonzero(np.diff(targets) > 1) + 1).tolist(), len(targets)]
        stretches = tuple(b - a for a, b in pairwise(ends))
        seen[key] = Pattern(stretches, 1 + (seen[key].sources if key in seen else 0))
    return SegmentReach(len(halo), tuple(seen.values()))
