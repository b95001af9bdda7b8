"""The folder of a run: a manifest, tables with one file per sampler step, images.

    manifest.json             what was run, with which figures, by which versions; "complete" once it ended
    chip.yaml                 the chip file as it was
    cores.parquet             the mapping, one row per core
    beside_cores.parquet      what every call of one image costs beside the cores
    events/0007.parquet       sampler step 7: every event, by tick and core, summed over images
    operations/0007.parquet   the model as traced: operations by layer and time step
    latency/0007.parquet      time of every tick, by image
    images.npy, images/       the generated images

Each file is one row group, written whole and then moved into place: what is there is finished.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nsim.errors import RunError

STEP_TABLES = ("events", "operations", "latency")


class RunFolder:
    """Reading and writing of one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new folder; RunError when something is there already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path}: there is something here already; choose another folder or remove it")
        for name in STEP_TABLES:
            (path / name).mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing, complete run; RunError when it is not one."""
        folder = cls(path)
        if not (path / "manifest.json").is_file():
            raise RunError(f"{path}: not a run folder (no manifest.json)")
        if not folder.manifest.get("complete"):
            raise RunError(f"{path}: the run did not end; start it again in a new folder")
        return folder

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as written."""
        content: dict[str, Any] = json.loads((self.path / "manifest.json").read_text())
        return content

    def write_manifest(self, content: dict[str, Any]) -> None:
        """Write the manifest, whole or not at all."""
        part = self.path / "manifest.json.part"
        part.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(part, self.path / "manifest.json")

    def write_table(self, name: str, table: pa.Table | pd.DataFrame) -> None:
        """Write a table that is the same for all sampler steps."""
        self._write(self.path / f"{name}.parquet", table)

    def write_step(self, name: str, step: int, table: pa.Table | pd.DataFrame) -> None:
        """Write one sampler step's part of a table."""
        self._write(self.path / name / f"{step:04d}.parquet", table)

    def _write(self, path: Path, table: pa.Table | pd.DataFrame) -> None:
        if isinstance(table, pd.DataFrame):
            table = pa.Table.from_pandas(table, preserve_index=False)
        part = path.with_suffix(".part")
        pq.write_table(table, part, compression="zstd", row_group_size=max(1, len(table)))
        os.replace(part, path)

    def table(self, name: str) -> pd.DataFrame:
        """A table that is the same for all sampler steps."""
        return pq.read_table(self.path / f"{name}.parquet").to_pandas()

    def steps(self, name: str) -> list[Path]:
        """Files of a table with one file per sampler step, in order."""
        return sorted((self.path / name).glob("*.parquet"))

    def all_steps(self, name: str) -> pd.DataFrame:
        """A whole table, with the column sampler_step in front."""
        frames = []
        for path in self.steps(name):
            frame = pq.read_table(path).to_pandas()
            frame.insert(0, "sampler_step", int(path.stem))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def copy_chip_file(self, chip_file: Path) -> None:
        """Keep the chip file, and the references beside a user's own."""
        shutil.copyfile(chip_file, self.path / "chip.yaml")
        references = chip_file.with_name("references.bib")
        if references.is_file():
            shutil.copyfile(references, self.path / "references.bib")

    def write_images(self, images: np.ndarray) -> None:
        """Generated images [N, C, H, W] in [-1, 1]: as numbers, and one PNG each."""
        from matplotlib.image import imsave

        np.save(self.path / "images.npy", images)
        (self.path / "images").mkdir(exist_ok=True)
        for i, image in enumerate(np.clip((images + 1.0) / 2.0, 0.0, 1.0)):
            unsigned: Any = {"Software": None}  # or matplotlib writes its version into the file
            pixels = np.repeat(image, 3, axis=0) if len(image) == 1 else image
            imsave(self.path / "images" / f"{i:04d}.png", pixels.transpose(1, 2, 0), metadata=unsigned)
