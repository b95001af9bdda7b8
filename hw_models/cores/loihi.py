"""How a Loihi core stores synapses (the dense format of the published compilers) and delays."""

from __future__ import annotations

from collections.abc import Sequence

from nsim.errors import MappingError
from nsim.hw_models.spec import Core


def list_words(stretches: Sequence[int], synapse_bits: int, core: Core) -> int:
    """Memory words of the synapse list of one input axon, dense format.

    A list holds ``stretches`` of so many consecutive target compartments. Each stretch is cut into entries
    of at most ``synapses_max`` synapses; an entry has a prefix and one start index, then ``synapse_bits`` for
    each synapse. See `packed_words` for the words of all of them.
    """
    rule = core.synapse_entry
    entries = sum(-(-n // rule.synapses_max.value) for n in stretches)
    header = rule.prefix_bits.value + rule.index_bits_max.value
    return packed_words(entries * header + sum(stretches) * synapse_bits, core)


def packed_words(bits: int, core: Core) -> int:
    """Whole words that hold all bits of one source neuron's list.

    One more when the last word is full or nearly full (Rueckauer et al. 2021; see the chip file).
    """
    words, left = -(-bits // core.word_bits.value), bits % core.word_bits.value
    extra = left == 0 or left >= core.synapse_entry.extra_word_from_bits.value
    return words + 1 if bits and extra else words


def delay_slots(delay: int, core: Core) -> int:
    """Accumulator slots per compartment for delays of up to ``delay`` ticks: a power of two."""
    slots = core.delays_at_full_compartments.value + 1
    while slots < delay + 1:
        slots *= 2
    return slots


def compartment_limit(delay: int, core: Core) -> int:
    """Compartments of a core whose synapses are delayed by up to ``delay`` ticks.

    A core has ``compartments * (delays_at_full_compartments + 1)`` accumulator slots; longer delays take
    more slots for each compartment.
    """
    free = core.delays_at_full_compartments.value + 1
    return core.compartments.value * free // delay_slots(delay, core)


def synapse_bits(delay: int, core: Core, weight_bits: int | None = None) -> int:
    """Stored bits of one synapse: its weight and, where delays are used, a field that can hold them.

    ``weight_bits``: of weights rounded to so many bits; the most that the core stores by default.
    """
    stored = core.weight_bits.value if weight_bits is None else stored_weight_bits(weight_bits, core)
    return stored + (delay.bit_length() if delay else 0)


def stored_weight_bits(weight_bits: int, core: Core) -> int:
    """Narrowest width the core has for weights of so many bits; MappingError where none is wide enough."""
    widths = [core.weight_bits.value] if core.weight_widths is None else core.weight_widths.values
    if weight_bits > max(widths):
        raise MappingError(
            f"weights of {weight_bits} bits; a core of this chip stores at most {max(widths)} bits for "
            f"one; use --weight-bits {max(widths)}"
        )
    return weight_bits if core.weight_widths is None else min(w for w in widths if w >= weight_bits)
