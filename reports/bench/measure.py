"""How things are timed, and what a measurement is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

PAUSE_S = 0.05


@dataclass(frozen=True)
class Measurement:
    """One figure beside its rival's.

    ``value`` None: what it takes is not on this machine; ``rival_value`` None: the rival is not installed, or
    there is none. ``less_is_better``: seconds and bytes, as against rates.
    """

    name: str
    value: float | None
    unit: str
    rival: str | None = None
    rival_value: float | None = None
    less_is_better: bool = True

    @property
    def ratio(self) -> float | None:
        """How many times better than the rival: above 1 = nsim is."""
        if self.rival_value is None or self.value is None:
            return None
        pair = (self.rival_value, self.value) if self.less_is_better else (self.value, self.rival_value)
        return pair[0] / pair[1]

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "rival": self.rival,
            "rival_value": self.rival_value,
            "ratio": self.ratio,
        }


def best_of(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Shortest wall-clock time of each work in seconds; they take turns, so that noise meets all of them.

    Each finds caches and threads as it leaves them itself, not as another did: after a pause, in which the
    threads of the one before fall asleep (OpenMP's spin for a while), it is done once before it is timed.
    """
    for work in works:
        work()
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for i, work in enumerate(works):
            if len(works) > 1:
                time.sleep(PAUSE_S)
                work()
            start = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - start)
    return best
