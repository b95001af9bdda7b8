"""The elementary operations that neurons are written in, on numpy arrays: of floats, or of exact fractions.

Nothing but what stands in `OPERATIONS` is ever worked out. All of them act element by element, but for those
that pick or stack time steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from nsim.errors import UnsupportedOpError
from nsim.frontends.pt2.archive import FLOATS, Name, Node

Array = np.ndarray


def number(value: float, exact: bool) -> Any:
    """A number as the arithmetic has it."""
    return Fraction(value) if exact else float(value)


def fill(like: Array, value: Any) -> Array:
    """``like``'s shape full of one value."""
    return np.full(like.shape, value, like.dtype)


def _to(x: Array, dtype: int | None = None) -> Array:
    if x.dtype == bool or dtype is None or dtype in FLOATS:
        return x
    raise UnsupportedOpError(f"a change to torch type {dtype}, which rounds")


def _stack(tensors: list[Array], dim: int = 0) -> Array:
    return np.stack(tensors, dim)


def _cat(tensors: list[Array], dim: int = 0) -> Array:
    return np.concatenate(tensors, dim)


def _select(x: Array, dim: int, index: int) -> Array:
    return x[(slice(None),) * (dim % x.ndim) + (index,)]


def _slice(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]


def _clamp(x: Array, low: Any = None, high: Any = None) -> Array:
    x = x if low is None else np.where(x < low, low, x)
    return x if high is None else np.where(x > high, high, x)


def _unflatten(x: Array, dim: int, sizes: list[int]) -> Array:
    dim %= x.ndim
    return x.reshape((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


def _flatten(x: Array, first: int = 0, last: int = -1) -> Array:
    first, last = first % x.ndim, last % x.ndim
    return x.reshape((*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def _write(x: Array, value: Any) -> Array:
    x[...] = value
    return x


def _add(x: Any, other: Any, alpha: Any = 1) -> Any:
    return x + other if alpha == 1 else x + alpha * other


def _sub(x: Any, other: Any, alpha: Any = 1) -> Any:
    return x - other if alpha == 1 else x - alpha * other


def _play_if(x: Array, v: Array, threshold: Any, reset: Any) -> tuple[Array, Array]:
    return _play(x, v, lambda v, current: v + current, threshold, reset)


def _play_lif(
    x: Array, v: Array, tau: Any, decay_input: bool, threshold: Any, reset: Any
) -> tuple[Array, Array]:
    rest = 0 if reset is None else reset

    def update(v: Array, current: Array) -> Array:
        return v + (current - (v - rest)) / tau if decay_input else v - (v - rest) / tau + current

    return _play(x, v, update, threshold, reset)


def _play(x: Array, v: Array, update: Callable, threshold: Any, reset: Any) -> tuple[Array, Array]:
    """SpikingJelly 2's multi-step operations: spikes and potentials of all steps, [T, ...]."""
    spikes, potentials = [], []
    for current in x:
        u = update(v, current)
        fired = u >= threshold
        v = u - fired * threshold if reset is None else np.where(fired, reset, u)
        spikes.append(fired)
        potentials.append(u)
    return np.stack(spikes), np.stack(potentials)


def _sum(x: Array, dim: list[int] | None = None, keepdim: bool = False) -> Array:
    return x.sum(None if dim is None else tuple(dim), keepdims=keepdim)


def _of_shape(value: float) -> Callable[[list[int]], Array]:
    return lambda size: np.full(size, value)


BINARY: dict[str, Callable] = {
    "add": _add,
    "sub": _sub,
    "rsub": lambda x, other, alpha=1: _sub(other, x, alpha),
    "mul": lambda x, other: x * other,
    "div": lambda x, other: x / other,
    "ge": lambda x, other: x >= other,
    "gt": lambda x, other: x > other,
    "le": lambda x, other: x <= other,
    "lt": lambda x, other: x < other,
    "eq": lambda x, other: x == other,
    "ne": lambda x, other: x != other,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "bitwise_and": lambda x, other: x & other,
    "bitwise_or": lambda x, other: x | other,
    "__and__": lambda x, other: x & other,
    "__or__": lambda x, other: x | other,
}
"""Functions of two values, in all the forms torch has of them."""
SAME = ("to", "_to_copy", "clone", "detach", "detach_", "alias", "contiguous", "lift_fresh_copy", "item")
OPERATIONS: dict[str, tuple[Callable, str]] = {
    **{name: (function, "self other alpha") for name, function in BINARY.items()},
    **{name: (_to, "self dtype") for name in SAME},
    "neg": (lambda x: -x, "self"),
    "reciprocal": (lambda x: 1 / x, "self"),
    "exp": (np.exp, "self"),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), "self"),
    "sqrt": (np.sqrt, "self"),
    "logical_not": (np.logical_not, "self"),
    "bitwise_not": (lambda x: ~x, "self"),
    "where": (np.where, "condition self other"),
    "masked_fill": (lambda x, mask, value: np.where(mask, value, x), "self mask value"),
    "clamp": (_clamp, "self min max"),
    "heaviside": (lambda x, at: np.where(x == 0, at, x > 0), "self values"),
    "zeros_like": (lambda x: fill(x, 0), "self"),
    "empty_like": (lambda x: fill(x, 0), "self"),
    "ones_like": (lambda x: fill(x, 1), "self"),
    "full_like": (fill, "self fill_value"),
    "zeros": (_of_shape(0.0), "size"),
    "empty": (_of_shape(0.0), "size"),
    "ones": (_of_shape(1.0), "size"),
    "full": (np.full, "size fill_value"),
    "zero_": (lambda x: _write(x, 0), "self"),
    "fill_": (_write, "self value"),
    "copy_": (_write, "self src"),
    "select": (_select, "self dim index"),
    "slice": (_slice, "self dim start end step"),
    "unbind": (lambda x, dim=0: list(np.moveaxis(x, dim, 0)), "self dim"),
    "stack": (_stack, "tensors dim"),
    "cat": (_cat, "tensors dim"),
    "unsqueeze": (lambda x, dim: np.expand_dims(x, dim), "self dim"),
    "squeeze": (lambda x, dim: np.squeeze(x, dim), "self dim"),
    "view": (np.reshape, "self size"),
    "reshape": (np.reshape, "self shape"),
    "unflatten": (_unflatten, "self dim sizes"),
    "flatten": (_flatten, "self start_dim end_dim"),
    "sum": (_sum, "self dim keepdim"),
    "sj_if": (_play_if, "x v threshold reset"),
    "sj_lif": (_play_lif, "x v tau decay_input threshold reset"),
}
"""What each is, and the names of its arguments, in torch's schema (``sj_``: in SpikingJelly 2's)."""
COMPARISONS = frozenset({"ge", "gt", "le", "lt", "heaviside"})
SIZES = frozenset("dim index start end step size sizes shape start_dim end_dim dtype keepdim alpha".split())
"""Arguments that say where, and are no numbers of the arithmetic."""
IGNORED = frozenset({"_assert_tensor_metadata", "_assert_scalar", "sym_size", "sym_constrain_range_for_size"})


def operation(node: Node) -> str:
    """The operation of a node without the form it is in; in place or with an ``out`` too."""
    space, _, rest = node.target.partition(".")
    return space if space.startswith("sj_") else rest.partition(".")[0]


def writes(node: Node) -> bool:
    """True for a node that changes what it is given."""
    return operation(node).endswith("_") or "out" in node.args


def fires(node: Node) -> bool:
    """True for an operation that may be a threshold's."""
    return operation(node) in COMPARISONS or operation(node).startswith("sj_")


def is_known(node: Node) -> bool:
    """True for an operation that can be worked out."""
    name = operation(node)
    return name in OPERATIONS or name.removesuffix("_") in OPERATIONS or name == "sj_plif"


def evaluate(node: Node, values: Mapping[str, Array], exact: bool) -> list[Array]:
    """What a node returns; raises UnsupportedOpError for an operation that is not in the list."""
    name = operation(node)
    found = OPERATIONS.get(name) or OPERATIONS.get(name.removesuffix("_"))
    if found is None or node.args.get("rounding_mode"):
        raise UnsupportedOpError(f"operation {node.target}")
    function, names = found

    def value(key: str, given: Any) -> Any:
        if isinstance(given, list):
            return [value(key, g) for g in given]
        if isinstance(given, Name):
            return values[given.text]
        plain = key in SIZES or given is None or isinstance(given, bool)
        return given if plain else number(given, exact)

    given = {key: value(key, node.args[key]) for key in names.split() if key in node.args}
    result = function(*_positional(given, names.split()))
    if name in ("to", "_to_copy"):
        result = result.astype(object if exact else float) if result.dtype.kind == "b" else result
    if "out" in node.args:
        result = _write(values[node.args["out"].text], result)
    elif name.endswith("_") and name not in OPERATIONS:
        result = _write(given["self"], result)
    results = [np.asarray(r) for r in (result if isinstance(result, list | tuple) else [result])]
    return [_fractions(r) if exact and r.dtype.kind == "f" else r for r in results]


def _fractions(x: Array) -> Array:
    """The same numbers, exactly, as fractions."""
    return np.array([Fraction(v) for v in x.ravel().tolist()], object).reshape(x.shape)


def _positional(given: dict[str, Any], names: list[str]) -> Iterable[Any]:
    """Values in the schema's order; what is left out in between is None, at the end left out."""
    last = max(i for i, key in enumerate(names) if key in given)
    return [given.get(key) for key in names[: last + 1]]
