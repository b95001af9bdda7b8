"""What crossbars do in a time step if every neuron fires with one probability."""

from __future__ import annotations

from dataclasses import dataclass

from nsim.hw_models.mapping.crossbar import CrossbarCut
from nsim.hw_models.mapping.crossbar_blocks import TWINS
from nsim.hw_models.mapping.crossbar_ways import CLOCK


@dataclass(frozen=True)
class CrossbarWork:
    """Per time step: crossbar ``cells`` that a spike meets and that are set, each an addition; ``packets``;
    ``units`` of partial sums among both."""

    cells: float
    packets: float
    units: float


def crossbar_work(cut: CrossbarCut, rate: float) -> CrossbarWork:
    """Expected work; each neuron of a layer fires with probability ``rate``, whatever the others do.

    A relay neuron's cell is one addition, and its spike one packet. The gate meets each final neuron over all
    its axons twice. Constants and clock come in every time step.
    """
    cells = rate * sum(sums.cells for sums in cut.sums.values())
    fire = rate * sum(int(grid.used["neurons"][..., :1].sum()) for grid in cut.grids.values())
    relayed = rate * cut.messengers
    if cut.gate is None:
        return CrossbarWork(cells + relayed, fire + relayed, 0.0)
    units = sum(sums.expected_units(rate) for sums in cut.sums.values())
    final = sum(b.neurons for b in cut.beside if b.task == "final")
    clock = sum(b.neurons for b in cut.beside if b.layer == CLOCK)
    gated = TWINS * cut.gate.axons * final
    constant = sum(float((abs(s.constant) > 0).astype(int) @ s.times) for s in cut.sums.values())
    return CrossbarWork(
        TWINS * (cells + constant) + units + gated + relayed + clock,
        rate * final + relayed + units + clock,
        units,
    )
