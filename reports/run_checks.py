"""What a run folder must be to be read or gone on with; what is wrong is named, never guessed around."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nsim import __version__
from nsim.errors import RunError
from nsim.reports.run_lock import is_left_over
from nsim.simulator.algorithm_counts import COLUMNS as OPERATIONS

KEYS = (
    *("complete", "weight_bits", "model", "chip", "chip_sha256", "calibration", "cores", "chips", "policy"),
    *("placement", "schedule", "timing", "precision", "sampler", "sampler_steps", "detail_steps"),
    *("decoder_calls", "seed", "images", "made_with", "model.name", "model.workload", "model.weights"),
    *("model.sha256", "model.parameters", "model.time_steps", "model.v_threshold"),
    *("model.v_threshold_by_layer", "model.ann_twin_macs", "made_with.nsim", "made_with.command"),
)
"""What a manifest holds, see `run_manifest`; a folder that lacks one was made by another nsim."""

COLUMNS = {
    "cores": ("core", "chip", "tile_x", "tile_y", "layer", "network"),
    "capacities": ("layer", "resource", "available"),
    "traced_layers": ("layer", "kind", "input", "source", "target", "dense_macs", "network"),
    "readers": ("layer", "read_by", "network"),
    "events": ("tick", "core"),
    "beside": ("layer", "event", "count"),
    "operations": ("layer", "time_step", *OPERATIONS),
    "latency": ("image", "tick", "core_ns", "barrier_ns", "time_ns", "busiest_core", "busiest_layer"),
    "times": ("calibration", "image", "tick", "time_ns"),
    "links": ("direction", "mesh_x", "mesh_y", "packets"),
}
"""Columns that every table has, whatever the chip; it has more for what the chip counts and limits."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest; RunError when there is none, it is damaged, or another nsim's."""
    file = folder / "manifest.json"
    if not file.is_file():
        raise RunError(f"{folder}: not a run folder (no manifest.json)")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise damaged(file, "it is not JSON") from None
    missing = [key for key in KEYS if not _has(content, key)]
    if missing:
        raise _of_another_nsim(folder, content, f"manifest.json lacks {', '.join(missing)}")
    return content


def check_table(folder: Path, manifest: dict[str, Any], name: str, file: Path) -> None:
    """Refuse a file that is missing, cut off, or no such table; pages are checked when they are read."""
    require(file)
    try:
        columns = pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, str(error).splitlines()[0]) from None
    missing = [column for column in COLUMNS[name] if column not in columns]
    if missing:
        what = f"{file.relative_to(folder)} lacks the column {', '.join(missing)}"
        raise _of_another_nsim(folder, manifest, what)


def read_table(file: Path) -> pa.Table:
    """Read one file of a run, checksums and all; RunError naming it when it is missing or damaged."""
    require(file)
    try:
        return pq.ParquetFile(file, page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, str(error).splitlines()[0]) from None


def refuse_occupied(folder: Path) -> None:
    """Refuse to begin a run where there is anything but what a run killed at its very start left."""
    if folder.exists() and not (folder.is_dir() and all(map(is_left_over, folder.iterdir()))):
        raise RunError(f"{folder}: there is something here already; choose another folder or remove it")


def refuse_other(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with a run otherwise than it was begun, naming what differs; commands may differ."""
    was, is_now = _comparable(begun), _comparable(now)
    for key in (*was, *is_now):
        if was.get(key) != is_now.get(key):
            raise RunError(
                f"{folder}: begun with {key} {was.get(key)}, this would go on with {is_now.get(key)}; only "
                "the same model, chip, settings and versions give the same numbers. Start again in a new "
                "folder"
            )


def require(file: Path) -> None:
    """Refuse a folder that lacks a file."""
    if not file.is_file():
        raise damaged(file, "it is missing")


def damaged(file: Path, why: str) -> RunError:
    """The error that names a file and what is wrong with it."""
    return RunError(f"{file}: damaged: {why.rstrip('.')}. Run it again in a new folder")


def _has(manifest: Any, key: str) -> bool:
    """Whether a manifest has an entry, given by its whole name."""
    first, _, rest = key.partition(".")
    return isinstance(manifest, dict) and first in manifest and (not rest or _has(manifest[first], rest))


def _of_another_nsim(folder: Path, manifest: Any, what: str) -> RunError:
    """The folder is whole, but not laid out as this version reads it."""
    named = [
        f"{key} {manifest['made_with'][key]}"
        for key in ("nsim", "revision")
        if _has(manifest, f"made_with.{key}") and manifest["made_with"][key]
    ]
    made = ", ".join(named) or "it does not say which"
    return RunError(
        f"{folder}: made by another nsim ({made}) than this ({__version__}): {what}. "
        "Read it with the nsim that made it, or run it again in a new folder"
    )


def _comparable(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest's entries by their whole name, without those that may differ when a run goes on."""
    flat: dict[str, Any] = {}

    def walk(part: dict[str, Any], prefix: str) -> None:
        for key, value in part.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    walk(manifest, "")
    flat.pop("complete", None)
    flat.pop("made_with.command", None)
    return flat
