"""One run's counts under several energy models, side by side: they differ by orders of magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from nsim.errors import RunError
from nsim.hw_models.catalog import load_cost_rule, load_memory_rule
from nsim.hw_models.spec import ChipSpec
from nsim.reports.conventions import CONVENTIONS, find_convention, mean_rate, work_of
from nsim.reports.lemaire import lemaire_energy
from nsim.reports.run import Run
from nsim.simulator.core_counts import CORE_EVENTS
from nsim.units import PJ_PER_UJ

PAPERS_RULE = "horowitz45"
SANAFE = "sanafe"
LEMAIRE = "lemaire2022"
SANAFE_CALIBRATION = "boardfit"
"""The calibration with SANA-FE's figures."""
COLUMNS = ["model", "energy_pj", "prices", "leaves_out"]


def energy_models(chip: ChipSpec) -> list[str]:
    """Names of the models that a run on ``chip`` can be priced with."""
    sanafe = [SANAFE] if SANAFE_CALIBRATION in chip.calibrations else []
    return [*chip.calibrations, *sanafe, PAPERS_RULE, LEMAIRE, *(c.name for c in CONVENTIONS)]


def parse_energy(text: str, chip: ChipSpec) -> list[str]:
    """Read a comma-separated list of models, or "all"; RunError, with those there are, for an unknown one."""
    known = energy_models(chip)
    if text == "all":
        return known
    letters = {c.letter: c.name for c in CONVENTIONS}
    names = [letters.get(name.strip(), name.strip()) for name in text.split(",")]
    for name in names:
        if name not in known:
            raise RunError(f"no energy model {name!r} for {chip.name}; known: {', '.join(known)}, or all")
    return names


def side_by_side(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """One row per model: model, energy_pj (one denoiser call of one image), prices, leaves_out.

    All models see the same counts. A chip's calibrations price the model as laid out on its cores; the
    papers' rules and Lemaire's price it as traced.
    """
    return pd.DataFrame([_priced(run.denoiser, name) for name in names], columns=COLUMNS)


def energy_facts(run: Run, names: Sequence[str]) -> dict[str, Any]:
    """`side_by_side` as plain values, with the ANN twin by the papers' rule where there is one."""
    rows = side_by_side(run, names)
    return {
        "manifest": run.manifest,
        "per_call": rows.to_dict("records"),
        "ann_twin_energy_pj": run.papers_rule.twin_energy_pj,
    }


def energy_tables(facts: dict[str, Any]) -> list[Table | str]:
    """What `nsim price` prints."""
    rows = facts["per_call"]
    least = min(row["energy_pj"] for row in rows)
    table = Table(
        "model", "energy uJ", "ratio", "prices", "leaves out", title="One denoiser call of one image"
    )
    for row in rows:
        ratio = f"{row['energy_pj'] / least:,.2f}"
        energy = f"{row['energy_pj'] / PJ_PER_UJ:,.3f}"
        table.add_row(row["model"], energy, ratio, row["prices"], row["leaves_out"])
    if facts["ann_twin_energy_pj"] is not None:
        energy = facts["ann_twin_energy_pj"]
        table.add_section()
        cells = (
            f"{energy / PJ_PER_UJ:,.3f}",
            f"{energy / least:,.2f}",
            "4.6 pJ per MAC",
            "all but operations",
        )
        table.add_row("the ANN twin", *cells)
    for i in (1, 2):
        table.columns[i].justify = "right"
    m = facts["manifest"]
    head = (
        f"{m['model']['name']} on {m['chip']}, {m['sampler']}, seed {m['seed']}; "
        f"weights: {m['model']['weights']}"
    )
    return [head, table]


def _priced(run: Run, name: str) -> tuple[str, float, str, str]:
    calls = run.calls
    if name in run.chip.calibrations:
        report = run.report_by(name)
        prices = "as laid out: every event, host work, floor power times time"
        return name, report.total_pj / calls, prices, ", ".join(report.unknown) or "nothing"
    if name == SANAFE:
        cells = run.report_by(SANAFE_CALIBRATION).cells
        dynamic = cells.loc[cells["cause"].isin(CORE_EVENTS), "energy_pj"].sum() / calls
        prices = "as laid out: synapses, updates, spikes, messages, hops"
        return name, float(dynamic), prices, "static power, embedded processor, host, reset"
    if name == PAPERS_RULE:
        energy = run.papers_rule.energy_pj
        return name, energy, "as traced: 0.9 pJ per AC, 4.6 pJ per MAC, exact counts", "all but operations"
    layers, steps = run.traced_layers, int(run.manifest["model"]["time_steps"])
    operations = run.operations().groupby("layer")[["spikes", "updates"]].sum()
    if name == LEMAIRE:
        spikes = (operations["spikes"] / calls).to_dict()
        energy = lemaire_energy(layers, spikes, steps, load_memory_rule(LEMAIRE)).sum()
        prices = "as traced: operations, memory accesses, addressing"
        return name, float(energy), prices, "routing, barrier, idle power, norms"
    convention = find_convention(name)
    fired = operations[operations["updates"] > 0]
    rate = mean_rate(layers, (fired["spikes"] / fired["updates"]).to_dict())
    energy = convention.energy_pj(work_of(layers, steps), rate, load_cost_rule("ann45"))
    title = f"{convention.letter}: {convention.title}; firing rate {rate:.4f}"
    return name, energy, title, "all but operations"
