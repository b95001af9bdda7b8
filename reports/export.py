"""A run's tables for other programs: whole as CSV, added up as LaTeX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from nsim.reports.run import Run
from nsim.reports.run_lock import sole_writer_around
from nsim.units import NS_PER_MS, PJ_PER_UJ

Format = Literal["csv", "latex"]
TABLES = ("energy", "latency", "counts", "operations", "utilization")


def export(run: Run, form: Format, out: Path) -> list[Path]:
    """Write a run's tables to the folder ``out``; return the files.

    csv: every row of every table, and the manifest beside them. latex: a booktabs table for each, added up
    to what a page can hold, its provenance as comments in its head.
    """
    with sole_writer_around(out):
        out.mkdir(parents=True, exist_ok=True)
        return _csv(run, out) if form == "csv" else _latex(run, out)


def _csv(run: Run, out: Path) -> list[Path]:
    files = [out / f"{name}.csv" for name in TABLES]
    for name, file in zip(TABLES, files, strict=True):
        csv.write_csv(pa.Table.from_pandas(getattr(run, name)(), preserve_index=False), file)
    manifest = out / "manifest.json"
    manifest.write_text(json.dumps(run.manifest, indent=2) + "\n", encoding="utf-8")
    return [*files, manifest]


def _latex(run: Run, out: Path) -> list[Path]:
    files = []
    for name, (caption, frame) in latex_tables(run).items():
        text = frame.map(_text).to_latex(
            index=False,
            escape=True,
            column_format="l" + "r" * (frame.shape[1] - 1),
            caption=_escape(f"{caption}. {_source(run)}."),
            label=f"tab:{name}",
            position="htbp",
        )
        files.append(out / f"{name}.tex")
        comment = "".join(f"% {line}\n" for line in json.dumps(run.folder.provenance, indent=1).splitlines())
        files[-1].write_text(comment + text, encoding="utf-8")
    return files


def latex_tables(run: Run) -> dict[str, tuple[str, pd.DataFrame]]:
    """Name to caption and table: what a page can hold of each of ``TABLES``; units in the headings."""
    steps = run.latency().groupby("sampler_step", as_index=False)[["core_ns", "barrier_ns", "time_ns"]].sum()
    counts = run.counts().groupby("event", as_index=False)["count"].sum()
    operations = run.operations().groupby("layer", sort=False, as_index=False)
    share = run.utilization().groupby("resource", sort=False)["share"].agg(["mean", "max"]).reset_index()
    return {
        "energy_by_cause": ("Energy by cause", _energy(run.report.by_cause(), run)),
        "energy_by_layer": ("Energy by layer", _energy(run.report.by_layer(), run)),
        "latency": (
            "Time of every sampler step",
            pd.DataFrame(
                {
                    "sampler step": steps["sampler_step"],
                    "busiest core (ms)": steps["core_ns"] / NS_PER_MS,
                    "barrier (ms)": steps["barrier_ns"] / NS_PER_MS,
                    "total (ms)": steps["time_ns"] / NS_PER_MS,
                }
            ),
        ),
        "counts": ("Events", counts.sort_values("count", ascending=False, ignore_index=True)),
        "operations": (
            "Operations of the model as traced",
            operations[["ac", "graded_ac", "mac", "spikes", "updates"]].sum(),
        ),
        "utilization": (
            "Use of the cores in use",
            share.rename(columns={"mean": "mean core (share)", "max": "fullest core (share)"}),
        ),
    }


def _energy(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Energies in uJ; where there is none of its own, what contains it."""
    within = run.report.included
    energy = (frame["energy_pj"] / PJ_PER_UJ).astype(object)
    if "cause" in frame:
        energy = energy.where(~frame["cause"].isin(within), "in " + frame["cause"].map(within).astype(str))
    named = frame.assign(energy_pj=energy, share=frame["share"].where(frame["energy_pj"] != 0))
    return named.rename(columns={"energy_pj": "energy (uJ)"})


def _text(value: object) -> str:
    """Whole numbers in thousands, others to four figures, never as a power of ten that a page can hold."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "n/a"
    if isinstance(value, int) or abs(float(value)) >= 1000:  # type: ignore[arg-type]
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _escape(text: str) -> str:
    """Text that LaTeX takes as it is."""
    return "".join(f"\\{c}" if c in "&%$#_{}" else c for c in text)


def _source(run: Run) -> str:
    m = run.manifest
    return (
        f"{m['model']['name']} on {m['chip']} ({m['calibration']}), {m['sampler']}, "
        f"{run.images} image(s), seed {m['seed']}; weights: {m['model']['weights']}"
    )
