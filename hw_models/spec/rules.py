"""Cost rules without a chip: what a paper or a device charges for operations and memory."""

from __future__ import annotations

from pydantic import Field

from nsim.hw_models.spec.figures import Count, Figure, KnownFigure, Model


class CostRule(Model):
    """The ANN side: pJ per MAC and per accumulate, of a paper's rule or of a device.

    ``others``: further figures of the same source by name, each with its unit; they price nothing here.
    """

    name: str
    title: str
    description: str
    process_nm: Count | None = None
    mac_pj: Figure
    ac_pj: Figure
    others: dict[str, Figure] = Field(default_factory=dict)


class MemoryRule(Model):
    """What a paper charges for operations and for memory accesses, with no chip behind it.

    One access to a memory of n bits costs ``access_pj`` + n * ``access_pj_per_bit``.
    """

    name: str
    title: str
    description: str
    word_bits: Count
    add_pj: KnownFigure
    multiply_pj: KnownFigure
    access_pj: KnownFigure
    access_pj_per_bit: KnownFigure
