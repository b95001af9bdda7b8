"""What stands on the figures is what stands in the frames: sums, order, and what has no figure."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from nsim.hw_models.spec import EVENTS
from nsim.reports import plots
from nsim.reports.causes import CAUSE_GROUPS, GROUP_COLOURS, group_of

TITLE = "sddpm-digits on loihi (boardfit), ddim:4"
LAYERS = ["neuron", "downblocks.0.neuron1", "downblocks.0.neuron2", "upblocks.0.neuron1"]
ON_CORES = ["synaptic_event_conv", "synaptic_event_dense", "update_idle", "spike", "hop_x", "packet_in"]


def energy_frame(steps: int = 4) -> pd.DataFrame:
    """Two cores a layer, energies in the uJ range; packet_in and barrier have no published figure."""
    rng = np.random.default_rng(0)
    rows = [
        (step, layer, 2 * i + half, cause)
        for step in range(steps)
        for i, layer in enumerate(LAYERS)
        for half in (0, 1)
        for cause in ON_CORES
        if (layer, cause) != ("neuron", "synaptic_event_conv")
    ]
    rows += [
        (s, "chip", pd.NA, c) for s in range(steps) for c in ("static", "barrier", "host_mac", "bias_write")
    ]
    frame = pd.DataFrame(rows, columns=["sampler_step", "layer", "core", "cause"]).astype({"core": "Int64"})
    frame["count"] = rng.integers(1, 1000, len(frame))
    frame["energy_pj"] = rng.uniform(1e5, 1e6, len(frame))
    frame.loc[frame.cause.isin(["packet_in", "barrier"]), "energy_pj"] = np.nan
    frame.loc[frame.cause == "bias_write", "energy_pj"] = 0.0  # the time of another event contains it
    return frame.sort_values("cause", kind="stable", ignore_index=True)


def latency_frame(steps: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame([(s, t) for s in range(steps) for t in range(6)], columns=["sampler_step", "tick"])
    frame["core_ns"] = rng.uniform(1e4, 2e4, len(frame)) * (1 + frame.tick)
    frame["barrier_ns"] = 2500.0
    frame["time_ns"] = frame.core_ns + frame.barrier_ns
    frame["busiest_core"] = frame.tick
    return frame.assign(busiest_layer=[LAYERS[tick // 2] for tick in frame.tick])


def operations_frame(steps: int = 4) -> pd.DataFrame:
    rows = []
    for step in range(steps):
        for t in (0, 1):
            for i, layer in enumerate(LAYERS):
                rows.append((step, layer, t, 0, 0, 0, 0, 100, 10 * i + step))
            rows.append((step, "conv", t, 0, 0, 5000, 0, 0, 0))
            rows.append((step, "downblocks.0.conv1", t, 700 + step, 0, 0, 0, 0, 0))
            rows.append((step, "neuron -> upblocks.0.neuron1", t, 40, 0, 0, 0, 0, 0))
        rows.append((step, "downblocks.0.temb_proj.1", -1, 0, 0, 64, 0, 0, 0))
    columns = "sampler_step layer time_step ac graded_ac mac elementwise updates spikes".split()
    return pd.DataFrame(rows, columns=columns)


def layer_operations_frame() -> pd.DataFrame:
    rows = [
        ("neuron", 0, 0, 40_000, 0, 10_000),
        ("downblocks.0.neuron1", 3000, 0, 0, 3000, 0),
        ("downblocks.0.neuron2", 4000, 0, 2000, 12_000, 0),
        ("beside the cores", 0, 0, 500, 0, 500),
    ]
    columns = "layer traced_ac traced_graded_ac traced_mac laid_out_ac laid_out_mac".split()
    return pd.DataFrame(rows, columns=columns)


def draw_all(steps: int = 4) -> dict[str, Figure]:
    images = np.random.default_rng(2).uniform(-1, 1, (5, 3, 8, 8))
    return {
        "energy": plots.energy(energy_frame(steps), TITLE),
        "latency": plots.latency(latency_frame(steps), TITLE),
        "layers": plots.layers(energy_frame(steps), TITLE),
        "rates": plots.rates(operations_frame(steps), LAYERS, TITLE),
        "operations": plots.operations(layer_operations_frame(), TITLE),
        "samples": plots.samples(images, TITLE),
    }


def stacked(axes: Axes) -> list[np.ndarray]:
    """Heights of the stacked parts of a step diagram, from the bottom up."""
    data = [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]
    return [np.asarray(part.values) - np.asarray(part.baseline) for part in data]


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def notes(axes: Axes) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in axes.texts)


def test_every_cause_has_one_group_and_every_group_a_colour() -> None:
    causes = [cause for group in CAUSE_GROUPS.values() for cause in group]
    assert sorted(causes) == sorted([*EVENTS, "barrier", "static", "embedded_processor"])
    assert all(cause in CAUSE_GROUPS[group_of(cause)] for cause in causes)
    assert list(GROUP_COLOURS) == list(CAUSE_GROUPS)
    assert len(set(GROUP_COLOURS.values())) == len(CAUSE_GROUPS)
    with pytest.raises(
        KeyError, match=r"the cause 'teleport' is in no group; known are synaptic_event_conv,"
    ):
        group_of("teleport")


def test_neighbouring_groups_differ_in_lightness() -> None:
    """In grey print, too, one part of a stack is told from the next."""
    rgb = [[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in GROUP_COLOURS.values()]
    grey = np.array(rgb) @ [0.299, 0.587, 0.114]
    assert np.abs(np.diff(grey)).min() > 0.1


SEES = {
    "all colours": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Linear RGB as it is seen: Machado, Oliveira and Fernandes 2009, severity 1."""


def cielab(colour: str, sees: np.ndarray) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    t = np.array(xyz) @ np.clip(np.asarray(sees) @ linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", SEES)
def test_no_two_groups_look_alike(eyes: str) -> None:
    """Far more than a just noticeable difference (2.3), for the colour-blind too."""
    seen = {name: cielab(colour, SEES[eyes]) for name, colour in GROUP_COLOURS.items()}
    for (a, first), (b, second) in combinations(seen.items(), 2):
        assert np.linalg.norm(first - second) > 20, (a, b)


def test_energy_parts_are_the_frames_sums_and_add_up() -> None:
    frame = energy_frame()
    (axes,) = plots.energy(frame, TITLE).axes
    parts = np.array(stacked(axes))
    assert axes.get_ylabel() == "energy (µJ)"
    priced = frame.dropna(subset="energy_pj")
    expected = priced.groupby([priced.cause.map(group_of), "sampler_step"]).energy_pj.sum().unstack() / 1e6
    shown = [
        "synaptic events",
        "neuron updates, idle",
        "spikes",
        "packets and hops",
        "host work",
        "static power",
    ]
    np.testing.assert_allclose(parts, expected.loc[shown], rtol=1e-12)
    np.testing.assert_allclose(
        parts.sum(axis=0), frame.groupby("sampler_step").energy_pj.sum() / 1e6, rtol=1e-12
    )
    assert axes.get_ylim()[1] > parts.sum(axis=0).max()


def test_energy_legend_has_the_stacks_order_and_shares() -> None:
    frame = energy_frame()
    (axes,) = plots.energy(frame, TITLE).axes
    names, shares = zip(*(label.rsplit("  ", 1) for label in legend(axes)), strict=True)
    assert [name for name in CAUSE_GROUPS if name in names] == list(names)[::-1]
    static = frame.energy_pj[frame.cause == "static"].sum() / frame.energy_pj.sum()
    assert shares[0] == f"{100 * static:.1f} %"
    assert sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=0.3)
    colours = [patch.get_facecolor() for patch in axes.patches]
    assert [handle.get_facecolor() for handle in axes.get_legend().get_patches()] == colours[::-1]


def test_a_cause_without_a_figure_is_listed_and_not_drawn() -> None:
    frame = energy_frame()
    (axes,) = plots.energy(frame, TITLE).axes
    assert notes(axes) == "no published figure: packet in, barrier"
    assert not any(label.startswith("barrier") for label in legend(axes))
    (never,) = plots.energy(frame.assign(count=frame["count"] * (frame.cause != "barrier")), TITLE).axes
    assert notes(never) == "no published figure: packet in"
    (bare,) = plots.energy(frame.assign(energy_pj=np.nan), TITLE).axes
    assert stacked(bare) == [] and legend(bare) == []
    assert notes(bare).startswith("no published figure: synaptic event conv, synaptic event dense,")
    (priced,) = plots.energy(frame.dropna(subset="energy_pj"), TITLE).axes
    assert notes(priced) == ""


@pytest.mark.parametrize(
    ("factor", "unit", "size"), [(1e-6, "pJ", 1), (1e-3, "nJ", 1e3), (1, "µJ", 1e6), (1e3, "mJ", 1e9)]
)
def test_energy_unit_follows_the_size(factor: float, unit: str, size: float) -> None:
    frame = energy_frame()
    frame["energy_pj"] *= factor
    (axes,) = plots.energy(frame, TITLE).axes
    assert axes.get_ylabel() == f"energy ({unit})"
    top = frame.groupby("sampler_step").energy_pj.sum().max() / size
    assert np.sum(stacked(axes), axis=0).max() == pytest.approx(top)


def test_latency_adds_up_per_step_and_per_tick() -> None:
    frame = latency_frame()
    above, below = plots.latency(frame, TITLE).axes
    steps = frame.groupby("sampler_step")[["core_ns", "barrier_ns"]].sum() / 1e3
    ticks = frame.groupby("tick")[["core_ns", "barrier_ns"]].mean() / 1e3
    np.testing.assert_allclose(stacked(above), steps.T, rtol=1e-12)
    np.testing.assert_allclose(stacked(below), ticks.T, rtol=1e-12)
    assert above.get_ylabel() == below.get_ylabel() == "time (µs)"
    assert [label.rsplit("  ", 1)[0] for label in legend(above)] == ["busiest core", "barrier"]


def test_latency_names_the_busiest_layers_at_their_ticks() -> None:
    _, below = plots.latency(latency_frame(), TITLE).axes
    assert legend(below) == LAYERS[:3]
    assert [list(line.get_xdata()) for line in below.lines] == [[0, 1], [2, 3], [4, 5]]
    assert [line.get_marker() for line in below.lines] == ["$1$", "$2$", "$3$"]


def test_latency_names_no_more_layers_than_fit() -> None:
    frame = pd.concat([latency_frame(1).assign(tick=lambda f, i=i: f.tick + 6 * i) for i in range(2)])
    frame["busiest_layer"] = [f"layer{tick}" for tick in frame.tick]
    _, below = plots.latency(frame, TITLE).axes
    longest = frame.sort_values("time_ns", ascending=False, kind="stable").busiest_layer.head(
        plots.NAMED_LAYERS
    )
    assert legend(below) == sorted(longest, key=lambda name: int(name.removeprefix("layer")))


def test_layers_stand_in_network_order_with_the_frames_sums() -> None:
    frame = energy_frame()
    (axes,) = plots.layers(frame, TITLE).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == LAYERS
    assert axes.yaxis_inverted()
    on_cores = frame.dropna(subset=["core", "energy_pj"])
    groups = on_cores.cause.map(group_of)
    expected = on_cores.groupby([groups, "layer"]).energy_pj.sum().unstack()[LAYERS] / 1e6
    assert axes.get_xlabel() == "energy of all sampler steps (µJ)"
    names = [label.rsplit("  ", 1)[0] for label in legend(axes)]
    assert names == ["synaptic events", "neuron updates, idle", "spikes", "packets and hops"]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    np.testing.assert_allclose(widths, expected.loc[names], rtol=1e-12)
    ends = [bar.get_x() + bar.get_width() for bar in axes.containers[-1]]
    np.testing.assert_allclose(ends, expected.sum(), rtol=1e-12)
    total = on_cores.energy_pj.sum() / 1e6
    assert notes(axes) == (
        f"sum: {total:.3g} µJ; what belongs to no core is not shown no published figure: packet in"
    )


def test_layers_without_any_figure_still_name_the_layers() -> None:
    (axes,) = plots.layers(energy_frame().assign(energy_pj=np.nan), TITLE).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == LAYERS
    assert notes(axes).startswith("what belongs to no core is not shown no published figure: ")


def test_rates_are_spikes_per_update() -> None:
    operations = operations_frame()
    axes = plots.rates(operations, [*LAYERS, "upblocks.0"], TITLE).axes[0]
    grid = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(grid, [[(10 * i + step) / 100 for step in range(4)] for i in range(4)])
    assert [label.get_text() for label in axes.get_yticklabels()] == LAYERS
    silent = plots.rates(operations.assign(spikes=0), LAYERS, TITLE).axes[0]
    assert silent.images[0].get_clim() == (0, 1)
    with pytest.raises(ValueError, match=r"^none of conv, tail has neuron updates in these operations$"):
        plots.rates(operations, ["conv", "tail"], TITLE)


def test_operations_stand_side_by_side_layer_by_layer() -> None:
    frame = layer_operations_frame()
    (axes,) = plots.operations(frame, TITLE).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(frame.layer)
    bars = [list(container) for container in axes.containers]
    widths = [[bar.get_width() for bar in part] for part in bars]
    np.testing.assert_array_equal(
        widths, frame[["traced_ac", "traced_mac", "laid_out_ac", "laid_out_mac"]].to_numpy().T
    )
    assert [bar.get_x() for bar in bars[1]] == list(frame.traced_ac)
    hatched = [{bool(bar.get_hatch()) for bar in part} for part in bars]
    assert hatched == [{True}, {True}, {False}, {False}]
    for above, below in zip(bars[0], bars[2], strict=True):  # the axis points down
        assert above.get_y() + above.get_height() < below.get_y() + 0.05
    assert [text.get_text().split("\N{THIN SPACE}")[1] for text in axes.texts[:2]] == ["1.00", "3.00"]
    assert legend(axes) == [
        "AC, as traced  7.0 k",
        "MAC, as traced  42.5 k",
        "AC, as laid out  15.0 k",
        "MAC, as laid out  10.5 k",
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_are_shown_as_they_are(channels: int) -> None:
    images = np.random.default_rng(3).uniform(-1.2, 1.2, (11, channels, 16, 16)).astype(np.float32)
    (axes,) = plots.samples(images, TITLE).axes
    sheet = np.asarray(axes.images[0].get_array()).reshape(2 * 17 - 1, 8 * 17 - 1, channels)
    tenth = sheet[17:33, 17:33]
    np.testing.assert_allclose(tenth, np.clip((images[9].transpose(1, 2, 0) + 1) / 2, 0, 1), atol=1e-6)
    assert (sheet[16] == 1).all() and (sheet[17:, 3 * 17 :] == 1).all()


def test_channels_that_are_no_colours_stand_one_below_another() -> None:
    images = np.random.default_rng(4).uniform(-1.0, 1.0, (2, 2, 8, 8)).astype(np.float32)
    (axes,) = plots.samples(images, TITLE).axes
    sheet = np.asarray(axes.images[0].get_array()).squeeze()
    np.testing.assert_allclose(sheet[:8, :8], (images[0, 0] + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(sheet[8:16, 9:17], (images[1, 1] + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 8, 8), (0, 1, 8, 8)])
def test_samples_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    message = f"images of shape {list(shape)}; expected [N, C, H, W]"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plots.samples(np.zeros(shape), TITLE)


@pytest.mark.parametrize("draw", [plots.energy, plots.layers])
def test_missing_rows_are_refused(draw: Callable[[pd.DataFrame, str], Figure]) -> None:
    frame = energy_frame()
    with pytest.raises(ValueError, match=r"^nothing to draw: the frame has no rows$"):
        draw(frame[:0], TITLE)
    with pytest.raises(ValueError, match=r"^sampler step 2 is missing between 0 and 3$"):
        draw(frame[frame.sampler_step != 2], TITLE)


def test_same_data_same_bytes_from_a_single_step_on(tmp_path: Path) -> None:
    for attempt in ("a", "b"):
        (tmp_path / attempt).mkdir()
        for name, figure in draw_all(steps=1).items():
            plots.save(figure, tmp_path / attempt / f"{name}.v1")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 12 and "energy.v1.svg" in files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
        assert b"dc:date" not in (tmp_path / "a" / name).read_bytes()


def test_a_single_step_has_a_single_tick_mark() -> None:
    figures = draw_all(steps=1)
    for name in ("energy", "latency", "rates"):
        axes = figures[name].axes[0]
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [0]


def test_titles_say_what_and_where_from() -> None:
    for figure in draw_all().values():
        what, where = figure.get_suptitle().split("\n")
        assert what and where == TITLE


def test_drawing_leaves_the_users_settings_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_all()
    assert dict(matplotlib.rcParams) == before
