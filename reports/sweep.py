"""Sweeps: every point of a plan played once, somewhere, into one table that survives interruption.

    sweep.json           the plan
    points/0007.json     what became of point 7: its values, or its error
    quality/0003.json    quality of the images of point 3 and of all points with the same images
    runs/0007/           the run folder of point 7, when runs are kept
    sweep.parquet        one row per point, in the plan's order

Each file is written whole and then moved into place. The folder is written by the process that started the
sweep alone (kept runs apart, which their workers write; it holds a lock, see `sole_writer`), so a worker's
death can lose or double no row.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nsim.errors import SweepError
from nsim.reports.run_lock import is_left_over, sole_writer
from nsim.reports.sweep_axes import AXES, Axis
from nsim.reports.sweep_plan import Point, SweepPlan, read_plan
from nsim.reports.sweep_point import MEASURES, QUALITY_MEASURES, Task, quality_point, work
from nsim.reports.workers import Outcome, Workers

Progress = Callable[[int, int], None]
"""Called after every task with (tasks done, tasks in all)."""

_DTYPES = {int: "Int64", float: "float64", str: "str"}


class Sweep:
    """A sweep's folder: plan, outcomes, table."""

    def __init__(self, path: Path, plan: SweepPlan, keep_runs: bool) -> None:
        self.path = path
        self.plan = plan
        self.keep_runs = keep_runs

    @classmethod
    def open(cls, path: Path) -> Sweep:
        """An existing sweep, finished or not; SweepError when the folder holds none."""
        return cls(path, _read_plan(path), (path / "runs").is_dir())

    @classmethod
    def new(cls, plan: SweepPlan, path: Path, keep_runs: bool = False) -> Sweep:
        """A sweep to be; written when it runs. SweepError when something is there already."""
        if path.exists() and not (path.is_dir() and all(map(is_left_over, path.iterdir()))):
            raise SweepError(
                f"{path}: there is something here already; choose another folder, remove it, or go on with "
                f"it: nsim sweep --resume {path}"
            )
        return cls(path, plan, keep_runs)

    @property
    def table_file(self) -> Path:
        """Where the table is, once the sweep has run or was stopped."""
        return self.path / "sweep.parquet"

    def run(self, workers: Workers, progress: Progress | None = None, figures: bool = False) -> None:
        """Play what has no good outcome yet, then write the table, even when stopped half-way.

        Points that failed before are tried again. ``figures``: draw the sweep into its folder too. One
        process at a time writes to the folder: RunError, naming it, for a second one.
        """
        from nsim.reports.sweep_plots import save_figures

        with sole_writer(self.path, "sweep"):
            self._play(workers, progress)
            if figures:
                save_figures(self, self.path)

    def _play(self, workers: Workers, progress: Progress | None) -> None:
        for name in ("points", "quality", *(["runs"] if self.keep_runs else [])):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        _write_json(self.path / "sweep.json", self.plan.model_dump(mode="json"))
        self._remove_parts()
        files = list(self._tasks(workers.threads))
        left = [(file, task) for file, task in files if "error" in _read_json(file, {"error": None})]
        done = len(files) - len(left)
        try:
            for i, outcome in workers.run(work, [task for _, task in left]):
                _write_json(left[i][0], _record(outcome))
                done += 1
                if progress is not None:
                    progress(done, len(files))
            self._remove_parts()
        finally:
            self._write_table()

    def _remove_parts(self) -> None:
        """Remove what processes that were killed left of their runs."""
        for part in (self.path / "runs").glob("*.part"):
            shutil.rmtree(part)

    def table(self) -> pd.DataFrame:
        """One row per point: its number, model, axes, status, error, and everything it measured.

        status is "done", "failed" (error says why) or "missing"; what a point did not measure is missing.
        """
        rows = []
        quality = self._quality_files()
        for number, point in enumerate(self.plan.points):
            record = _read_json(self._point_file(number), {"error": ""})
            row: dict[str, Any] = {"point": number, **point, **record.get("value", {})}
            status = "done" if "value" in record else "failed" if record["error"] else "missing"
            errors = [record.get("error")]
            if self.plan.quality is not None:
                measured = _read_json(quality[_key(point)], {})
                row.update(measured.get("value", {}))
                errors.append(measured.get("error"))
            rows.append({**row, "status": status, "error": "; ".join(filter(None, errors))})
        kinds = {"point": int, "model": str, **{axis.name: self._kind(axis) for axis in AXES}}
        kinds |= {"status": str, "error": str, **MEASURES}
        if self.plan.quality is not None:
            kinds |= QUALITY_MEASURES
        frame = pd.DataFrame(rows, columns=list(kinds))
        return frame.astype({name: _DTYPES[kind] for name, kind in kinds.items()})

    def _kind(self, axis: Axis) -> type:
        """What a column holds: text once one of its values is."""
        return str if any(isinstance(value, str) for value in self.plan.values(axis)) else axis.kind

    def _tasks(self, threads: int | None) -> Iterator[tuple[Path, Task]]:
        """Every task of the plan with the file of its outcome."""
        for number, point in enumerate(self.plan.points):
            keep = (self.path / "runs" / f"{number:04d}").resolve() if self.keep_runs else None
            yield self._point_file(number), Task(point, keep=keep, threads=threads)
        if self.plan.quality is not None:
            first = {_key(point): point for point in reversed(self.plan.points)}
            for key, file in self._quality_files().items():
                yield file, Task(first[key], quality_images=self.plan.quality, threads=threads)

    def _point_file(self, number: int) -> Path:
        return self.path / "points" / f"{number:04d}.json"

    def _quality_files(self) -> dict[str, Path]:
        """What images depend on (as text) to the file of their quality, named by the first such point."""
        files: dict[str, Path] = {}
        for number, point in enumerate(self.plan.points):
            files.setdefault(_key(point), self.path / "quality" / f"{number:04d}.json")
        return files

    def _write_table(self) -> None:
        part = self.table_file.with_suffix(".part")
        pq.write_table(pa.Table.from_pandas(self.table(), preserve_index=False), part, compression="zstd")
        os.replace(part, self.table_file)


def _key(point: Point) -> str:
    return json.dumps(quality_point(point))


def _record(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is None:
        return {"value": outcome.value}
    return {"error": outcome.error, **({"trace": outcome.trace} if outcome.trace else {})}


def _read_plan(path: Path) -> SweepPlan:
    if not (path / "sweep.json").is_file():
        raise SweepError(f"{path}: not a sweep's folder (no sweep.json)")
    try:
        return read_plan(_read_json(path / "sweep.json", {}))
    except SweepError as error:
        raise SweepError(
            f"{path}/sweep.json: {error}; it was written by another version or is damaged"
        ) from None


def _read_json(file: Path, missing: dict[str, Any]) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return missing
    except ValueError:
        raise SweepError(f"{file}: damaged; remove it, and the sweep's --resume makes it again") from None
    return content


def _write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(part, file)
