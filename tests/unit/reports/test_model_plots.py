"""Rules, figures and differences as bars: their lengths are the numbers they stand for."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.axes import Axes

from nsim.reports import model_plots

TITLE = "a run"


def names(axes: Axes) -> list[str]:
    return [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]


def widths(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches]


def test_papers_rule() -> None:
    facts = {
        "papers_rule_pj_per_ac": 0.9,
        "papers_rule_pj_per_mac": 4.6,
        "ann_twin_macs": 1000,
        "as_traced": {"ac": 200.0, "graded_ac": 50.0, "mac": 10.0, "spike_product": 0.0},
        "as_laid_out": {"ac": 400.0, "graded_ac": 0.0, "mac": 0.0, "spike_product": 0.0},
        "energy_pj": 5e6,
    }
    axes = model_plots.papers_rule(facts, TITLE).axes[0]
    assert names(axes) == [
        "ANN twin, MAC",
        "SNN as traced, MAC",
        "SNN as traced, AC",
        "SNN as laid out, AC",
        "this chip, everything",
    ]
    assert widths(axes) == pytest.approx([4.6e-3, 46e-6, 225e-6, 360e-6, 5.0])
    hatches = [bar.get_hatch() for bar in axes.patches]
    assert hatches == ["////", "////", "....", "....", ""]
    assert axes.get_xscale() == "log"
    without_twin = model_plots.papers_rule({**facts, "ann_twin_macs": None}, TITLE).axes[0]
    assert "ANN twin, MAC" not in names(without_twin)


def test_energy_models() -> None:
    table = pd.DataFrame(
        {
            "model": ["a", "b"],
            "energy_pj": [3e6, 12345e6],
            "prices": ["as traced: operations", "as laid out: everything"],
        }
    )
    axes = model_plots.energy_models(table, TITLE).axes[0]
    assert names(axes) == ["a", "b"]
    assert widths(axes) == pytest.approx([3.0, 12345.0])
    assert [text.get_text() for text in axes.texts][:2] == ["3", "12,345"]
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["as laid out", "as traced"]


def test_tornado() -> None:
    frame = pd.DataFrame(
        {
            "causes": ["static", "host_mac, host_elementwise"],
            "low": [29.5, 4.6],
            "high": [178.0, 8600.0],
            "low_pj": [4e9, 9e9],
            "high_pj": [14e9, 11e9],
        }
    )
    axes = model_plots.tornado(frame, 10e9, ["barrier"], TITLE).axes[0]
    assert names(axes) == ["static", "host mac, host elementwise"]
    assert widths(axes) == pytest.approx([-6.0, 4.0, -1.0, 1.0])
    texts = [text.get_text() for text in axes.texts]
    assert texts[:4] == ["29.5 mW", "178 mW", "4.6 pJ", "8600 pJ"]
    assert "outside, no published figure:\nbarrier" in texts[-1]


def test_tornado_without_a_range() -> None:
    columns = ["causes", "low", "high", "low_pj", "high_pj"]
    figure = model_plots.tornado(pd.DataFrame(columns=columns), 10e9, [], TITLE)
    assert not figure.axes[0].patches


def test_waterfall_saves_first_and_ends_where_the_second_run_stands() -> None:
    parts = pd.DataFrame(
        {"a": [10e6, 5e6, 1e6], "b": [30e6, 2e6, 1e6]},
        index=["static power", "synaptic events", "spikes"],
    )
    unknown = (["barrier", "packet_in"], ["barrier"])
    axes = model_plots.waterfall(parts, ("first", "second"), unknown, TITLE).axes[0]
    assert names(axes) == ["first", "synaptic events", "static power", "second"]  # what is equal is no step
    bars = {round(bar.get_y() + 0.32): bar for bar in axes.patches}
    assert [bars[i].get_width() for i in range(4)] == pytest.approx([16, -3, 20, 33])
    assert [bars[i].get_x() for i in range(4)] == pytest.approx([0, 16, 13, 0])
    for i, line in enumerate(axes.lines):  # from the level where a row ends, down to the next
        bar = bars[i]
        assert line.get_xdata() == pytest.approx([bar.get_x() + bar.get_width()] * 2)
        assert line.get_ydata()[1] == i + 1.32
    texts = [text.get_text() for text in axes.texts]
    assert texts[:4] == ["\N{MINUS SIGN}3.0", "+20.0", "16.0", "33.0"]
    assert texts[-1] == "not in either: barrier\nnot in first: packet in"
    assert axes.get_xlim()[0] == 0 and "does not begin" not in axes.get_xlabel()


def test_waterfall_of_nearly_equal_runs_shows_where_they_differ() -> None:
    parts = pd.DataFrame({"a": [10e6, 5e6], "b": [10.5e6, 4.9e6]}, index=["static power", "synaptic events"])
    axes = model_plots.waterfall(parts, ("a", "b"), ([], []), TITLE).axes[0]
    low, high = axes.get_xlim()
    assert 13 < low < 14.9 and 15.4 < high < 17
    assert axes.get_xlabel().endswith("(µJ), axis does not begin at 0")
    broken = [text.get_position()[1] for text in axes.texts if text.get_text() == "//"]
    assert broken == [0, 3]


def test_waterfall_of_equal_runs() -> None:
    parts = pd.DataFrame({"a": [10e6], "b": [10e6]}, index=["static power"])
    axes = model_plots.waterfall(parts, ("a", "b"), ([], []), TITLE).axes[0]
    assert names(axes) == ["a", "b"] and axes.get_xlim()[0] == 0
