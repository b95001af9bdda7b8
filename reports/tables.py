"""Tables for the terminal, and the same facts as plain values for ``--json``."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.table import Table

from nsim.reports.detail_tables import detail_facts, detail_lines
from nsim.reports.energy import CHIP
from nsim.reports.run import Run
from nsim.units import NS_PER_MS, NS_PER_US, PJ_PER_UJ


def run_facts(run: Run) -> dict[str, Any]:
    """Everything `nsim run` says at the end, as plain values; energies and times for all images."""
    cells, latency = run.report.cells, run.latency()
    energy = cells.groupby("cause").agg(count=("count", "sum"), energy_pj=("energy_pj", _sum))
    layers = cells.groupby("layer", sort=False)["energy_pj"].agg(_sum)
    return {
        "manifest": run.manifest,
        **detail_facts(run),
        "images": run.images,
        "calls": run.denoiser.calls,
        "decoder_calls": 0 if run.decoder is None else run.decoder.calls,
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
        "per_decoder_call": None if run.decoder is None else _call_facts(run.decoder),
    }


def per_call_facts(run: Run) -> dict[str, Any]:
    """Operations, energy and time of one denoiser call of one image, by the chip and by the papers' rule."""
    rule = run.papers_rule
    return {
        **_call_facts(run.denoiser),
        "papers_rule_energy_pj": rule.energy_pj,
        "papers_rule_pj_per_ac": rule.ac_pj,
        "papers_rule_pj_per_mac": rule.mac_pj,
        "ann_twin_macs": rule.twin_macs,
        "ann_twin_papers_rule_energy_pj": rule.twin_energy_pj,
    }


def _call_facts(run: Run) -> dict[str, Any]:
    """Operations, energy and time of one call of one image, of the network that a run's steps call."""
    counts = run.counts().groupby("event")["count"].sum()
    laid_out_ac = counts[counts.index.str.startswith("synaptic_event")].sum()
    traced = run.operations()[["ac", "graded_ac", "mac", "spike_product"]].sum() / run.calls
    return {
        "as_traced": {name: float(n) for name, n in traced.items()},
        "as_laid_out": {
            "ac": float(laid_out_ac) / run.calls,
            "graded_ac": 0.0,
            "mac": float(counts.get("host_mac", 0)) / run.calls,
            "spike_product": float(counts.get("host_spike_product", 0)) / run.calls,
        },
        "energy_pj": run.report.total_pj / run.calls,
        "time_ns": float(run.latency()["time_ns"].sum()) / run.calls,
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
    """What `nsim run` prints at the end: per call (one sampler step of one image), then a decoder's."""
    facts, m = run_facts(run), run.manifest
    head = (
        f"{m['model']['name']} on {run.chip.title} ({run.calibration.title})\n"
        f"{m['sampler']}, seed {m['seed']}, {run.images} image(s), "
        f"{m['cores']:,} cores on {m['chips']} chip(s)\n"
        f"weights: {m['model']['weights']}"
    )
    decoder = run.decoder
    decoded = [] if decoder is None else [_causes(decoder, _DECODER), _layers(decoder, _DECODER)]
    return [
        head,
        *detail_lines(run),
        _causes(run.denoiser, _STEP),
        _layers(run.denoiser, _STEP),
        *decoded,
        _operations(facts),
        _comparison(facts),
        _footnotes(facts),
    ]


_STEP, _DECODER = "per sampler step and image", "the decoder, once per image"


def _causes(run: Run, call: str) -> Table:
    table = Table("cause", "count", "energy uJ", "share", title=f"Energy by cause, {call}")
    report = run.report
    for row in report.by_cause()[["cause", "count", "energy_pj", "share"]].itertuples(index=False):
        count = f"{row.count / run.calls:,.0f}"
        if row.cause in report.included:
            table.add_row(_words(row.cause), count, f"in {_words(report.included[row.cause])}", "")
        elif pd.isna(row.energy_pj):
            table.add_row(_words(row.cause), count, "n/a", "")
        else:
            energy = f"{row.energy_pj / run.calls / PJ_PER_UJ:,.3f}"
            table.add_row(_words(row.cause), count, energy, f"{row.share:.1%}")
    table.add_row("uncosted", ", ".join(report.uncosted) or "none", "", "", end_section=True)
    table.add_row("total", "", f"{report.total_pj / run.calls / PJ_PER_UJ:,.3f}", "100.0%")
    _right(table, 1, 2, 3)
    return table


def _layers(run: Run, call: str) -> Table:
    """Every layer with cores; what happens beside them is one line."""
    columns = ("layer", "cores", "rate", "AC traced", "AC laid out", "energy uJ")
    table = Table(*columns, title=f"By layer, {call}")
    operations = run.operations().groupby("layer")[["spikes", "updates"]].sum()
    ac = run.layer_operations().set_index("layer")[["traced_ac", "laid_out_ac"]] / run.calls
    cores = run.cores.groupby("layer", sort=False).size()
    energy = run.report.cells.groupby("layer")["energy_pj"].sum() / run.calls / PJ_PER_UJ
    weighted = run.traced_layers
    spiking = set(weighted.loc[weighted["input"] == "spikes", "source"])
    for layer, n in cores.items():
        spikes, updates = operations.loc[layer] if layer in operations.index else (0, 0)
        idle = "not run" if layer in spiking else "read-out"
        table.add_row(
            str(layer),
            f"{n:,}",
            f"{spikes / updates:.3f}" if updates else idle,
            *(f"{count:,.0f}" for count in ac.loc[layer]),
            f"{energy[layer]:,.3f}",
        )
    beside = energy.drop([*cores.index, CHIP], errors="ignore").sum()
    table.add_row("host ops and transfers", "", "", "", "", f"{beside:,.3f}")
    table.add_row("chip (floor, reset)", "", "", "", "", f"{energy[CHIP]:,.3f}")
    _right(table, 1, 2, 3, 4, 5)
    return table


def _operations(facts: dict[str, Any]) -> Table:
    kinds = {"ac": "AC", "graded_ac": "graded AC", "mac": "MAC"}
    if facts["per_call"]["as_traced"]["spike_product"]:
        kinds["spike_product"] = "spike x spike"
    table = Table("operations", *kinds.values(), title="Per sampler step and image")
    for whose, call in (("", facts["per_call"]), ("decoder, ", facts["per_decoder_call"])):
        for name, label in (
            ("as_traced", "as traced"),
            ("as_laid_out", "as laid out (all but AC on the host)"),
        ):
            if call is not None:
                table.add_row(whose + label, *(f"{call[name][kind]:,.0f}" for kind in kinds))
    _right(table, *range(1, len(kinds) + 1))
    return table


def _comparison(facts: dict[str, Any]) -> Table:
    per_call, decoder = facts["per_call"], facts["per_decoder_call"]
    table = Table("rule", "energy uJ", "latency ms", title="Side by side, per sampler step and image")
    for label, call in (
        ("this chip, everything counted", per_call),
        ("this chip, the decoder's call, once per image", decoder),
    ):
        if call is not None:
            energy, time = call["energy_pj"] / PJ_PER_UJ, call["time_ns"] / NS_PER_MS
            table.add_row(label, f"{energy:,.3f}", f"{time:,.3f}")
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
        + (f" and {facts['decoder_calls']} of the decoder" if facts["decoder_calls"] else "")
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
