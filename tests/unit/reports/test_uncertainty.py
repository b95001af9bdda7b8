"""Intervals of totals: what is drawn, what is drawn together, and what stays outside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nsim.hw_models.catalog import load_chip
from nsim.hw_models.spec import Calibration, EventCost, Figure
from nsim.reports.energy import EnergyReport, price
from nsim.reports.uncertainty import COLUMNS, Uncertainty, uncertainty
from tests.unit.reports.test_energy import activity

BOARDFIT = load_chip("loihi").calibration("boardfit")


def with_energy(calibration: Calibration, **figures: Figure) -> Calibration:
    events = {
        name: EventCost(energy_pj=figures.get(name, cost.energy_pj), time_ns=cost.time_ns)
        for name, cost in calibration.events.items()
    }
    return calibration.model_copy(update={"events": events})


def ranged(value: float, low: float | None, high: float | None, source: str = "someone") -> Figure:
    note = "a published 0" if value == 0 else None
    return Figure(value=value, low=low, high=high, source=source, confidence="L", note=note)


def without_ranges(calibration: Calibration) -> Calibration:
    """The same figures, none with a range."""
    certain = {
        name: EventCost(
            energy_pj=cost.energy_pj.model_copy(update={"low": None, "high": None}), time_ns=cost.time_ns
        )
        for name, cost in calibration.events.items()
    }
    return calibration.model_copy(update={"events": certain, "floor": {}})


CERTAIN = without_ranges(BOARDFIT)


def report_of(calibration: Calibration) -> EnergyReport:
    """`price`, with no floor where the calibration has none."""
    if calibration.floor:
        return price(activity(), calibration)
    floor = {"static": BOARDFIT.floor["static"].model_copy(update={"power_mw": Figure(why_unknown="none")})}
    return price(activity(), calibration.model_copy(update={"floor": floor}))


def interval(calibration: Calibration, **settings: int) -> Uncertainty:
    return uncertainty(report_of(calibration), calibration, **settings)


def test_nothing_has_a_range() -> None:
    result = interval(CERTAIN)
    row = result.total.iloc[0]
    assert row.to_list() == pytest.approx([row["energy_pj"]] * len(COLUMNS), rel=1e-12)
    assert len(result.tornado) == 0
    assert "spike" in result.without_range and "host_mac" in result.without_range
    assert list(result.unknown) == ["barrier", "host_read", "host_write", "packet_in", "static"]


@pytest.mark.parametrize(("low", "high"), [(4.0, 1000.0), (50.0, 200.0), (99.0, 5000.0)])
def test_the_published_value_is_the_median_and_each_half_is_log_uniform(low: float, high: float) -> None:
    calibration = with_energy(CERTAIN, spike=ranged(100.0, low, high))
    result = interval(calibration, draws=200_000)
    row = result.by_cause.set_index("cause").loc["spike"]
    count = 3 * 50
    assert row["energy_pj"] == pytest.approx(count * 100.0)
    assert row["p50_pj"] == pytest.approx(count * 100.0, rel=0.02)
    # the 5 % quantile is 0.1 of the way from low to the value, on a logarithmic scale
    assert row["p05_pj"] == pytest.approx(count * low * (100.0 / low) ** 0.1, rel=0.02)
    assert row["p95_pj"] == pytest.approx(count * high * (100.0 / high) ** 0.1, rel=0.02)
    assert (row["least_pj"], row["most_pj"]) == pytest.approx((count * low, count * high))


def test_bounds_are_prices_with_every_figure_at_its_bound() -> None:
    result = uncertainty(price(activity(), BOARDFIT), BOARDFIT)
    for side, column in (("low", "least_pj"), ("high", "most_pj")):
        events = {
            name: EventCost(
                energy_pj=cost.energy_pj.model_copy(
                    update={"value": getattr(cost.energy_pj, side) or cost.energy_pj.value}
                ),
                time_ns=cost.time_ns,
            )
            for name, cost in BOARDFIT.events.items()
        }
        floor = {
            name: f.model_copy(
                update={"power_mw": f.power_mw.model_copy(update={"value": getattr(f.power_mw, side)})}
            )
            for name, f in BOARDFIT.floor.items()
        }
        bound = price(activity(), BOARDFIT.model_copy(update={"events": events, "floor": floor}))
        assert result.total[column].item() == pytest.approx(bound.total_pj, rel=1e-12)
        by_step = bound.cells.groupby("sampler_step")["energy_pj"].sum()
        assert result.by_sampler_step[column].to_list() == pytest.approx(by_step.to_list(), rel=1e-12)


def test_one_published_number_is_drawn_once() -> None:
    """Two costs that are one number move together: their sum is as wide as one cost of both counts."""
    same = ranged(100.0, 10.0, 1000.0)
    together = with_energy(CERTAIN, spike=same, packet_out=same)
    apart = with_energy(CERTAIN, spike=same, packet_out=ranged(100.0, 10.0, 1000.0, "someone else"))
    low, high = interval(together).interval_pj
    low_apart, high_apart = interval(apart).interval_pj
    assert high - low > 1.05 * (high_apart - low_apart)
    assert interval(together).tornado["causes"].to_list() == ["spike, packet_out"]
    assert interval(apart).tornado["causes"].to_list() == ["spike", "packet_out"]


def test_a_range_from_zero_is_drawn_linearly() -> None:
    calibration = with_energy(CERTAIN, spike=ranged(100.0, 0.0, None))
    row = interval(calibration, draws=100_000).by_cause.set_index("cause").loc["spike"]
    assert row["p05_pj"] == pytest.approx(150 * 10.0, rel=0.05)
    assert row["p95_pj"] == row["most_pj"] == pytest.approx(150 * 100.0)


def test_tornado() -> None:
    """What a figure changes is its count times how far it can go, and the widest comes first."""
    calibration = with_energy(CERTAIN, spike=ranged(69.3, 50.0, 100.0), hop_x=ranged(3.0, None, 90.0))
    report = report_of(calibration)
    tornado = uncertainty(report, calibration).tornado
    assert tornado["causes"].to_list() == ["hop_x", "spike"]
    total = report.total_pj
    assert tornado["low_pj"].to_list() == pytest.approx([total, total - 150 * 19.3])
    assert tornado["high_pj"].to_list() == pytest.approx([total + 180 * 87.0, total + 150 * 30.7])


def test_the_same_seed_gives_the_same_interval() -> None:
    report = price(activity(), BOARDFIT)
    first, again, other = (uncertainty(report, BOARDFIT, 500, seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.by_layer, again.by_layer)
    assert first.interval_pj != other.interval_pj


def test_every_interval_holds_its_total() -> None:
    result = uncertainty(price(activity(), BOARDFIT), BOARDFIT)
    for frame in (result.total, result.by_cause, result.by_layer, result.by_sampler_step):
        ordered = frame[["least_pj", "p05_pj", "p50_pj", "p95_pj", "most_pj"]].to_numpy()
        assert (np.diff(ordered, axis=1) >= -1e-9 * ordered[:, 1:]).all()
        assert frame["energy_pj"].between(frame["least_pj"] * (1 - 1e-12), frame["most_pj"]).all()
    for frame in (result.by_cause, result.by_layer, result.by_sampler_step):
        assert frame["energy_pj"].sum() == pytest.approx(result.total["energy_pj"].item(), rel=1e-12)
