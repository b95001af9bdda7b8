"""What `nsim sweep` says at the end: one line per point, and what went wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from rich.table import Table

from nsim.reports.sweep import Sweep
from nsim.reports.sweep_plots import describe, pareto_front, value_text
from nsim.units import NS_PER_MS, PJ_PER_UJ


def sweep_facts(sweep: Sweep) -> dict[str, Any]:
    """The whole table as plain values, numbers of points by status, and the fronts as point numbers."""
    table = sweep.table()
    status = table["status"].value_counts()
    return {
        "folder": str(sweep.path),
        "varied": sweep.plan.varied,
        "points_done": int(status.get("done", 0)),
        "points_failed": int(status.get("failed", 0)),
        "points_missing": int(status.get("missing", 0)),
        "fronts": _fronts(sweep),
        "points": json.loads(table.to_json(orient="records", double_precision=15)),
    }


def sweep_tables(sweep: Sweep) -> list[Table | str]:
    """Every point with energy, time and, where measured, quality; a star marks the points of a front."""
    table, varied = sweep.table(), sweep.plan.varied
    done = table[table["status"] == "done"]
    fronts = _fronts(sweep)
    quality = "energy-quality" in fronts
    heads = ["energy uJ", "latency ms", "energy-latency", *(["Frechet", "energy-quality"] if quality else [])]
    shown = Table("point", *(name.replace("_", " ") for name in varied), *heads, title="Per image")
    for _, row in done.iterrows():
        number = int(row["point"])
        cells = [str(number), *(value_text(name, row[name]) for name in varied)]
        cells.append(f"{row['energy_pj_per_image'] / PJ_PER_UJ:,.1f}")
        cells.append(f"{row['time_ns_per_image'] / NS_PER_MS:,.3f}")
        cells.append("*" if number in fronts["energy-latency"] else "")
        if quality:
            cells.append(f"{row['frechet_distance']:.2f}")
            cells.append("*" if number in fronts["energy-quality"] else "")
        shown.add_row(*cells)
    for column in shown.columns[len(varied) + 1 :]:
        column.justify = "right"
    weights = "; ".join(done["weights"].unique())
    lines = [f"*: no other point is as good in both. Weights: {weights}"] if len(done) else []
    for _, row in table[table["error"] != ""].iterrows():
        which = f" ({describe(row, varied)})" if varied else ""
        lines.append(f"point {row['point']}{which}: {row['status']}: {row['error']}")
    missing = int((table["status"] == "missing").sum())
    if missing:
        lines.append(f"{missing} points are missing; nsim sweep --resume {sweep.path} goes on with them")
    return [*([shown] if len(done) else []), *lines]


def _fronts(sweep: Sweep) -> dict[str, list[int]]:
    """Numbers of the finished points that no other beats, in energy and latency, and energy and quality."""
    table = sweep.table()
    done = table[table["status"] == "done"]
    pairs = {"energy-latency": "time_ns_per_image"}
    if sweep.plan.quality is not None:
        pairs["energy-quality"] = "frechet_distance"
    energy = done["energy_pj_per_image"].to_numpy(float)
    numbers = done["point"].to_numpy(int)
    return {
        name: np.sort(numbers[pareto_front(energy, done[column].to_numpy(float))]).tolist()
        for name, column in pairs.items()
    }
