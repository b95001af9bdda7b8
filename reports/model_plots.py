"""Figures of what an energy rests on: rules and models side by side, figures that matter, differences."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from nsim.reports.causes import GROUP_COLOURS
from nsim.reports.plots import (
    NOTE_CHARACTERS,
    PJ_PER_UNIT,
    draw_legend,
    name_rows,
    new_figure,
    pick_unit,
    rows_height,
    style,
)
from nsim.units import PJ_PER_UJ

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AC, MAC, WHOLE = "#004c7a", "#d55e00", "#777777"
BELOW, ABOVE = "#56b4e9", "#d55e00"
LONGEST_NAME = 34


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
            _at_end(axes, low, i, f"{row.low:g}", "right")
            _at_end(axes, high, i, f"{row.high:g}", "left")
        axes.axvline(total, color="black", linewidth=0.8)
        axes.margins(x=0.12)
        axes.set_xlabel(f"energy of the run ({unit})")
        name_rows(axes, [_wrapped(causes) for causes in frame["causes"]] or ["no figure has a range"])
        total_text = f"{total:.3g}\N{NO-BREAK SPACE}{unit}"
        note = f"all others as published: {total_text}. Numbers: ends of the range, in pJ or mW"
        outside = f"outside, no published figure: {', '.join(unknown)}" if unknown else ""
        notes = [textwrap.fill(part, NOTE_CHARACTERS) for part in (note, outside) if part]
        labels = ["figure at its low", "figure at its high"][: len(handles)]
        draw_legend(axes, handles, labels, "\n".join(notes))
    return figure


def waterfall(parts: pd.DataFrame, names: tuple[str, str], title: str) -> Figure:
    """Draw how the energy of one run becomes that of another, a step for every group of causes.

    ``parts``: index group, columns the two runs, in pJ per call and image; ``names``: what they are called.
    """
    first, second = parts.iloc[:, 0], parts.iloc[:, 1]
    unit, size = pick_unit(float(max(first.sum(), second.sum())), PJ_PER_UNIT)
    change = (second - first)[(second - first) != 0] / size
    change = change.reindex(change.abs().sort_values(ascending=False, kind="stable").index)
    labels = [names[0], *change.index, names[1]]
    with style():
        figure = new_figure(max(2.6, 0.24 * len(labels) + 1.2), "Where the difference comes from", title)
        axes = figure.subplots()
        at = first.sum() / size
        axes.barh(0, at, 0.7, color=WHOLE)
        _at_end(axes, at, 0, f"{at:.3g}", "left")
        for i, (group, step) in enumerate(change.items(), start=1):
            colour = GROUP_COLOURS.get(str(group), MAC)
            axes.barh(i, step, 0.7, at, color=colour, edgecolor="black", linewidth=0.3)
            _at_end(axes, max(at, at + step), i, f"{step:+.3g}", "left")
            axes.plot([at, at], [i - 1, i], color="black", linewidth=0.4)
            at += step
        axes.barh(len(labels) - 1, second.sum() / size, 0.7, color=WHOLE)
        _at_end(axes, second.sum() / size, len(labels) - 1, f"{second.sum() / size:.3g}", "left")
        axes.set_xlim(0, 1.12 * axes.dataLim.x1)
        axes.set_xlabel(f"energy of one denoiser call and image ({unit})")
        name_rows(axes, [_wrapped(label) for label in labels])
    return figure


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


def _at_end(axes: Axes, x: float, y: float, text: str, side: str) -> None:
    """A number just beyond the end of a bar; ``side`` is where the bar lies from it."""
    shift = {"left": (3, "left"), "right": (-3, "right")}[side]
    axes.annotate(
        text, (x, y), (shift[0], 0), textcoords="offset points", ha=shift[1], va="center", fontsize=7
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text.replace("_", " "), LONGEST_NAME)
