"""The kernel of a projection: convolution, dense or identity, with its weights held once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class ComposedWeight:
    """A weight that is a sum of products ``matrix [Cout, Cmid] @ base [Cmid, Cin, kh, kw]``, kept as parts.

    What following a residual stream through its 1x1 shortcuts gives; worked out only when it is used.
    """

    parts: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """[Cout, Cin, kh, kw]."""
        matrix, base = self.parts[0]
        return (matrix.shape[0], *base.shape[1:])

    def array(self) -> np.ndarray:
        """The weight as an array [Cout, Cin, kh, kw]."""
        return np.asarray(sum(np.tensordot(matrix, base, axes=1) for matrix, base in self.parts))


@dataclass(frozen=True, eq=False)
class Kernel:
    """Nearest up-sampling by ``upsample``, then a 2-D convolution (weights [Cout, Cin / groups, kh, kw]).

    Dense layers are 1x1 convolutions on 1x1 maps. ``weight`` None is the identity on ``channels``
    channels. ``padding`` is zeros on every side. A transposed convolution is a convolution whose source is
    spread out, an element every ``spread`` rows and columns with nothing between them, and whose last
    ``crop`` rows and columns are left off; see `transposed`.
    """

    channels: int
    weight: np.ndarray | ComposedWeight | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    upsample: int = 1
    spread: tuple[int, int] = (1, 1)
    crop: tuple[int, int] = (0, 0)

    @property
    def is_identity(self) -> bool:
        """True when values pass unchanged (up to up-sampling)."""
        return self.weight is None

    @property
    def is_elementwise(self) -> bool:
        """True when every element of the source is that element of the target, and nothing else."""
        return self.is_identity and self.upsample == 1

    @property
    def size(self) -> tuple[int, int]:
        """Kernel height and width."""
        return (1, 1) if self.weight is None else (self.weight.shape[2], self.weight.shape[3])

    @property
    def c_out(self) -> int:
        """Target channels."""
        return self.channels if self.weight is None else self.weight.shape[0]

    @property
    def c_in(self) -> int:
        """Source channels."""
        return self.channels if self.weight is None else self.weight.shape[1] * self.groups

    @property
    def c_in_per_group(self) -> int:
        """Source channels that one target channel sees."""
        return 1 if self.weight is None else self.weight.shape[1]

    @cached_property
    def array(self) -> np.ndarray:
        """Weights as one array [Cout, Cin / groups, kh, kw]; for the identity, ones on a depthwise 1x1."""
        if self.weight is None:
            return np.ones((self.channels, 1, 1, 1))
        return self.weight.array() if isinstance(self.weight, ComposedWeight) else self.weight

    @property
    def geometry(self) -> tuple[object, ...]:
        """What decides which source positions reach which target positions; equal means interchangeable."""
        return (
            self.size,
            self.stride,
            self.padding,
            self.dilation,
            self.upsample,
            self.spread,
            self.crop,
        )

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the target map for a source map."""
        sizes = []
        for axis, n in enumerate((height, width)):
            span = self.dilation[axis] * (self.size[axis] - 1) + 1
            extent = n * self.upsample * self.spread[axis] + 2 * self.padding[axis]
            sizes.append((extent - span) // self.stride[axis] + 1 - self.crop[axis])
        return sizes[0], sizes[1]

    def tap_sources(self, axis: int, source: int, target: int) -> np.ndarray:
        """Source index under each tap along an axis (0 height, 1 width): int32 [taps, target].

        -1 where a tap lies on padding, or between the elements of a source that is spread out.
        """
        tap, out = np.arange(self.size[axis])[:, None], np.arange(target)
        at = out * self.stride[axis] + tap * self.dilation[axis] - self.padding[axis]
        spread = self.spread[axis]
        inside = (at >= 0) & (at < source * self.upsample * spread) & (at % spread == 0)
        return np.where(inside, at // (spread * self.upsample), -1).astype(np.int32)

    def reach(self, axis: int, source: int, target: int) -> np.ndarray:
        """Taps from each source index to each target index along one axis (0 height, 1 width).

        Returns int64 [target, source]: how many kernel taps join the two; 0 where none does, more than 1
        where nearest up-sampling lets one source element under several taps. Padding joins nothing.
        """
        taps = np.zeros((target, source), dtype=np.int64)
        for at in self.tap_sources(axis, source, target):
            out = np.flatnonzero(at >= 0)
            np.add.at(taps, (out, at[out]), 1)
        return taps

    def first_tap(self, axis: int, source: int, target: int) -> np.ndarray:
        """Kernel index of the first tap that joins two indices along an axis; -1 where none does."""
        first = np.full((target, source), -1, dtype=np.int64)
        for k, at in reversed(list(enumerate(self.tap_sources(axis, source, target)))):
            out = np.flatnonzero(at >= 0)
            first[out, at[out]] = k
        return first

    def taps(self, source: tuple[int, int], target: tuple[int, int]) -> int:
        """Weight uses of one dense evaluation, taps on padding left out."""
        rows = self.reach(0, source[0], target[0]).sum()
        columns = self.reach(1, source[1], target[1]).sum()
        return int(rows * columns) * self.c_out * self.c_in_per_group

    def dense_operations(self, target: tuple[int, int]) -> int:
        """Weight uses of one dense evaluation as papers count them: taps on padding included.

        A transposed convolution with a stride uses every weight once per source element.
        """
        places = 1
        for axis, n in enumerate(target):
            if self.spread[axis] > 1:
                span = self.dilation[axis] * (self.size[axis] - 1) + 1
                n = (n + self.crop[axis] - 1 + span - 2 * self.padding[axis]) // self.spread[axis]
            places *= n
        return places * self.c_out * self.c_in_per_group * self.size[0] * self.size[1]


def behind_pooling(kernel: Kernel, pool: Kernel, size: tuple[int, int]) -> Kernel | None:
    """One kernel for ``pool`` (one window for every channel) of a map of ``size``, then ``kernel``.

    Tap t of the kernel and u of the window become tap t s + u, s the pool's stride. None where that is not
    the same: padding between the two that the window would reach across, and gaps between taps.
    """
    window, stride = pool.size, pool.stride
    apart = (
        window == stride
        and pool.padding == (0, 0)
        and all(n % s == 0 for n, s in zip(size, stride, strict=True))
    )
    gaps = kernel.dilation != (1, 1) or any(w < s for w, s in zip(window, stride, strict=True))
    if gaps or not (kernel.padding == (0, 0) or apart):
        return None
    rows, columns = ((k - 1) * s + w for k, s, w in zip(kernel.size, stride, window, strict=True))
    weight = np.zeros((*kernel.array.shape[:2], rows, columns))
    for ky, kx in np.ndindex(kernel.size):
        at = ky * stride[0], kx * stride[1]
        tap = kernel.array[:, :, ky, kx, None, None] * pool.array[0, 0]
        weight[:, :, at[0] : at[0] + window[0], at[1] : at[1] + window[1]] += tap
    geometry = zip(kernel.padding, kernel.stride, stride, pool.padding, strict=True)
    (py, sy), (px, sx) = ((p * s + q, step * s) for p, step, s, q in geometry)
    return Kernel(kernel.channels, weight, (sy, sx), (py, px), groups=kernel.groups)


def transposed(
    weight: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    upsample: int = 1,
) -> Kernel:
    """Kernel of a transposed convolution with torch's ``weight`` [Cin, Cout / groups, kh, kw] and geometry.

    Element y of the source reaches target rows ``y stride - padding + k dilation``: the same as a
    convolution of the spread-out source by the weights turned around.
    """
    c_in, per_group, kh, kw = weight.shape
    turned = weight.reshape(groups, c_in // groups, per_group, kh, kw)[..., ::-1, ::-1]
    around = tuple(d * (k - 1) - p for d, k, p in zip(dilation, (kh, kw), padding, strict=True))
    crop = tuple(s - 1 - extra for s, extra in zip(stride, output_padding, strict=True))
    return Kernel(
        channels=groups * per_group,
        weight=np.ascontiguousarray(turned.swapaxes(1, 2)).reshape(-1, c_in // groups, kh, kw),
        padding=(around[0], around[1]),
        dilation=dilation,
        groups=groups,
        upsample=upsample,
        spread=stride,
        crop=(crop[0], crop[1]),
    )
