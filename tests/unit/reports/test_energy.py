"""Pricing of hand-made counts: each figure once, the unknown never as zero."""

from __future__ import annotations

import pandas as pd
import pytest

from nsim.hw_models.catalog import load_chip
from nsim.hw_models.spec import Calibration, Figure
from nsim.reports.energy import COLUMNS, Activity, EnergyReport, price

LOIHI = load_chip("loihi")
ON_CORES = {
    "synaptic_event_conv": 1000,
    "synaptic_event_dense": 500,
    "update_idle": 300,
    "update_active": 200,
    "spike": 50,
    "packet_out": 40,
    "packet_in": 40,
    "tile_local": 10,
    "hop_x": 60,
    "hop_y": 20,
}
BESIDE = {"host_mac": 7, "host_elementwise": 3, "host_read": 11, "host_write": 5, "bias_write": 9}


def activity(extra: dict[str, int] | None = None) -> Activity:
    """One layer on core 3, two sampler steps; 2 ticks of 1500 ns in each."""
    rows = [
        (step, "layer", 3 if event in ON_CORES else None, event, (step + 1) * count)
        for step in (0, 1)
        for event, count in {**ON_CORES, **BESIDE, "state_reset": 2, **(extra or {})}.items()
    ]
    events = pd.DataFrame(rows, columns=["sampler_step", "layer", "core", "event", "count"])
    events["core"] = events["core"].astype("Int64")
    latency = pd.DataFrame({"sampler_step": [0, 0, 1, 1], "time_ns": [1500.0] * 4})
    return Activity(events, latency, chips=2)


def by_cause(report: EnergyReport) -> dict[str, float]:
    """Energy of every cause that has a figure, summed over both sampler steps."""
    energy = report.cells.groupby("cause")["energy_pj"].sum(min_count=1)
    return {cause: pj for cause, pj in energy.items() if not pd.isna(pj)}


def test_board_fit() -> None:
    report = price(activity(), LOIHI.calibration("boardfit"))
    once = {
        "synaptic_event_conv": 1000 * 24.0,
        "synaptic_event_dense": 500 * 35.5,
        "update_idle": 300 * 51.2,
        "update_active": 200 * 72.8,
        "spike": 50 * 69.3,
        "packet_out": 40 * 111.0,
        "tile_local": 0.0,
        "hop_x": 60 * 3.0,
        "hop_y": 20 * 4.2,
        "state_reset": 2 * 5.94e6,
        "host_mac": 7 * 900.0,
        "host_elementwise": 3 * 900.0,
        "bias_write": 0.0,
    }
    expected = {cause: 3 * pj for cause, pj in once.items()}  # the second step counts twice the first
    expected |= {"static": 2 * 6000 * 104.0, "embedded_processor": 2 * 6000 * 65.0}  # 1 mW for 1 ns is 1 pJ
    assert by_cause(report) == pytest.approx(expected, rel=1e-12)
    assert report.total_pj == pytest.approx(sum(expected.values()), rel=1e-12)
    assert list(report.unknown) == ["barrier", "host_read", "host_write", "packet_in"]
    assert report.unknown["host_read"] == (
        "No source found gives the energy of moving one value between the host and a core."
    )
    assert report.included == {"bias_write": "embedded_processor", "tile_local": "packet_out"}
    assert report.uncosted == ()


def test_davies_2018() -> None:
    report = price(activity(), LOIHI.calibration("davies2018"))
    energy = by_cause(report)
    assert energy["synaptic_event_conv"] == pytest.approx(3 * 1000 * 23.6)
    assert energy["synaptic_event_dense"] == pytest.approx(3 * 500 * 23.6)
    assert energy["update_active"] == pytest.approx(3 * 200 * 81.0)
    assert energy["tile_local"] == pytest.approx(3 * 10 * 1.7)
    assert energy["hop_y"] == pytest.approx(3 * 20 * 4.0)
    assert energy["spike"] == 0.0
    assert list(report.unknown) == ["barrier", "host_read", "host_write", "packet_in", "packet_out"]
    assert report.included == {"bias_write": "embedded_processor", "spike": "update_active"}


def test_cells() -> None:
    cells = price(activity(), LOIHI.calibration()).cells
    assert list(cells.columns) == COLUMNS
    barrier = cells[cells["cause"] == "barrier"]
    assert barrier["count"].tolist() == [2, 2] and barrier["energy_pj"].isna().all()
    static = cells[cells["cause"] == "static"]
    assert static[["sampler_step", "layer", "count"]].to_numpy().tolist() == [
        [0, "chip", 6000],
        [1, "chip", 6000],
    ]
    assert static["core"].isna().all()
    assert not cells.duplicated(["sampler_step", "layer", "core", "cause"]).any()


def test_an_event_without_a_line_is_named_and_not_priced() -> None:
    report = price(activity({"teleport": 4}), LOIHI.calibration())
    assert report.uncosted == ("teleport",)
    assert report.cells.loc[report.cells["cause"] == "teleport", "energy_pj"].isna().all()
    assert report.total_pj == price(activity(), LOIHI.calibration()).total_pj


def test_an_event_that_did_not_happen_is_not_listed() -> None:
    report = price(activity({"chip_crossing": 0}), LOIHI.calibration())
    assert "chip_crossing" not in report.unknown
    assert "chip_crossing" in price(activity({"chip_crossing": 1}), LOIHI.calibration()).unknown


def test_a_floor_without_a_figure_is_listed_as_unknown() -> None:
    boardfit = LOIHI.calibration()
    silent = boardfit.floor["static"].model_copy(update={"power_mw": Figure(why_unknown="not measured")})
    calibration: Calibration = boardfit.model_copy(update={"floor": {**boardfit.floor, "static": silent}})
    report = price(activity(), calibration)
    assert report.unknown["static"] == "not measured"
    whole = price(activity(), boardfit)
    assert report.total_pj == pytest.approx(whole.total_pj - 2 * 6000 * 104.0)
