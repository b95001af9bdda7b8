"""Tables for the terminal, and the same facts as plain values for ``--json``."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.table import Table

from nsim.hw_models.mapping.grid import RESOURCES
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.detail_tables import detail_facts, detail_lines
from nsim.reports.estimate import StaticEstimate
from nsim.reports.run import Run
from nsim.units import NS_PER_MS, NS_PER_US, PJ_PER_UJ


def mapping_facts(mapping: Mapping, estimate: StaticEstimate) -> dict[str, Any]:
    """Everything `nsim map` says, as plain values."""
    binding = mapping.binding()
    placed, row_major = (hops if mapping.measured else hops * estimate.rate for hops in mapping.packet_hops())
    return {
        "model": mapping.model.name,
        "weights": mapping.weights,
        "weight_bits": mapping.weight_bits,
        "chip": mapping.chip.name,
        "cores": mapping.core_count,
        "chips": mapping.chips,
        "cores_per_chip": mapping.chip.cores,
        "policy": mapping.policy,
        "schedule": mapping.schedule,
        "packet_hops_per_time_step": {"as_placed": placed, "row_major": row_major},
        "utilization": {r: {"used": u, "max": m} for r, (u, m) in mapping.utilization().items()},
        "layers": [
            {
                "layer": name,
                "neurons": int(grid.used["compartments"].sum()),
                "cores": grid.size,
                "block_rows_columns_channels": list(grid.block),
                "binds": binding[name],
                "fullest": {r: {"used": int(grid.used[r].max()), "max": grid.limits[r]} for r in RESOURCES},
            }
            for name, grid in mapping.grids.items()
        ],
        "per_time_step": {
            "ac_as_traced": estimate.ac_traced,
            "mac_as_traced": estimate.mac_traced,
            "ac_as_laid_out": estimate.ac_laid_out,
            "mac_on_host": estimate.mac_host,
        },
        "estimate": {
            "assumed_firing_rate": estimate.rate,
            "ticks_per_call": estimate.ticks,
            "time_ns_per_call": estimate.time_ns,
            "energy_pj_per_call": estimate.report.total_pj,
            "energy_unknown": estimate.report.unknown,
        },
    }


def mapping_tables(mapping: Mapping, estimate: StaticEstimate) -> list[Table | str]:
    """What `nsim map` prints."""
    model, chip = mapping.model, mapping.chip
    facts = mapping_facts(mapping, estimate)
    per_chip = facts["cores_per_chip"]
    head = (
        f"{model.name} on {chip.title}: {mapping.core_count:,} cores on "
        + (
            "1 chip"
            if mapping.chips == 1
            else f"{mapping.chips} chips (one holds {per_chip} cores: too small)"
        )
        + f"\nweights: {mapping.weights}; residual streams: {mapping.policy}; "
        + f"schedule: {mapping.schedule}, {mapping.ticks} ticks per call"
    )
    use = Table("resource", "used", "max", "%", "binds in", title="Utilisation, all cores in use")
    binding = list(facts["utilization"])
    for resource in binding:
        used, most = facts["utilization"][resource].values()
        layers = sum(layer["binds"] == resource for layer in facts["layers"])
        use.add_row(
            _words(resource),
            f"{used:,}",
            f"{most:,}",
            f"{used / most:.0%}",
            f"{layers} layers" if layers else "",
        )
    layers = Table("layer", "neurons", "cores", "block (y, x, ch)", "binds", "used/max on the fullest core")
    for layer in facts["layers"]:
        tight = layer["fullest"][layer["binds"]]
        layers.add_row(
            layer["layer"],
            f"{layer['neurons']:,}",
            f"{layer['cores']:,}",
            "x".join(map(str, layer["block_rows_columns_channels"])),
            _words(layer["binds"]),
            f"{tight['used']:,}/{tight['max']:,}",
        )
    operations = Table(
        "per time step", "AC", "MAC", title=f"Operations at a firing rate of {estimate.rate:g}"
    )
    operations.add_row("as traced", f"{estimate.ac_traced:,.0f}", f"{estimate.mac_traced:,}")
    operations.add_row("as laid out", f"{estimate.ac_laid_out:,.0f}", f"{estimate.mac_host:,.0f} (host)")
    hops = facts["packet_hops_per_time_step"]
    traffic = "as measured" if mapping.measured else f"at a rate of {estimate.rate:g}"
    placed = f"Packets x hops per time step, {traffic}: {hops['as_placed']:,.0f}"
    placed += f", row-major {hops['row_major']:,.0f}"
    if hops["row_major"]:
        placed += f" ({hops['as_placed'] / hops['row_major'] - 1:+.0%})"
    report = estimate.report
    cost = (
        f"Static estimate of one call at that rate: {report.total_pj / PJ_PER_UJ:,.0f} uJ, "
        f"{estimate.time_ns / NS_PER_MS:.3f} ms in {estimate.ticks} ticks "
        f"(no figure for: {', '.join(report.unknown) or 'nothing'}). The run counts real spikes."
    )
    _right(use, 1, 2, 3)
    _right(layers, 1, 2, 5)
    _right(operations, 1, 2)
    return [head, layers, use, operations, placed, cost]


def run_facts(run: Run) -> dict[str, Any]:
    """Everything `nsim run` says at the end, as plain values; energies and times for all images."""
    cells, latency = run.report.cells, run.latency()
    calls = run.images * run.manifest["sampler_steps"]
    energy = cells.groupby("cause").agg(count=("count", "sum"), energy_pj=("energy_pj", _sum))
    layers = cells.groupby("layer", sort=False)["energy_pj"].agg(_sum)
    return {
        "manifest": run.manifest,
        **detail_facts(run),
        "images": run.images,
        "calls": calls,
        "energy_pj": run.report.total_pj,
        "energy_pj_interval": _interval_facts(run),
        "energy_pj_by_cause": {c: None if pd.isna(e) else e for c, e in energy["energy_pj"].items()},
        "count_by_cause": {c: int(n) for c, n in energy["count"].items()},
        "energy_pj_by_layer": {c: None if pd.isna(e) else e for c, e in layers.items()},
        "energy_unknown": run.report.unknown,
        "energy_included_in": run.report.included,
        "uncosted": list(run.report.uncosted),
        "time_ns": float(latency["time_ns"].sum()),
        "barrier_ns": float(latency["barrier_ns"].sum()),
        "time_left_out": list(run.times_left_out),
        "buffers": _buffer_facts(latency),
        "per_call": per_call_facts(run),
    }


def per_call_facts(run: Run) -> dict[str, Any]:
    """Operations, energy and time of one denoiser call of one image, by the chip and by the papers' rule."""
    calls = run.images * int(run.manifest["sampler_steps"])
    counts, rule = run.counts().groupby("event")["count"].sum(), run.papers_rule
    laid_out_ac = counts[counts.index.str.startswith("synaptic_event")].sum()
    return {
        "as_traced": {"ac": rule.ac, "graded_ac": rule.graded_ac, "mac": rule.mac},
        "as_laid_out": {
            "ac": float(laid_out_ac) / calls,
            "graded_ac": 0.0,
            "mac": float(counts.get("host_mac", 0)) / calls,
        },
        "energy_pj": run.report.total_pj / calls,
        "time_ns": float(run.latency()["time_ns"].sum()) / calls,
        "papers_rule_energy_pj": rule.energy_pj,
        "papers_rule_pj_per_ac": rule.ac_pj,
        "papers_rule_pj_per_mac": rule.mac_pj,
        "ann_twin_macs": rule.twin_macs,
        "ann_twin_papers_rule_energy_pj": rule.twin_energy_pj,
    }


def _buffer_facts(latency: pd.DataFrame) -> dict[str, Any] | None:
    """How full the mesh's buffers got, where they are finite."""
    if "buffer_places" not in latency:
        return None
    full = (latency["routers_full"] > 0) | (latency["cores_full"] > 0)
    stalled = latency.groupby("stalled_layer")["stalled_ns"].sum()
    return {
        "places": int(latency["buffer_places"].iloc[0]),
        "router_peak": int(latency["router_peak"].max()),
        "core_peak": int(latency["core_peak"].max()),
        "ticks": len(latency),
        "ticks_full": int(full.sum()),
        "stalled_ns": float(latency["stalled_ns"].sum()),
        "stalled_layer": str(stalled.idxmax()) if stalled.max() > 0 else None,
        "held_ns": float(latency["held_ns"].sum()),
    }


def run_tables(run: Run) -> list[Table | str]:
    """What `nsim run` prints at the end: per call (one sampler step of one image)."""
    facts = run_facts(run)
    m, calls = run.manifest, facts["calls"]
    head = (
        f"{m['model']['name']} on {run.chip.title} ({run.calibration.title})\n"
        f"{m['sampler']}, seed {m['seed']}, {run.images} image(s), "
        f"{m['cores']:,} cores on {m['chips']} chip(s)\n"
        f"weights: {m['model']['weights']}"
    )
    return [
        head,
        *detail_lines(run),
        _causes(facts, calls),
        _layers(run, facts, calls),
        _operations(facts),
        _comparison(facts),
        _footnotes(facts),
    ]


def _causes(facts: dict[str, Any], calls: int) -> Table:
    table = Table("cause", "count", "energy uJ", "share", title="Energy by cause, per sampler step and image")
    energy = facts["energy_pj_by_cause"]
    for cause in sorted(energy, key=lambda c: -(energy[c] or 0.0)):
        pj, count = energy[cause], f"{facts['count_by_cause'][cause] / calls:,.0f}"
        if cause in facts["energy_included_in"]:
            table.add_row(_words(cause), count, f"in {_words(facts['energy_included_in'][cause])}", "")
        elif pj is None:
            table.add_row(_words(cause), count, "n/a", "")
        else:
            share = pj / facts["energy_pj"] if facts["energy_pj"] else 0.0
            table.add_row(_words(cause), count, f"{pj / calls / PJ_PER_UJ:,.3f}", f"{share:.1%}")
    table.add_row("uncosted", ", ".join(facts["uncosted"]) or "none", "", "", end_section=True)
    table.add_row("total", "", f"{facts['energy_pj'] / calls / PJ_PER_UJ:,.3f}", "100.0%")
    _right(table, 1, 2, 3)
    return table


def _layers(run: Run, facts: dict[str, Any], calls: int) -> Table:
    """Every layer with cores; what happens beside them is one line."""
    table = Table("layer", "cores", "rate", "AC", "energy uJ", title="By layer, per sampler step and image")
    operations = run.operations().groupby("layer")[["spikes", "updates"]].sum()
    counts = run.counts()
    synaptic = counts[counts["event"].str.startswith("synaptic")].groupby("layer")["count"].sum()
    cores = run.cores.groupby("layer", sort=False).size()
    energy = facts["energy_pj_by_layer"]
    for layer, n in cores.items():
        spikes, updates = operations.loc[layer] if layer in operations.index else (0, 0)
        table.add_row(
            str(layer),
            f"{n:,}",
            f"{spikes / updates:.3f}" if updates else "read-out",
            f"{synaptic.get(layer, 0) / calls:,.0f}",
            f"{energy[layer] / calls / PJ_PER_UJ:,.3f}",
        )
    beside = sum(pj or 0.0 for layer, pj in energy.items() if layer not in cores.index and layer != "chip")
    table.add_row("host ops and transfers", "", "", "", f"{beside / calls / PJ_PER_UJ:,.3f}")
    table.add_row("chip (floor, reset)", "", "", "", f"{energy['chip'] / calls / PJ_PER_UJ:,.3f}")
    _right(table, 1, 2, 3, 4)
    return table


def _operations(facts: dict[str, Any]) -> Table:
    table = Table("operations", "AC", "graded AC", "MAC", title="Per sampler step and image")
    for name, label in (("as_traced", "as traced"), ("as_laid_out", "as laid out (MAC on the host)")):
        ops = facts["per_call"][name]
        table.add_row(label, f"{ops['ac']:,.0f}", f"{ops['graded_ac']:,.0f}", f"{ops['mac']:,.0f}")
    _right(table, 1, 2, 3)
    return table


def _comparison(facts: dict[str, Any]) -> Table:
    per_call = facts["per_call"]
    table = Table("rule", "energy uJ", "latency ms", title="Side by side, per sampler step and image")
    table.add_row(
        "this chip, everything counted",
        f"{per_call['energy_pj'] / PJ_PER_UJ:,.3f}",
        f"{per_call['time_ns'] / NS_PER_MS:,.3f}",
    )
    papers = f"{per_call['papers_rule_energy_pj'] / PJ_PER_UJ:,.3f}"
    table.add_row("papers' 45 nm rule, same model (0.9 pJ/AC, 4.6 pJ/MAC)", papers, "")
    if per_call["ann_twin_macs"] is not None:
        table.add_row(
            f"papers' 45 nm rule, ANN twin ({per_call['ann_twin_macs']:,} MAC)",
            f"{per_call['ann_twin_papers_rule_energy_pj'] / PJ_PER_UJ:,.3f}",
            "",
        )
    _right(table, 1, 2)
    return table


def _interval_facts(run: Run) -> dict[str, Any]:
    """The 90 % interval that the figures' ranges give the total, and every calibration's own."""
    result = run.uncertainty()
    low, high = result.interval_pj
    rows = run.calibrations()[["calibration", "energy_pj", "p05_pj", "p95_pj", "time_ns"]]
    return {
        "p05_pj": low,
        "p95_pj": high,
        "figures_with_a_range": result.tornado["causes"].to_list(),
        "figures_without": list(result.without_range),
        "calibrations": rows.to_dict("records"),
    }


def _footnotes(facts: dict[str, Any]) -> str:
    lines = [f"n/a: {_words(cause)}: {why}" for cause, why in facts["energy_unknown"].items()]
    if facts["time_left_out"]:
        lines.append(
            "latency leaves out (no published time): " + ", ".join(map(_words, facts["time_left_out"]))
        )
    if facts["buffers"] is not None:
        lines.append(_buffers(facts["buffers"]))
    total = facts["energy_pj"] / PJ_PER_UJ
    interval = facts["energy_pj_interval"]
    ranged = "; ".join(_words(causes) for causes in interval["figures_with_a_range"])
    lines.append(
        f"90 % interval of the total: {interval['p05_pj'] / PJ_PER_UJ:,.0f} to "
        f"{interval['p95_pj'] / PJ_PER_UJ:,.0f} uJ, from the published ranges of {ranged or 'no figure'}; "
        "the other figures have none and are taken as they are"
    )
    lines.extend(
        f"by {other['calibration']}: {other['energy_pj'] / PJ_PER_UJ:,.0f} uJ "
        f"({other['p05_pj'] / PJ_PER_UJ:,.0f} to {other['p95_pj'] / PJ_PER_UJ:,.0f}), "
        f"{other['time_ns'] / NS_PER_MS:,.3f} ms"
        for other in interval["calibrations"]
        if other["calibration"] != facts["manifest"]["calibration"]
    )
    lines.append(
        f"whole run: {total:,.1f} uJ, {facts['time_ns'] / NS_PER_MS:,.3f} ms for {facts['calls']} calls"
    )
    return "\n".join(lines)


def _buffers(use: dict[str, Any]) -> str:
    if not use["ticks_full"]:
        most = max(use["router_peak"], use["core_peak"])
        return f"no buffer filled: at most {most} of {use['places']} places were taken"
    line = f"buffers of {use['places']} packets filled in {use['ticks_full']:,} of {use['ticks']:,} ticks"
    if use["stalled_layer"] is None:
        return f"{line}; no core stood still for it"
    stalled = f"{use['stalled_ns'] / NS_PER_US:,.1f} us"
    return f"{line}: cores stood still for {stalled} in all, most in {use['stalled_layer']}"


def _sum(values: pd.Series) -> float:
    """Sum that stays unknown when every part is."""
    return float(values.sum(min_count=1))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _right(table: Table, *columns: int) -> None:
    for i in columns:
        table.columns[i].justify = "right"
