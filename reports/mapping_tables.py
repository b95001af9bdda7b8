"""What `nsim map` says: cores, chips, what binds, operations, and a static estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from nsim.hw_models.mapping.grid import RESOURCES
from nsim.hw_models.mapping.mapping import Mapping
from nsim.reports.estimate import StaticEstimate
from nsim.reports.layout_tables import add_layers
from nsim.reports.multiplex import shared_chips, turns_text
from nsim.units import NS_PER_MS, PJ_PER_UJ


def mapping_facts(mapping: Mapping, estimates: Sequence[StaticEstimate]) -> dict[str, Any]:
    """Everything `nsim map` says, as plain values; a decoder's under "decoder", None where there is none."""
    facts = [_part_facts(part, e) for part, e in zip(mapping.parts, estimates, strict=True)]
    return {**facts[0], "decoder": facts[1] if len(facts) > 1 else None}


def mapping_tables(mapping: Mapping, estimates: Sequence[StaticEstimate]) -> list[Table | str]:
    """What `nsim map` prints: the denoiser, then the decoder where there is one."""
    parts = zip(mapping.parts, estimates, strict=True)
    return [item for part, estimate in parts for item in _part_tables(part, estimate)]


def _part_facts(mapping: Mapping, estimate: StaticEstimate) -> dict[str, Any]:
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
        "retiming": {
            "layers_deep": max(mapping.laid_out.depth[name] for name in mapping.grids),
            "longest_delay_ticks": mapping.longest_delay,
            "longest_delay_of_chip": mapping.chip.core.max_delay.value,
            "relay_populations": len(mapping.relays),
            "relay_neurons": sum(mapping.laid_out.population_by_name[name].size for name in mapping.relays),
            "relay_cores": sum(grid.size for grid in mapping.relays.values()),
        },
        "multiplex": None if mapping.multiplex is None else asdict(shared_chips(mapping, estimate)),
        "packet_hops_per_time_step": {"as_placed": placed, "row_major": row_major},
        "places_crossed": mapping.placement.places_crossed(mapping.flow),
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
            "spike_products_on_host": estimate.spike_products,
        },
        "estimate": {
            "assumed_firing_rate": estimate.rate,
            "ticks_per_call": estimate.ticks,
            "time_ns_per_call": estimate.time_ns,
            "energy_pj_per_call": estimate.report.total_pj,
            "energy_unknown": estimate.report.unknown,
        },
    }


def _part_tables(mapping: Mapping, estimate: StaticEstimate) -> list[Table | str]:
    model, chip = mapping.model, mapping.chip
    facts = _part_facts(mapping, estimate)
    per_chip = facts["cores_per_chip"]
    head = (
        f"{model.name} on {chip.title}: {mapping.core_count:,} cores on "
        + (
            f"{mapping.chips} chip(s), in {len(mapping.rounds.ends)} rounds"
            if mapping.rounds.loads
            else "1 chip"
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
    add_layers(layers, facts)
    operations = Table(
        "per time step", "AC", "MAC", title=f"Operations at a firing rate of {estimate.rate:g}"
    )
    operations.add_row("as traced", f"{estimate.ac_traced:,.0f}", f"{estimate.mac_traced:,}")
    operations.add_row("as laid out", f"{estimate.ac_laid_out:,.0f}", f"{estimate.mac_host:,.0f} (host)")
    if estimate.spike_products:
        operations.caption = f"and {estimate.spike_products:,.0f} products of spikes with spikes, on the host"
    _right(use, 1, 2, 3)
    _right(layers, 1, 2, 5)
    _right(operations, 1, 2)
    return [head, layers, use, operations, *_in_words(mapping, estimate, facts)]


def _in_words(mapping: Mapping, estimate: StaticEstimate, facts: dict[str, Any]) -> list[str]:
    """How far packets travel, how long spikes wait, what a call costs, and which chips are loaded for it."""
    hops, retiming, report = facts["packet_hops_per_time_step"], facts["retiming"], estimate.report
    traffic = "as measured" if mapping.measured else f"at a rate of {estimate.rate:g}"
    placed = f"Packets x hops per time step, {traffic}: {hops['as_placed']:,.0f}"
    placed += f", row-major {hops['row_major']:,.0f}"
    if hops["row_major"]:
        placed += f" ({hops['as_placed'] / hops['row_major'] - 1:+.0%})"
    if facts["places_crossed"]:
        placed += (
            f". Packets cross {facts['places_crossed']} place(s) of the chips' array with no core in use: "
            "a chip must stand there, whose power is not in the estimate"
        )
    waits = (
        f"Spikes wait at most {retiming['longest_delay_ticks']} ticks (the chip's longest delay: "
        f"{retiming['longest_delay_of_chip']}); relay neurons: {retiming['relay_neurons']:,} on "
        f"{retiming['relay_cores']:,} cores"
    )
    cost = (
        f"Static estimate of one call at that rate: {report.total_pj / PJ_PER_UJ:,.0f} uJ, "
        f"{estimate.time_ns / NS_PER_MS:.3f} ms in {estimate.ticks} ticks "
        f"(no figure for: {', '.join(report.unknown) or 'nothing'}). The run counts real spikes."
    )
    turns = [] if mapping.multiplex is None else [turns_text(shared_chips(mapping, estimate))]
    return [placed, waits, cost, *turns]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _right(table: Table, *columns: int) -> None:
    for i in columns:
        table.columns[i].justify = "right"
