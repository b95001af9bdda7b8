"""Axis bookkeeping against torch's own reshapes of a tensor whose every element is different."""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from nsim.frontends import views

LABELS = ("T", "B", "C", "H", "W")
STEP: views.Axes = tuple((label,) for label in LABELS)
SIZES = {"T": 2, "B": 3, "C": 4, "H": 1, "W": 5}


def tensor_of(axes: views.Axes, sizes: views.Sizes) -> torch.Tensor:
    """The numbered tensor [T, B, C, H, W], brought into ``axes``."""
    numbered = torch.arange(math.prod(sizes[label] for label in LABELS)).reshape([sizes[i] for i in LABELS])
    order = [LABELS.index(label) for group in axes for label in group]
    return numbered.permute(order).reshape(views.shape_of(axes, sizes))


@given(data=st.data(), sizes=st.fixed_dictionaries({label: st.integers(1, 4) for label in LABELS}))
def test_chains_of_flatten_permute_and_unflatten(data: st.DataObject, sizes: views.Sizes) -> None:
    axes, tensor = STEP, tensor_of(STEP, sizes)
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from(["flatten", "permute", "unflatten"]))
        if kind == "flatten":
            start = data.draw(st.integers(0, len(axes) - 1))
            end = data.draw(st.integers(start, len(axes) - 1))
            back = data.draw(st.booleans())
            start, end = (start - len(axes), end - len(axes)) if back else (start, end)
            axes, tensor = views.flatten(axes, start, end), tensor.flatten(start, end)
        elif kind == "permute":
            order = data.draw(st.permutations(range(len(axes))))
            axes, tensor = views.permute(axes, order), tensor.permute(order)
        else:
            dim = data.draw(st.integers(0, len(axes) - 1))
            assume(axes[dim])
            shape = [sizes[label] for label in axes[dim]]
            shape[data.draw(st.integers(0, len(shape) - 1))] = -1
            found = views.unflatten(axes, sizes, dim, shape)
            assert found is not None
            axes, tensor = found, tensor.unflatten(dim, shape)
        assert views.shape_of(axes, sizes) == tuple(tensor.shape)
        assert torch.equal(tensor_of(axes, sizes), tensor)


@given(data=st.data(), sizes=st.fixed_dictionaries({label: st.integers(1, 4) for label in LABELS}))
def test_reshape_regroups_whole_axes_and_refuses_to_cut_one(data: st.DataObject, sizes: views.Sizes) -> None:
    axes = views.permute(STEP, data.draw(st.permutations(range(5))))
    tensor = tensor_of(axes, sizes)
    factors = [2] * round(math.log2(tensor.numel() / 3 ** (n := list(sizes.values()).count(3)))) + [3] * n
    shape = list(data.draw(st.permutations([*factors, 1, 1])))
    dimensions = data.draw(st.integers(1, 6))
    while len(shape) > dimensions:
        at = data.draw(st.integers(0, len(shape) - 2))
        shape[at : at + 2] = [shape[at] * shape[at + 1]]
    found = views.reshape(axes, sizes, shape)
    # every border of the new dimensions must be a border between axes
    borders = {1, *accumulate(tensor.shape, mul)}
    assert (found is not None) == borders.issuperset(accumulate(shape, mul))
    if found is not None:
        assert views.shape_of(found, sizes) == tuple(shape)
        assert torch.equal(tensor_of(found, sizes), tensor.reshape(shape))


def test_reshape_works_out_one_open_dimension() -> None:
    assert views.reshape(STEP, SIZES, (6, -1, 5)) == (("T", "B"), ("C",), ("H", "W"))
    assert views.reshape((("T", "B"), ("C",)), SIZES, (2, -1)) == (("T",), ("B", "C"))
    assert views.reshape((("T", "B"), ("C",)), SIZES, (3, -1)) is None


def test_unflatten_refuses_to_cut_an_axis() -> None:
    assert views.unflatten((("T", "B"), ("C",)), SIZES, 0, (3, 2)) is None
    assert views.unflatten((("T", "B"), ("C",)), SIZES, 1, (2, 2)) is None


def test_axes_as_text() -> None:
    assert views.text((("T", "B"), (), ("C",)), SIZES) == "[T=2*B, 1, C=4]"


def test_one_time_step_keeps_its_axis() -> None:
    sizes = {"T": 1, "B": 3, "C": 1, "H": 4, "W": 4}
    fused = (("T", "B"), ("C",), ("H",), ("W",))
    split = (("T",), ("B",), ("C",), ("H",), ("W",))
    assert views.unflatten(fused, sizes, 0, (1, 3)) == split
    assert views.reshape(fused, sizes, (1, 3, 1, 4, 4)) == split
