"""Figures of a sweep: curves along each axis that varies, and the points that no other point beats."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nsim.reports.plots import NOTE_CHARACTERS, WIDTH_IN, save, style, whole_numbers
from nsim.reports.sweep import Sweep
from nsim.reports.sweep_axes import AXES
from nsim.units import NS_PER_S, PJ_PER_J

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

MEASURED = {
    "energy_pj_per_image": ("energy per image", "J", PJ_PER_J),
    "time_ns_per_image": ("time per image", "s", NS_PER_S),
    "frechet_distance": ("Frechet distance", "", 1.0),
}
"""What is drawn: column, its label, its unit and the unit's size in the column's own."""
LINES = (
    ("#004c7a", "o", "-"),
    ("#d55e00", "s", "--"),
    ("#009e73", "^", "-."),
    ("#8f4b70", "D", ":"),
    ("#e69f00", "v", "-"),
    ("#56b4e9", "P", "--"),
    ("#262626", "X", "-."),
    ("#777777", "*", ":"),
)
"""Colour, marker and dash of each line: told apart without colour too. As many lines are named."""
UNNAMED = ("#d4d4d4", ".", "-")
"""All further lines."""
NONE = {axis.name: axis.none for axis in AXES if axis.none}
"""What a missing value is called, of axes where it is a value like any other."""
LOGARITHMIC = 10.0
"""Frechet distances that differ by more than this factor are drawn on a logarithmic scale."""
TITLE_CHARACTERS = 110
NAMED_POINTS = 10
"""Points of a front that are named."""


def pareto_front(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mark the points [N] that no other beats: none is as good in both and better in one; less is better.

    Equal points are on the front together. A point with a NaN compares with none and is not on it.
    """
    front = np.zeros(len(first), bool)
    known = np.flatnonzero(~(np.isnan(first) | np.isnan(second)))
    best = (np.inf, np.inf)  # the second value, and the first that came with it
    for i in known[np.lexsort((second[known], first[known]))]:
        if second[i] < best[0] or (second[i], first[i]) == best:
            front[i], best = True, (second[i], first[i])
    return front


def curves(table: pd.DataFrame, axis: str, others: Sequence[str], title: str) -> Figure:
    """Draw energy, time and, where measured, quality along ``axis``, a line per combination of ``others``.

    ``table``: the finished points of a sweep. Numbers are joined by lines, the steps of samplers too, a line
    for each kind of sampler; other text has no order of its own and is not.
    """
    shown = [name for name in MEASURED if name in table and table[name].notna().any()]
    places, apart = _places(table[axis]), list(others)
    table = table.assign(place=places.x)
    if places.kinds is not None and places.kinds.nunique() > 1:
        table, apart = table.assign(kind=places.kinds), [*others, "kind"]
    lines = [line for _, line in table.groupby(apart, sort=False, dropna=False)] if apart else [table]
    with style():
        figure = _figure(1.7 * len(shown) + 0.8, f"Sweep over {_words(axis)}", title)
        rows: list[Axes] = list(figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0])
        for row, name in zip(rows, shown, strict=True):
            size = _label(row.yaxis, name)
            for i, line in enumerate(lines):
                ordered = line.sort_values("place", kind="stable")
                colour, marker, dash = LINES[i] if i < len(LINES) else UNNAMED
                row.plot(
                    ordered["place"].to_numpy(),
                    ordered[name].to_numpy() / size,
                    color=colour,
                    marker=marker,
                    linestyle=dash if places.joined else "none",
                    ms=4,
                )
            _scale(row, name, table[name])
        if places.names:
            rows[-1].set_xticks(list(places.names), list(places.names.values()))
            rows[-1].margins(x=0.1)
        elif all(place.is_integer() for place in places.x.dropna()):
            whole_numbers(rows[-1])
        rows[-1].set_xlabel(places.label)
        if apart:
            names = [describe(line.iloc[0], apart) for line in lines]
            _legend(rows[0], names)
        figure.align_ylabels()
    return figure


def front(table: pd.DataFrame, first: str, second: str, varied: Sequence[str], title: str) -> Figure:
    """Draw every finished point by two of MEASURED, and the front of those that no other beats, named."""
    best = pareto_front(table[first].to_numpy(float), table[second].to_numpy(float))
    with style():
        figure = _figure(3.8, f"Points of the sweep: {MEASURED[first][0]} and {MEASURED[second][0]}", title)
        axes = figure.subplots()
        x, y = table[first] / _label(axes.xaxis, first), table[second] / _label(axes.yaxis, second)
        rest, on = "other points", "beaten by no other point"
        axes.plot(x[~best], y[~best], "o", color="#9db4c8", ms=4, label=rest)
        walk = np.lexsort((y[best], x[best]))
        axes.plot(
            x[best].to_numpy()[walk],
            y[best].to_numpy()[walk],
            "D-",
            color="#004c7a",
            ms=5,
            lw=0.8,
            drawstyle="steps-post",
            label=on,
        )
        names = []
        for number, i in enumerate(np.flatnonzero(best)[walk][:NAMED_POINTS], start=1):
            place = (x.iloc[i], y.iloc[i])
            axes.annotate(str(number), place, (4, 4), textcoords="offset points", fontsize=7)
            names.append(textwrap.fill(f"{number}: {describe(table.iloc[i], varied)}", NOTE_CHARACTERS))
        axes.set_xlim(left=0)
        _scale(axes, second, table[second])
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, alignment="left")
        axes.annotate(
            "\n".join(names),
            (0, 0),
            (4, -4),
            xycoords=legend,
            textcoords="offset points",
            va="top",
            fontsize=7,
        )
    return figure


def save_figures(sweep: Sweep, folder: Path) -> list[str]:
    """Write every figure that has something to show, as PNG and SVG; names of the files without suffix."""
    table, varied = sweep.table(), sweep.plan.varied
    done = table[table["status"] == "done"]
    title = _title(sweep, done)
    figures = {
        f"curves-{axis}": curves(done, axis, [other for other in varied if other != axis], title)
        for axis in varied
        if done[axis].nunique(dropna=False) > 1
    }
    if len(done) > 1:
        figures["energy-latency"] = front(done, "energy_pj_per_image", "time_ns_per_image", varied, title)
        if "frechet_distance" in done and done["frechet_distance"].notna().any():
            figures["energy-quality"] = front(done, "energy_pj_per_image", "frechet_distance", varied, title)
    for name, figure in figures.items():
        save(figure, folder / name)
    return list(figures)


def _title(sweep: Sweep, done: pd.DataFrame) -> str:
    """Models, and what is the same at every point."""
    models = ", ".join(Path(model).stem for model in sweep.plan.models)
    if not len(done):
        return models
    first, varied = done.iloc[0], sweep.plan.varied
    same = [axis.name for axis in AXES if axis.name not in varied and not pd.isna(first[axis.name])]
    quality = sweep.plan.quality
    judged = "" if quality is None else f", quality of {quality} images"
    return textwrap.fill(f"{models}: {describe(first, same)}{judged}", TITLE_CHARACTERS)


def describe(row: Any, names: Sequence[str]) -> str:
    """Values of a point in words: "time steps 2, ddim:10"."""
    known = [n for n in names if n in NONE or not pd.isna(row[n])]
    return ", ".join(
        row[n] if isinstance(row[n], str) else f"{_words(n)} {value_text(n, row[n])}" for n in known
    )


def value_text(name: str, value: Any) -> str:
    """One value of an axis as text."""
    if pd.isna(value):
        return NONE.get(name, "n/a")
    return value if isinstance(value, str) else f"{value:g}"


@dataclass(frozen=True)
class _Places:
    """Where points stand along an axis: ``x`` of each, named by ``names`` where places are not numbers.

    ``joined``: places have an order, lines join them. ``kinds``: of samplers, which stand at their steps.
    """

    x: pd.Series
    label: str
    names: dict[float, str] = field(default_factory=dict)
    joined: bool = True
    kinds: pd.Series | None = None


def _places(values: pd.Series) -> _Places:
    """Where each value of an axis stands; what is missing but has a name stands behind the largest."""
    name, known = str(values.name), list(dict.fromkeys(values.dropna()))
    if name == "sampler":
        parts = values.str.extract(r"^([^:]+):(\d+)(@.+)?$")
        kinds = parts[0] + parts[2].fillna("")
        if kinds.notna().all():
            label = f"steps of {kinds.iloc[0]}" if kinds.nunique() == 1 else "sampler steps"
            return _Places(parts[1].astype(float), label, kinds=kinds)
    if isinstance(known[0], str):
        at = {value: float(i) for i, value in enumerate(known)}
        return _Places(values.map(at), _words(name), {i: value for value, i in at.items()}, joined=False)
    x = values.astype("float64")
    if name not in NONE or not x.isna().any():
        return _Places(x, _words(name))
    behind = x.max() + 1.0
    names = {float(value): value_text(name, value) for value in known} | {behind: NONE[name]}
    return _Places(x.fillna(behind), _words(name), names)


def _scale(axes: Axes, name: str, values: pd.Series) -> None:
    """Let the y axis begin at 0, or make it logarithmic for Frechet distances that differ too much."""
    if name != "frechet_distance" or not values.max() > LOGARITHMIC * values.min() > 0:
        axes.set_ylim(0, 1.08 * axes.dataLim.y1)
        return
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _figure(height: float, what: str, where: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    figure.suptitle(f"{what}\n{where}", x=0.01, ha="left")
    return figure


def _legend(axes: Axes, names: Sequence[str]) -> None:
    """Name the lines to the right of the axes, as many as can be told apart."""
    labels = [textwrap.fill(name, NOTE_CHARACTERS) for name in names[: len(LINES)]]
    more = f"and {len(names) - len(LINES)} more" if len(names) > len(LINES) else None
    axes.legend(
        axes.lines[: len(LINES)],
        labels,
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        borderaxespad=0,
        title=more,
        handlelength=3,
    )


def _label(axis: XAxis | YAxis, name: str) -> float:
    """Label an axis with one of MEASURED and say what to divide its values by."""
    from matplotlib.ticker import EngFormatter

    label, unit, size = MEASURED[name]
    axis.set_label_text(label)
    if unit:
        axis.set_major_formatter(EngFormatter(unit=unit))
    return size


def _words(name: str) -> str:
    return name.replace("_", " ")
