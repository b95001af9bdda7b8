"""Sums in parts: how TrueNorth neurons add up more inputs than a core has axons, exactly and slowly.

A neuron whose inputs need more axons than a core has gets its sum from several cores. On each, two *twins*
hear a part of the inputs, one with the weights and one with their negatives, all in one tick. A twin has
threshold 1, subtracts it when it fires, and its potential ends at 0 from below: the twin of a positive sum s
fires s times, one spike a tick, the other one not at all. The *final* neuron adds +1 for a spike of the first
and -1 for one of the second, so that after as many ticks as the largest part can need it has the whole sum.

On the way there it may be above its threshold when it should not be. So its threshold is raised by a *gate*
that no sum can reach. In the last tick an axon that is always active in it adds the gate (several axons, as
a weight has 9 bits): the neuron fires just if its sum has reached the true threshold. It is reset to the
gate, and in the next tick the gate is taken off again, from those that fired and those that did not.

Exact for a hard reset. A soft reset would take off the gate with the threshold. Assumed: that the value a
neuron is reset to may be as large as the gate; no source at hand gives its width.
"""

from __future__ import annotations

from dataclasses import dataclass

from nsim.hw_models.cores.truenorth_arithmetic import POTENTIAL_BITS, RESET, SUBTRACT, Neuron
from nsim.hw_models.spec import CrossbarCore

TWIN = Neuron(threshold=1, reset=SUBTRACT, floor=0, saturates_at_floor=True)
"""The neuron that turns what is above 0 of its sum into so many spikes."""


@dataclass(frozen=True)
class Gate:
    """What holds final neurons back while a sum comes in.

    ``ticks``: that the parts of one sum take, the largest part in units; ``axons`` of ``weight`` raise it and
    as many lower it.
    """

    ticks: int
    axons: int
    weight: int

    @property
    def height(self) -> int:
        """How far a final neuron's threshold is raised."""
        return self.axons * self.weight

    def final_neuron(self, threshold: int) -> Neuron:
        """The neuron that fires when the gate opens, if its sum has reached ``threshold``."""
        return Neuron(
            threshold=threshold + self.height,
            reset=RESET,
            reset_to=self.height,
            floor=(1 << (POTENTIAL_BITS - 1)) - 1,
        )


def gate_for(largest_part: int, largest_sum: int, core: CrossbarCore) -> Gate:
    """The gate of neurons no part of whose sum is beyond ``largest_part``, and whose positive parts together
    are not beyond ``largest_sum``."""
    heaviest = (1 << (core.weight_bits.value - 1)) - 1
    axons = max(1, -(-largest_sum // heaviest))
    return Gate(largest_part, axons, -(-largest_sum // axons))
