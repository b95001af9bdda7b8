"""The front is what no other point beats; figures show every finished point and name what varies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsim.reports.sweep_plots import LINES, curves, describe, front, pareto_front

SCORE = st.one_of(st.integers(0, 5).map(float), st.just(float("nan")))


@given(st.lists(st.tuples(SCORE, SCORE), max_size=12))
def test_front_is_what_no_point_beats(points: list[tuple[float, float]]) -> None:
    def beaten(p: tuple[float, float]) -> bool:
        return any(q[0] <= p[0] and q[1] <= p[1] and q != p for q in points)

    expected = [not np.isnan(p).any() and not beaten(p) for p in points]
    array = np.array(points).reshape(-1, 2)
    assert pareto_front(array[:, 0], array[:, 1]).tolist() == expected


@pytest.fixture
def table() -> pd.DataFrame:
    """Energy, time and quality of 3 x 3 points; more steps cost more and look better."""
    rows = [
        {
            "time_steps": t,
            "sampler": f"ddim:{n}",
            "energy_pj_per_image": 1e9 * t * n,
            "time_ns_per_image": 1e5 * (t + 19) * n,
            "frechet_distance": 100 / n + 10 / t,
        }
        for t in (2, 4, 8)
        for n in (50, 10, 20)
    ]
    return pd.DataFrame(rows)


def test_curves_join_an_axis_in_order(table: pd.DataFrame) -> None:
    figure = curves(table, "sampler", ["time_steps"], "digits")
    energy, time, quality = figure.axes
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3]
    assert energy.lines[0].get_xdata().tolist() == [10, 20, 50]
    assert energy.lines[0].get_ydata().tolist() == pytest.approx([0.02, 0.04, 0.1])
    assert time.lines[2].get_ydata().tolist() == pytest.approx([2.7e-3 * n for n in (10, 20, 50)])
    assert quality.lines[1].get_ydata().tolist() == pytest.approx([12.5, 7.5, 4.5])
    names = [text.get_text() for text in energy.get_legend().get_texts()]
    assert names == ["time steps 2", "time steps 4", "time steps 8"]
    assert quality.get_xlabel() == "steps of ddim"
    assert quality.get_yscale() == "linear" and quality.get_ylim()[0] == 0


def test_samplers_of_several_kinds_are_lines_apart(table: pd.DataFrame) -> None:
    other = table.assign(sampler=table["sampler"].str.replace("ddim", "dpm-solver"))
    figure = curves(pd.concat([table, other], ignore_index=True), "sampler", ["time_steps"], "digits")
    energy = figure.axes[0]
    assert [line.get_xdata().tolist() for line in energy.lines] == [[10, 20, 50]] * 6
    names = [text.get_text() for text in energy.get_legend().get_texts()]
    assert names == [f"time steps {t}, {kind}" for kind in ("ddim", "dpm-solver") for t in (2, 4, 8)]
    assert figure.axes[-1].get_xlabel() == "sampler steps"


def test_real_weights_stand_behind_all_bits_and_wide_ranges_of_quality_are_logarithmic(
    table: pd.DataFrame,
) -> None:
    bits = table.iloc[:4].assign(weight_bits=pd.array([8, None, 3, 4], "Int64"))
    bits["frechet_distance"] = [12.0, 11.0, 500.0, 400.0]
    figure = curves(bits, "weight_bits", [], "digits")
    quality = figure.axes[-1]
    assert quality.lines[0].get_xdata().tolist() == [3, 4, 8, 9]
    assert quality.lines[0].get_ydata().tolist() == [500, 400, 12, 11]
    assert [label.get_text() for label in quality.get_xticklabels()] == ["8", "3", "4", "real"]
    assert quality.get_yscale() == "log"
    assert [describe(row, ["weight_bits"]) for _, row in bits.iterrows()][:2] == [
        "weight bits 8",
        "weight bits real",
    ]


def test_curves_without_quality_or_other_axes(table: pd.DataFrame) -> None:
    one = table[table["sampler"] == "ddim:10"].drop(columns="frechet_distance")
    figure = curves(one, "time_steps", [], "digits")
    assert all(tick.is_integer() for tick in figure.axes[-1].get_xticks())
    assert len(figure.axes) == 2
    assert figure.axes[0].get_legend() is None
    assert figure.axes[1].get_xlabel() == "time steps"


def test_text_without_order_is_not_joined_and_more_lines_than_styles_are_grey(table: pd.DataFrame) -> None:
    both = pd.concat([table.assign(chip="loihi"), table.assign(chip="other")])
    figure = curves(both, "chip", ["time_steps", "sampler"], "digits")
    energy = figure.axes[0]
    assert {line.get_linestyle() for line in energy.lines[: len(LINES)]} == {"None"}
    assert energy.get_legend().get_title().get_text() == f"and {9 - len(LINES)} more"
    assert energy.lines[-1].get_color() not in {colour for colour, _, _ in LINES}


def test_front_draws_every_point_once_and_names_the_best(table: pd.DataFrame) -> None:
    figure = front(table, "energy_pj_per_image", "frechet_distance", ["time_steps", "sampler"], "digits")
    rest, best = figure.axes[0].lines
    assert len(rest.get_xdata()) + len(best.get_xdata()) == 9
    assert best.get_xdata()[0] == pytest.approx(0.02)
    named = figure.axes[0].texts[-1].get_text()
    assert named.startswith("1: time steps 2, ddim:10\n")


def test_words_for_a_point(table: pd.DataFrame) -> None:
    row = pd.Series({"time_steps": 4, "sampler": "ddim:10", "v_threshold": float("nan")})
    assert describe(row, ["time_steps", "v_threshold", "sampler"]) == "time steps 4, ddim:10"
