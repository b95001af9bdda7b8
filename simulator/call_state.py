"""What comes into being during one call: values by name, currents of a population in the making."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nsim.simulator.projector import Items
from nsim.simulator.tasks import Tasks


class CallState:
    """Values of one call as they come into being, channels last: maps [T, B, H, W, C], features [B, F]."""

    def __init__(self, times: np.ndarray, tasks: Tasks) -> None:
        self.times = times
        self.tasks = tasks
        self.values: dict[str, np.ndarray] = {}
        self.spikes: dict[str, np.ndarray] = {}
        self.signs: dict[str, np.ndarray] = {}
        self.active: dict[str, np.ndarray] = {}
        self.potentials: dict[str, np.ndarray] = {}
        self.currents: dict[str, np.ndarray] = {}
        self.largest: dict[str, int] = {}
        self.narrow: dict[str, np.ndarray] = {}
        self.gates: dict[str, np.ndarray] = {}
        self.running: dict[str, np.ndarray] = {}
        self._items: dict[str, Items] = {}

    def output_of(self, name: str) -> np.ndarray:
        """Spikes or analog values of a population or host op; signed spikes are values."""
        return self.values[name] if name in self.values else self.spikes[name]

    def sends_spikes(self, name: str) -> bool:
        """True for a population whose output is spikes of one height."""
        return name not in self.values

    def items_of(self, name: str, running: np.ndarray | None = None) -> Items:
        """What a population sends, ready to be listed for the kernels, once for all its projections.

        To a target that runs only in some steps (bool [T, B]) it sends nothing in the others.
        """
        if running is not None:
            values = self.output_of(name)
            sent = np.where(running[..., None, None, None], values, values.dtype.type(0))
            return Items(sent, self.sends_spikes(name))
        if name not in self._items:
            known = self.largest.get(name), self.narrow.get(name)
            self._items[name] = Items(self.output_of(name), self.sends_spikes(name), *known)
        return self._items[name]

    def neurons(
        self, name: str, current: np.ndarray, room: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Room for the spikes, activity and potentials of a population that gets ``current``."""
        self.spikes[name], self.active[name] = (room(current.shape, np.uint8) for _ in range(2))
        self.potentials[name] = room(current.shape[1:], current.dtype)
        return self.spikes[name], self.active[name], self.potentials[name]


class Target:
    """Currents [T, B, H, W, C] of a population in the making: ``constant`` [B, C] first, then what comes in.

    The constant is not written on its own where the first projection into a channel can write it along.
    """

    def __init__(self, current: np.ndarray, constant: np.ndarray) -> None:
        self.current = current
        self.constant = constant
        self._waiting = [(0, current.shape[-1])]  # channels that nothing has been written to

    def initial(self, channels: tuple[int, int]) -> np.ndarray:
        """What the next projection into ``channels`` has to write first, [B, channels]; nothing, [0,
        channels], if it is there."""
        first, last = channels
        span = next((s for s in self._waiting if s[0] <= first and last <= s[1]), None)
        if span is None:
            self.fill(channels)
            return np.empty((0, last - first), self.current.dtype)
        self._take(span, channels)
        return np.ascontiguousarray(self.constant[:, first:last])

    def fill(self, channels: tuple[int, int]) -> None:
        """Write the constant into those of ``channels`` that nothing has been written to."""
        for span in tuple(self._waiting):
            part = max(span[0], channels[0]), min(span[1], channels[1])
            if part[0] < part[1]:
                self._take(span, part)
                self.current[..., slice(*part)] = self.constant[:, None, None, slice(*part)]

    def _take(self, span: tuple[int, int], part: tuple[int, int]) -> None:
        """Make ``part`` of a waiting span wait no longer."""
        self._waiting.remove(span)
        self._waiting += [(a, b) for a, b in ((span[0], part[0]), (part[1], span[1])) if a < b]
