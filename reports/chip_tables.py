"""Chips on the terminal: every figure with its unit, source and confidence."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from nsim.hw_models.spec import (
    AnyChip,
    Calibration,
    Choices,
    Cited,
    CostRule,
    Costs,
    Figure,
    Model,
    TickedCosts,
)


def chip_list(chips: list[AnyChip], rules: list[CostRule]) -> list[Table | str]:
    """One line per chip, and per rule or device of the ANN side."""
    table = Table("name", "chip", "family", "nm", "cores", "calibrations (default first)")
    for chip in chips:
        names = sorted(chip.all_costs, key=lambda n: n != chip.default_calibration)
        nm = "" if chip.process_nm is None else str(chip.process_nm.value)
        table.add_row(chip.name, chip.title, chip.family, nm, f"{chip.cores:,}", ", ".join(names))
    side = Table("name", "ANN side", "nm", "pJ per MAC", "pJ per AC")
    for rule in rules:
        nm = "" if rule.process_nm is None else str(rule.process_nm.value)
        side.add_row(rule.name, rule.title, nm, *(_short(f) for f in (rule.mac_pj, rule.ac_pj)))
    return [table, side, "nsim chips NAME shows every figure with its source."]


def chip_tables(chip: AnyChip) -> list[Table | str]:
    """Everything in a chip file: structure, capacities, arithmetic, and each calibration."""
    tables: list[Table | str] = [f"{chip.title} ({chip.family})\n{chip.description}"]
    for title in ("structure", "core", "arithmetic", "noc"):
        part = getattr(chip, title, None)
        if part is None:
            continue
        table = Table(
            "figure",
            "value",
            "source",
            "where",
            "confidence",
            title="Mesh" if title == "noc" else title.capitalize(),
        )
        for name, figure in _walk(part, ""):
            table.add_row(name, _number(figure), *_citation(figure))
        tables.append(table)
    tables.extend(_calibration_table(name, c) for name, c in chip.all_costs.items())
    return tables


def rule_tables(rule: CostRule) -> list[Table | str]:
    """Everything in the file of a cost rule."""
    table = Table("figure", "value", "range", "source", "where", "confidence")
    for name, figure in {"mac_pj": rule.mac_pj, "ac_pj": rule.ac_pj, **rule.others}.items():
        table.add_row(name, _value(figure), _bounds(figure), *_citation(figure))
    return [f"{rule.title}\n{rule.description}", table]


def _calibration_table(name: str, calibration: Costs) -> Table:
    columns = ("event", "quantity", "value", "range", "source", "where", "confidence")
    table = Table(*columns, title=f"Calibration {name}: {calibration.title}")
    figures: list[tuple[str, str, Figure]] = []
    for event, cost in calibration.events.items():
        figures += [(event, "energy pJ", cost.energy_pj), ("", "time ns", cost.time_ns)]
    if isinstance(calibration, Calibration):
        barrier = calibration.barrier
        figures.append(("barrier", "energy pJ", barrier.energy_pj))
        figures += [(f"  {p.tiles} tiles", "time ns", p.time_ns) for p in barrier.one_chip]
        figures += [(f"  {p.chips} chips", "time ns", p.time_ns) for p in barrier.several_chips]
    if isinstance(calibration, TickedCosts):
        figures.append(("tick", "time ns", calibration.tick_ns))
    figures += [(name, "power mW", floor.power_mw) for name, floor in calibration.floor.items()]
    for event, quantity, figure in figures:
        table.add_row(event, quantity, _value(figure), _bounds(figure), *_citation(figure))
    return table


def _number(figure: Cited) -> str:
    if isinstance(figure, Figure):
        return _value(figure)
    if isinstance(figure, Choices):
        return ", ".join(map(str, figure.values))
    return str(getattr(figure, "value", ""))


def _bounds(figure: Figure) -> str:
    if figure.low is None and figure.high is None:
        return ""
    return " to ".join("?" if bound is None else f"{bound:g}" for bound in (figure.low, figure.high))


def _short(figure: Figure) -> str:
    return "unknown" if figure.charge is None else f"{figure.charge:g}"


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
