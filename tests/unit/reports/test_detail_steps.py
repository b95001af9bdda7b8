"""Some steps measured, all accounted for: what is measured is exact, the rest is labelled and bounded."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import nsim
from nsim.errors import RunError
from nsim.frontends.network import Network
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.detail_steps import extrapolate, nearest_measured, parse_detail_steps
from nsim.reports.detail_tables import detail_facts, detail_lines
from nsim.reports.html_report import report_html
from nsim.reports.run import Run
from nsim.reports.run_sampler import run_sampler
from nsim.reports.tables import run_facts, run_tables
from nsim.reports.workers import Workers
from tests.networks import model_of

STEPS = 12
MEASURED = (1, 4, 7, 10)


@pytest.fixture(scope="module")
def mapping(tiny_network: Network) -> Mapping:
    return nsim.map(model_of(tiny_network, f"ddim:{STEPS}"), "loihi")


@pytest.fixture(scope="module")
def full(mapping: Mapping) -> Run:
    return run_sampler(mapping, seed=5, threads=1)


@pytest.fixture(scope="module")
def part(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "part"
    return run_sampler(mapping, seed=5, threads=1, out=out, detail_steps="n:4")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("all", tuple(range(10))),
        ("0,9,3,3", (0, 3, 9)),
        ("n:1", (5,)),
        ("n:2", (2, 7)),
        ("n:5", (1, 3, 5, 7, 9)),
        ("n:10", tuple(range(10))),
        ("n:99", tuple(range(10))),
    ],
)
def test_choice(text: str, steps: tuple[int, ...]) -> None:
    assert parse_detail_steps(text, 10) == steps


@pytest.mark.parametrize("text", ["", "n:0", "n:", "some", "1,", "-1", "0-5"])
def test_wrong_choice(text: str) -> None:
    with pytest.raises(RunError) as error:
        parse_detail_steps(text, 10)
    assert str(error.value) == (
        f"--detail-steps {text!r} is none of all, n:20 (20 steps, spread evenly), 0,10,20 (these steps)"
    )


def test_a_step_that_is_not_there() -> None:
    with pytest.raises(RunError, match=r"^--detail-steps: no sampler step 10; the 10 steps are 0 to 9$"):
        parse_detail_steps("0,10", 10)


@given(st.integers(1, 40), st.data())
def test_every_step_is_represented_by_a_nearest_one(steps: int, data: st.DataObject) -> None:
    measured = np.array(sorted(data.draw(st.sets(st.integers(0, steps - 1), min_size=1))))
    nearest = nearest_measured(measured, steps)
    for step, chosen in enumerate(nearest):
        assert abs(chosen - step) == min(abs(measured - step))
    assert (np.diff(nearest) >= 0).all()


def test_of_two_nearest_the_earlier_and_the_later_in_turn() -> None:
    assert nearest_measured(np.array([0, 2, 4, 6]), 8).tolist() == [0, 0, 2, 4, 4, 4, 6, 6]
    # n:6 of 9: two of three are measured, and every step left out lies between two
    assert nearest_measured(np.array([0, 2, 3, 5, 6, 8]), 9).tolist() == [0, 0, 2, 3, 5, 5, 6, 6, 8]


@example(42, 28, 0.0, 1.0)
@given(st.integers(2, 60), st.integers(2, 30), st.floats(-10, 10), st.floats(-3, 3))
def test_steady_changes_are_within_the_interval(steps: int, number: int, start: float, slope: float) -> None:
    series = start + slope * np.arange(steps)
    measured = np.array(parse_detail_steps(f"n:{number}", steps))
    found = extrapolate(series[measured], measured, steps)
    if number >= steps or slope == 0:
        assert found.standard_error == pytest.approx(0, abs=1e-9)
    assert found.low is not None and found.high is not None
    assert found.low - 1e-6 <= series.sum() <= found.high + 1e-6


def test_interval_of_random_steps_covers_about_as_often_as_it_says() -> None:
    """No trend to help or hurt: independent values, for which the rule is the textbook's."""
    rng, hits, trials = np.random.default_rng(0), 0, 2000
    measured = np.array(parse_detail_steps("n:10", 50))
    for series in rng.normal(100, 10, size=(trials, 50)):
        found = extrapolate(series[measured], measured, 50)
        assert found.low is not None and found.high is not None
        hits += found.low <= series.sum() <= found.high
    assert 0.92 < hits / trials < 0.97


def test_one_step_has_no_interval() -> None:
    found = extrapolate(np.array([3.0]), np.array([5]), 10)
    assert (found.total, found.standard_error, found.low, found.high) == (30.0, None, None, None)


def test_measured_steps_are_those_of_the_full_run(full: Run, part: Run) -> None:
    assert part.measured_steps.tolist() == list(MEASURED)
    assert full.all_measured and not part.all_measured
    for name in ("counts", "latency", "energy"):
        ours, theirs = getattr(part, name)(), getattr(full, name)()
        assert "measured" not in theirs
        ours = ours[ours["measured"]].drop(columns="measured").reset_index(drop=True)
        theirs = theirs[theirs["sampler_step"].isin(MEASURED)].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, theirs)
    pd.testing.assert_frame_equal(part.operations().drop(columns="measured"), full.operations())
    np.testing.assert_array_equal(
        np.load(part.folder.path / "images.npy"), np.load(full.folder.path / "images.npy")
    )


def test_other_steps_are_like_their_nearest(part: Run) -> None:
    by_step = part.energy().groupby("sampler_step")["energy_pj"].sum()
    assert by_step.index.tolist() == list(range(STEPS))
    for first, chosen, last in ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)):
        assert by_step[first] == by_step[chosen] == by_step[last]
    assert part.report.total_pj == pytest.approx(by_step.sum())


def test_the_full_run_is_within_the_interval(full: Run, part: Run) -> None:
    rows = part.extrapolation()
    energy, time = rows[rows["cause"].isna()].to_dict("records")
    assert (energy["quantity"], time["quantity"]) == ("energy_pj", "time_ns")
    assert energy["total"] == pytest.approx(part.report.total_pj)
    assert time["total"] == pytest.approx(part.latency()["time_ns"].sum())
    assert energy["low"] <= full.report.total_pj <= energy["high"]
    assert time["low"] <= full.latency()["time_ns"].sum() <= time["high"]
    assert 0 < energy["standard_error"] < 0.05 * energy["total"]
    causes = full.energy().dropna(subset="energy_pj").groupby("cause")["energy_pj"].sum()
    priced = rows[rows["cause"].notna()]
    assert set(priced["cause"]) == set(causes.index)
    for row in priced.itertuples():
        assert row.low - 1e-6 <= causes[row.cause] <= row.high + 1e-6
    exact = full.extrapolation()
    assert (exact["standard_error"] == 0).all()
    assert exact["total"][0] == pytest.approx(full.report.total_pj)


def test_what_is_said(full: Run, part: Run) -> None:
    assert detail_facts(full) == {} and detail_lines(full) == []
    assert run_facts(part)["measured_steps"] == list(MEASURED)
    assert run_facts(part)["extrapolated"]["energy_pj"]["total"] == pytest.approx(part.report.total_pj)
    text = run_tables(part)[1]
    assert isinstance(text, str)
    assert text.startswith(
        "EXTRAPOLATED: 4 of 12 sampler steps were measured on the chip (1, 4, 7, 10); each other is taken to "
        "be like the nearest of them\nenergy of all 12: "
    )
    assert part.plot.title.endswith("4 of 12 steps measured, the others drawn like the nearest of them")
    assert part.plot.energy().axes
    assert html.escape(text.splitlines()[0]) in report_html(part)


def test_one_measured_step_says_so(mapping: Mapping) -> None:
    run = run_sampler(mapping, "ddim:3", threads=1, detail_steps="1")
    assert "no interval from 1 step" in detail_lines(run)[0]
    assert run_facts(run)["extrapolated"]["time_ns"]["low"] is None
    assert "how far they are from it is unknown with one step measured" in report_html(run)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_measured_elsewhere_and_gone_on_with_it_is_the_same_run(
    part: Run, mapping: Mapping, tmp_path: Path
) -> None:
    out = tmp_path / "a"

    def stop(done: int, of: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sampler(mapping, seed=5, out=out, detail_steps="n:4", workers=Workers(2), progress=stop)
    assert sorted(p.stem for p in (out / "events").iterdir()) == ["0001", "0004"]
    run_sampler(mapping, seed=5, out=out, detail_steps="n:4", workers=Workers(), resume=True)
    assert _content(out) == _content(part.folder.path)
    with pytest.raises(RunError, match=r"begun with detail_steps \[1, 4, 7, 10\], this would go on with all"):
        (out / "manifest.json").write_text(
            (out / "manifest.json").read_text().replace('"complete": true', '"complete": false')
        )
        run_sampler(mapping, seed=5, out=out, resume=True)


def test_a_measured_step_without_its_tables_is_damaged(part: Run, mapping: Mapping, tmp_path: Path) -> None:
    out = tmp_path / "a"
    run_sampler(mapping, "ddim:3", out=out, threads=1, detail_steps="0,1")
    Run.open(out)
    (out / "events" / "0001.parquet").unlink()
    with pytest.raises(RunError, match=r"0001\.parquet: damaged: it is missing"):
        Run.open(out)


def test_a_worker_that_fails_is_a_run_error(mapping: Mapping, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, call: object) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr("nsim.reports.step_meter.StepMeter.measure", fail)
    with pytest.raises(RunError) as error:
        run_sampler(mapping, "ddim:2", workers=Workers())
    assert str(error.value) == "sampler step 0: ZeroDivisionError: no"
