"""Slices of time as files for the Perfetto viewer: Chrome's JSON, or Perfetto's own format (`perfetto`)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from nsim.errors import RunError
from nsim.reports.perfetto import write_perfetto
from nsim.reports.run_lock import sole_writer_around
from nsim.reports.timeline import Slice
from nsim.units import PS_PER_US

JSON_LIMIT = 200_000
"""Slices that a JSON file may hold: about 30 MB."""


def write_trace(slices: Iterable[Slice], path: Path) -> int:
    """Write slices to a file, whole or not at all; returns how many.

    The format goes by the name, see `check_trace_path`. Raises RunError for more slices than JSON is good
    for.
    """
    check_trace_path(path)
    part = path.with_name(path.name + ".part")
    with sole_writer_around(path):
        try:
            with part.open("wb") as file:
                count = WRITERS[path.suffix](slices, file)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return count


def write_chrome_json(slices: Iterable[Slice], file: BinaryIO) -> int:
    """Chrome's trace event format: a process per group, a thread per track, a complete event per slice.

    Times are decimals of a microsecond, to the picosecond.
    """
    kept = []
    for item in slices:
        kept.append(item)
        if len(kept) > JSON_LIMIT:
            raise RunError(
                f"a step of more than {JSON_LIMIT:,} slices is too large for JSON; "
                "write a .perfetto-trace file"
            )
    groups = {group: i for i, group in enumerate(dict.fromkeys(s.track[0] for s in kept), 1)}
    tracks = {track: i for i, track in enumerate(sorted({s.track for s in kept}), 1)}
    events: list[dict[str, object]] = []
    for group, pid in groups.items():
        events += _named("process", group, {"pid": pid}, pid)
    for (group, name), tid in tracks.items():
        events += _named("thread", name, {"pid": groups[group], "tid": tid}, tid)
    for s in kept:
        at = {"pid": groups[s.track[0]], "tid": tracks[s.track]}
        lasts = {"ts": s.start_ps / PS_PER_US, "dur": (s.end_ps - s.start_ps) / PS_PER_US}
        events.append({"ph": "X", "name": s.name, **at, **lasts, "args": s.facts})
    file.write(json.dumps({"displayTimeUnit": "ns", "traceEvents": events}).encode())
    return len(kept)


def _named(what: str, name: str, at: dict[str, int], rank: int) -> list[dict[str, object]]:
    return [
        {"ph": "M", "name": f"{what}_name", **at, "args": {"name": name}},
        {"ph": "M", "name": f"{what}_sort_index", **at, "args": {"sort_index": rank}},
    ]


WRITERS: dict[str, Callable[[Iterable[Slice], BinaryIO], int]] = {
    ".json": write_chrome_json,
    ".perfetto-trace": write_perfetto,
}


def check_trace_path(path: Path) -> None:
    """RunError for a file name of no known format, or one that cannot be written."""
    if path.suffix not in WRITERS:
        raise RunError(f"{path}: a trace is a .json (small) or a .perfetto-trace (any size) file")
    if path.is_dir() or not path.parent.is_dir():
        raise RunError(f"{path}: {'is a folder' if path.is_dir() else f'there is no folder {path.parent}'}")
