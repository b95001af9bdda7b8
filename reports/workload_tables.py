"""The table of all workloads, for a terminal and for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Column, Table

from nsim.reports.conventions import CONVENTIONS
from nsim.reports.footprint import Footprint
from nsim.reports.released_models import NO_ENERGY
from nsim.reports.workloads import WorkloadRow, WorkloadTable
from nsim.units import PJ_PER_MJ
from nsim.workloads.random_weights import WEIGHTS
from nsim.workloads.state import UNKNOWN_WEIGHTS

UJ_PER_MJ = 1000.0
UNKNOWN = "n/a"


@dataclass(frozen=True)
class Grid:
    """A table as text: the first ``words`` columns hold words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def rich(self) -> Table:
        """For a terminal."""
        columns = [
            Column(c, justify="left" if i < self.words else "right") for i, c in enumerate(self.columns)
        ]
        table = Table(*columns, title=self.title)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a page."""
        rule = ["---" if i < self.words else "---:" for i in range(len(self.columns))]
        lines = [self.columns, rule, *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def workload_grids(table: WorkloadTable) -> list[Grid]:
    """Workloads, workloads by chip, ANN twins, other people's models; what is empty is left out."""
    grids = [_sizes(table), _on_chips(table), _twins(table), _released(table)]
    return [grid for grid in grids if grid.rows]


def notes(table: WorkloadTable) -> list[str]:
    """What stands below the tables: the conventions, the weights, what no source gives."""
    lines = [
        f"Static estimates at a firing rate of {table.rate:g} for every neuron of every model; nothing is "
        "played. Counts and energies are of one call of one image; calls: of one image.",
        *(f"{c.letter} ({c.name}): {c.title}." for c in CONVENTIONS),
        "mJ on a chip: at least so much, as some events have no figure.",
    ]
    unknown: dict[str, dict[str, None]] = {}
    weights: dict[str, list[str]] = {}
    for row in table.rows:
        for found in row.chips:
            words = found.unknown.split(", ") if found.energy_uj is not None else [found.unknown]
            unknown.setdefault(found.chip, {}).update(dict.fromkeys(filter(None, words)))
        if row.part == "denoiser":
            weights.setdefault(row.weights, []).extend(row.names)
    lines += [
        f"{_title(row)}: AC and chips by what routers select; the conventions count every candidate."
        for row in table.rows
        if row.ac < 0.999 * table.rate * row.synapses * row.time_steps
    ]
    lines += [f"{chip}, no figure for: {', '.join(words)}" for chip, words in unknown.items() if words]
    lines += [f"weights of {', '.join(names)}: {said}" for said, names in weights.items()]
    released = (
        f"{m.name}: {NO_ENERGY}; every layer taken as fed by spikes; {m.source}" for m in table.released
    )
    return [*lines, *released]


def _sizes(table: WorkloadTable) -> Grid:
    letters = [c.letter for c in CONVENTIONS]
    return Grid(
        "Workloads: size, operations of a call, its energy in mJ by counting convention",
        ("workload", "weights", "T", "calls", "parameters", "neurons", "synapses", "AC", "MAC", *letters),
        tuple(
            (
                _title(row),
                _kind(row.weights),
                str(row.time_steps),
                str(row.calls),
                UNKNOWN if row.parameters is None else large(row.parameters),
                *map(large, (row.neurons, row.synapses, row.ac, row.mac)),
                *(figure(row.energy_pj[letter] / PJ_PER_MJ) for letter in letters),
            )
            for row in table.rows
        ),
        words=2,
    )


def _on_chips(table: WorkloadTable) -> Grid:
    return Grid(
        "Workloads on chips: one call of one image",
        ("workload", "chip", "streams, or why it does not fit", "cores", "chips", "AC", "mJ at least", "ms"),
        tuple((_title(row), found.chip, *_cells(row, found)) for row in table.rows for found in row.chips),
        words=3,
    )


def _cells(row: WorkloadRow, found: Footprint) -> list[str]:
    if found.refused:
        return [f"{found.policy}: {found.in_short}", *[UNKNOWN] * 5]
    assert found.cores is not None and found.chips is not None and found.ac is not None
    energy = UNKNOWN if found.energy_uj is None else figure(found.energy_uj / UJ_PER_MJ)
    time = UNKNOWN if found.time_ms is None else figure(found.time_ms)
    cores, chips = f"{found.cores:,}", f"{found.chips:,}"
    return [found.policy, cores, chips, large(found.ac * row.time_steps), energy, time]


def _twins(table: WorkloadTable) -> Grid:
    rules = list(table.twins[0].energy_pj) if table.twins else []
    return Grid(
        "The same networks as ANNs: one evaluation, its energy in mJ by cost rule",
        ("ANN twin of", "parameters", "MAC", *rules),
        tuple(
            (
                ", ".join(row.names),
                UNKNOWN if row.parameters is None else large(row.parameters),
                large(row.mac),
                *(figure(row.energy_pj[rule] / PJ_PER_MJ) for rule in rules),
            )
            for row in table.twins
        ),
    )


def _released(table: WorkloadTable) -> Grid:
    facts = [model.facts(table.rate) for model in table.released]
    return Grid(
        "Other spiking generators, by the code their authors released: one pass makes an image",
        (
            "model",
            "paper",
            "data",
            "T",
            "parameters",
            "neurons",
            "dense MAC",
            "energy stated",
            "A at the rate, mJ",
        ),
        tuple(
            (
                f["name"],
                f["paper"],
                f["data"],
                str(f["time_steps"]),
                *map(large, (f["parameters"], f["neurons"], f["dense_macs"])),
                UNKNOWN,
                figure(f["energy_pj_at_rate"]["A"] / PJ_PER_MJ),
            )
            for f in facts
        ),
        words=3,
    )


def _kind(weights: str) -> str:
    if weights.startswith(WEIGHTS):
        return "random"
    return "unknown" if UNKNOWN_WEIGHTS in weights else "trained"


def _title(row: WorkloadRow) -> str:
    names = ", ".join(row.names)
    return names if row.part == "denoiser" else f"{names}: {row.part}"


def figure(value: float) -> str:
    """Four digits, never in powers of ten: 0.04291, 29.21, 2,994."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def large(number: float) -> str:
    """Three digits and a magnitude: 6.20 G, 66.7 M, 512."""
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + letter
    return f"{number:.0f}"


def markdown(table: WorkloadTable) -> str:
    """Tables and notes for the documentation page."""
    return "\n\n".join([*(grid.markdown() for grid in workload_grids(table)), *_as_list(notes(table))])


def _as_list(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"* {line}" for line in lines)]
