"""Predictions beside published measurements: recomputed by hand, no fit, and SANA-FE's own totals."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsim.hw_models import catalog
from nsim.hw_models.catalog import find_chip_file, load_chip
from nsim.reports.silicon import Comparison, silicon, silicon_markdown

PAGE = Path(__file__).parents[2] / "docs" / "silicon.md"


@pytest.fixture(scope="module")
def comparisons() -> dict[tuple[str, str], Comparison]:
    return {(c.target, c.calibration): c for c in silicon()}


KNN = "k-NN search on Pohoiki Springs, neuro-cores"
LSNN = "sequential MNIST LSNN, neuro-cores"
SLOPE = "layers of 256, slope over copies"


@pytest.mark.parametrize(
    ("calibration", "event_pj", "idle_pj", "active_pj"),
    [("loihi davies2018", 23.6, 52.0, 81.0), ("loihi boardfit", 35.5, 51.2, 72.8)],
)
def test_loihi_by_hand(
    comparisons: dict[tuple[str, str], Comparison],
    calibration: str,
    event_pj: float,
    idle_pj: float,
    active_pj: float,
) -> None:
    knn = comparisons[KNN, calibration]
    for found, spikes in ((knn.low, 667), (knn.high, 750)):
        assert found == pytest.approx(76_800 * (spikes * event_pj + 60 * idle_pj) * 1e-9)
    lsnn = comparisons[LSNN, calibration]
    assert (lsnn.low, lsnn.high) == pytest.approx((330 * idle_pj * 1e-3, 330 * active_pj * 1e-3))
    assert lsnn.measured == pytest.approx(26.3, abs=0.05)


def test_which_set_each_measurement_favours(comparisons: dict[tuple[str, str], Comparison]) -> None:
    """The errors as they are published beside the facts; a change of a chip file must show here."""
    errors = {
        (target, name): comparisons[target, f"loihi {name}"].errors
        for target in (KNN, LSNN)
        for name in ("davies2018", "boardfit")
    }
    assert errors[KNN, "davies2018"] == pytest.approx((0.09, 0.20), abs=0.005)
    assert errors[KNN, "boardfit"] == pytest.approx((0.545, 0.715), abs=0.005)
    assert errors[LSNN, "davies2018"] == pytest.approx((-0.35, 0.016), abs=0.005)
    assert errors[LSNN, "boardfit"] == pytest.approx((-0.36, -0.087), abs=0.005)


def test_what_nobody_can_predict_is_unknown(comparisons: dict[tuple[str, str], Comparison]) -> None:
    unknown = {(c.target, c.calibration) for c in comparisons.values() if c.errors is None}
    assert unknown == {
        (SLOPE, "loihi davies2018"),
        (SLOPE, "loihi boardfit"),
        ("PilotNet SNN, dynamic energy", "loihi2 unpublished"),
    }
    slope = comparisons[SLOPE, "loihi davies2018"]
    assert slope.measured == pytest.approx(641, rel=0.01)
    # 24 events of 23.6 pJ on top of an update: 9 % of 256 inputs
    assert (slope.measured - 81) / 23.6 / 256 == pytest.approx(0.093, abs=0.001)
    assert "9.3% of them firing" in slope.note


def test_truenorth_is_held_to_the_point_that_was_left_out(
    comparisons: dict[tuple[str, str], Comparison],
) -> None:
    for name in ("affine", "hops_apart"):
        points = [c for c in comparisons.values() if c.calibration == f"truenorth {name}"]
        assert [c.note.split(";")[0] for c in points] == ["fitted", "held out", "fitted"]
        assert points[1].errors == pytest.approx((-0.005, -0.005), abs=0.001)
        assert all(abs(error) < 0.002 for c in points if c.note.startswith("fitted") for error in c.errors)


def test_every_measurement_names_a_source_in_the_bibliography() -> None:
    assert {c.source for c in silicon()} <= catalog._source_keys(find_chip_file("loihi"))


def test_sanafes_closed_formulas_give_its_own_energies() -> None:
    """Totals of SANA-FE's DVS gesture network over 1000 steps: 18,678 neurons."""
    pj = load_chip("loihi").calibration("boardfit").energy_pj
    access, active = pj("update_idle"), pj("update_active")
    neurons, updated, fired, packets, hops = 18_678_000, 15_539_753, 365_277, 2_482_643, 4_741_519
    assert 51_549_374 * pj("synaptic_event_dense") * 1e-9 == pytest.approx(1.83000, abs=5e-6)
    soma = (neurons - updated) * access + updated * active + fired * pj("spike")
    assert soma * 1e-9 == pytest.approx(1.31729, abs=5e-6)
    least, most = (packets * pj("packet_out") + hops * pj(hop) for hop in ("hop_x", "hop_y"))
    assert least * 1e-9 <= 0.29328 <= most * 1e-9


def test_the_page_shows_the_table_of_the_command() -> None:
    assert silicon_markdown() in PAGE.read_text(encoding="utf-8")
