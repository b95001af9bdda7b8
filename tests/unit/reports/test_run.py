"""A run and its folder: what is written when, what is refused, and that it opens as what it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import nsim
from nsim.errors import ChipFileError, RunError
from nsim.frontends.network import Network
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from tests.networks import model_of

STEPS = 3


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    return nsim.map(model_of(tiny_network, "ddim:3"), "loihi")


@pytest.fixture(scope="module")
def run(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_sampler(mapping, images=2, seed=5, out=tmp_path_factory.mktemp("runs") / "a", threads=1)


def test_files(run: Run) -> None:
    folder = run.folder.path
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    steps = [
        f"{table}/{step:04d}.parquet"
        for table in ("beside", "events", "latency", "links", "operations", "times")
        for step in range(STEPS)
    ]
    steps += [f"states/{step:04d}.npy" for step in range(STEPS)]
    assert found == sorted(
        [
            *steps,
            "capacities.parquet",
            "chip.yaml",
            "cores.parquet",
            "images.npy",
            "images/0000.png",
            "images/0001.png",
            "manifest.json",
            "readers.parquet",
            "references.bib",
            "run.lock",
            "traced_layers.parquet",
        ]
    )
    for path in folder.rglob("*.parquet"):
        assert pq.ParquetFile(path).num_row_groups == 1, path
    images = np.load(folder / "images.npy")
    assert (images.shape, images.dtype) == ((2, 1, 8, 8), np.float32)


def test_manifest(run: Run, mapping: Mapping) -> None:
    manifest = json.loads((run.folder.path / "manifest.json").read_text())
    made_with = manifest.pop("made_with")
    assert set(made_with) == {"nsim", "revision", "python", "packages", "machine", "command"}
    chip_sha256 = manifest.pop("chip_sha256")
    assert len(chip_sha256) == 64
    assert manifest == {
        "complete": True,
        "model": {
            "name": "tiny",
            "workload": "test",
            "weights": "random",
            "sha256": "0" * 64,
            "parameters": 0,
            "time_steps": 4,
            "v_threshold": [1.0],
            "v_threshold_by_layer": {},
            "ann_twin_macs": None,
        },
        "chip": "loihi",
        "calibration": "boardfit",
        "cores": mapping.core_count,
        "chips": 1,
        "policy": "expand",
        "placement": {"measured_traffic": False, "packet_hops": mapping.packet_hops()[0]},
        "schedule": "pipelined",
        "timing": "analytic",
        "precision": "float32",
        "weight_bits": None,
        "sampler": "ddim:3",
        "sampler_steps": STEPS,
        "detail_steps": "all",
        "decoder_calls": 0,
        "seed": 5,
        "images": 2,
    }


def test_times_left_out(run: Run) -> None:
    assert run.times_left_out == (
        "bias_write",
        "host_elementwise",
        "host_mac",
        "host_read",
        "host_write",
        "state_reset",
    )


def test_complete_only_at_the_end(mapping: Mapping, tmp_path: Path) -> None:
    out, seen = tmp_path / "a", []

    def look(done: int, of: int) -> None:
        seen.append((done, of, len(list((out / "events").glob("*.parquet")))))
        assert json.loads((out / "manifest.json").read_text())["complete"] is False
        with pytest.raises(RunError) as error:
            Run.open(out)
        assert str(error.value) == (
            f"{out}: the run did not end; go on with it: nsim run --resume {out}, "
            "or start it again in a new folder"
        )
        assert not list(out.rglob("*.part"))

    run_sampler(mapping, "ddim:2", out=out, threads=1, progress=look)
    assert seen == [(1, 2, 1), (2, 2, 2)]
    assert Run.open(out).manifest["complete"] is True


def test_opened_is_what_was_returned(run: Run) -> None:
    again = Run.open(run.folder.path)
    for frame in ("counts", "operations", "latency", "energy"):
        mine = getattr(run, frame)()
        assert len(mine) and mine["sampler_step"].unique().tolist() == [0, 1, 2]
        pd.testing.assert_frame_equal(getattr(again, frame)(), mine)
    pd.testing.assert_frame_equal(again.cores, run.cores)
    assert again.report.total_pj == run.report.total_pj > 0
    assert again.papers_rule == run.papers_rule
    assert again.images == 2


def test_cores_are_those_of_the_mapping(run: Run, mapping: Mapping) -> None:
    pd.testing.assert_frame_equal(run.cores, mapping.cores.assign(network=0))


def test_papers_rule_is_per_call(run: Run) -> None:
    totals = run.operations()[["ac", "mac"]].sum() / (2 * STEPS)
    rule = run.papers_rule
    assert (rule.ac, rule.mac, rule.graded_ac) == (totals["ac"], totals["mac"], 0.0)
    assert rule.energy_pj == pytest.approx(0.9 * totals["ac"] + 4.6 * totals["mac"])
    assert (rule.twin_macs, rule.twin_energy_pj) == (None, None)


def test_latency_table(run: Run, mapping: Mapping) -> None:
    latency = run.latency()
    ticks = 4 + 19
    assert len(latency) == STEPS * 2 * ticks
    assert latency["tick"].tolist() == list(range(ticks)) * (2 * STEPS)
    np.testing.assert_array_equal(latency["time_ns"], latency["core_ns"] + latency["barrier_ns"])
    assert (latency["core_ns"] > 0).all()
    layers = mapping.layer_of_core[latency["busiest_core"]]
    assert latency["busiest_layer"].tolist() == layers.tolist()


def test_without_a_folder(mapping: Mapping) -> None:
    run = run_sampler(mapping, "ddim:1", threads=1)
    assert run.images == 1 and run.manifest["complete"] is True
    assert run.report.total_pj > 0


def test_a_folder_that_holds_something_is_refused(mapping: Mapping, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(RunError) as error:
            run_sampler(mapping, "ddim:1", out=path)
        assert (
            str(error.value) == f"{path}: there is something here already; choose another folder or remove it"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_empty_folder_is_taken(mapping: Mapping, tmp_path: Path) -> None:
    run_sampler(mapping, "ddim:1", out=tmp_path, threads=1)
    assert Run.open(tmp_path).manifest["sampler"] == "ddim:1"


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError) as error:
            Run.open(path)
        assert str(error.value) == f"{path}: not a run folder (no manifest.json)"


def test_a_run_that_cannot_start_leaves_nothing_behind(mapping: Mapping, tmp_path: Path) -> None:
    out = tmp_path / "a"
    with pytest.raises(RunError) as error:
        run_sampler(mapping, "euler:9", out=out)
    assert str(error.value) == (
        "sampler 'euler:9' is none of ddim:N (N from 1 to 1000), ddim-unclamped:N, ddpm:1000, "
        "ddpm-small:1000, dpm-solver:N, analytic:N, absorbing:N or "
        "absorbing:N@TEMPERATURE (tokens); for example ddim:50"
    )
    with pytest.raises(RunError) as error:
        run_sampler(mapping, "ddpm:50", out=out)
    assert str(error.value) == (
        "sampler 'ddpm:50': ddpm is right only with all 1000 steps, not 50: its coefficients are "
        "one-step ones; take ddpm:1000, or ddim:N for fewer steps"
    )
    with pytest.raises(RunError) as error:
        run_sampler(mapping, images=0, out=out)
    assert str(error.value) == "0 images: at least 1 is needed"
    with pytest.raises(ChipFileError) as chip_error:
        run_sampler(mapping, calibration="mine", out=out)
    assert str(chip_error.value) == "chip 'loihi' has no calibration 'mine'. It has: boardfit, davies2018."
    assert not list(tmp_path.iterdir())
