"""Figures of what an energy rests on: rules and models side by side, figures that matter, differences."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from nsim.reports.causes import FLOORS
from nsim.reports.plots import (
    NOTE_CHARACTERS,
    PJ_PER_UNIT,
    at_end,
    draw_legend,
    name_rows,
    new_figure,
    pick_unit,
    rows_height,
    style,
    words_note,
)
from nsim.units import PJ_PER_UJ

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AC, MAC, WHOLE = "#004c7a", "#d55e00", "#777777"
BELOW, ABOVE = "#56b4e9", "#d55e00"
LONGEST_NAME = 34
NEARLY_THE_SAME = 0.3
"""Largest difference, as a share of the larger run, for which a waterfall shows only where runs differ."""


def papers_rule(facts: Mapping[str, Any], title: str) -> Figure:
    """Draw AC against MAC by the papers' rule, the ANN twin and the chip beside them, on a log axis.

    ``facts``: ``per_call`` of `run_facts`, for one denoiser call of one image; hatching tells AC from MAC
    without colour.
    """
    ac_pj, mac_pj = facts["papers_rule_pj_per_ac"], facts["papers_rule_pj_per_mac"]
    rows = [("ANN twin, MAC", (facts["ann_twin_macs"] or 0) * mac_pj, MAC)]
    for name, label in (("as_traced", "as traced"), ("as_laid_out", "as laid out")):
        ops = facts[name]
        rows.append((f"SNN {label}, MAC", ops["mac"] * mac_pj, MAC))
        accumulates = ops["ac"] + ops["graded_ac"] + ops["spike_product"]
        rows.append((f"SNN {label}, AC", accumulates * ac_pj, AC))
    rows.append(("this chip, everything", facts["energy_pj"], WHOLE))
    rows = [row for row in rows if row[1] > 0]
    with style():
        figure = new_figure(2.6, "One denoiser call by the papers' rule, and what the chip pays", title)
        axes = figure.subplots()
        for i, (_, energy, colour) in enumerate(rows):
            hatch = {MAC: "////", AC: "....", WHOLE: ""}[colour]
            axes.barh(i, energy / PJ_PER_UJ, 0.7, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        _log_energies(axes, [energy for _, energy, _ in rows])
        name_rows(axes, [name for name, _, _ in rows])
        note = f"papers' rule:\n{ac_pj:g} pJ per AC\n{mac_pj:g} pJ per MAC"
        draw_legend(axes, [], [], note)
    return figure


def energy_models(table: pd.DataFrame, title: str) -> Figure:
    """Draw the energy of one denoiser call by every model of `side_by_side`, on a log axis."""
    with style():
        figure = new_figure(rows_height(table["model"]), "The same counts under several energy models", title)
        axes = figure.subplots()
        laid_out = table["prices"].str.startswith("as laid out")
        for i, (energy, chip) in enumerate(zip(table["energy_pj"], laid_out, strict=True)):
            axes.barh(i, energy / PJ_PER_UJ, 0.7, color=AC if chip else ABOVE, hatch="" if chip else "////")
        for bar in axes.patches:
            bar.set_edgecolor("white")
            bar.set_linewidth(0)
        _log_energies(axes, table["energy_pj"].to_list())
        name_rows(axes, table["model"].to_list())
        draw_legend(
            axes,
            _first_of_each(axes, laid_out.to_list()),
            [name for name, there in (("as laid out", True), ("as traced", False)) if there in set(laid_out)],
        )
    return figure


def tornado(frame: pd.DataFrame, total_pj: float, unknown: Sequence[str], title: str) -> Figure:
    """Draw how far each figure's range moves the total, the one that matters most on top.

    ``frame``: `Uncertainty.tornado`; ``unknown``: causes outside the total, listed by name.
    """
    unit, size = pick_unit(max(total_pj, *frame["high_pj"], 0.0), PJ_PER_UNIT)
    total = total_pj / size
    with style():
        figure = new_figure(max(2.4, 0.4 * len(frame) + 1.4), "Which figure matters most", title)
        axes = figure.subplots()
        handles = []
        for i, row in enumerate(frame.itertuples(index=False)):
            low, high = row.low_pj / size, row.high_pj / size
            below = axes.barh(i, low - total, 0.6, total, color=BELOW)
            above = axes.barh(i, high - total, 0.6, total, color=ABOVE, hatch="////", edgecolor="white")
            handles = [below, above]
            unit_of_figure = "mW" if row.causes in FLOORS else "pJ"
            at_end(axes, low, i, f"{row.low:g} {unit_of_figure}", "right")
            at_end(axes, high, i, f"{row.high:g} {unit_of_figure}", "left")
        axes.axvline(total, color="black", linewidth=0.8)
        axes.margins(x=0.2)
        axes.set_xlabel(f"energy of the run ({unit})")
        name_rows(axes, [_wrapped(causes) for causes in frame["causes"]] or ["no figure has a range"])
        total_text = f"{total:.3g}\N{NO-BREAK SPACE}{unit}"
        note = f"all others as published: {total_text}. Numbers: ends of the range of the figure"
        outside = f"outside, no published figure: {', '.join(unknown)}" if unknown else ""
        notes = [words_note(part) for part in (note, outside) if part]
        labels = ["figure at its low", "figure at its high"][: len(handles)]
        draw_legend(axes, handles, labels, "\n".join(notes))
    return figure


def waterfall(
    parts: pd.DataFrame, names: tuple[str, str], unknown: tuple[Sequence[str], Sequence[str]], title: str
) -> Figure:
    """Draw how the energy of one run becomes that of another: what is saved, then what is added.

    ``parts``: index group, columns the two runs, in pJ per call and image; ``names``: what they are called;
    ``unknown``: causes that each has no figure for, so that they are in no step. Where both runs cost nearly
    the same, the axis begins short of them, and their bars are marked as broken.
    """
    ends = parts.sum().to_numpy()
    unit, size = pick_unit(float(ends.max()), PJ_PER_UNIT)
    change = (parts.iloc[:, 1] - parts.iloc[:, 0]) / size
    saved, added = change[change < 0].sort_values(kind="stable"), change[change > 0]
    steps = pd.concat([saved, added.sort_values(ascending=False, kind="stable")])
    levels = [*(ends[0] / size + steps.cumsum().shift(fill_value=0.0)), ends[1] / size]
    decimals = max(0, 2 - math.floor(math.log10(steps.abs().max()))) if len(steps) else 3
    last = len(steps) + 1
    with style():
        figure = new_figure(max(2.8, 0.26 * (last + 1) + 1.2), "Where the difference comes from", title)
        axes = figure.subplots()
        handles = {}
        for i, step in enumerate(steps, start=1):
            colour, hatch, kind = (BELOW, "", "saves") if step < 0 else (ABOVE, "////", "adds")
            handles[kind] = axes.barh(
                i, step, 0.64, levels[i - 1], color=colour, hatch=hatch, edgecolor="white", linewidth=0
            )
            text = f"{step:+,.{decimals}f}".replace("-", "\N{MINUS SIGN}")
            at_end(axes, max(levels[i - 1 : i + 1]), i, text, "left")
        for i, level in enumerate(levels):
            axes.plot([level, level], [i - 0.32 * (i > 0), i + 1.32], color="black", linewidth=0.6, zorder=3)
        for i, end in ((0, ends[0] / size), (last, ends[1] / size)):
            axes.barh(i, end, 0.64, color=WHOLE)
            at_end(axes, end, i, f"{end:,.{decimals}f}", "left")
        begins = _begin_axis(axes, levels, (0, last))
        axes.set_xlabel(f"energy of one denoiser call and image ({unit}){begins}")
        name_rows(axes, [_wrapped(label) for label in (names[0], *steps.index, names[1])])
        labels = [f"{names[1]} {kind}" for kind in handles]
        draw_legend(axes, list(handles.values()), labels, _unknown_to_either(names, unknown))
    return figure


def _begin_axis(axes: Axes, levels: Sequence[float], wholes: Sequence[int]) -> str:
    """Begin the axis at 0, or near the levels where they differ little; what the axis' label says of it."""
    low, high = min(levels), max(levels)
    room = (high - low) or high
    begin = low - room if high - low < NEARLY_THE_SAME * high else 0.0
    axes.set_xlim(begin, high + 0.25 * (high - begin))
    if not begin:
        return ""
    for row in wholes:
        axes.text(0.03, row, "//", transform=axes.get_yaxis_transform(), color="white", va="center", size=10)
    return ", axis does not begin at 0"


def _unknown_to_either(names: tuple[str, str], unknown: tuple[Sequence[str], Sequence[str]]) -> str:
    """Say which causes are in no step, and which only one side has no figure for."""
    both = [cause for cause in unknown[0] if cause in unknown[1]]
    own = [[cause for cause in causes if cause not in both] for causes in unknown]
    notes = [
        textwrap.fill(f"not in {name}: {', '.join(causes).replace('_', ' ')}", NOTE_CHARACTERS)
        for name, causes in zip(("either", *names), (both, *own), strict=True)
        if causes
    ]
    return "\n".join(notes)


def _log_energies(axes: Axes, energies_pj: Sequence[float]) -> None:
    """A log axis in uJ, each bar with its number."""
    axes.set_xscale("log")
    axes.set_xlim(min(energies_pj) / PJ_PER_UJ / 3, max(energies_pj) / PJ_PER_UJ * 6)
    for i, energy in enumerate(energies_pj):
        axes.text(energy / PJ_PER_UJ * 1.08, i, _number(energy / PJ_PER_UJ), va="center", fontsize=7)
    axes.set_xlabel("energy of one denoiser call and image (µJ)")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _first_of_each(axes: Axes, laid_out: list[bool]) -> list[Any]:
    return [axes.patches[laid_out.index(there)] for there in (True, False) if there in laid_out]


def _wrapped(text: str) -> str:
    return textwrap.fill(text.replace("_", " "), LONGEST_NAME)
