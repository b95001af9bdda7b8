"""How often populations run in a call: in every time step, but for those that a router switches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nsim.frontends.network import Network

if TYPE_CHECKING:
    from nsim.simulator.call import Call


@dataclass(frozen=True)
class Turns:
    """How often populations run in the calls of ``images`` images, all together.

    ``switched``: for each population with a gate, the time steps in which it runs, and the stretches of them
    that follow each other (how often it is switched on, and off again). Fractions where they are expected
    and not counted.
    """

    time_steps: int
    images: int
    switched: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def expected(cls, network: Network) -> Turns:
        """One image, if routers selected all candidates equally often and kept to it through the call."""
        shares = {p.name: network.share(p.name) for p in network.populations if p.gate is not None}
        steps = network.time_steps
        return cls(steps, 1, {name: (steps * share, share) for name, share in shares.items()})

    @classmethod
    def played(cls, call: Call) -> Turns:
        """What the routers of a call selected."""
        switched = {}
        for name, running in call.running.items():
            starts = running & ~np.roll(running, 1, axis=0)
            starts[0] = running[0]
            switched[name] = int(running.sum()), int(starts.sum())
        return cls(call.network.time_steps, len(call.eps), switched)

    def steps(self, *populations: str) -> float:
        """Time steps in which all of ``populations`` run; those with a gate have the same one."""
        everywhere = self.images * self.time_steps
        return min(self.switched[name][0] if name in self.switched else everywhere for name in populations)

    def stretches(self, population: str) -> float:
        """How often a population is switched on."""
        return self.switched[population][1] if population in self.switched else self.images
