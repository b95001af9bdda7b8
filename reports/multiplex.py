"""A model on fewer chips than would hold it: what each number of chips takes per call, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Column, Table

from nsim.errors import MappingError
from nsim.hw_models.mapping.layout import Layout
from nsim.hw_models.mapping.mapping import Mapping, with_places
from nsim.hw_models.mapping.place import Order
from nsim.hw_models.mapping.rounds import Regime, check_chips
from nsim.hw_models.spec import Calibration
from nsim.reports.estimate import StaticEstimate, static_estimates
from nsim.units import NS_PER_S, PJ_PER_J

BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class SharedChips:
    """One call (a sampler step's) on ``chips_at_hand``, at an assumed firing rate.

    ``chips`` in use, powered all the time; ``loads``: chips configured again per call, ``bytes_loaded`` of
    synaptic memory; ``spikes_kept`` by the host, to be sent to ``cores_sent_to`` cores in later rounds, all
    added up; ``load_ns`` of the time is loading, ``first_load_ns`` comes once before the first call (None: no
    figure). ``energy_pj`` lacks what ``unknown`` names.
    """

    chips_at_hand: int
    chips: int
    regime: Regime
    rounds: int
    loads: int
    bytes_loaded: int
    spikes_kept: float
    cores_sent_to: float
    ticks: int
    time_ns: float
    load_ns: float | None
    first_load_ns: float | None
    energy_pj: float
    unknown: tuple[str, ...]


def shared_chips(mapping: Mapping, estimate: StaticEstimate) -> SharedChips:
    """What it takes that a mapping shares chips."""
    assert mapping.multiplex is not None
    on_cores = estimate.report.cells[estimate.report.cells["core"].notna()]
    counts = on_cores.groupby("cause")["count"].sum()
    return SharedChips(
        mapping.multiplex,
        mapping.chips,
        mapping.regime,
        len(mapping.rounds.ends),
        mapping.rounds.loads,
        mapping.bytes_loaded,
        float(counts.get("host_read", 0.0)),
        float(counts.get("host_write", 0.0)),
        mapping.ticks,
        estimate.time_ns,
        estimate.load_ns,
        estimate.first_load_ns,
        estimate.report.total_pj,
        tuple(estimate.report.unknown),
    )


def parse_chip_counts(text: str) -> tuple[int, ...]:
    """Numbers of chips from a text like "32" or "1,32,768"; MappingError for any other."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise MappingError(
            f"--multiplex {text}: expected a number of chips, or several separated by commas: 1,32,768"
        ) from None


def on_chip_counts(
    layout: Layout, counts: Sequence[int], order: Order, rate: float, calibration: Calibration
) -> list[SharedChips]:
    """One layout on each of several numbers of chips."""
    found = []
    for chips in counts:
        check_chips(chips, layout.chip)
        mapping = with_places(layout, order, multiplex=chips)
        (estimate,) = static_estimates(mapping, rate, calibration)
        found.append(shared_chips(mapping, estimate))
    return found


def chip_count_facts(layout: Layout, rows: Sequence[SharedChips], rate: float) -> dict[str, Any]:
    """The comparison as plain values."""
    return {
        "model": layout.model.name,
        "weights": layout.weights,
        "chip": layout.chip.name,
        "policy": layout.policy,
        "cores": layout.core_count,
        "assumed_firing_rate": rate,
        "multiplex": [asdict(row) for row in rows],
    }


def chip_count_tables(layout: Layout, rows: Sequence[SharedChips], rate: float) -> list[Table | str]:
    """The comparison as printed: a row for each number of chips, and what the energies lack."""
    needed = -(-layout.core_count // layout.chip.cores)
    head = (
        f"{layout.model.name} on {layout.chip.title}: {layout.core_count:,} cores, {needed} chip(s) to hold "
        f"them all\nweights: {layout.weights}; residual streams: {layout.policy}"
    )
    names = (
        "chips",
        "in use",
        "rounds",
        "loads",
        "MB loaded",
        "spikes kept",
        "ticks",
        "s/call",
        "of it loading",
        "J/call",
    )
    table = Table(
        *(Column(name, justify="right") for name in names),
        "regime",
        title=f"One call (a sampler step) at a firing rate of {rate:g}",
    )
    for row in rows:
        table.add_row(
            f"{row.chips_at_hand:,}",
            f"{row.chips:,}",
            f"{row.rounds:,}",
            f"{row.loads:,}",
            f"{row.bytes_loaded / BYTES_PER_MB:,.0f}",
            f"{row.spikes_kept:,.0f}",
            f"{row.ticks:,}",
            f"{row.time_ns / NS_PER_S:,.4f}",
            "unknown" if row.load_ns is None else f"{row.load_ns / NS_PER_S:,.2f}",
            f"{row.energy_pj / PJ_PER_J:,.4f}",
            row.regime,
        )
    notes = [f"{row.chips_at_hand:,} chip(s): without {', '.join(row.unknown) or 'nothing'}" for row in rows]
    return [head, table, *notes]


def turns_text(shared: SharedChips) -> str:
    """In words what is loaded when."""
    if shared.regime == "resident":
        return (
            f"Resident: {shared.chips} of {shared.chips_at_hand:,} chip(s) hold everything; loaded once, "
            f"before the first call ({_seconds(shared.first_load_ns)})."
        )
    kept = f"{shared.chips - 1} chip(s) keep their cores, the last" if shared.chips > 1 else "the chip"
    return (
        f"{shared.regime.capitalize()}: {kept} is loaded {shared.loads} times in every call "
        f"({_seconds(shared.load_ns)} of its time), {shared.bytes_loaded / BYTES_PER_MB:,.0f} MB of synapses."
    )


def _seconds(time_ns: float | None) -> str:
    return "an unknown time" if time_ns is None else f"{time_ns / NS_PER_S:,.2f} s"
