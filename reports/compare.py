"""Runs side by side: what each costs per denoiser call, and which causes make the difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from nsim.errors import RunError
from nsim.hw_models.catalog import cost_rule_names, load_cost_rule
from nsim.hw_models.spec import CostRule
from nsim.reports import model_plots, plots
from nsim.reports.causes import CAUSE_GROUPS, group_of
from nsim.reports.run import Run
from nsim.reports.run_lock import sole_writer_around
from nsim.units import NS_PER_MS, PJ_PER_UJ

TWIN = "ANN twin"
TWIN_WORK = "MAC of the ANN twin"


@dataclass(frozen=True)
class Comparand:
    """One side of a comparison, per denoiser call of one image.

    ``parts``: group of causes to energy in pJ, known ones only. ``interval_pj``: 5 and 95 %, None where no
    figure has a range; ``time_ns``: None where no source gives it. ``unknown``: causes in no part.
    """

    name: str
    about: str
    parts: dict[str, float]
    interval_pj: tuple[float, float] | None
    time_ns: float | None
    unknown: tuple[str, ...]

    @property
    def energy_pj(self) -> float:
        """Sum of the parts."""
        return sum(self.parts.values())


def open_comparands(names: list[str]) -> list[Comparand]:
    """Read run folders, ``FOLDER`` or ``FOLDER@calibration``; the ANN twin of the first one comes last, by
    each of the bundled cost rules.

    RunError for fewer than one folder, for one named twice, or for one that is no finished run.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RunError(f"{twice}: named twice; another calibration of it is {twice.partition('@')[0]}@NAME")
    found: list[Comparand] = []
    first: Run | None = None
    for name in names:
        folder, _, calibration = name.partition("@")
        run = Run.open(folder)
        first = first or run
        found.append(comparand(run, name, calibration or None))
    return found if first is None else [*found, *twins_of(first)]


def comparand(run: Run, name: str, calibration: str | None = None) -> Comparand:
    """A run's denoiser calls, priced and timed with one of its chip's calibrations, its own by default."""
    run = run.denoiser
    m, calls = run.manifest, run.calls
    used = calibration or m["calibration"]
    report = run.report_by(used)
    causes = report.by_cause().dropna(subset="energy_pj")
    sums = causes.groupby(causes["cause"].map(group_of))["energy_pj"].sum() / calls
    low, high = run.uncertainty(used).interval_pj
    about = (
        f"{m['model']['name']}, T={m['model']['time_steps']}, on {m['chip']} ({used}), {m['cores']:,} cores, "
        f"{m['chips']} chip(s), {m['sampler']}; weights: {m['model']['weights']}"
    )
    return Comparand(
        name,
        about,
        {group: float(sums[group]) for group in CAUSE_GROUPS if sums.get(group, 0.0)},
        (low / calls, high / calls),
        run.time_ns_by(used) / calls,
        tuple(report.unknown),
    )


def twins_of(run: Run) -> list[Comparand]:
    """The ANN twin on its own hardware, by every bundled cost rule; none where the model has no twin.

    A rule whose source gives no energy of a multiply-accumulate has none to compare.
    """
    macs = run.manifest["model"]["ann_twin_macs"]
    rules = [] if macs is None else [load_cost_rule(name) for name in cost_rule_names()]
    return [_twin(run, macs, rule, rule.mac_pj.value) for rule in rules if rule.mac_pj.value is not None]


def _twin(run: Run, macs: int, rule: CostRule, mac_pj: float) -> Comparand:
    bounds = (rule.mac_pj.low, rule.mac_pj.high)
    published = "" if bounds == (None, None) else " (" + " to ".join(f"{b or mac_pj:g}" for b in bounds) + ")"
    about = (
        f"ANN of the same shape as {run.manifest['model']['name']}, {macs:,} MAC at "
        f"{mac_pj:g}{published} pJ: {rule.title}"
    )
    return Comparand(
        f"{TWIN}, {rule.name}", about, {TWIN_WORK: mac_pj * macs}, None, None, (rule.leaves_out,)
    )


def parts_of(comparands: list[Comparand]) -> pd.DataFrame:
    """Groups of causes in order of drawing by comparand: energy in pJ, NaN where it has none known."""
    groups = [g for g in (TWIN_WORK, *CAUSE_GROUPS) if any(g in c.parts for c in comparands)]
    return pd.DataFrame(
        {c.name: [c.parts.get(g, float("nan")) for g in groups] for c in comparands}, index=groups
    )


def compare_facts(comparands: list[Comparand]) -> dict[str, Any]:
    """What `nsim compare` says, as plain values; ratios are to the first."""
    first = comparands[0]
    return {
        "per_call": [
            {
                "name": c.name,
                "about": c.about,
                "energy_pj": c.energy_pj,
                "energy_ratio": c.energy_pj / first.energy_pj,
                "energy_pj_interval": c.interval_pj,
                "time_ns": c.time_ns,
                "time_ratio": None if c.time_ns is None else c.time_ns / (first.time_ns or float("nan")),
                "energy_unknown": c.unknown,
                "energy_pj_by_group": c.parts,
                "difference_pj_by_group": {
                    g: c.parts.get(g, 0.0) - first.parts.get(g, 0.0) for g in {**first.parts, **c.parts}
                },
            }
            for c in comparands
        ]
    }


def compare_tables(comparands: list[Comparand]) -> list[Table | str]:
    """What `nsim compare` prints."""
    first = comparands[0]
    table = Table(
        *("run", "energy uJ", "ratio", "5 to 95 %", "ms", "ratio", "in no total"),
        title="One denoiser call of one image",
    )
    for c in comparands:
        interval = " to ".join(f"{energy / PJ_PER_UJ:,.0f}" for energy in c.interval_pj or ())
        timed = ("", "")
        if c.time_ns is not None and first.time_ns is not None:
            timed = (f"{c.time_ns / NS_PER_MS:,.3f}", f"{c.time_ns / first.time_ns:.3g}")
        energy = (f"{c.energy_pj / PJ_PER_UJ:,.3f}", f"{c.energy_pj / first.energy_pj:.3g}", interval)
        table.add_row(c.name, *energy, *timed, ", ".join(c.unknown))
    frame = parts_of(comparands)
    where = Table("uJ a call", first.name, title="Where it goes, and what differs from the first")
    for c in comparands[1:]:
        where.add_column(c.name)
        where.add_column("difference")
    for group, row in frame.iterrows():
        known = row.fillna(0.0) / PJ_PER_UJ
        cells = ["" if pd.isna(pj) else f"{pj / PJ_PER_UJ:,.3f}" for pj in row]
        changes = [f"{energy - known.iloc[0]:+,.3f}" for energy in known.iloc[1:]]
        pairs = zip(cells[1:], changes, strict=True)
        where.add_row(str(group), cells[0], *(cell for pair in pairs for cell in pair))
    for t in (table, where):
        for column in t.columns[1:]:
            column.justify = "right"
    table.columns[-1].justify = "left"
    return [*(f"{c.name}: {c.about}" for c in comparands), table, where]


def write_comparison(comparands: list[Comparand], out: Path) -> list[Path]:
    """Write a waterfall from the first to every other, as PNG and SVG, and the parts as CSV."""
    first, frame = comparands[0], parts_of(comparands)
    files = [out / "compare.csv"]
    with sole_writer_around(out):
        out.mkdir(parents=True, exist_ok=True)
        frame.rename_axis("group").add_suffix(" (pJ)").to_csv(files[0])
        for i, other in enumerate(comparands[1:], start=1):
            names, path = (first.name, other.name), out / f"waterfall-{i}"
            title = f"{first.name} to {other.name}, {other.energy_pj / first.energy_pj:.3g} times the energy"
            pair, unknown = frame[list(names)].fillna(0.0), (first.unknown, other.unknown)
            plots.save(model_plots.waterfall(pair, names, unknown, title), path)
            files += [path.with_suffix(".png"), path.with_suffix(".svg")]
    return files
