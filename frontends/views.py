"""Axis bookkeeping: what flatten, reshape, permute and the like do to the axes T, B, C, H, W.

A tensor's axes are a tuple of groups; a group is the labels fused into one dimension, () for a
dimension of size 1. Nothing here touches numbers: reshapes that only regroup axes cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Axes = tuple[tuple[str, ...], ...]
Sizes = dict[str, int]

MAP_AXES = (("T", "B"), ("C",), ("H",), ("W",))
STEP_AXES = (("T",), ("B",), ("C",), ("H",), ("W",))
BATCH_FIRST_AXES = (("B",), ("T",), ("C",), ("H",), ("W",))
BATCH_FIRST_MAP_AXES = (("B", "T"), ("C",), ("H",), ("W",))
IMAGE_AXES = (("B",), ("C",), ("H",), ("W",))
GATE_AXES = (("T",), ("B",), (), (), ())
LAYER_AXES = (MAP_AXES, BATCH_FIRST_MAP_AXES, IMAGE_AXES)
"""What a layer of torch may be given: maps of every step, or of an image that does not change."""


def shape_of(axes: Axes, sizes: Sizes) -> tuple[int, ...]:
    """Dimensions that a tensor of these axes has."""
    return tuple(math.prod(sizes[label] for label in group) for group in axes)


def text(axes: Axes, sizes: Sizes) -> str:
    """Axes for an error message: ``[T=4*B, C=128, 1]``; the batch has no size of its own."""
    names = {label: label if label == "B" else f"{label}={sizes[label]}" for group in axes for label in group}
    return "[" + ", ".join("*".join(names[label] for label in group) or "1" for group in axes) + "]"


def flatten(axes: Axes, start: int, end: int) -> Axes:
    """``tensor.flatten(start, end)``."""
    start, end = start % len(axes), end % len(axes)
    fused = tuple(label for group in axes[start : end + 1] for label in group)
    return (*axes[:start], fused, *axes[end + 1 :])


def permute(axes: Axes, order: Sequence[int]) -> Axes:
    """``tensor.permute(order)``."""
    return tuple(axes[i] for i in order)


def reshape(axes: Axes, sizes: Sizes, shape: Sequence[int]) -> Axes | None:
    """``tensor.reshape(shape)`` when it only regroups whole axes; None when it would cut one."""
    total = math.prod(shape_of(axes, sizes))
    known = math.prod(n for n in shape if n != -1)
    wanted = [total // known if n == -1 else n for n in shape]
    labels = [label for group in axes for label in group]
    groups: list[tuple[str, ...]] = []
    for n in wanted:
        # an axis of size 1 (one time step, one channel) keeps a dimension of 1 to itself
        group = [labels.pop(0)] if n == 1 and labels and sizes[labels[0]] == 1 else []
        while math.prod(sizes[label] for label in group) < n and labels:
            group.append(labels.pop(0))
        if math.prod(sizes[label] for label in group) != n:
            return None
        groups.append(tuple(group))
    # axes of size 1 that no dimension asked for belong to the last dimension that is not empty
    if any(sizes[label] != 1 for label in labels):
        return None
    if labels:
        groups[-1] = (*groups[-1], *labels)
    return tuple(groups)


def unflatten(axes: Axes, sizes: Sizes, dim: int, shape: Sequence[int]) -> Axes | None:
    """``tensor.unflatten(dim, shape)``; None when it would cut an axis."""
    inner = reshape((axes[dim],), sizes, shape)
    return None if inner is None else (*axes[:dim], *inner, *axes[dim + 1 :])
