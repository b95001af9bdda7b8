"""Which `NeuronModel` a stretch of arithmetic is, found by feeding it currents and looking at its spikes.

Every number in the arithmetic is tried as threshold, reset and leak. A model is taken only if its spikes are
those of the arithmetic, none different: in float64 for thousands of random currents, and in exact fractions
for currents that put the potential on the threshold, a little above and a little below, in every step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from nsim.errors import UnsupportedOpError
from nsim.frontends.network import NeuronModel
from nsim.frontends.neurons import TimeAxis
from nsim.frontends.pt2.archive import Name, Node, Shape
from nsim.frontends.pt2.arithmetic import SIZES, Array, evaluate, number

RANDOM, EXACT = 4096, 256
"""Elements that are tried with random currents, and on the threshold."""
WIDEST = 1e6
"""Currents beyond this are not tried for a threshold."""
NEAR = 1e-9
"""How far a candidate's threshold may be from the measured one before it is looked at at all."""
A_LITTLE = Fraction(1, 2**60)


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
            if isinstance(x, list):
                return tuple(map(plain, x))
            if isinstance(x, Name):
                return ("value", self.constants.get(x.text, order.setdefault(x.text, len(order))))
            return x

        def sized(key: str, x: Any) -> Any:
            return plain(self._size(x, (0,))) if key in ("size", "sizes", "shape") else plain(x)

        nodes = [
            (
                n.target,
                tuple((k, sized(k, x)) for k, x in n.args.items()),
                tuple(plain(Name(o)) for o in n.outputs),
            )
            for n in self.nodes
        ]
        ends = tuple(plain(Name(name)) for name in (*self.currents, *self.spikes))
        return (*nodes, ends, self.time, self.time_steps, self.batch, len(self.shape))

    def play(self, currents: Array) -> tuple[Array, list[Array]]:
        """Spikes [T, N] for currents [T, N], floats or fractions; and all values on the way, [T, N] or [N]."""
        exact = currents.dtype == object
        steps, n = currents.shape
        rank = len(self.shape) - self.lead
        tail = (n // (self.batch * 2 ** (rank - 1)), *[2] * (rank - 1))
        maps = currents.reshape(steps, self.batch, *tail)
        given = {"first": [maps], "second": [maps.swapaxes(0, 1)], "none": list(maps)}.get(self.time)
        if given is None:
            given = [maps.swapaxes(0, 1).reshape(-1, *tail)]
        values = {name: np.array(number(v, exact)) for name, v in self.constants.items()}
        values |= {name: np.array(v) for name, v in zip(self.currents, given, strict=True)}
        seen = []
        for node in self.nodes:
            args = {
                k: self._size(a, tail) if k in ("size", "sizes", "shape") else a for k, a in node.args.items()
            }
            results = evaluate(Node(node.target, args, node.outputs, node.levels), values, exact)
            values.update(zip(node.outputs, results, strict=False))
            seen.extend(r.copy() for r in results)
        spikes = [values[name] for name in self.spikes]
        if any(s.shape != g.shape for s, g in zip(spikes, given, strict=True)):
            raise UnsupportedOpError("what it returns has not the shape of what it takes")
        rows = np.stack(spikes) if self.time == "none" else self._rows(spikes[0], tail)
        whole = [self._rows(v, tail).reshape(steps, n) for v in seen if v.size == currents.size]
        return rows.reshape(steps, n), [*whole, *(v.ravel() for v in seen if v.size == n != currents.size)]

    def _rows(self, x: Array, tail: Shape) -> Array:
        """A value of all steps, steps first."""
        if self.time == "second" or self.time == "fused":
            return x.reshape(self.batch, self.time_steps, *tail).swapaxes(0, 1)
        return x

    def _size(self, sizes: Any, tail: Shape) -> Any:
        """Sizes for currents of another map."""
        own = list(self.shape[self.lead :])
        ours = isinstance(sizes, list) and sizes[len(sizes) - len(own) :] == own
        return [*sizes[: len(sizes) - len(own)], *tail] if ours else sizes


@dataclass(frozen=True)
class Candidate:
    """A neuron that the arithmetic may be, with its time constant and what a spike takes off exactly."""

    model: NeuronModel
    tau: Fraction | None
    taken: Fraction

    @property
    def gain(self) -> Fraction:
        """What a current is multiplied by."""
        return 1 / self.tau if self.tau is not None and self.model.decay_input else Fraction(1)

    @property
    def edge(self) -> Fraction:
        """The current at which it fires in the first step."""
        return (Fraction(self.model.v_threshold) - Fraction(self.model.v_reset or 0.0)) / self.gain

    def behaviour(self, time_steps: int) -> tuple[Any, ...]:
        """Equal for candidates with the same spikes for any currents over so many steps."""
        hard = self.model.v_reset is not None
        later = (self.tau, hard, self.taken / self.gain) if time_steps > 1 else ()
        return (self.edge, self.model.strict, *later)

    def update(self, v: Array, x: Any) -> Array:
        """U of V and X, as `NeuronModel` has it."""
        exact = v.dtype == object
        tau = self.tau if exact else self.model.tau
        rest = number(self.model.v_reset or 0.0, exact)
        if tau is None:
            return v + x
        return v + (x - (v - rest)) / tau if self.model.decay_input else v - (v - rest) / tau + x

    def after(self, u: Array) -> tuple[Array, Array]:
        """Spikes and V after them."""
        exact, model = u.dtype == object, self.model
        threshold = number(model.v_threshold, exact)
        fired = u > threshold if model.strict else u >= threshold
        if model.v_reset is not None:
            return fired, np.where(fired, number(model.v_reset, exact), u)
        return fired, u - fired * (self.taken if exact else float(self.taken))

    def play(self, currents: Array) -> tuple[Array, Array]:
        """Spikes and potentials U, [T, N], for currents [T, N]."""
        v = np.full(currents.shape[1:], number(self.model.v_reset or 0.0, currents.dtype == object))
        spikes, potentials = [], []
        for x in currents:
            u = self.update(v, x)
            fired, v = self.after(u)
            spikes.append(fired)
            potentials.append(u)
        return np.stack(spikes), np.stack(potentials)

    def on_the_threshold(self, steps: int, n: int, rng: np.random.Generator) -> Array:
        """Currents [T, N] that put U on the threshold, just above, just below, or anywhere, at random."""
        threshold, scale = Fraction(self.model.v_threshold), abs(self.edge) or Fraction(1)
        v = np.full(n, number(self.model.v_reset or 0.0, True))
        currents = []
        for _ in range(steps):
            hit = (threshold - self.update(v, number(0.0, True))) / self.gain
            anywhere = np.array([Fraction(int(k), 64) for k in rng.integers(-64, 160, n)], object) * scale
            near = hit + rng.integers(-1, 2, n).astype(object) * A_LITTLE * scale
            currents.append(np.where(rng.random(n) < 0.5, near, anywhere))
            _, v = self.after(self.update(v, currents[-1]))
        return np.stack(currents)


def measure(circuit: Circuit) -> NeuronModel:
    """The neuron that a circuit is; raises UnsupportedOpError, saying why, for one that is none."""
    try:
        return _measured(circuit)
    except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError, AttributeError) as error:
        raise UnsupportedOpError(f"its arithmetic cannot be followed ({error})") from None


def _measured(circuit: Circuit) -> NeuronModel:
    rng, steps = np.random.default_rng(0), circuit.time_steps
    edge = _edge(circuit)
    n = circuit.elements(RANDOM)
    currents = (edge or 1.0) * rng.normal(0.5, 1.0, (steps, n)) * rng.choice([0.25, 1.0, 4.0], n)
    spikes, _ = circuit.play(currents)
    left = [c for c in _candidates(circuit.numbers, edge) if _same(spikes, c.play(currents)[0])]
    kinds = {c.behaviour(steps): c for c in left}
    n = circuit.elements(EXACT)
    values: list[Array] = []
    for kind in kinds.values():
        currents = kind.on_the_threshold(steps, n, rng)
        spikes, values = circuit.play(currents)
        left = [c for c in left if _same(spikes, c.play(currents)[0])]
    if not left:
        raise UnsupportedOpError("its spikes are not those of an IF or LIF neuron")
    seen = [(_last_seen(c.play(currents)[1], values), c) for c in left]
    found = [(at, c) for at, c in seen if at is not None]
    if not found:
        raise UnsupportedOpError("its spikes are those of an IF or LIF neuron, but its potential is not")
    return max(found, key=lambda pair: pair[0])[1].model


def _edge(circuit: Circuit) -> float:
    """The least current at which it fires in the first step, to within a rounding."""
    low, high = -WIDEST, WIDEST
    while high - low > NEAR * max(abs(low), abs(high), NEAR) / 4:
        currents = np.zeros((circuit.time_steps, circuit.elements(RANDOM)))
        currents[0] = np.linspace(low, high, currents.shape[1])
        fired = circuit.play(currents)[0][0].astype(bool)
        first = int(fired.argmax())
        if not fired[first] or first == 0 or not fired[first:].all():
            raise UnsupportedOpError("there is no current from which on it fires")
        if (low, high) == (currents[0, first - 1], currents[0, first]):
            break
        low, high = currents[0, first - 1], currents[0, first]
    return high


def _candidates(numbers: list[float], edge: float) -> Iterator[Candidate]:
    """Every neuron of these numbers that fires first at ``edge``."""
    times = dict.fromkeys((None, *(tau for x in numbers for tau in _time_constants(x))))
    leaks = [(tau, decay) for tau in times for decay in ((True,) if tau is None else (True, False))]
    for threshold, reset, (tau, decay) in itertools.product(numbers, (None, *numbers), leaks):
        model = NeuronModel(threshold, reset, None if tau is None else float(tau), decay)
        if abs(threshold - (reset or 0.0) - edge * model.input_factor) > NEAR * max(abs(threshold), 1.0):
            continue
        kept = Fraction(1) if tau is None else 1 - 1 / tau
        soft = dict.fromkeys((*map(Fraction, numbers), Fraction(threshold) / kept))
        for strict, taken in itertools.product((False, True), soft if reset is None else (Fraction(0),)):
            subtract = None if reset is not None or taken == threshold else float(taken)
            yield Candidate(replace(model, strict=strict, subtract=subtract), tau, taken)


def _time_constants(x: float) -> Iterator[Fraction]:
    """Time constants in steps that a number may stand for: itself, 1 over it, or what is kept.

    None of one step, with which nothing is kept: so a bare threshold, as in a surrogate function, is none.
    """
    if x > 1.0:
        yield Fraction(x)
    elif 0.0 < x < 1.0:
        yield 1 / Fraction(x)
        yield 1 / (1 - Fraction(x))


def _same(spikes: Array, fired: Array) -> bool:
    return bool((spikes == fired).all())


def _last_seen(potentials: Array, values: list[Array]) -> int | None:
    """Where among the values of a circuit the potentials of every step stand, the last place of the first's."""
    whole = [i for i, v in enumerate(values) if v.shape == potentials.shape and (v == potentials).all()]
    if whole:
        return whole[-1]
    steps = [[i for i, v in enumerate(values) if v.shape == u.shape and (v == u).all()] for u in potentials]
    return steps[0][-1] if all(steps) else None
