"""The folder of a run: a manifest, tables with one file per sampler step, images.

    manifest.json             what was run, with which figures, by which versions; "complete" once it ended
    chip.yaml                 the chip file as it was
    cores.parquet             the mapping, one row per core
    capacities.parquet        the most that a core of each layer may use of each resource
    traced_layers.parquet     the weighted layers of the model as traced
    readers.parquet           the layer on cores that each projection of the model as traced is read by
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

from nsim.errors import RunError
from nsim.reports.run_checks import (
    check_table,
    damaged,
    read_manifest,
    read_table,
    refuse_occupied,
    refuse_other,
    require,
)
from nsim.reports.run_lock import LOCK, sole_writer

TABLES = ("cores", "capacities", "traced_layers", "readers")
STEP_TABLES = ("events", "beside", "operations", "latency", "times", "links")


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
            refuse_occupied(path)  # before a lock is left among files that are no run's
        with sole_writer(path):
            yield cls.resume(path, manifest) if begun else cls.create(path, manifest)

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any]) -> RunFolder:
        """A new folder with its manifest; RunError when something is there already."""
        folder = cls(path)
        refuse_occupied(path)
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
            require(path / name)
        return folder

    @classmethod
    def resume(cls, path: Path, manifest: dict[str, Any]) -> RunFolder:
        """The folder of a run that was stopped, to go on with it as ``manifest`` says.

        RunError, naming what differs, when it was begun with another model, chip, version or setting, and
        naming the file when it is damaged. The command line may differ; the first one stays.
        """
        folder = cls(path)
        refuse_other(path, folder.manifest, manifest)
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
        return read_manifest(self.path)

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
        manifest = self.manifest
        for name in TABLES if done else ():
            check_table(self.path, manifest, name, self.path / f"{name}.parquet")
        measured = set(self.measured_steps)
        for step in range(done):
            for name in STEP_TABLES if step in measured else ("operations",):
                check_table(self.path, manifest, name, self._step(name, step))
            self.state(step)
        last = max((int(path.stem) for path in (self.path / "states").glob("*.npy")), default=-1)
        if last >= done:
            raise damaged(self._state(done), f"it is missing, although sampler step {last} is there")

    def _step(self, name: str, step: int) -> Path:
        return self.path / name / f"{step:04d}.parquet"

    def _state(self, step: int) -> Path:
        return self.path / "states" / f"{step:04d}.npy"

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
        require(self._state(step))
        try:
            return np.asarray(np.load(self._state(step), allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise damaged(self._state(step), str(error)) from None

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
        """Generated images [N, C, H, W] in [-1, 1]: as numbers, and one PNG each, see `plots.pictures`."""
        from matplotlib.image import imsave

        from nsim.reports.plots import pictures

        np.save(self.path / "images.npy", images)
        (self.path / "images").mkdir(exist_ok=True)
        for i, image in enumerate(np.clip((pictures(images) + 1.0) / 2.0, 0.0, 1.0)):
            unsigned: Any = {"Software": None}  # or matplotlib writes its version into the file
            pixels = np.repeat(image, 3, axis=0) if len(image) == 1 else image
            imsave(self.path / "images" / f"{i:04d}.png", pixels.transpose(1, 2, 0), metadata=unsigned)
