"""What a run says about sampler steps that were not measured: which, and how sure its totals are."""

from __future__ import annotations

from typing import Any

from nsim.reports.detail_steps import CONFIDENCE
from nsim.reports.run import Run
from nsim.units import NS_PER_MS, PJ_PER_UJ


def detail_facts(run: Run) -> dict[str, Any]:
    """Measured steps and the intervals of the totals, as plain values; nothing where all were measured."""
    if run.all_measured:
        return {}
    rows = run.extrapolation().set_index("quantity")
    totals = rows[rows["cause"].isna()].drop(columns="cause").astype(object)
    return {
        "measured_steps": run.measured_steps.tolist(),
        "extrapolated": totals.where(totals.notna(), None).to_dict(orient="index"),
        "confidence": CONFIDENCE,
    }


def detail_lines(run: Run) -> list[str]:
    """A paragraph for the tables of a run; none where all steps were measured."""
    facts = detail_facts(run)
    if not facts:
        return []
    steps, measured = int(run.manifest["sampler_steps"]), facts["measured_steps"]
    lines = [
        f"EXTRAPOLATED: {len(measured)} of {steps} sampler steps were measured on the chip "
        f"({', '.join(map(str, measured))}); each other is taken to be like the nearest of them"
    ]
    for name, what, size, unit in (
        ("energy_pj", "energy", PJ_PER_UJ, "uJ"),
        ("time_ns", "time", NS_PER_MS, "ms"),
    ):
        total = facts["extrapolated"][name]
        interval = f"no interval from {len(measured)} step"
        if total["low"] is not None:
            interval = f"{CONFIDENCE:.0%} interval {total['low'] / size:,.3f} to {total['high'] / size:,.3f}"
        lines.append(f"{what} of all {steps}: {total['total'] / size:,.3f} {unit}, {interval}")
    return ["\n".join(lines)]
