"""Several models on several chips, under every policy a chip can have: one table, refusals in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Column, Table

from nsim.frontends.model import Model
from nsim.hw_models.catalog import load_any_chip
from nsim.hw_models.mapping.crossbar import PartialSums
from nsim.hw_models.mapping.policies import POLICIES, why_unsupported
from nsim.hw_models.spec import CrossbarChip
from nsim.provenance import provenance
from nsim.reports.footprint import Footprint, footprint
from nsim.reports.layout_tables import footprint_cells

COLUMNS = (
    "cores",
    "chips",
    "AC per time step",
    "MAC per time step",
    "MAC on the host",
    "packets per time step",
    "ticks per call",
    "uJ per call",
    "ms per call",
)

ON_CROSSBARS: tuple[tuple[int | None, PartialSums], ...] = ((2, "none"), (2, "relay"))
"""Weight bits and way of sums that are tried on a crossbar: ternary weights, the sparest there are."""


@dataclass(frozen=True)
class OnChip:
    """What a ``model`` takes of a chip; ``weights``: where its weights come from.

    Policies that come to the same, or are refused for the same reason, are one: ``footprint.policy`` has them
    all.
    """

    model: str
    weights: str
    footprint: Footprint


def on_all_chips(
    models: Sequence[Model],
    chips: Sequence[str],
    rate: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[OnChip]:
    """Lay out every model, and its decoder where it has one, on every chip; see `footprint`.

    A policy that a chip cannot have, whatever the model, is left out. On crossbars weights are ternary, and
    sums whole, then in parts.
    """
    parts = [part for model in models for part in (model, model.decoder_alone) if part is not None]
    wanted = [(part, chip) for part in parts for chip in chips]
    rows: list[OnChip] = []
    for done, (part, chip) in enumerate(wanted, start=1):
        loaded = load_any_chip(chip)
        possible = [policy for policy in POLICIES if why_unsupported(policy, loaded) is None]
        ways = ON_CROSSBARS if isinstance(loaded, CrossbarChip) else ((None, "none"),)
        for bits, sums in ways:
            found = [footprint(part, chip, p, rate, weight_bits=bits, partial_sums=sums) for p in possible]
            rows.extend(OnChip(part.name, part.weights, one) for one in _equals_together(found))
        if progress is not None:
            progress(done, len(wanted))
    return rows


def _equals_together(footprints: list[Footprint]) -> list[Footprint]:
    """The same, but policies with one result, or refused for one reason, as one where the first stands."""
    together: dict[Footprint, list[str]] = {}
    for one in footprints:
        together.setdefault(replace(one, policy=""), []).append(one.policy)
    return [replace(one, policy=", ".join(policies)) for one, policies in together.items()]


def all_chips_facts(rows: Sequence[OnChip], rate: float) -> dict[str, Any]:
    """What `nsim footprint` says, as plain values."""
    return {
        "assumed_firing_rate": rate,
        "rows": [{"model": row.model, "weights": row.weights, **asdict(row.footprint)} for row in rows],
    }


def all_chips_tables(rows: Sequence[OnChip], rate: float) -> list[Table | str]:
    """What `nsim footprint` prints; what is refused and what is left out is told below, by its number."""
    notes: dict[str, int] = {}
    table = Table(
        *(Column(name, no_wrap=True) for name in ("model", "chip")),
        Column("streams", overflow="fold"),
        *(Column(name, justify="right") for name in COLUMNS),
        "note",
        title=f"At a firing rate of {rate:g}, cores in order",
    )
    for row in rows:
        table.add_row(*_cells(row), _numbered(row.footprint.in_short, notes))
    return [table, *(f"{number}. {note}" for note, number in notes.items()), *_weights(rows)]


def all_chips_markdown(rows: Sequence[OnChip], rate: float) -> str:
    """The table of docs/footprint.md. What many rows leave out is a note below, told by its number."""
    notes: dict[str, int] = {}
    names = ("model", "chip", "streams", *COLUMNS, "refused, or left out")
    lines = [names, tuple("--:" if name in COLUMNS else "---" for name in names)]
    for row in rows:
        said = row.footprint.in_short
        lines.append((*_cells(row), said if row.footprint.refused else _numbered(said, notes)))
    made = provenance()
    return "\n".join(
        [
            f"Made by `nsim {' '.join(made['command'])}` with nsim {made['nsim']}, "  # type: ignore[arg-type]
            f"revision {made['revision']}, at a firing rate of {rate:g}.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in lines),
            "",
            *(f"{number}. {note}" for note, number in notes.items()),
            "",
            *(f"* {line}" for line in _weights(rows)),
        ]
    )


def _numbered(note: str, notes: dict[str, int]) -> str:
    """The number of a note, which is added to ``notes`` where it is new; nothing for none."""
    return f"[{notes.setdefault(note, len(notes) + 1)}]" if note else ""


def _cells(row: OnChip) -> tuple[str, ...]:
    of = row.footprint
    return (row.model, of.chip, " ".join(filter(None, (of.policy, of.options))), *footprint_cells(of))


def _weights(rows: Sequence[OnChip]) -> list[str]:
    """One line for each model: where its weights come from."""
    return [f"{name}: {weights}" for name, weights in {row.model: row.weights for row in rows}.items()]
