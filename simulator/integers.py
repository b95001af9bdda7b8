"""The integers of a chip's state, as far as the engine plays them."""

from __future__ import annotations

from dataclasses import dataclass

from nsim.hw_models.spec import AnyChip, ChipSpec, CrossbarChip


@dataclass(frozen=True)
class IntegerArithmetic:
    """Widths of a chip's state: potentials saturate at +-(2^(potential_bits - 1) - 1), a leak multiplies them
    by a fraction of ``decay_bits`` bits and cuts toward zero.

    ``unit_bits``: bits of a potential below an integer 1 of a weight, which leaks use (Loihi: 6, all weights
    are multiples of 2^6). ``current_bits``: a current of more, these below included, is refused where the
    chip's would wrap.
    """

    potential_bits: int = 24
    decay_bits: int = 12
    unit_bits: int = 0
    current_bits: int = 32

    @property
    def limit(self) -> int:
        """Largest magnitude of a potential."""
        return (1 << (self.potential_bits - 1)) - 1

    @property
    def current_limit(self) -> int:
        """Largest magnitude of a current, in whole units of weights."""
        return ((1 << (self.current_bits - 1)) - 1) >> self.unit_bits


def arithmetic_of(chip: AnyChip) -> IntegerArithmetic:
    """The arithmetic that a chip's file gives; the default widths where it gives none."""
    if isinstance(chip, CrossbarChip):
        return IntegerArithmetic(chip.core.potential_bits.value)
    if isinstance(chip, ChipSpec) and chip.arithmetic is not None:
        widths = chip.arithmetic
        return IntegerArithmetic(
            widths.potential_bits.value,
            widths.decay_bits.value,
            widths.weight_shift.value,
            widths.current_bits.value,
        )
    return IntegerArithmetic()
