"""What a TrueNorth core can hold: a binary crossbar, four weights per neuron, one destination per neuron."""

from __future__ import annotations

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


def levels_needed(weights: np.ndarray) -> tuple[int, ...]:
    """The axon levels from which every one of the integer ``weights`` is a sum of some, each at most once.

    All values are used as they are if there are no more than those of the binary code; otherwise the code:
    1, 2, 4 ... for the magnitude and one negative level. Ternary weights need (-1, 1), weights of -8..7 need
    (-8, 1, 2, 4). Each level is an axon of its own for every input.
    """
    values = np.unique(weights)
    distinct = tuple(int(v) for v in values[values != 0])
    low, high = int(min(values.min(initial=0), 0)), int(max(values.max(initial=0), 0))
    bits = max(high, -low - 1).bit_length()
    code = (*((-(1 << bits),) if low < 0 else ()), *(1 << b for b in range(bits)))
    return distinct if len(distinct) <= len(code) else code


def fan_in_limit(levels: Sequence[int], core: CrossbarCore) -> int:
    """Inputs that one neuron can see when each comes over ``len(levels)`` axons; 0 if these are too many.

    Ternary weights (two levels) leave 128 of the 256.
    """
    if len(levels) > core.axon_types.value:
        return 0
    return core.axons.value // max(1, len(levels))


def program(weights: np.ndarray, core: CrossbarCore) -> Crossbar:
    """Put integer ``weights`` [inputs, neurons] on a core: ``len(levels)`` axons for each input.

    Axon ``i * len(levels) + k`` carries input i at level k. ValueError with need and limit if they do not
    fit.
    """
    levels = levels_needed(weights)
    inputs, neurons = weights.shape
    connected = np.zeros((inputs, len(levels), neurons), bool)
    for value in np.unique(weights):
        chosen = _levels_of(int(value), levels)
        for k in chosen:
            connected[:, k] |= weights == value
    table = np.zeros((neurons, core.axon_types.value), np.int64)
    table[:, : len(levels)] = levels[: core.axon_types.value]
    crossbar = Crossbar(connected.reshape(-1, neurons), np.tile(np.arange(len(levels)), inputs), table)
    fault = fault_of(crossbar, core)
    if fault is not None:
        raise ValueError(fault)
    return crossbar


def _levels_of(value: int, levels: tuple[int, ...]) -> list[int]:
    """Indices of the levels that add up to ``value``."""
    if value in levels:
        return [levels.index(value)]
    chosen = []
    rest = value
    if value < 0:
        chosen, rest = [levels.index(min(levels))], value - min(levels)
    return chosen + [k for k, level in enumerate(levels) if level > 0 and rest & level]


@dataclass(frozen=True)
class Splitting:
    """What it takes to send spikes on to several destinations: relay neurons, cores of them, ticks."""

    neurons: int
    cores: int
    ticks: int


def splitting(destinations: Sequence[int], core: CrossbarCore) -> Splitting:
    """Splitters for neurons with so many (core, axon) ``destinations`` each.

    A neuron has one destination. One with d > 1 sends to an axon of a splitter core, where d relay neurons
    each go one way on; more than a core's neurons need a tree of such cores. ``ticks``: the longest detour.
    Groups of relays are put on cores largest first, each where it fits (a core's axons bound them too).
    """
    groups: list[int] = []
    deepest = 0
    for wanted in destinations:
        left, depth = wanted, 0
        while left > 1:
            depth += 1
            full, rest = divmod(left, core.neurons.value)
            level = [core.neurons.value] * full + ([rest] if rest > 1 else [])
            groups += level
            left = len(level) + (1 if rest == 1 else 0)
        deepest = max(deepest, depth)
    return Splitting(sum(groups), _first_fit(groups, core), deepest)


def _first_fit(groups: Sequence[int], core: CrossbarCore) -> int:
    cores: list[tuple[int, int]] = []
    for size in sorted(groups, reverse=True):
        for i, (neurons, axons) in enumerate(cores):
            if neurons + size <= core.neurons.value and axons < core.axons.value:
                cores[i] = (neurons + size, axons + 1)
                break
        else:
            cores.append((size, 1))
    return len(cores)
