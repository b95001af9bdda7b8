"""Chips on the terminal: every figure with its unit, source and confidence."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from nsim.hw_models.spec import Calibration, ChipSpec, Cited, Figure, Model


def chip_list(chips: list[ChipSpec]) -> list[Table | str]:
    """One line per chip."""
    table = Table("name", "chip", "nm", "cores", "calibrations (default first)")
    for chip in chips:
        s = chip.structure
        cores = s.tiles_x.value * s.tiles_y.value * s.cores_per_tile.value
        names = sorted(chip.calibrations, key=lambda n: n != chip.default_calibration)
        table.add_row(chip.name, chip.title, str(chip.process_nm.value), f"{cores:,}", ", ".join(names))
    return [table, "nsim chips NAME shows every figure of a chip with its source."]


def chip_tables(chip: ChipSpec) -> list[Table | str]:
    """Everything in a chip file: structure, capacities, arithmetic, and each calibration."""
    tables: list[Table | str] = [f"{chip.title}\n{chip.description}"]
    parts = {"Structure": chip.structure, "Core": chip.core, "Arithmetic": chip.arithmetic, "Mesh": chip.noc}
    for title, part in parts.items():
        if part is None:
            continue
        table = Table("figure", "value", "source", "where", "confidence", title=title)
        for name, figure in _walk(part, ""):
            value = _value(figure) if isinstance(figure, Figure) else str(getattr(figure, "value", ""))
            table.add_row(name, value, *_citation(figure))
        tables.append(table)
    tables.extend(_calibration_table(name, c) for name, c in chip.calibrations.items())
    return tables


def _calibration_table(name: str, calibration: Calibration) -> Table:
    columns = ("event", "quantity", "value", "range", "source", "where", "confidence")
    table = Table(*columns, title=f"Calibration {name}: {calibration.title}")
    figures: list[tuple[str, str, Figure]] = []
    for event, cost in calibration.events.items():
        figures += [(event, "energy pJ", cost.energy_pj), ("", "time ns", cost.time_ns)]
    figures.append(("barrier", "energy pJ", calibration.barrier.energy_pj))
    figures += [(f"  {p.tiles} tiles", "time ns", p.time_ns) for p in calibration.barrier.one_chip]
    figures += [(f"  {p.chips} chips", "time ns", p.time_ns) for p in calibration.barrier.several_chips]
    figures += [(name, "power mW", floor.power_mw) for name, floor in calibration.floor.items()]
    for event, quantity, figure in figures:
        bounds = "" if figure.low is None and figure.high is None else f"{figure.low:g} to {figure.high:g}"
        table.add_row(event, quantity, _value(figure), bounds, *_citation(figure))
    return table


def _value(figure: Figure) -> str:
    if figure.value is not None:
        return f"{figure.value:g}"
    return f"in {figure.included_in}" if figure.included_in else f"unknown: {figure.why_unknown}"


def _citation(figure: Cited) -> tuple[str, str, str]:
    return figure.source or "", figure.where or "", figure.confidence or ""


def _walk(part: Model, prefix: str) -> Iterator[tuple[str, Cited]]:
    """Cited numbers of a part of a chip file, nested names joined by dots."""
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Cited):
            yield prefix + name, value
        elif isinstance(value, Model):
            yield from _walk(value, f"{prefix}{name}.")
