"""`nsim bench`: what it measures is what it says, and what is not installed is null."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from nsim.cli import app
from nsim.errors import BenchError
from nsim.reports.bench import kernels, measure, noc
from nsim.reports.bench.command import BENCHMARKS, run_benchmarks
from nsim.reports.bench.measure import Measurement, best_of


def test_ratio_above_one_means_better() -> None:
    assert Measurement("a", 2.0, "s", "them", 6.0).ratio == 3.0
    assert Measurement("a", 6.0, "Mpacket/s", "them", 2.0, less_is_better=False).ratio == 3.0
    assert Measurement("a", 6.0, "s", "them").ratio is None


def test_works_take_turns_and_the_second_call_of_each_turn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only work moves: 10 s where another was before it, 1 s where it was itself."""
    calls, clock = [""], [0.0]
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: clock[0], sleep=lambda s: None))

    def work(name: str) -> None:
        clock[0] += 1 if calls[-1] == name else 10
        calls.append(name)

    assert best_of(2, lambda: work("a"), lambda: work("b")) == [1, 1]
    assert "".join(calls) == "ab" + 2 * "aabb"
    assert best_of(3, lambda: work("b")) == [1]
    assert "".join(calls) == "ab" + 2 * "aabb" + 4 * "b"


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
