"""Figures of a run: energy, time, layers, firing rates, operations and samples.

Each function takes tidy frames (columns carry their units) and a title that says where the numbers come from,
and returns a matplotlib Figure that belongs to no global state. ``save`` writes it as PNG and SVG.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsim.reports.causes import CAUSE_GROUPS, GROUP_COLOURS, group_of
from nsim.units import NS_PER_MS, NS_PER_US, PJ_PER_MJ, PJ_PER_UJ

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 7.0
"""Width of every figure: the text width of a two-column paper, so that 8 pt stay 8 pt in print."""
NOTE_CHARACTERS = 32
"""Width of a note under a legend."""
ROW_IN = 0.155
"""Height of one layer's row."""
PAIR_IN = 0.24
"""Height of a row of two bars."""
NAMED_LAYERS = 6
"""Layers named in the tick profile: as many as the legend has room for."""
SAMPLE_COLUMNS = 8

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 9,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.handleheight": 1.0,
    "savefig.dpi": 150,
    "svg.hashsalt": "nsim",
}

PJ_PER_UNIT = {"pJ": 1.0, "nJ": 1e3, "µJ": PJ_PER_UJ, "mJ": PJ_PER_MJ}
NS_PER_UNIT = {"ns": 1.0, "µs": NS_PER_US, "ms": NS_PER_MS}
OPERATIONS = {
    "ac": ("AC", "#004c7a"),
    "graded_ac": ("graded AC", "#009e73"),
    "mac": ("MAC", "#d55e00"),
    "spike_product": ("spike x spike", "#8f4b70"),
}
"""Kinds of operations: what they are called and their colours."""
_TIMES = {"core_ns": "busiest core", "barrier_ns": "barrier"}
_TIME_COLOURS = {"busiest core": "#9db4c8", "barrier": GROUP_COLOURS["barrier"]}


@contextmanager
def style() -> Iterator[None]:
    """Draw as nsim does, whatever the user's own matplotlib settings are."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def energy(energy: pd.DataFrame, title: str) -> Figure:
    """Draw the energy of each sampler step, stacked by group of causes, with each group's share of the total.

    ``energy``: one row per sampler_step, layer, core and cause with count and energy_pj. A cause whose
    energy is NaN has no published figure: it is not drawn, and listed by name.
    """
    _steps(energy)
    parts = _by_group(energy, "sampler_step")
    unit, size = pick_unit(parts.sum(axis=1).max(), PJ_PER_UNIT)
    with style():
        figure = new_figure(3.2, "Energy per sampler step", title)
        axes = figure.subplots()
        handles = _stack(axes, parts / size, GROUP_COLOURS)
        axes.set_ylabel(f"energy ({unit})")
        axes.set_xlabel("sampler step")
        draw_legend(axes, handles[::-1], _shares(parts)[::-1], _unpriced_note(energy))
    return figure


def latency(latency: pd.DataFrame, title: str) -> Figure:
    """Draw the time of each sampler step, and below it that of each tick of the mean sampler step.

    ``latency``: one row per sampler_step and tick with core_ns (the busiest core), barrier_ns and
    busiest_layer. The layers with the longest ticks are named, each of their ticks bears their number.
    """
    _steps(latency)
    with style():
        figure = new_figure(4.4, "Time per sampler step, and per tick of the mean sampler step", title)
        above, below = figure.subplots(2, 1)

        parts = latency.groupby("sampler_step")[["core_ns", "barrier_ns"]].sum().rename(columns=_TIMES)
        scaled = _scale_times(above, parts)
        draw_legend(above, _stack(above, scaled, _TIME_COLOURS), _shares(parts))
        above.set_xlabel("sampler step")

        by_tick = latency.groupby("tick")
        profile = by_tick[["core_ns", "barrier_ns"]].mean().rename(columns=_TIMES)
        profile = _scale_times(below, profile)
        _stack(below, profile, _TIME_COLOURS)
        below.set_xlabel("tick")
        total = profile.sum(axis=1)
        layer = by_tick.busiest_layer.agg(lambda names: names.mode()[0])
        longest_first = layer[total.sort_values(ascending=False, kind="stable").index]
        named = set(longest_first.drop_duplicates().head(NAMED_LAYERS))
        names = [name for name in layer.drop_duplicates() if name in named]
        numbers: list[Artist] = []
        for number, name in enumerate(names, start=1):
            ticks = layer.index[layer == name]
            over = total[ticks] + 0.05 * total.max()
            numbers += below.plot(
                ticks, over, marker=f"${number}$", color="black", markersize=4, markeredgewidth=0, linewidth=0
            )
        below.set_ylim(0, total.max() * 1.1)
        draw_legend(below, numbers, names, heading="busiest layer of a tick")
        figure.align_ylabels()
    return figure


def layers(energy: pd.DataFrame, title: str) -> Figure:
    """Draw the energy of each layer that lives on cores, stacked by group of causes, in network order.

    Cores are numbered in network order, so a layer stands where its first core stands. What belongs to no
    core (host, floors, barrier) is not drawn; a note says so, and what the sum of the bars is.
    """
    on_cores = energy[energy.core.notna()]
    _steps(on_cores)
    order = on_cores.groupby("layer", observed=True).core.min().sort_values().index
    parts = _by_group(on_cores, "layer").reindex(order)
    unit, size = pick_unit(parts.sum(axis=1).max(), PJ_PER_UNIT)
    with style():
        figure = new_figure(rows_height(order), "Energy per layer, on its cores", title)
        axes = figure.subplots()
        left = np.zeros(len(order))
        handles = []
        for group in parts:
            width = parts[group].to_numpy() / size
            handles.append(axes.barh(range(len(order)), width, 0.8, left, color=GROUP_COLOURS[group]))
            left += width
        name_rows(axes, order)
        axes.set_xlabel(f"energy of all sampler steps ({unit})")
        shown = f"sum: {left.sum():.3g} {unit}; " if handles else ""
        note = words_note(f"{shown}what belongs to no core is not shown")
        draw_legend(axes, handles, _shares(parts), f"{note}\n{_unpriced_note(on_cores)}")
    return figure


def rates(operations: pd.DataFrame, populations: Sequence[str], title: str) -> Figure:
    """Draw the firing rate of each population in each sampler step: spikes per neuron and time step.

    ``operations``: rows of sampler_step, layer, time_step with updates and spikes, as traced;
    ``populations``: names in network order; one without neuron updates (an analog read-out) has no rate.
    """
    steps = _steps(operations)
    updated = operations[operations.updates > 0]
    sums = updated.groupby(["layer", "sampler_step"], observed=True)[["spikes", "updates"]].sum()
    rate = (sums.spikes / sums.updates).unstack("sampler_step").reindex(columns=steps)
    names = [name for name in populations if name in rate.index]
    if not names:
        raise ValueError(f"none of {', '.join(populations)} has neuron updates in these operations")
    grid = rate.loc[names].to_numpy()
    with style():
        figure = new_figure(rows_height(names), "Firing rate per layer and sampler step", title)
        axes = figure.subplots()
        picture = axes.imshow(
            grid,
            cmap="Blues",
            vmin=0,
            vmax=np.nanmax(grid) or 1,
            aspect="auto",
            interpolation="nearest",
            extent=(steps[0] - 0.5, steps[-1] + 0.5, len(names) - 0.5, -0.5),
        )
        name_rows(axes, names)
        whole_numbers(axes)
        axes.set_xlabel("sampler step")
        bar = figure.colorbar(picture, ax=axes, label="spikes per neuron and time step", aspect=30)
        bar.outline.set_visible(False)
    return figure


def operations(rows: pd.DataFrame, title: str) -> Figure:
    """Draw AC and MAC of each layer, as traced (hatched) above as laid out, with the ratio of their AC.

    ``rows``: `layer_operations`; layers stand in its order.
    """
    from matplotlib.ticker import EngFormatter

    short = EngFormatter(places=1)
    times = "\N{MULTIPLICATION SIGN}\N{THIN SPACE}"
    none = 0 * rows.traced_ac
    with style():
        figure = new_figure(rows_height(rows.layer, PAIR_IN), "Operations per layer", title)
        axes = figure.subplots()
        handles, labels = [], []
        for whose, offset, hatch in (("traced", -0.2, "/////"), ("laid_out", 0.2, "")):
            left = np.zeros(len(rows))
            for kind, (name, colour) in OPERATIONS.items():
                width = rows.get(f"{whose}_{kind}", none).to_numpy()
                if width.any():
                    bars = axes.barh(np.arange(len(rows)) + offset, width, 0.38, left, color=colour)
                    for bar in bars:
                        bar.set(hatch=hatch, edgecolor="white", linewidth=0)
                    handles.append(bars)
                    labels.append(f"{name}, as {whose.replace('_', ' ')}  {short(width.sum())}")
                left += width
        for i, (traced, laid_out, end) in enumerate(zip(rows.traced_ac, rows.laid_out_ac, left, strict=True)):
            if traced and laid_out:
                at_end(axes, end, i + 0.2, f"{times}{laid_out / traced:.2f}", "left")
        axes.margins(x=0.1)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.set_xlabel("operations in all sampler steps")
        name_rows(axes, rows.layer)
        notes = (
            f"{times.strip()} AC as laid out to AC as traced",
            "As traced, an operation stands with the layer that first reads its result",
        )
        draw_legend(axes, handles, labels, "\n".join(map(words_note, notes)))
    return figure


def pictures(images: np.ndarray) -> np.ndarray:
    """Images [N, C, H, W] as grey (C = 1) or RGB (C = 3) ones; other channels one below another, in grey."""
    n, channels, height, width = images.shape
    return images if channels in (1, 3) else images.reshape(n, 1, channels * height, width)


def samples(images: np.ndarray, title: str) -> Figure:
    """Show images [N, C, H, W] in [-1, 1], clipped beyond, in a grid of `pictures`."""
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise ValueError(f"images of shape {list(images.shape)}; expected [N, C, H, W]")
    images = pictures(images)
    count, _, height, width = images.shape
    columns = SAMPLE_COLUMNS  # always, so that an image has one size on paper, however many there are
    rows = -(-count // columns)
    gap = max(1, height // 16)
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, images.shape[1]))
    for i, image in enumerate(np.clip((images + 1) / 2, 0, 1)):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    with style():
        figure = new_figure(WIDTH_IN * sheet.shape[0] / sheet.shape[1] + 0.5, "Samples", title)
        axes = figure.subplots()
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write ``path``.png and ``path``.svg, each whole or not at all; the same figure gives the same bytes."""
    unsigned: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}}
    for form, metadata in unsigned.items():
        part = path.with_name(f"{path.name}.{form}.part")
        with style():
            figure.savefig(part, format=form, metadata=metadata)
        os.replace(part, path.with_name(f"{path.name}.{form}"))


def new_figure(height: float, what: str, where: str) -> Figure:
    """Make an empty figure headed by what it shows and where that comes from; ``height`` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    figure.suptitle(f"{what}\n{where}", x=0.01, ha="left")
    return figure


def _steps(frame: pd.DataFrame) -> np.ndarray:
    """Sampler steps of a frame, in order; ValueError where there is none or one is missing between two."""
    steps = np.sort(frame.sampler_step.unique())
    if not len(steps):
        raise ValueError("nothing to draw: the frame has no rows")
    missing = np.setdiff1d(np.arange(steps[0], steps[-1] + 1), steps)
    if len(missing):
        raise ValueError(f"sampler step {missing[0]} is missing between {steps[0]} and {steps[-1]}")
    return steps


def _by_group(energy: pd.DataFrame, rows: str) -> pd.DataFrame:
    """Sum energy_pj into a table of ``rows`` by cause group, in order; only groups that have some energy."""
    causes = energy.groupby([rows, "cause"], observed=True).energy_pj.sum().unstack("cause", fill_value=0.0)
    groups = causes.T.groupby(group_of).sum().T
    return groups[[name for name in CAUSE_GROUPS if name in groups and groups[name].any()]]


def _unpriced_note(energy: pd.DataFrame) -> str:
    """List the causes that happened and have no energy figure, in the order of the groups."""
    unpriced = set(energy.cause[energy.energy_pj.isna() & (energy["count"] > 0)].unique())
    names = [cause for causes in CAUSE_GROUPS.values() for cause in causes if cause in unpriced]
    return words_note(f"no published figure: {', '.join(names)}") if names else ""


def pick_unit(largest: float, units: Mapping[str, float]) -> tuple[str, float]:
    """Pick the unit in which ``largest`` reads as 1 to 1000, and its size."""
    return [(name, size) for name, size in units.items() if size <= max(largest, 1.0)][-1]


def _percent(share: float) -> str:
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def _stack(axes: Axes, parts: pd.DataFrame, colours: Mapping[str, str]) -> list[Artist]:
    """Stack the columns over the index, consecutive integers; one outline each, however many there are."""
    edges = np.append(parts.index, parts.index[-1] + 1) - 0.5
    base = np.zeros(len(parts))
    handles: list[Artist] = []
    for name in parts:
        top = base + parts[name].to_numpy()
        handles.append(axes.stairs(top, edges, baseline=base, fill=True, linewidth=0, color=colours[name]))
        base = top
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, base.max() * 1.08 or 1)
    whole_numbers(axes)
    return handles


def _scale_times(axes: Axes, times_ns: pd.DataFrame) -> pd.DataFrame:
    """Bring times to a readable unit and write it on the axis."""
    unit, size = pick_unit(times_ns.sum(axis=1).max(), NS_PER_UNIT)
    axes.set_ylabel(f"time ({unit})")
    return times_ns / size


def _shares(parts: pd.DataFrame) -> list[str]:
    """Name each column with its share of the whole."""
    sums = parts.sum()
    return [f"{name}  {_percent(part / sums.sum())}" for name, part in sums.items()]


def draw_legend(
    axes: Axes,
    handles: Sequence[Artist | tuple[Artist, ...]],
    labels: Sequence[str],
    note: str = "",
    heading: str | None = None,
) -> None:
    """Put a legend to the right of the axes and a small note under it."""
    legend = axes.legend(
        handles,
        labels,
        title=heading,
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        alignment="left",
    )
    axes.annotate(note, (0, 0), (4, -4), xycoords=legend, textcoords="offset points", va="top", fontsize=7)


def words_note(text: str) -> str:
    """Break a note into lines that fit under a legend, names of causes as words."""
    return textwrap.fill(text.replace("_", " "), NOTE_CHARACTERS)


def rows_height(rows: Sequence[str], each: float = ROW_IN) -> float:
    """Height in inches of a figure with a row per name, and never less than its legend needs."""
    return max(3.0, each * len(rows) + 1.0)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows at 0, 1, ..., the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def whole_numbers(axes: Axes) -> None:
    """Put ticks of the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def at_end(axes: Axes, x: float, y: float, text: str, side: str) -> None:
    """Write a number just beyond the end of a bar; ``side`` is where the bar lies from it."""
    shift = {"left": (3, "left"), "right": (-3, "right")}[side]
    axes.annotate(
        text, (x, y), (shift[0], 0), textcoords="offset points", ha=shift[1], va="center", fontsize=7
    )
