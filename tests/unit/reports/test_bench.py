"""`nsim bench`: what it measures is what it says, and what is not installed is null."""

from __future__ import annotations

import importlib.util
import json

import pytest
from typer.testing import CliRunner

from nsim.cli import app
from nsim.errors import BenchError
from nsim.reports.bench import kernels, noc
from nsim.reports.bench.command import BENCHMARKS, run_benchmarks
from nsim.reports.bench.measure import Measurement, best_of


def test_ratio_above_one_means_better() -> None:
    assert Measurement("a", 2.0, "s", "them", 6.0).ratio == 3.0
    assert Measurement("a", 6.0, "Mpacket/s", "them", 2.0, less_is_better=False).ratio == 3.0
    assert Measurement("a", 6.0, "s", "them").ratio is None


def test_works_take_turns_after_one_call_each_that_does_not_count() -> None:
    calls: list[str] = []
    times = best_of(2, lambda: calls.append("a"), lambda: calls.append("b"))
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert len(times) == 2 and all(0 < t < 1 for t in times)


@pytest.mark.parametrize("name", ["noc_event_8x8", "noc_cycle_8x8"])
def test_json_of_the_command(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(noc, "PACKETS", 2000)
    monkeypatch.setattr(noc, "SIMPY_PACKETS", 50)
    result = CliRunner().invoke(app, ["bench", name, "--json"])
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)
    assert list(found) == ["name", "value", "unit", "rival", "rival_value", "ratio"]
    assert (found["name"], found["unit"], found["rival"]) == (name, "Mpacket/s", "simpy")
    assert found["value"] / found["rival_value"] == pytest.approx(found["ratio"])


def test_a_rival_that_is_not_installed_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noc, "PACKETS", 2000)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (found,) = noc.noc_event(3)
    assert found.as_dict()["rival_value"] is None and found.as_dict()["ratio"] is None
    assert found.value is not None and found.value > 0


@pytest.mark.parametrize("kind", ["float32", "int"])
def test_accumulate_rates_stand_beside_the_roofline(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(kernels, "LAYERS", ((4, 128, 128),))
    monkeypatch.setattr(kernels, "REPEATS", 1)
    monkeypatch.setattr(kernels, "ROOFLINE_REPEATS", 10)
    found = list(kernels.accumulate_rates(kind))
    assert [m.name for m in found] == [f"ac_{kind}_4x4_{p}" for p in (5, 15, 30)]
    assert len({m.rival_value for m in found}) == 1
    assert all(m.rival == "l1_roofline" and m.value is not None and m.value > 0 for m in found)


def test_an_unknown_name_is_refused_before_anything_runs() -> None:
    with pytest.raises(BenchError) as error:
        run_benchmarks(["noc_event_8x8", "fast"], lambda name: pytest.fail(f"{name} was started"))
    assert str(error.value) == f"no benchmark 'fast'; there are {', '.join(BENCHMARKS)}"
