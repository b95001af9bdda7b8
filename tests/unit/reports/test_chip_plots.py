"""The chip from above: every core's number in its place, links beside their twins, colours that print."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm

from nsim.reports import chip_plots
from nsim.reports.chip_plots import GAP, Floor, energy_map, floor_of, link_map, use_map

TITLE = "a model on a chip"


@pytest.fixture
def cores() -> pd.DataFrame:
    """Six cores: tile (0, 0) of chip 0 has four, tile (1, 0) one; chip 1 has one."""
    return pd.DataFrame(
        {
            "core": range(6),
            "chip": [0, 0, 0, 0, 0, 1],
            "tile_x": [0, 0, 0, 0, 1, 0],
            "tile_y": [0, 0, 0, 0, 0, 1],
        }
    )


@pytest.fixture
def floor(cores: pd.DataFrame) -> Floor:
    return floor_of(cores, tiles_x=2, tiles_y=2, cores_per_tile=4)


def test_energy_of_every_core_in_its_place(cores: pd.DataFrame, floor: Floor) -> None:
    energy = pd.DataFrame(
        {"core": pd.array([0, 0, 1, 3, 4, 5, pd.NA], dtype="Int64"), "energy_pj": [1, 2, 5, 7, 9, 4, 1e9]}
    )
    figure = energy_map(cores, energy, floor, TITLE)
    first, second = (picture.get_array().filled(np.nan) for picture in figure.axes[0].images)
    np.testing.assert_array_equal(first[:2], [[3, 5, 9, np.nan], [0, 7, np.nan, np.nan]])
    assert np.isnan(first[2:]).all()
    assert np.nansum(second) == second[2, 0] == 4
    assert figure.axes[0].images[0].norm.vmax == 9  # the floor belongs to no core
    assert figure.axes[1].get_ylabel() == "energy of all sampler steps (pJ)"


def test_use_is_that_of_the_fullest_resource(cores: pd.DataFrame, floor: Floor) -> None:
    use = pd.DataFrame({"core": [0, 0, 1, 2, 3, 4, 5], "share": [0.2, 0.9, 0.1, 0.3, 0.4, 1.0, 0.5]})
    figure = use_map(cores, use, floor, TITLE)
    first = figure.axes[0].images[0].get_array()
    assert first[0, 0] == pytest.approx(90) and first[0, 2] == pytest.approx(100)
    assert (figure.axes[0].images[0].norm.vmin, figure.axes[0].images[0].norm.vmax) == (0, 100)


def test_links_both_ways_do_not_cover_each_other(floor: Floor) -> None:
    links = pd.DataFrame(
        {
            "sampler_step": [0, 1, 0, 0, 0],
            "direction": ["east", "east", "west", "south", "east"],
            "mesh_x": [0, 0, 1, 0, 1],
            "mesh_y": [0, 0, 0, 0, 0],
            "packets": [10, 5, 3, 2, 1],
        }
    )
    figure = link_map(links, floor, TITLE)
    (lines,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    assert lines.get_array().tolist() == [1, 2, 3, 15]
    stub, south, west, east = (np.array(s) for s in lines.get_segments())
    assert east[0, 1] == east[1, 1] == pytest.approx(0.64) and west[0, 1] == pytest.approx(0.36)
    assert east[1, 0] > east[0, 0] and west[1, 0] < west[0, 0]
    assert south[0, 0] == south[1, 0] == pytest.approx(0.36)
    assert stub[1, 0] == pytest.approx(2 + GAP / 2)  # half way to the next chip


def test_packets_across_an_empty_place_of_the_array_are_not_drawn_on_nothing() -> None:
    """Three chips of 2 x 2 tiles stand in a square of four."""
    links = pd.DataFrame(
        {"sampler_step": 0, "direction": "east", "mesh_x": [0, 2], "mesh_y": [0, 2], "packets": [4, 5]}
    )
    named = link_map(links, Floor(2, 2, 1, chips=3), TITLE).axes[0]
    assert [text.get_text() for text in named.texts] == [
        "chip 0",
        "chip 1",
        "chip 2",
        "no cores",
    ]
    assert named.patches[3].get_linestyle() == "--"
    assert named.patches[3].get_xy() == Floor(2, 2, 1, chips=3).corner(3)
    within = link_map(links[:1], Floor(2, 2, 1, chips=3), TITLE).axes[0]
    assert len(within.patches) == 3


def test_many_chips_are_laid_in_rows() -> None:
    floor = Floor(8, 4, 2, chips=12)
    assert floor.per_row == 3
    assert floor.corner(3)[0] == floor.corner(0)[0] == 0.0
    assert floor.corner(3)[1] == pytest.approx(4 + 2 * GAP)
    corners = {floor.corner(c) for c in range(12)}
    assert len(corners) == 12
    assert max(x for x, _ in corners) + 8 == pytest.approx(floor.size[0])


def test_a_wide_range_gets_a_log_scale(cores: pd.DataFrame, floor: Floor) -> None:
    energy = pd.DataFrame(
        {"core": pd.array(range(6), dtype="Int64"), "energy_pj": [1.0, 2.0, 1.0, 1.0, 3.0, 1e6]}
    )
    picture = energy_map(cores, energy, floor, TITLE).axes[0].images[0]
    assert isinstance(picture.norm, LogNorm)


def test_the_map_rises_in_lightness() -> None:
    """So that grey print and the colour-blind see the same order."""
    from matplotlib import colormaps

    lightness = colormaps[chip_plots.MAP](np.linspace(0, 1, 64))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
