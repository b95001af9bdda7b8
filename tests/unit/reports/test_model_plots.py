"""Rules, figures and differences as bars: their lengths are the numbers they stand for."""

from __future__ import annotations

import numpy as np
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
        "as_traced": {"ac": 200.0, "graded_ac": 50.0, "mac": 10.0},
        "as_laid_out": {"ac": 400.0, "graded_ac": 0.0, "mac": 0.0},
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
    assert texts[:4] == ["29.5", "178", "4.6", "8600"]
    assert "outside, no published figure:\nbarrier" in texts[-1]


def test_tornado_without_a_range() -> None:
    columns = ["causes", "low", "high", "low_pj", "high_pj"]
    figure = model_plots.tornado(pd.DataFrame(columns=columns), 10e9, [], TITLE)
    assert not figure.axes[0].patches


def test_waterfall_ends_where_the_second_run_stands() -> None:
    parts = pd.DataFrame(
        {"a": [10e6, 5e6, 1e6], "b": [30e6, 2e6, 1e6]},
        index=["static power", "synaptic events", "spikes"],
    )
    axes = model_plots.waterfall(parts, ("first", "second"), TITLE).axes[0]
    assert names(axes) == ["first", "static power", "synaptic events", "second"]  # what is equal is no step
    bars = axes.patches
    assert [bar.get_width() for bar in bars] == pytest.approx([16, 20, -3, 33])
    ends = np.array([bar.get_x() + bar.get_width() for bar in bars])
    assert bars[1].get_x() == pytest.approx(16) and ends[2] == pytest.approx(33)
