"""What a model takes of chips whose cores it is laid out on but not placed, and all policies side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Column, Table

from nsim.hw_models.mapping.layout import CrossbarLayout, Layout
from nsim.reports.footprint import Footprint, footprint_of

UNKNOWN = "unknown"


def layout_facts(layout: Layout, rate: float) -> dict[str, Any]:
    """What `nsim map` says of a chip that networks are laid out on but not simulated, as plain values."""
    binding = layout.binding()
    beside = layout.cut.beside if isinstance(layout, CrossbarLayout) else ()
    return {
        "model": layout.model.name,
        "weights": layout.weights,
        **asdict(footprint_of(layout, rate)),
        "assumed_firing_rate": rate,
        "utilization": {r: {"used": u, "max": m} for r, (u, m) in layout.utilization().items()},
        "layers": [
            {
                "layer": name,
                "neurons": int(grid.used[layout.resources[0]].sum()),
                "cores": grid.size,
                "block_rows_columns_channels": list(grid.block),
                "binds": binding[name],
                "fullest": {
                    r: {"used": int(grid.used[r].max()), "max": grid.limits[r]} for r in layout.resources
                },
            }
            for name, grid in layout.grids.items()
        ],
        "beside_layers": [asdict(item) for item in beside],
        "ticks_per_time_step": layout.cut.times.step if isinstance(layout, CrossbarLayout) else 1,
    }


def add_layers(table: Table, facts: dict[str, Any]) -> None:
    """A row for each layer of what `nsim map` says: neurons, cores, block, what binds and how tightly."""
    for layer in facts["layers"]:
        tight = layer["fullest"][layer["binds"]]
        table.add_row(
            layer["layer"],
            f"{layer['neurons']:,}",
            f"{layer['cores']:,}",
            "x".join(map(str, layer["block_rows_columns_channels"])),
            layer["binds"].replace("_", " "),
            f"{tight['used']:,}/{tight['max']:,}",
        )


def layout_tables(layout: Layout, rate: float) -> list[Table | str]:
    """What `nsim map` prints for such a chip."""
    facts = layout_facts(layout, rate)
    head = (
        f"{facts['model']} on {layout.chip.title}: {layout.core_count:,} cores on {layout.chips} chip(s)\n"
        f"weights: {facts['weights']}; residual streams: {layout.policy}; {layout.ticks} ticks per call"
    )
    layers = Table(
        "layer", _right("neurons"), _right("cores"), "block (y, x, ch)", "binds", _right("fullest core")
    )
    add_layers(layers, facts)
    use = Table("resource", _right("used"), _right("max"), _right("%"), title="All cores in use")
    for resource, total in facts["utilization"].items():
        share = f"{total['used'] / total['max']:.0%}"
        use.add_row(resource.replace("_", " "), f"{total['used']:,}", f"{total['max']:,}", share)
    return [head, layers, use, *_beside_layers(facts)]


def _beside_layers(facts: dict[str, Any]) -> list[Table | str]:
    """On crossbars: what relay neurons there are, by task, and how long a time step is."""
    if not facts["beside_layers"]:
        return []
    table = Table("beside the layers", _right("cores"), _right("neurons"))
    for task in dict.fromkeys(item["task"] for item in facts["beside_layers"]):
        own = [item for item in facts["beside_layers"] if item["task"] == task]
        table.add_row(task, *(f"{sum(item[of] for item in own):,}" for of in ("cores", "neurons")))
    return [table, f"A time step takes {facts['ticks_per_time_step']} ticks."]


def policy_tables(footprints: list[Footprint], rate: float) -> list[Table | str]:
    """All policies side by side, and below why some are refused and what the figures leave out."""
    table = Table(
        "streams",
        *map(_right, ("cores", "chips", "AC", "MAC", "MAC host", "packets", "ticks", "uJ/call", "ms/call")),
        title=f"Every policy at a rate of {rate:g}: operations and packets per time step, cores in order",
    )
    notes: dict[str, list[str]] = {}
    for f in footprints:
        table.add_row(f.policy, *footprint_cells(f))
        if f.refused:
            notes.setdefault(f.refused, []).append(f.policy)
        elif f.unknown:
            notes.setdefault(f"no figure for: {f.unknown}", []).append(f.policy)
    return [table, *(f"{', '.join(policies)}: {note}" for note, policies in notes.items())]


def footprint_cells(f: Footprint) -> list[str]:
    """Cores, chips, AC, MAC, MAC of the host, packets, ticks, uJ and ms of a call, as text."""
    if f.refused:
        return ["refused", *[""] * 8]
    counts = [f"{n:,.0f}" for n in (f.cores, f.chips, f.ac, f.mac, f.mac_host, f.packets, f.ticks)]
    energy = UNKNOWN if f.energy_uj is None else f"{f.energy_uj:,.0f}"
    time = UNKNOWN if f.time_ms is None else f"{f.time_ms:,.3f}"
    return [*counts, energy, time]


def _right(title: str) -> Column:
    return Column(title, justify="right")
