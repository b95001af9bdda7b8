"""Storage rules of a Loihi core, by hand: 20 bits before at most 60 synapses of 8 bits, words of 64 bits."""

from __future__ import annotations

import pytest

from nsim.hw_models.catalog import load_chip
from nsim.hw_models.cores.loihi import compartment_limit, delay_slots, list_words, synapse_bits

CORE = load_chip("loihi").core


@pytest.mark.parametrize(
    ("stretches", "bits", "words"),
    [
        ((), 8, 0),  # nothing stored
        ((1,), 8, 1),  # 20 + 8 = 28 bits
        ((4,), 8, 1),  # 52
        ((5,), 8, 2),  # 60: the only word is nearly full
        ((6,), 8, 2),  # 68
        ((11,), 4, 2),  # 64: the only word is full
        ((12,), 8, 2),  # 116 = 64 + 52
        ((13,), 8, 3),  # 124 = 64 + 60: the last word is nearly full
        ((59,), 8, 8),  # 492 = 7 x 64 + 44
        ((60,), 8, 8),  # 500 = 7 x 64 + 52, one entry
        ((61,), 8, 9),  # 528 = 8 x 64 + 16, two entries
        ((60, 1), 8, 9),  # the same
        ((30, 31), 8, 9),  # two entries as well
        ((120,), 8, 16),  # 1000 = 15 x 64 + 40
        ((1, 1, 1), 8, 2),  # 84
        ((2, 2, 2), 8, 2),  # 108 = 64 + 44
        ((3, 1), 8, 2),  # 72
        ((80, 20), 8, 14),  # three entries: 60 + 800 = 860 = 13 x 64 + 28
        ((50, 50), 8, 14),  # two entries: 40 + 800 = 840 = 13 x 64 + 8
        ((3,), 13, 2),  # 59: just nearly full
        ((2,), 19, 1),  # 58: not yet
    ],
)
def test_words_of_a_list(stretches: tuple[int, ...], bits: int, words: int) -> None:
    assert list_words(stretches, bits, CORE) == words


@pytest.mark.parametrize(
    ("delay", "slots", "compartments", "bits"),
    [
        (0, 8, 1024, 8),
        (1, 8, 1024, 9),
        (3, 8, 1024, 10),
        (7, 8, 1024, 11),
        (8, 16, 512, 12),
        (15, 16, 512, 12),
        (16, 32, 256, 13),
        (31, 32, 256, 13),
        (32, 64, 128, 14),
        (62, 64, 128, 14),
    ],
)
def test_longer_delays_take_compartments_and_bits(
    delay: int, slots: int, compartments: int, bits: int
) -> None:
    assert delay_slots(delay, CORE) == slots
    assert compartment_limit(delay, CORE) == compartments
    assert synapse_bits(delay, CORE) == bits
    assert slots * compartments == 8192
