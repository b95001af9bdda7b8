"""NxTF's synapse formats: entries by hand, and the resources its own tests expect of twelve convolutions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsim.hw_models.catalog import load_chip
from nsim.hw_models.cores.loihi_synapses import Format, conv_storage, entries, entry_bits, merge_formats

CORE = load_chip("loihi").core
RULE = CORE.synapse_entry

VECTORS = [
    # input; filters, kernel; encoding; stride; padding; block: input axons, synapses, entries, words
    ((7, 7, 2), (2, 3), "sparse", 1, "valid", (5, 5, 2), (14, 900, 281, 378)),
    ((32, 32, 3), (2, 3), "sparse", 1, "valid", (30, 10, 2), (108, 29160, 6873, 10080)),
    ((32, 32, 3), (2, 3), "sparse", 2, "valid", (10, 5, 2), (198, 4050, 2430, 2592)),
    ((27, 26, 2), (2, 1), "sparse", 2, "valid", (7, 13, 2), (52, 56, 42, 28)),
    ((32, 30, 2), (2, 2), "sparse", 2, "valid", (16, 5, 2), (60, 768, 528, 384)),
    ((30, 35, 2), (2, 3), "sparse", 2, "same", (8, 9, 2), (144, 1408, 808, 868)),
    ((7, 7, 2), (2, 3), "run-length", 1, "valid", (5, 5, 2), (14, 900, 288, 371)),
    ((20, 25, 2), (2, 3), "run-length", 2, "same", (6, 9, 2), (104, 928, 524, 580)),
    ((7, 7, 2), (2, 3), "dense", 1, "valid", (5, 5, 2), (14, 900, 660, 427)),
    ((30, 35, 2), (2, 3), "dense", 2, "same", (15, 10, 2), (72, 1408, 1226, 840)),
    ((7, 7, 2), (2, 3), "dense filled", 1, "valid", (5, 5, 2), (14, 3587, 290, 700)),
    ((30, 35, 2), (2, 3), "dense filled", 2, "same", (6, 9, 2), (216, 2920, 874, 1052)),
]


def keras_signs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random numbers as Keras's glorot_uniform has TensorFlow draw them, scaled to -1..1.

    TensorFlow's generator is Philox 4x32-10 with its default graph seed as key and the operation's seed in
    the counter; the 23 low bits of a word make a float.
    """
    low = 0xFFFFFFFF
    words: list[int] = []
    for block in range(-(-int(np.prod(shape)) // 4)):
        a, b, c, d = block, 0, seed, 0
        key = [87654321, 0]
        for _ in range(10):
            x, y = 0xD2511F53 * a, 0xCD9E8D57 * c
            a, b, c, d = (y >> 32) ^ b ^ key[0], y & low, (x >> 32) ^ d ^ key[1], x & low
            key = [(key[0] + 0x9E3779B9) & low, (key[1] + 0xBB67AE85) & low]
        words += [a, b, c, d]
    uniform = np.array([(word & 0x7FFFFF) / 2**23 for word in words[: int(np.prod(shape))]])
    return (2 * uniform - 1).reshape(shape)


def test_the_resources_nxtf_counts_for_twelve_convolutions() -> None:
    # one numpy seed for all: each layer's weights draw their own operation seed from it
    seeds = np.random.RandomState(0)
    found = []
    for shape, (filters, side), encoding, stride, padding, block, _ in VECTORS:
        weights = keras_signs((side, side, shape[2], filters), int(seeds.randint(10_000_000)))
        used = conv_storage(weights, shape, block, encoding, CORE, stride, padding)
        assert used.words_per_axon <= CORE.max_words_per_axon.value
        found.append((used.input_axons, used.synapses, used.entries, used.words))
    assert found == [expected for *_, expected in VECTORS]


@pytest.mark.parametrize(
    ("indices", "encoding", "found", "bits"),
    [
        ([0, 5, 6, 11], "sparse", [(4, 6, 0)], [10 + 4 * (6 + 8)]),
        ([100, 105, 106, 111], "run-length", [(4, 7, 3)], [10 + 7 + 4 * (3 + 8)]),
        ([200, 205, 206, 211], "dense", [(1, 8, 0), (2, 8, 0), (1, 8, 0)], [26, 34, 26]),
        ([200, 205, 206, 211], "dense filled", [(12, 8, 0)], [18 + 12 * 8]),
        ([0, 31], "run-length", [(2, 6, 5)], [16 + 2 * (5 + 8)]),  # the widest skip
        ([0, 32], "run-length", [(1, 6, 2), (1, 6, 2)], [26, 26]),  # too far: another entry
        ([0, 59], "dense filled", [(60, 6, 0)], [16 + 60 * 8]),
        ([0, 60], "dense filled", [(1, 6, 0), (1, 6, 0)], [24, 24]),
        (list(range(61)), "sparse", [(60, 6, 0), (1, 6, 0)], [850, 24]),
        ([63], "sparse", [(1, 6, 0)], [24]),
        ([64], "sparse", [(1, 7, 0)], [25]),
        ([], "dense", [], []),
    ],
)
def test_entries_by_hand(
    indices: list[int], encoding: str, found: list[tuple[int, int, int]], bits: list[int]
) -> None:
    got = list(entries(indices, encoding, RULE))  # type: ignore[arg-type]
    assert got == found
    formats = [Format(0, 1, True, index, skip) for _, index, skip in got]
    assert [entry_bits(n, f, encoding, CORE) for (n, _, _), f in zip(got, formats, strict=True)] == bits  # type: ignore[arg-type]


@given(
    indices=st.lists(st.integers(0, 1023), unique=True, max_size=200).map(sorted),
    encoding=st.sampled_from(["sparse", "run-length", "dense", "dense filled"]),
)
def test_entries_hold_every_synapse_once(indices: list[int], encoding: str) -> None:
    cut = list(entries(indices, encoding, RULE))  # type: ignore[arg-type]
    assert all(1 <= n <= 60 and 6 <= index <= 10 for n, index, _ in cut)
    total = sum(n for n, _, _ in cut)
    assert total == len(indices) if encoding != "dense filled" else total >= len(indices)


def test_formats_are_merged_to_seven_and_never_narrowed() -> None:
    formats = {Format(o, 2, p, index, 2) for o in (0, 1) for p in (True, False) for index in (6, 7, 8, 10)}
    became = merge_formats(formats, 8)
    assert set(became) == formats
    assert len(set(became.values())) == 7
    assert all(old[:3] == new[:3] and old.index_bits <= new.index_bits for old, new in became.items())


def test_formats_that_cannot_be_merged_stay() -> None:
    formats = {Format(offset, 9, True, 6, 0) for offset in range(9)}
    assert merge_formats(formats, 8) == {fmt: fmt for fmt in formats}
