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
from typing import Any

import numpy as np

from nsim.errors import UnsupportedOpError
from nsim.frontends.network import NeuronModel
from nsim.frontends.pt2.arithmetic import Array, number
from nsim.frontends.pt2.circuit import Circuit

RANDOM = 4096
"""Elements that are tried with random currents."""
EXACT, EXACT_AT_LEAST = 1024, 32
"""Steps, of all elements together, that are tried on the threshold; and elements, however many the steps."""
WIDEST = 1e6
"""Currents beyond this are not tried for a threshold."""
NEAR = 1e-9
"""How far a candidate's threshold may be from the measured one to be looked at at all."""
A_LITTLE = Fraction(1, 2**60)


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
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return _measured(circuit)
    except (TypeError, ValueError, IndexError, KeyError, ArithmeticError, AttributeError) as error:
        raise UnsupportedOpError(f"its arithmetic cannot be followed ({error})") from None


def _measured(circuit: Circuit) -> NeuronModel:
    rng, steps = np.random.default_rng(0), circuit.time_steps
    edge = _edge(circuit)
    n = circuit.elements(RANDOM)
    widest = 4.0 * max(map(abs, (*circuit.numbers, edge)))
    sizes = rng.choice([0.25 * edge, edge, 4.0 * edge, widest], n)
    currents = sizes * rng.normal(0.5, 1.0, (steps, n))
    spikes, _ = circuit.play(currents)
    left = [c for c in _candidates(circuit.numbers, edge) if _same(spikes, c.play(currents)[0])]
    kinds = {c.behaviour(steps): c for c in left}
    n = circuit.elements(max(EXACT // steps, EXACT_AT_LEAST))
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
    if low <= 0.0 <= high:
        raise UnsupportedOpError("it fires at rest")
    return high


def _candidates(numbers: list[float], edge: float) -> Iterator[Candidate]:
    """Every neuron of these numbers that fires first at ``edge``."""
    times = dict.fromkeys((None, *(tau for x in numbers for tau in _time_constants(x))))
    leaks = [(tau, decay) for tau in times for decay in ((True,) if tau is None else (True, False))]
    for threshold, reset, (tau, decay) in itertools.product(numbers, (*numbers, None), leaks):
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

    None of one step, with which nothing is kept: a bare threshold is no neuron.
    """
    if x > 1.0:
        yield Fraction(x)
    elif 0.0 < x < 1.0:
        yield 1 / Fraction(x)
        yield 1 / (1 - Fraction(x))


def _same(spikes: Array, fired: Array) -> bool:
    return bool((spikes == fired).all())


def _last_seen(potentials: Array, values: list[Array]) -> int | None:
    """Where the potentials of every step stand among a circuit's values: the last place of the first's."""
    whole = [i for i, v in enumerate(values) if v.shape == potentials.shape and (v == potentials).all()]
    if whole:
        return whole[-1]
    steps = [[i for i, v in enumerate(values) if v.shape == u.shape and (v == u).all()] for u in potentials]
    return steps[0][-1] if all(steps) else None
