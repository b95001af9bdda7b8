"""The folder of a run: a manifest, tables with one file per sampler step, images.

    manifest.json             what was run, with which figures, by which versions; "complete" once it ended
    chip.yaml                 the chip file as it was
    cores.parquet             the mapping, one row per core
    capacities.parquet        the most that a core of each layer may use of each resource
    projections.parquet       the model as traced, one row per projection and host operation
    events/0007.parquet       sampler step 7: every event, by tick and core, summed over images
    beside/0007.parquet       what happened beside the cores: by layer and event, summed over images
    operations/0007.parquet   the model as traced: operations by layer and time step
    latency/0007.parquet      time of every tick, by image
    times/0007.parquet        the same ticks timed with the chip's other calibrations
    links/0007.parquet        packets over every link of the mesh
    states/0007.npy           the images as sampler step 7 left them: where a stopped run goes on
    images.npy, images/       the generated images
    run.lock, run.holder      who writes to the folder, while it does, see `sole_writer`

A decoder's call is the step after the sampler's last. Each table is one row group, carries the manifest in
its metadata under ``nsim`` and a checksum for every page, and is written whole and then moved into place:
what is there is finished. A sampler step's state is written last, so a step whose state is there is finished.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nsim import __version__
from nsim.errors import RunError
from nsim.reports.run_lock import HOLDER, LOCK, sole_writer
from nsim.simulator.algorithm_counts import COLUMNS as OPERATIONS

TABLES = ("cores", "capacities", "traced_layers")
STEP_TABLES = ("events", "beside", "operations", "latency", "times", "links")

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
    "events": ("tick", "core"),
    "beside": ("layer", "event", "count"),
    "operations": ("layer", "time_step", *OPERATIONS),
    "latency": ("image", "tick", "core_ns", "barrier_ns", "time_ns", "busiest_core", "busiest_layer"),
    "times": ("calibration", "image", "tick", "time_ns"),
    "links": ("direction", "mesh_x", "mesh_y", "packets"),
}
"""Columns that every table has, whatever the chip; it has more for what the chip counts and limits."""


class RunFolder:
    """Reading and writing of one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._provenance: dict[str, Any] | None = None

    @classmethod
    @contextmanager
    def writing(cls, path: Path, manifest: dict[str, Any], resume: bool) -> Iterator[RunFolder]:
        """A folder to write a run to, and nobody else: a new one, or with ``resume`` one to go on with.

        RunError when another process is writing to it, and as `create` and `resume` raise it.
        """
        begun = resume and (path / "manifest.json").exists()
        if not begun and not (path / LOCK).exists():
            _refuse_occupied(path)  # before a lock is left among files that are no run's
        with sole_writer(path):
            yield cls.resume(path, manifest) if begun else cls.create(path, manifest)

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any]) -> RunFolder:
        """A new folder with its manifest; RunError when something is there already."""
        folder = cls(path)
        _refuse_occupied(path)
        path.mkdir(parents=True, exist_ok=True)
        folder.write_manifest(manifest)
        folder._make_subfolders()
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing, complete run; RunError, naming the file, when it is not one or is damaged."""
        folder = cls(path)
        if not folder.manifest.get("complete"):
            raise RunError(
                f"{path}: the run did not end; go on with it: nsim run --resume {path}, "
                "or start it again in a new folder"
            )
        folder._check_steps(folder.steps_in_all)
        for name in ("chip.yaml", "images.npy"):
            folder._require(path / name)
        return folder

    @classmethod
    def resume(cls, path: Path, manifest: dict[str, Any]) -> RunFolder:
        """The folder of a run that was stopped, to go on with it as ``manifest`` says.

        RunError, naming what differs, when it was begun with another model, chip, version or setting, and
        naming the file when it is damaged. The command line may differ; the first one stays.
        """
        folder = cls(path)
        begun = folder.manifest
        difference = _difference(_comparable(begun), _comparable(manifest))
        if difference:
            key, was, now = difference
            raise RunError(
                f"{path}: begun with {key} {was}, this would go on with {now}; only the same model, chip, "
                "settings and versions give the same numbers. Start again in a new folder"
            )
        for part in path.rglob("*.part"):
            part.unlink()
        folder._make_subfolders()
        folder._check_steps(folder.steps_done)
        return folder

    def _make_subfolders(self) -> None:
        for name in (*STEP_TABLES, "states"):
            (self.path / name).mkdir(exist_ok=True)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as written; RunError when there is none, it is damaged, or another nsim's."""
        file = self.path / "manifest.json"
        if not file.is_file():
            raise RunError(f"{self.path}: not a run folder (no manifest.json)")
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise _damaged(file, "it is not JSON") from None
        missing = [key for key in KEYS if not _has(content, key)]
        if missing:
            raise _of_another_nsim(self.path, content, f"manifest.json lacks {', '.join(missing)}")
        return content

    @property
    def steps_done(self) -> int:
        """Sampler steps that are finished: all before the first without a state."""
        done = 0
        while self._state(done).is_file():
            done += 1
        return done

    @property
    def steps_in_all(self) -> int:
        """Steps of the whole run: the sampler's, and the call of a decoder after them."""
        manifest = self.manifest
        return int(manifest["sampler_steps"]) + int(manifest["decoder_calls"])

    @property
    def measured_steps(self) -> list[int]:
        """Steps that have all tables, the decoder's always; the others have operations alone."""
        manifest, steps = self.manifest, self.steps_in_all
        chosen: list[int] | str = manifest["detail_steps"]
        if isinstance(chosen, str):
            return list(range(steps))
        return [*chosen, *range(int(manifest["sampler_steps"]), steps)]

    def _check_steps(self, done: int) -> None:
        """Refuse a folder that lacks a file of its first ``done`` steps, or holds one that cannot be read."""
        for name in TABLES if done else ():
            self._check_table(name, self.path / f"{name}.parquet")
        measured = set(self.measured_steps)
        for step in range(done):
            for name in STEP_TABLES if step in measured else ("operations",):
                self._check_table(name, self._step(name, step))
            self.state(step)
        last = max((int(path.stem) for path in (self.path / "states").glob("*.npy")), default=-1)
        if last >= done:
            raise _damaged(self._state(done), f"it is missing, although sampler step {last} is there")

    def _check_table(self, name: str, path: Path) -> None:
        """Refuse a file that is missing, cut off, or no such table; pages are checked when they are read."""
        self._require(path)
        try:
            columns = pq.read_schema(path).names
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, str(error).splitlines()[0]) from None
        missing = [column for column in COLUMNS[name] if column not in columns]
        if missing:
            what = f"{path.relative_to(self.path)} lacks the column {', '.join(missing)}"
            raise _of_another_nsim(self.path, self.manifest, what)

    def _step(self, name: str, step: int) -> Path:
        return self.path / name / f"{step:04d}.parquet"

    def _state(self, step: int) -> Path:
        return self.path / "states" / f"{step:04d}.npy"

    def _require(self, path: Path) -> None:
        if not path.is_file():
            raise _damaged(path, "it is missing")

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Write the manifest, whole or not at all."""
        part = self.path / "manifest.json.part"
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(part, self.path / "manifest.json")

    def write_table(self, name: str, table: pa.Table | pd.DataFrame) -> None:
        """Write a table that is the same for all sampler steps."""
        self._write(self.path / f"{name}.parquet", table)

    def write_step(self, name: str, step: int, table: pa.Table | pd.DataFrame) -> None:
        """Write one sampler step's part of a table."""
        self._write(self._step(name, step), table)

    def write_state(self, step: int, x: np.ndarray) -> None:
        """Write the images as a sampler step left them; from now on the step is finished."""
        part = self._state(step).with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, x)
        os.replace(part, self._state(step))

    def _write(self, path: Path, table: pa.Table | pd.DataFrame) -> None:
        if isinstance(table, pd.DataFrame):
            table = pa.Table.from_pandas(table, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), b"nsim": json.dumps(self.provenance).encode()}
        table = table.replace_schema_metadata(metadata)
        part = path.with_suffix(".part")
        rows = max(1, len(table))
        pq.write_table(table, part, compression="zstd", row_group_size=rows, write_page_checksum=True)
        os.replace(part, path)

    @property
    def provenance(self) -> dict[str, Any]:
        """What every table carries: the manifest but for what is known only at the end."""
        if self._provenance is None:
            self._provenance = {k: v for k, v in self.manifest.items() if k != "complete"}
        return self._provenance

    def table(self, name: str) -> pd.DataFrame:
        """A table that is the same for all sampler steps."""
        return read_table(self.path / f"{name}.parquet").to_pandas()

    def state(self, step: int) -> np.ndarray:
        """The images float32 [B, C, H, W] as a sampler step left them."""
        self._require(self._state(step))
        try:
            return np.asarray(np.load(self._state(step), allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise _damaged(self._state(step), str(error)) from None

    def steps(self, name: str) -> list[Path]:
        """Files of a table with one file per sampler step, in order."""
        return sorted((self.path / name).glob("*.parquet"))

    def all_steps(self, name: str) -> pd.DataFrame:
        """A whole table, with the column sampler_step in front."""
        frames = []
        for path in self.steps(name):
            frame = read_table(path).to_pandas()
            frame.insert(0, "sampler_step", int(path.stem))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def copy_chip_file(self, chip_file: Path) -> None:
        """Keep the chip file, and the references beside a user's own."""
        for file, name in (
            (chip_file, "chip.yaml"),
            (chip_file.with_name("references.bib"), "references.bib"),
        ):
            if file.is_file():
                shutil.copyfile(file, self.path / f"{name}.part")
                os.replace(self.path / f"{name}.part", self.path / name)

    def write_images(self, images: np.ndarray) -> None:
        """Generated images [N, C, H, W] in [-1, 1]: as numbers, and one PNG each."""
        from matplotlib.image import imsave

        np.save(self.path / "images.npy", images)
        (self.path / "images").mkdir(exist_ok=True)
        for i, image in enumerate(np.clip((images + 1.0) / 2.0, 0.0, 1.0)):
            unsigned: Any = {"Software": None}  # or matplotlib writes its version into the file
            pixels = np.repeat(image, 3, axis=0) if len(image) == 1 else image
            imsave(self.path / "images" / f"{i:04d}.png", pixels.transpose(1, 2, 0), metadata=unsigned)


def read_table(path: Path) -> pa.Table:
    """Read one file of a run, checksums and all; RunError naming it when it is missing or damaged."""
    if not path.is_file():
        raise _damaged(path, "it is missing")
    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from None


def _refuse_occupied(path: Path) -> None:
    """Refuse to begin a run where there is anything but what a run killed at its very start left."""
    if path.exists() and not (path.is_dir() and all(map(_is_left_over, path.iterdir()))):
        raise RunError(f"{path}: there is something here already; choose another folder or remove it")


def _is_left_over(path: Path) -> bool:
    return path.suffix == ".part" or path.name in (LOCK, HOLDER)


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path}: damaged: {why.rstrip('.')}. Run it again in a new folder")


def _has(manifest: Any, key: str) -> bool:
    """Whether a manifest has an entry, given by its whole name."""
    first, _, rest = key.partition(".")
    return isinstance(manifest, dict) and first in manifest and (not rest or _has(manifest[first], rest))


def _of_another_nsim(path: Path, manifest: Any, what: str) -> RunError:
    """The folder is whole, but not laid out as this version reads it."""
    named = [
        f"{key} {manifest['made_with'][key]}"
        for key in ("nsim", "revision")
        if _has(manifest, f"made_with.{key}") and manifest["made_with"][key]
    ]
    made = ", ".join(named) or "it does not say which"
    return RunError(
        f"{path}: made by another nsim ({made}) than this ({__version__}): {what}. "
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


def _difference(begun: dict[str, Any], now: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The first entry that differs: its name, and what it is in each."""
    for key in (*begun, *now):
        if begun.get(key) != now.get(key):
            return key, begun.get(key), now.get(key)
    return None
