"""Which sources lie under the taps of a kernel, as the event kernels take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nsim.frontends.kernel import Kernel


def tap_runs(sources: np.ndarray, block: int, joined: bool) -> np.ndarray:
    """Runs of sources side by side that feed a target, int32 [kw or 1, 3, targets].

    ``sources`` [kw, targets] from `Kernel.tap_sources`. By tap and target: the first source, the one after
    the last, and how many rows of weights, ``block`` to a tap, lie between those of source 0 and its own. Or
    if ``joined``, and they lie side by side for all targets, for all taps as one run.
    """
    taps = np.arange(len(sources))[:, None]
    there = sources >= 0
    if joined:
        first, number = there.argmax(axis=0), there.sum(axis=0)
        start = sources[first, np.arange(sources.shape[1])]
        side_by_side = np.where((taps >= first) & (taps < first + number), start + taps - first, -1)
        if (side_by_side == sources).all():
            start = np.maximum(start, 0)
            return np.stack([start, start + number, (first - start) * block])[None].astype(np.int32)
    start = np.maximum(sources, 0)
    return np.stack([start, start + there, -start * block], axis=1).astype(np.int32)


class Folded:
    """A kernel after nearest up-sampling, folded: taps that see the same source are one, weights added.

    Which these are differs from target to target with its position modulo the up-sampling: there is a row of
    taps for every such phase, one after the other, and the targets of other phases have nothing under it. For
    exact integers only: real weights would be rounded differently.

    ``array`` [Cout, Cin / groups, taps, taps]: the weights.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._upsample = kernel.upsample
        self._axes = [_fold(kernel.size[axis], kernel.upsample, kernel.padding[axis]) for axis in (0, 1)]
        rows, columns = (np.stack([taps for _, _, taps in axis]).astype(np.int64) for axis in self._axes)
        self.array = np.einsum(
            "vy,oiyx,wx->oivw", rows, kernel.array.astype(np.int64), columns, optimize=True
        )

    @staticmethod
    def fits(kernel: Kernel) -> bool:
        """Whether there is anything to fold, in a kernel that can be."""
        plain = kernel.stride == kernel.dilation == kernel.spread == (1, 1)
        return plain and kernel.upsample > 1 and max(kernel.size) > 1

    def tap_sources(self, axis: int, source: int, target: int) -> np.ndarray:
        """As of `Kernel.tap_sources`, for the folded taps: int32 [taps, target]."""
        out = np.arange(target)
        rows = []
        for phase, offset, _ in self._axes[axis]:
            at = out // self._upsample + offset
            there = (out % self._upsample == phase) & (at >= 0) & (at < source)
            rows.append(np.where(there, at, -1))
        return np.stack(rows).astype(np.int32)


def _fold(taps: int, upsample: int, padding: int) -> Sequence[tuple[int, int, np.ndarray]]:
    """By folded tap: its phase, its source from the target's own on, and which taps it is the sum of."""
    folded = []
    for phase in range(upsample):
        offsets = (phase + np.arange(taps) - padding) // upsample
        folded += [(phase, int(offset), offsets == offset) for offset in np.unique(offsets)]
    return folded
