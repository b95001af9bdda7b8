"""What a convolution takes of Loihi's synaptic memory, to the word: NxTF's formats, sharing and packing.

NxTF (Rueckauer et al. 2021) lays a layer out like this. Compartments of a core are numbered column by column,
channel after channel. One input column of one channel is a *source group*: its neurons share an axon, and
groups whose neurons have the same weights at the same relative targets share one stored copy. So that a base
address per group can shift that copy along the core, the columns of targets are interleaved (`_Columns`).
Every source neuron's synapses, positive and negative ones apart, are cut into entries (`entries`); formats
that differ only in field widths are merged until at most seven remain (`merge_formats`); the entries of a
neuron are packed into words, and all neurons of a source group are given the words of the longest.

`nsim.hw_models.cores.loihi` has the simpler rule that the mapper searches with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from typing import Literal, NamedTuple

import numpy as np

from nsim.hw_models.cores.loihi import packed_words
from nsim.hw_models.spec import Core, SynapseEntry

Encoding = Literal["sparse", "run-length", "dense", "dense filled"]
"""``dense`` starts a new entry at every gap (NxTF's dense 1), ``dense filled`` stores zeros (its dense 2)."""

FORMATS_MAX = 7
"""Formats that NxTF gives a core; the hardware has 16."""


class Format(NamedTuple):
    """How the synapses of an entry are written; a target is ``offset + stride * index``."""

    offset: int
    stride: int
    positive: bool
    index_bits: int
    skip_bits: int


@dataclass(frozen=True)
class Entry:
    """A run of synapses of one source neuron."""

    synapses: int
    format: Format


@dataclass(frozen=True)
class Storage:
    """What a layer takes, summed over its cores; ``words_per_axon`` is the longest list of any neuron."""

    input_axons: int
    synapses: int
    entries: int
    words: int
    words_per_axon: int


def conv_storage(
    weights: np.ndarray,
    input_shape: tuple[int, int, int],
    block: tuple[int, int, int],
    encoding: Encoding,
    core: Core,
    stride: int = 1,
    padding: Literal["valid", "same"] = "valid",
) -> Storage:
    """Storage of a convolution whose output is cut into blocks of (rows, columns, channels), one per core.

    ``weights`` [kh, kw, C_in, C_out]: only their signs matter (0 counts as positive). ``input_shape``:
    height, width, channels. A source group takes one axon in every core it reaches, as where NxTF still
    has to cut the layer before. ``same`` pads as Keras does: the odd row or column at the end.
    """
    shape, pads = _output_shape(weights.shape, input_shape, stride, padding)
    taps = [
        [(y * stride + k - pads[0], k, y) for y in range(shape[0]) for k in range(weights.shape[0])],
        [(x * stride + k - pads[1], k, x) for x in range(shape[1]) for k in range(weights.shape[1])],
    ]
    inside = [
        [tap for tap in axis if 0 <= tap[0] < size] for axis, size in zip(taps, input_shape, strict=False)
    ]
    firsts = [range(0, size, step) for size, step in zip((*shape, weights.shape[3]), block, strict=True)]
    used = [_core_storage(weights, inside, first, block, encoding, core) for first in product(*firsts)]
    axons, synapses, stored, words = (
        sum(column) for column in zip(*(counts for counts, _ in used), strict=True)
    )
    return Storage(axons, synapses, stored, words, max(longest for _, longest in used))


def _output_shape(
    kernel: tuple[int, ...], input_shape: tuple[int, int, int], stride: int, padding: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the output, and what is padded before the first of each."""
    if padding == "valid":
        rows, columns = ((size - k) // stride + 1 for size, k in zip(input_shape, kernel[:2], strict=False))
        return (rows, columns), (0, 0)
    rows, columns = (-(-size // stride) for size in input_shape[:2])
    before = [
        max(0, stride * (n - 1) + k - size) // 2
        for n, k, size in zip((rows, columns), kernel, input_shape, strict=False)
    ]
    return (rows, columns), (before[0], before[1])


def _core_storage(
    weights: np.ndarray,
    taps: list[list[tuple[int, int, int]]],
    first: tuple[int, ...],
    block: tuple[int, int, int],
    encoding: Encoding,
    core: Core,
) -> tuple[tuple[int, int, int, int], int]:
    """((input axons, synapses, entries, words), longest list in words) of the block at ``first``."""
    by_row, by_column = (_by_source(axis, a, n) for axis, a, n in zip(taps, first, block, strict=False))
    channels = range(min(block[2], weights.shape[3] - first[2]))
    columns = _Columns.of(by_column, rows=1 + max(row for hits in by_row.values() for row, _ in hits))
    stored: dict[tuple[object, ...], list[list[Entry]]] = {}
    for c_in, (x, x_hits) in product(range(weights.shape[2]), by_column.items()):
        neurons = [
            sorted(
                (columns.place(oy, ox, c) - columns.base[x], (ky, kx, c_in, first[2] + c))
                for (oy, ky), (ox, kx), c in product(y_hits, x_hits, channels)
            )
            for y_hits in by_row.values()
        ]
        key = tuple(tuple(neuron) for neuron in neurons)
        if key not in stored:
            stored[key] = [list(_neuron_entries(n, weights, columns.groups, encoding, core)) for n in neurons]
    axons = weights.shape[2] * len(by_column)
    counts, longest = _packed([*stored.values()], encoding, core)
    return (axons, *counts), longest


def _by_source(taps: list[tuple[int, int, int]], first: int, count: int) -> dict[int, list[tuple[int, int]]]:
    """Source index, rising, to its (target within the block, kernel index)."""
    hits: dict[int, list[tuple[int, int]]] = {}
    for source, k, at in sorted(taps):
        if first <= at < first + count:
            hits.setdefault(source, []).append((at - first, k))
    return hits


def _packed(
    groups: list[list[list[Entry]]], encoding: Encoding, core: Core
) -> tuple[tuple[int, int, int], int]:
    """((synapses, entries, words) of stored source groups, longest list of a neuron in words)."""
    flat = [entry for group in groups for neuron in group for entry in neuron]
    merged = merge_formats({entry.format for entry in flat}, core.weight_bits.value)
    words, longest = 0, 0
    for group in groups:
        bits = [sum(entry_bits(e.synapses, merged[e.format], encoding, core) for e in n) for n in group]
        each = max(packed_words(b, core) for b in bits)
        words += each * len(group)
        longest = max(longest, each)
    return (sum(entry.synapses for entry in flat), len(flat), words), longest


@dataclass(frozen=True)
class _Columns:
    """Where NxTF puts the compartments of a core's block.

    The block's compartments of one channel, column by column, are dealt to ``groups`` interleaved groups; a
    group ends where the targets of a source column begin at what no source column before reached. ``base``:
    source column to the base address of its axon.
    """

    rows: int
    starts: tuple[int, ...]
    span: int
    base: dict[int, int]

    @classmethod
    def of(cls, by_column: dict[int, list[tuple[int, int]]], rows: int) -> _Columns:
        starts: list[int] = []
        base: dict[int, int] = {}
        end = 0
        for source, hits in by_column.items():
            low, high = min(hits)[0] * rows, (max(hits)[0] + 1) * rows
            if low == end:
                starts.append(low)
                end = high
            base[source] = len(starts) - 1
        if high > end:  # what only the last source column reaches is a group that no axon starts at
            starts.append(end)
            end = high
        sizes = np.diff([*starts, end])
        return cls(rows, tuple(starts), int(sizes.max()), base)

    @property
    def groups(self) -> int:
        """Number of interleaved groups."""
        return len(self.starts)

    def place(self, row: int, column: int, channel: int) -> int:
        """Compartment of a target."""
        at = column * self.rows + row
        group = max(g for g, start in enumerate(self.starts) if start <= at)
        return group + self.groups * (at - self.starts[group] + channel * self.span)


def _neuron_entries(
    targets: Sequence[tuple[int, tuple[int, int, int, int]]],
    weights: np.ndarray,
    groups: int,
    encoding: Encoding,
    core: Core,
) -> Iterator[Entry]:
    """Entries of one source neuron: by offset within the interleaving, then by sign."""
    for offset, positive in product(range(groups), (True, False)):
        chosen = [
            (target - offset) // groups
            for target, tap in targets
            if target % groups == offset and (weights[tap] >= 0) == positive
        ]
        for synapses, index_bits, skip_bits in entries(chosen, encoding, core.synapse_entry):
            yield Entry(synapses, Format(offset, groups, positive, index_bits, skip_bits))


def entries(indices: Sequence[int], encoding: Encoding, rule: SynapseEntry) -> Iterator[tuple[int, int, int]]:
    """Cut targets (rising) into entries: (synapses, index bits, skip bits) of each.

    A sparse entry needs an index as wide as its largest target, the others one as wide as their first. A
    run-length entry ends before a skip that its widest field cannot hold, a dense one before any gap; a
    filled one goes on over gaps, storing zeros, as long as it spans no more than the most it may hold.
    """
    piece: list[int] = []
    for index in indices:
        if piece and _ends_before(index, piece, encoding, rule):
            yield _entry(piece, encoding, rule)
            piece = []
        piece.append(index)
    if piece:
        yield _entry(piece, encoding, rule)


def _ends_before(index: int, piece: list[int], encoding: Encoding, rule: SynapseEntry) -> bool:
    most = rule.synapses_max.value
    if encoding == "dense filled":
        return index - piece[0] >= most
    step = index - piece[-1]
    too_far = {"sparse": False, "run-length": step >> rule.skip_bits_max.value > 0, "dense": step > 1}
    return len(piece) == most or too_far[encoding]


def _entry(piece: list[int], encoding: Encoding, rule: SynapseEntry) -> tuple[int, int, int]:
    widest = piece[-1] if encoding == "sparse" else piece[0]
    index_bits = max(rule.index_bits_min.value, widest.bit_length())
    if encoding == "run-length":
        skip = max((b - a for a, b in pairwise(piece)), default=0)
        return len(piece), index_bits, max(rule.skip_bits_min.value, skip.bit_length())
    return piece[-1] - piece[0] + 1 if encoding == "dense filled" else len(piece), index_bits, 0


def entry_bits(synapses: int, written: Format, encoding: Encoding, core: Core) -> int:
    """Bits of an entry: prefix, start index unless sparse; each synapse's weight, and index or skip."""
    prefix = core.synapse_entry.prefix_bits.value
    if encoding == "sparse":
        return prefix + synapses * (core.weight_bits.value + written.index_bits)
    return prefix + written.index_bits + synapses * (core.weight_bits.value + written.skip_bits)


def merge_formats(formats: set[Format], weight_bits: int) -> dict[Format, Format]:
    """Which format each is written in, once at most `FORMATS_MAX` are left.

    Of those with the same offset, stride and sign the two with the least relative difference of their field
    widths are merged into the wider, again and again: |a - b|^2 / |a + b|^2, the first such pair in order.
    """
    left = sorted(formats)
    became = {fmt: fmt for fmt in formats}
    while len(left) > FORMATS_MAX:
        pairs = [(a, b) for b, a in combinations(left, 2) if a[:3] == b[:3]]
        if not pairs:
            break
        a, b = min(
            pairs, key=lambda pair: (_difference(pair[0], pair[1], weight_bits), *map(left.index, pair))
        )
        wide = a._replace(index_bits=max(a.index_bits, b.index_bits), skip_bits=max(a.skip_bits, b.skip_bits))
        became = {fmt: wide if now in (a, b) else now for fmt, now in became.items()}
        left = [wide if fmt == b else fmt for fmt in left if fmt != a]
    return became


def _difference(a: Format, b: Format, weight_bits: int) -> float:
    """Relative difference of the field widths; the weight's are the same in both and count in the sum."""
    delta = (a.index_bits - b.index_bits) ** 2 + (a.skip_bits - b.skip_bits) ** 2
    total = (a.index_bits + b.index_bits) ** 2 + (a.skip_bits + b.skip_bits) ** 2 + (2 * weight_bits) ** 2
    return delta / total
