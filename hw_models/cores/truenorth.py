"""What a TrueNorth core can hold: a binary crossbar, four weights per neuron, one destination per neuron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nsim.hw_models.spec import CrossbarCore


@dataclass(frozen=True, eq=False)
class Crossbar:
    """A programmed core: ``connected`` bool [axons, neurons], ``types`` of the axons [axons], ``weights``
    signed [neurons, 4], the weight that a neuron gives to each type of axon."""

    connected: np.ndarray
    types: np.ndarray
    weights: np.ndarray

    @property
    def effective(self) -> np.ndarray:
        """Weight of every axon on every neuron, 0 where they are not connected [axons, neurons]."""
        return np.where(self.connected, self.weights[:, self.types].T, 0)


def fault_of(crossbar: Crossbar, core: CrossbarCore) -> str | None:
    """Say which rule of a core the crossbar breaks, with need and limit; None if it fits."""
    axons, neurons = crossbar.connected.shape
    half = 1 << (core.weight_bits.value - 1)
    needs = (
        ("axons", axons, core.axons.value),
        ("neurons", neurons, core.neurons.value),
        ("axon types", int(crossbar.types.max(initial=-1)) + 1, core.axon_types.value),
        ("weights per neuron", crossbar.weights.shape[1], core.axon_types.value),
        ("weight", int(crossbar.weights.max(initial=0)), half - 1),
        ("weight below zero", -int(crossbar.weights.min(initial=0)), half),
    )
    for what, need, limit in needs:
        if need > limit:
            return f"{what}: needs {need}, a core has {limit}"
    return None


def levels_needed(weights: np.ndarray, core: CrossbarCore) -> tuple[int, ...]:
    """The axon levels from which every one of the integer ``weights`` is a sum of some, one axon for each.

    All values are used as they are if a core has types for them and there are no more than the code's; else
    the code of their range (`level_code`). Ternary weights need (-1, 1), weights of -8..7 need (-8, 1, 2, 4).
    """
    values = np.unique(weights)
    distinct = tuple(int(v) for v in values[values != 0])
    code = level_code(int(values.min(initial=0)), int(values.max(initial=0)), core)
    return distinct if len(distinct) <= min(len(code), core.axon_types.value) else code


def level_code(low: int, high: int, core: CrossbarCore) -> tuple[int, ...]:
    """Fewest levels, of no more kinds than a core has types of axon, that make every sum of low..high.

    Digits of a mixed base, one type of axon for each, the axons of a type as many as the digit's largest
    value; one negative level takes the negative half. Up to 4 bits that is the binary code; more bits than
    types take several axons of a type: 8 bits (-128, 1 x5, 6 x4, 30 x4).
    """
    digits = core.axon_types.value - (low < 0)
    sums = max(high, -low - 1) + 1
    copies = [0] * digits
    while np.prod([n + 1 for n in copies]) < sums:
        copies[int(np.argmin(copies))] += 1
    levels, base = [-sums] if low < 0 else [], 1
    for n in copies:
        levels += [base] * n
        base *= n + 1
    return tuple(levels)


def fan_in_limit(levels: Sequence[int], core: CrossbarCore) -> int:
    """Inputs that one neuron can see when each comes over ``len(levels)`` axons; 0 for levels of too many
    kinds.

    Ternary weights (two levels) leave 128 of the 256.
    """
    if len(set(levels)) > core.axon_types.value:
        return 0
    return core.axons.value // max(1, len(levels))


def program(weights: np.ndarray, core: CrossbarCore) -> Crossbar:
    """Put integer ``weights`` [inputs, neurons] on a core: ``len(levels)`` axons for each input.

    Axon ``i * len(levels) + k`` carries input i at level k. ValueError with need and limit if they do not
    fit.
    """
    levels = levels_needed(weights, core)
    kinds = sorted(set(levels))
    inputs, neurons = weights.shape
    connected = np.zeros((inputs, len(levels), neurons), bool)
    for value in np.unique(weights):
        for k in levels_of(int(value), levels):
            connected[:, k] |= weights == value
    table = np.zeros((neurons, core.axon_types.value), np.int64)
    table[:, : len(kinds)] = kinds[: core.axon_types.value]
    types = np.tile([kinds.index(level) for level in levels], inputs).astype(np.int64)
    crossbar = Crossbar(connected.reshape(-1, neurons), types, table)
    fault = fault_of(crossbar, core)
    if fault is not None:
        raise ValueError(fault)
    return crossbar


def levels_of(value: int, levels: tuple[int, ...]) -> list[int]:
    """Indices of the ``levels`` that add up to ``value``: those of `levels_needed` for a range with it."""
    if value in levels:
        return [levels.index(value)]
    chosen = []
    rest = value
    if value < 0:
        chosen, rest = [levels.index(min(levels))], value - min(levels)
    for k in sorted(range(len(levels)), key=lambda k: -levels[k]):  # a digit of the mixed base at a time
        if 0 < levels[k] <= rest:
            chosen.append(k)
            rest -= levels[k]
    return chosen


@dataclass(frozen=True)
class Splitting:
    """What it takes to send spikes on to several destinations: relay neurons, cores of them, ticks."""

    neurons: int
    cores: int
    ticks: int


def splitting(destinations: Sequence[int] | np.ndarray, core: CrossbarCore) -> Splitting:
    """Splitters for neurons with so many (core, axon) ``destinations`` each.

    A neuron has one destination. One with d > 1 sends to an axon of a splitter core, where d relay neurons
    each go one way on; more than a core's neurons need a tree of such cores. ``ticks``: the longest detour.
    Groups of relays are put on cores largest first, each on the fullest core with room.
    """
    groups: Counter[int] = Counter()
    deepest = 0
    wanted, times = np.unique(np.asarray(destinations, np.int64), return_counts=True)
    for left, neurons in zip(wanted.tolist(), times.tolist(), strict=True):
        depth = 0
        while left > 1:
            depth += 1
            full, rest = divmod(left, core.neurons.value)
            groups[core.neurons.value] += full * neurons
            if rest > 1:
                groups[rest] += neurons
            left = full + (rest > 0)
        deepest = max(deepest, depth)
    relays = sum(size * times for size, times in groups.items())
    return Splitting(relays, _cores_for(groups, core), deepest)


def _cores_for(groups: Counter[int], core: CrossbarCore) -> int:
    """Cores that hold groups (size to number of them), one axon each: best fit, largest first."""
    room: Counter[int] = Counter()  # neurons that are free to the number of cores with so many
    for size in sorted(groups, reverse=True):
        left = groups[size]
        for free in sorted(room):
            if free >= size and left:
                left -= _fill(room, free, size, room[free], left)
        if left:
            cores = -(-left // (core.neurons.value // size))
            room[core.neurons.value] += cores
            _fill(room, core.neurons.value, size, cores, left)
    return max(sum(room.values()), -(-sum(groups.values()) // core.axons.value))


def _fill(room: Counter[int], free: int, size: int, cores: int, groups: int) -> int:
    """Put up to ``groups`` groups on ``cores`` cores with ``free`` neurons each: how many found room."""
    each = free // size
    placed = min(groups, cores * each)
    full, rest = divmod(placed, each)
    room[free] -= full + (rest > 0)
    room[free - each * size] += full
    if rest:
        room[free - rest * size] += 1
    return placed
