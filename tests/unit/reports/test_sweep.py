"""Sweeps: every point once, the same table wherever and however often it is worked out, failures reported."""

from __future__ import annotations

import json
import os
import platform
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import nsim
from nsim.errors import RunError, SweepError
from nsim.reports import sweep_point
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.reports.sweep import Sweep
from nsim.reports.sweep_plan import SweepPlan, plan_sweep
from nsim.reports.workers import Workers


@pytest.fixture(scope="module")
def plan(tiny_checkpoint: Path) -> SweepPlan:
    """Six points, of which those with a calibration of another chip fail."""
    return plan_sweep(
        [str(tiny_checkpoint)],
        {"time_steps": "1,3", "calibration": "boardfit,mine,davies2018", "sampler": "ddim:9"},
    )


@pytest.fixture(scope="module")
def sweep(plan: SweepPlan, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    work = Sweep.new(plan, tmp_path_factory.mktemp("sweeps") / "a", keep_runs=True)
    work.run(Workers())
    return work


def _bytes(sweep: Sweep) -> bytes:
    return sweep.table_file.read_bytes()


def test_rows_are_the_runs(sweep: Sweep, tiny_checkpoint: Path) -> None:
    table = sweep.table()
    assert table["status"].tolist() == ["done", "failed", "done"] * 2
    row = table.iloc[5]
    mapping = nsim.map(nsim.load(tiny_checkpoint, time_steps=3))
    run = run_sampler(mapping, "ddim:9", calibration="davies2018")
    assert row["energy_pj"] == run.report.total_pj > 0
    assert row["time_ns"] == run.latency()["time_ns"].sum()
    assert row["ac_as_traced"] == run.operations()["ac"].sum()
    assert row["spikes"] == run.operations()["spikes"].sum() > 0
    counts = run.counts().groupby("event")["count"].sum()
    assert row["ac_as_laid_out"] == counts["synaptic_event_conv"] + counts.get("synaptic_event_dense", 0)
    assert (row["spike_products_as_traced"], row["spike_products_on_host"]) == (0, 0), "counted: no attention"
    assert row["papers_rule_energy_pj"] == pytest.approx(9 * run.papers_rule.energy_pj)
    assert row["energy_unknown"].split() == list(run.report.unknown)
    configuration = [
        "model",
        "time_steps",
        "v_threshold",
        "chip",
        "policy",
        "placement",
        "calibration",
        "timing",
        "sampler",
        "seed",
        "images",
    ]
    assert row[configuration].tolist() == [
        str(tiny_checkpoint), 3, 1.0, "loihi", "expand", "optimised", "davies2018", "analytic", "ddim:9", 0, 1
    ]  # fmt: skip


def test_a_failed_point_keeps_what_was_asked_and_says_why(sweep: Sweep) -> None:
    row = sweep.table().iloc[1]
    assert (row["time_steps"], row["calibration"]) == (1, "mine")
    assert row["error"] == "chip 'loihi' has no calibration 'mine'. It has: boardfit, davies2018."
    assert pd.isna(row["energy_pj"]) and pd.isna(row["cores"]) and pd.isna(row["v_threshold"])


def test_the_table_on_disk_is_the_table(sweep: Sweep) -> None:
    pd.testing.assert_frame_equal(pq.read_table(sweep.path / "sweep.parquet").to_pandas(), sweep.table())
    pd.testing.assert_frame_equal(Sweep.open(sweep.path).table(), sweep.table())


def test_kept_runs_open_and_failed_ones_leave_nothing(sweep: Sweep) -> None:
    assert sorted(path.name for path in (sweep.path / "runs").iterdir()) == ["0000", "0002", "0003", "0005"]
    run = Run.open(sweep.path / "runs" / "0003")
    assert run.report.total_pj == sweep.table()["energy_pj"][3]


def test_a_stopped_sweep_goes_on(sweep: Sweep, plan: SweepPlan, tmp_path: Path) -> None:
    """Stopped after two points, with a half-written run about; finished points are not played again."""

    def stop(done: int, of: int) -> None:
        assert of == 6
        if done == 2:
            raise KeyboardInterrupt

    begun = Sweep.new(plan, tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        begun.run(Workers(), stop)
    stopped = pq.read_table(begun.path / "sweep.parquet").to_pandas()
    assert stopped["status"].tolist() == ["done", "failed", *["missing"] * 4]
    first = begun.path / "points" / "0000.json"
    written = first.stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    Sweep.open(begun.path).run(Workers(), lambda done, of: seen.append((done, of)))
    assert seen == [(2, 6), (3, 6), (4, 6), (5, 6), (6, 6)], "one finished, its failed neighbour tried again"
    assert first.stat().st_mtime_ns == written
    assert _bytes(begun) == _bytes(sweep)


def test_a_second_sweep_of_a_folder_is_refused(
    plan: SweepPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While points are played and while figures are drawn; what a killed process left is no obstacle."""
    monkeypatch.setattr("nsim.reports.sweep.work", _no_work)
    refused = []

    def second(*_: object) -> None:
        with pytest.raises(RunError) as error:
            Sweep.open(begun.path).run(Workers())
        refused.append(str(error.value))

    monkeypatch.setattr("nsim.reports.sweep_plots.save_figures", second)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.lock").touch()
    begun = Sweep.new(plan, tmp_path / "b")
    begun.run(Workers(), second, figures=True)
    assert refused == [
        f"{begun.path}: process {os.getpid()} on {platform.node()} is writing this sweep; wait until it "
        f"ends, or stop it and go on with the sweep: nsim sweep --resume {begun.path}"
    ] * (len(plan.points) + 1)


def test_left_overs_of_a_killed_worker_go(
    plan: SweepPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsim.reports.sweep.work", _no_work)
    begun = Sweep.new(plan, tmp_path / "b", keep_runs=True)
    (begun.path / "runs" / "0000.abc.part").mkdir(parents=True)
    begun.run(Workers())
    assert list((begun.path / "runs").iterdir()) == []
    assert set(begun.table()["error"]) == {"KeyError: 'nothing'"}
    record = json.loads((begun.path / "points" / "0000.json").read_text())
    assert "_no_work" in record["trace"]


def _no_work(task: Any, _: None) -> dict[str, Any]:
    raise KeyError("nothing")


def test_a_killed_dask_worker_loses_and_doubles_nothing(
    sweep: Sweep, plan: SweepPlan, tmp_path: Path
) -> None:
    distributed = pytest.importorskip(
        "distributed", reason="dask is not installed: pip install 'nsim[cluster]'"
    )
    other, killed = Sweep.new(plan, tmp_path / "b", keep_runs=True), []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:

        def kill() -> None:
            """Kill a worker that is at work, as soon as one point is done."""
            while not killed and not other.table_file.exists():
                busy = {ws.address for ws in cluster.scheduler.workers.values() if ws.processing}
                pids = [nanny.pid for nanny in cluster.workers.values() if nanny.worker_address in busy]
                if pids and any((other.path / "points").glob("*.json")):
                    os.kill(pids[0], signal.SIGKILL)
                    killed.append(pids[0])
                time.sleep(0.002)

        killer = threading.Thread(target=kill)
        killer.start()
        other.run(Workers(1, cluster.scheduler_address))
        killer.join()
    assert len(killed) == 1, "no worker was at work after the first point"
    assert _bytes(other) == _bytes(sweep)
    assert sorted(path.name for path in (other.path / "points").iterdir()) == [
        f"{i:04d}.json" for i in range(6)
    ]
    assert sorted(path.name for path in (other.path / "runs").iterdir()) == ["0000", "0002", "0003", "0005"]


def test_quality_is_measured_once_for_all_points_with_the_same_images(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def measure(task: sweep_point.Task) -> dict[str, Any]:
        asked.append((task.point["seed"], task.quality_images))
        if task.point["seed"] == 1:
            raise SweepError("no classifier")
        return {"quality_images": task.quality_images, "frechet_distance": 2.5}

    monkeypatch.setattr(sweep_point, "measure_quality", measure)
    monkeypatch.setattr(sweep_point, "play", lambda task: {"energy_pj": 1.0})
    plan = plan_sweep(
        [str(tiny_checkpoint)], {"seed": "0,1", "calibration": "boardfit,davies2018"}, quality=20
    )
    work = Sweep.new(plan, tmp_path / "a")
    work.run(Workers())
    assert asked == [(0, 20), (1, 20)]
    table = work.table().set_index(["calibration", "seed"])
    assert table["frechet_distance"].xs(0, level="seed").tolist() == [2.5, 2.5]
    assert table["frechet_distance"].xs(1, level="seed").isna().all()
    assert table["error"].xs(1, level="seed").tolist() == ["no classifier", "no classifier"]
    assert set(table["status"]) == {"done"}


def test_quality_of_digits(tmp_path: Path) -> None:
    plan = plan_sweep(["sddpm-digits"], {"time_steps": "1", "sampler": "ddim:1"}, quality=4)
    measured = sweep_point.measure_quality(sweep_point.Task(plan.points[0], quality_images=4))
    assert measured["quality_images"] == 4
    assert 0 < measured["frechet_distance_of_real_halves"] < measured["frechet_distance"]


def test_folders_that_hold_something_else(plan: SweepPlan, tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SweepError) as error:
        Sweep.new(plan, tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: there is something here already; choose another folder, remove it, or go on with it: "
        f"nsim sweep --resume {tmp_path}"
    )
    with pytest.raises(SweepError) as error:
        Sweep.open(tmp_path)
    assert str(error.value) == f"{tmp_path}: not a sweep's folder (no sweep.json)"
    (tmp_path / "sweep.json").write_text('{"models": ["a"], "colour": [1]}')
    with pytest.raises(
        SweepError, match=r"sweep\.json: --colour: expected one of the fields models, .*damaged$"
    ):
        Sweep.open(tmp_path)


def test_a_damaged_point_is_named(plan: SweepPlan, tmp_path: Path) -> None:
    begun = Sweep.new(plan, tmp_path / "b")
    point = begun.path / "points" / "0001.json"
    point.parent.mkdir(parents=True)
    point.write_text('{"value": ')
    with pytest.raises(SweepError) as error:
        begun.table()
    assert str(error.value) == f"{point}: damaged; remove it, and the sweep's --resume makes it again"
