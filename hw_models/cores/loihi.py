"""How a Loihi core stores synapses (the dense format of the published compilers) and delays."""

from __future__ import annotations

from collections.abc import Sequence

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


def synapse_bits(delay: int, core: Core) -> int:
    """Stored bits of one synapse: its weight and, where delays are used, a field that can hold them."""
    return core.weight_bits.value + (delay.bit_length() if delay else 0)
