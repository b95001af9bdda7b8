"""Runs side by side: each is what it is alone, and the differences add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import nsim
from nsim.errors import ChipFileError, RunError
from nsim.frontends.network import Network
from nsim.reports.compare import (
    TWIN,
    TWIN_WORK,
    compare_facts,
    compare_tables,
    open_comparands,
    parts_of,
    write_comparison,
)
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from tests.networks import model_of


@pytest.fixture(scope="module")
def folders(tiny_network: Network, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same model for one and for two images."""
    mapping = nsim.map(replace(model_of(tiny_network, "ddim:2"), ann_twin_macs=100_000), "loihi")
    base = tmp_path_factory.mktemp("runs")
    for name, images in (("one", 1), ("two", 2)):
        run_sampler(mapping, images=images, out=base / name, threads=1)
    return [str(base / "one"), str(base / "two")]


def test_each_is_what_it_is_alone(folders: list[str]) -> None:
    one, other, two, *twins = open_comparands([folders[0], f"{folders[0]}@davies2018", folders[1]])
    run = Run.open(folders[0])
    assert one.energy_pj == pytest.approx(run.report.total_pj / 2)
    assert one.time_ns == pytest.approx(run.latency()["time_ns"].sum() / 2)
    assert other.energy_pj == pytest.approx(run.report_by("davies2018").total_pj / 2)
    assert other.time_ns == pytest.approx(run.time_ns_by("davies2018") / 2)
    assert other.unknown != one.unknown
    assert two.energy_pj == pytest.approx(Run.open(folders[1]).report.total_pj / 4)
    assert {twin.name: twin.parts for twin in twins} == {
        f"{TWIN}, ann45": {TWIN_WORK: pytest.approx(4.6 * 100_000)},
        f"{TWIN}, eyeriss": {TWIN_WORK: pytest.approx(12 * 100_000)},
        f"{TWIN}, h100": {TWIN_WORK: pytest.approx(1.4 * 100_000)},
    }
    assert [twin.unknown for twin in twins] == [
        ("all but operations",), ("DRAM",), ("what is lost below peak rate",)
    ]  # fmt: skip
    assert twins[2].about == (
        "ANN of the same shape as tiny, 100,000 MAC at 1.4 (0.71 to 21) pJ: NVIDIA H100 SXM (GPU)"
    )
    assert one.interval_pj is not None and one.interval_pj[0] < one.energy_pj < one.interval_pj[1]


def test_differences_add_up(folders: list[str]) -> None:
    comparands = open_comparands([folders[0], f"{folders[0]}@davies2018"])
    facts = compare_facts(comparands)["per_call"]
    assert facts[0]["energy_ratio"] == 1.0
    for fact in facts:
        difference = sum(fact["difference_pj_by_group"].values())
        assert difference == pytest.approx(fact["energy_pj"] - facts[0]["energy_pj"], rel=1e-9, abs=1e-3)
    assert facts[-1]["time_ratio"] is None
    frame = parts_of(comparands)
    assert frame.sum().to_list() == pytest.approx([c.energy_pj for c in comparands])
    assert pd.isna(frame.loc["spikes", comparands[1].name])  # an update contains it there: not a 0


def test_written(folders: list[str], tmp_path: Path) -> None:
    comparands = open_comparands(folders)
    files = write_comparison(comparands, tmp_path / "new")
    assert [f.name for f in files] == [
        "compare.csv",
        *(f"waterfall-{i}.{form}" for i in range(1, 5) for form in ("png", "svg")),
    ]
    assert all(f.stat().st_size > 0 for f in files)
    table = pd.read_csv(files[0], index_col="group")
    assert list(table.columns) == [f"{c.name} (pJ)" for c in comparands]


def test_tables(folders: list[str]) -> None:
    lines = compare_tables(open_comparands(folders))
    assert lines[0] == (
        f"{folders[0]}: tiny, T=4, on loihi (boardfit), {Run.open(folders[0]).manifest['cores']} cores, "
        "1 chip(s), ddim:2; weights: random"
    )
    assert len(lines) == 5 + 2


def test_mistakes(folders: list[str], tmp_path: Path) -> None:
    with pytest.raises(RunError) as error:
        open_comparands([folders[0], folders[0]])
    assert str(error.value) == (f"{folders[0]}: named twice; another calibration of it is {folders[0]}@NAME")
    with pytest.raises(RunError, match="not a run folder"):
        open_comparands([folders[0], str(tmp_path)])
    with pytest.raises(ChipFileError, match="has no calibration 'mine'"):
        open_comparands([f"{folders[0]}@mine"])
