"""The arithmetic of one neuron module, to be fed with currents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nsim.errors import UnsupportedOpError
from nsim.frontends.neurons import TimeAxis
from nsim.frontends.pt2.archive import Name, Node, Shape
from nsim.frontends.pt2.arithmetic import SIZES, Array, evaluate, number

SHAPES = ("size", "sizes", "shape")
"""Arguments that are sizes, of maps as exported."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """The arithmetic of one neuron module: nodes, and the values it starts from.

    ``currents``: the value that holds all steps, or one value for each step (``time`` "none"); ``spikes``
    likewise. ``shape`` of one current as exported. ``constants``: numbers that it reads.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, float]
    currents: tuple[str, ...]
    spikes: tuple[str, ...]
    time: TimeAxis
    time_steps: int
    shape: Shape

    @property
    def lead(self) -> int:
        """Axes of a current that are time or batch."""
        return 2 if self.time in ("first", "second") else 1

    @cached_property
    def batch(self) -> int:
        """Images in one current, as exported."""
        if self.time in ("first", "second"):
            return self.shape[1 if self.time == "first" else 0]
        return self.shape[0] // (self.time_steps if self.time == "fused" else 1)

    @property
    def numbers(self) -> list[float]:
        """Every number in the arithmetic, and 0."""
        written = {
            float(x)
            for node in self.nodes
            for key, x in node.args.items()
            if key not in SIZES and isinstance(x, int | float) and not isinstance(x, bool)
        }
        return sorted({0.0, *written, *self.constants.values()})

    def elements(self, wanted: int) -> int:
        """The least number of elements, from ``wanted`` on, that fits into currents of this shape."""
        unit = self.batch * 2 ** (len(self.shape) - self.lead - 1)
        return -(-wanted // unit) * unit

    def key(self) -> Any:
        """Equal for circuits that do the same sums, whatever their values are called."""
        order: dict[str, int] = {}

        def plain(x: Any) -> Any:
            if isinstance(x, list | tuple):
                return tuple(map(plain, x))
            if isinstance(x, Name):
                known = self.constants.get(x.text)
                return (known is None, order.setdefault(x.text, len(order)) if known is None else known)
            return x

        nodes = [
            (node.target, plain(list(node.args.items())), plain(list(map(Name, node.outputs))))
            for node in self._sized(tail=(0,))
        ]
        ends = plain(list(map(Name, (*self.currents, *self.spikes))))
        return (*nodes, ends, self.time, self.time_steps, self.batch, len(self.shape))

    def play(self, currents: Array) -> tuple[Array, list[Array]]:
        """Spikes [T, N] for currents [T, N], floats or fractions; all values on the way, [T, N] or [N]."""
        exact = currents.dtype == object
        steps, n = currents.shape
        rank = len(self.shape) - self.lead
        tail = (n // self.elements(1), *[2] * (rank - 1))
        given = self._as_exported(currents.reshape(steps, self.batch, *tail))
        values = {name: np.array(number(v, exact)) for name, v in self.constants.items()}
        values |= {name: np.array(v) for name, v in zip(self.currents, given, strict=True)}
        seen: list[Array] = []
        for node in self._sized(tail):
            results = evaluate(node, values, exact)
            values.update(zip(node.outputs, results, strict=False))
            seen.extend(r.copy() for r in results)
        spikes = [values[name] for name in self.spikes]
        if any((values[name] != g).any() for name, g in zip(self.currents, given, strict=True)):
            raise UnsupportedOpError("it writes into its current, which others may read")
        if any(s.shape != g.shape for s, g in zip(spikes, given, strict=True)):
            raise UnsupportedOpError("what it returns has not the shape of what it takes")
        rows = np.stack(spikes) if self.time == "none" else self._steps_first(spikes[0], tail)
        whole = [self._steps_first(v, tail).reshape(steps, n) for v in seen if v.size == currents.size]
        return rows.reshape(steps, n), [*whole, *(v.ravel() for v in seen if v.size == n != currents.size)]

    def _as_exported(self, maps: Array) -> list[Array]:
        """Currents [T, B, ...] as the circuit takes them."""
        if self.time == "none":
            return list(maps)
        if self.time == "first":
            return [maps]
        maps = maps.swapaxes(0, 1)
        return [maps if self.time == "second" else maps.reshape(-1, *maps.shape[2:])]

    def _steps_first(self, x: Array, tail: Shape) -> Array:
        """A value of all steps, [T, B, ...]."""
        if self.time in ("second", "fused"):
            return x.reshape(self.batch, self.time_steps, *tail).swapaxes(0, 1)
        return x

    def _sized(self, tail: Shape) -> Iterator[Node]:
        """The nodes for maps of other sizes than those exported."""
        own = list(self.shape[self.lead :])

        def resized(sizes: list[int]) -> list[int]:
            lead = len(sizes) - len(own)
            return [*sizes[:lead], *tail] if sizes[lead:] == own else sizes

        for node in self.nodes:
            changed = {key: resized(node.args[key]) for key in SHAPES if isinstance(node.args.get(key), list)}
            yield replace(node, args={**node.args, **changed})
