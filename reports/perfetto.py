"""Perfetto's own trace format, written slice by slice: any number of them, in half the room that JSON takes.

A file is one protobuf message, a Trace: a row of TracePackets (field 1). Each packet here has either a
TrackDescriptor (60), or a TrackEvent (11) and its timestamp (8). Names are told once, as InternedData (12),
and meant by number from then on. Messages and field numbers are those of perfetto_trace.proto, where numbers
never change.

The format's clock counts whole nanoseconds: slices begin and end rounded down, and the exact figures stand
beside them, as ``start_ps`` and ``duration_ps``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from nsim.reports.timeline import Slice, Track
from nsim.units import PS_PER_NS

SLICE_BEGIN, SLICE_END = 1, 2
EVENT_NAMES, NOTE_NAMES = 2, 3
"""Fields of InternedData."""
LEXICOGRAPHIC, EXPLICIT = 1, 3
"""How a track orders those in it: by name, by rank."""
NAMES_BEGIN, NAMES_NEEDED = 1, 2
"""Flags of a packet's use of names."""


def write_perfetto(slices: Iterable[Slice], file: BinaryIO) -> int:
    """Write slices, in the order that `timeline` gives; returns how many."""
    tracks, names, count = _Tracks(file), _Names(), 0
    for s in slices:
        uuid, name = tracks.uuid(s.track), names.number(EVENT_NAMES, s.name)
        facts = {**s.facts, "start_ps": s.start_ps, "duration_ps": s.end_ps - s.start_ps}
        notes = [_bytes(4, _uint(1, names.number(NOTE_NAMES, key)) + _uint(3, n)) for key, n in facts.items()]
        begin = _uint(9, SLICE_BEGIN) + _uint(10, name) + _uint(11, uuid) + b"".join(notes)
        end = _uint(9, SLICE_END) + _uint(11, uuid)
        _packet(file, _uint(8, s.start_ps // PS_PER_NS) + _bytes(11, begin) + names.fields())
        _packet(file, _uint(8, s.end_ps // PS_PER_NS) + _bytes(11, end))
        count += 1
    return count


class _Tracks:
    """Descriptors of tracks, each written before its first slice: all, groups in order, tracks by name."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.uuids: dict[Track | str, int] = {}
        self.all = self._describe("", _text(2, "sampler step") + _uint(11, EXPLICIT))

    def uuid(self, track: Track) -> int:
        """The number of a track."""
        group, name = track
        if group not in self.uuids:
            rank = _uint(12, len(self.uuids))
            self._describe(group, _text(2, group) + _uint(5, self.all) + _uint(11, LEXICOGRAPHIC) + rank)
        if track not in self.uuids:
            self._describe(track, _text(2, name) + _uint(5, self.uuids[group]))
        return self.uuids[track]

    def _describe(self, key: Track | str, fields: bytes) -> int:
        self.uuids[key] = 1 + len(self.uuids)
        _packet(self.file, _bytes(60, _uint(1, self.uuids[key]) + fields))
        return self.uuids[key]


class _Names:
    """Numbers of names, and those that the reader has not been told yet."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[int, str], int] = {}
        self.untold = b""
        self.flags = NAMES_BEGIN | NAMES_NEEDED

    def number(self, field: int, name: str) -> int:
        """The number of a name in a field of InternedData."""
        if (field, name) not in self.numbers:
            number = self.numbers[field, name] = 1 + len(self.numbers)
            self.untold += _bytes(field, _uint(1, number) + _text(2, name))
        return self.numbers[field, name]

    def fields(self) -> bytes:
        """What the packet has to say that uses the names asked for since the last."""
        fields = (_bytes(12, self.untold) if self.untold else b"") + _uint(13, self.flags)
        self.untold, self.flags = b"", NAMES_NEEDED
        return fields


def _packet(file: BinaryIO, fields: bytes) -> None:
    file.write(_bytes(1, fields + _uint(10, 1)))  # all packets are of sequence 1


def _uint(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the eighth says that more follow."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
