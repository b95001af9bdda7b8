"""A run as one page: a single HTML file with its figures, tables, style and script inside it."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nsim.reports import plain_words
from nsim.reports.detail_tables import detail_lines
from nsim.reports.energy import energy_figures
from nsim.reports.energy_models import energy_models, side_by_side
from nsim.reports.plots import style
from nsim.reports.run import Run
from nsim.reports.run_lock import sole_writer_around
from nsim.reports.tables import per_call_facts
from nsim.units import NS_PER_MS, PJ_PER_UJ

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "energy": "Energy of every sampler step, by cause.",
    "latency": "Time of every sampler step, and of every tick of the mean one.",
    "layers": "Energy of every layer on its cores, in order of execution.",
    "rates": "How often each layer's neurons fire in each sampler step.",
    "operations": "Accumulates and multiply-accumulates of every layer, as traced beside as laid out.",
    "papers_rule": "What the papers count, and what the chip pays for the same call.",
    "energy_models": "One call priced by every energy model that these counts allow.",
    "tornado": "How far the published range of each figure moves the total.",
    "energy_map": "Energy of every core, in its place on the chips.",
    "use_map": "How full every core is.",
    "link_map": "Packets over every link; both ways are drawn beside each other.",
    "samples": "The images that the run generated.",
}
OPERATION_HEADS = {
    "traced_ac": "AC traced, M",
    "traced_graded_ac": "graded AC traced, M",
    "traced_mac": "MAC traced, M",
    "traced_spike_product": "spike x spike traced, M",
    "laid_out_ac": "AC laid out, M",
    "laid_out_mac": "MAC laid out, M",
}


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, and the number to sort by where it is one."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class PageTable:
    """A table of the page."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Columns that hold a number somewhere."""
        return [any(row[i].number is not None for row in self.rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page: SVG source and caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page, reached from the table of contents by its ``id``."""

    id: str
    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[PageTable] = field(default_factory=tuple)


def write_report(run: Run, path: Path) -> Path:
    """Write a run's page, whole or not at all; the same run gives the same bytes."""
    page, part = report_html(run), path.with_name(path.name + ".part")
    with sole_writer_around(path):
        part.write_text(page, encoding="utf-8")
        os.replace(part, path)
    return path


def report_html(run: Run) -> str:
    """A run's page: it asks the network for nothing."""
    from jinja2 import Environment
    from markupsafe import Markup

    folder = resources.files("nsim.reports.templates")
    template, css, script = (
        (folder / name).read_text("utf-8") for name in ("report.html.j2", "report.css", "report.js")
    )
    per_call = per_call_facts(run)
    page = Environment(autoescape=True, trim_blocks=True).from_string(template)
    return page.render(
        title=run.plot.title,
        lead=plain_words.lead(run, per_call),
        manifest=run.manifest,
        sections=[_marked(section) for section in _sections(run, per_call)],
        style=Markup(css),
        script=Markup(script),
    )


def _marked(section: Section) -> dict[str, Any]:
    """A section whose SVG is taken as it is, and whose text is not."""
    from markupsafe import Markup

    figures = [{"svg": Markup(f.svg), "caption": f.caption} for f in section.figures]
    return {**vars(section), "figures": figures}


def _sections(run: Run, per_call: dict[str, Any]) -> list[Section]:
    plot = run.plot
    return [
        Section(
            "summary",
            "What dominates, and why",
            [plain_words.against_the_papers(per_call), plain_words.latency_words(run)],
            plain_words.dominates(run, per_call),
            [_figure(plot.energy(), "energy")],
        ),
        Section(
            "trust",
            "Fact and estimate",
            detail_lines(run),
            plain_words.trust(run),
            tables=[_figures_table(run)],
        ),
        Section(
            "uncertainty",
            "How certain the total is",
            [
                "Figures with a published range are drawn from it 10,000 times, log-uniformly on either side "
                "of the published value, independently of each other; the counts stay the same."
            ],
            figures=[_figure(plot.tornado(), "tornado")],
            tables=[_calibrations(run)],
        ),
        Section(
            "energy",
            "Energy",
            figures=[_figure(plot.layers(), "layers")],
            tables=[_by_cause(run), _by_layer(run), _by_step(run)],
        ),
        Section("latency", "Latency", figures=[_figure(plot.latency(), "latency")]),
        Section(
            "operations",
            "Operations and energy models",
            figures=[
                _figure(plot.papers_rule(), "papers_rule"),
                _figure(plot.operations(), "operations"),
                _figure(plot.energy_models(), "energy_models"),
            ],
            tables=[_operations(run), _models(run)],
        ),
        Section("activity", "Activity", figures=[_figure(plot.rates(), "rates")]),
        Section(
            "chip",
            "On the chip",
            figures=[_figure(getattr(plot, n)(), n) for n in ("energy_map", "use_map", "link_map")],
            tables=[_use(run)],
        ),
        Section("samples", "Samples", figures=[_figure(plot.samples(), "samples")]),
        Section("provenance", "Provenance", tables=[_provenance(run)]),
    ]


def _figure(figure: Figure, name: str) -> PageFigure:
    """A figure as inline SVG: no XML head, no metadata, its name for those who cannot see it."""
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Each figure numbers its own parts from 1: together on a page they need names of their own.
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{CAPTIONS[name]}"', 1)
    return PageFigure(svg, CAPTIONS[name])


def _number(value: float, text: str) -> Cell:
    return Cell("n/a") if pd.isna(value) else Cell(text.format(value), float(value))


def _uj(energy_pj: float) -> Cell:
    return _number(energy_pj / PJ_PER_UJ, "{:,.3f}")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cells(values: Iterable[object]) -> list[Cell]:
    return [
        value if isinstance(value, Cell) else Cell("" if value is None else str(value)) for value in values
    ]


def _figures_table(run: Run) -> PageTable:
    """Every figure that prices the run, with its source and the share of the energy that rests on it."""
    causes = run.report.by_cause().set_index("cause")
    rows = []
    for cause, figure in energy_figures(run.calibration).items():
        if cause not in causes.index:
            continue
        bounds = "" if figure.low is None and figure.high is None else f"{figure.low:g} to {figure.high:g}"
        value = Cell(f"in {_words(figure.included_in)}") if figure.included_in else Cell("unknown")
        if figure.value is not None:
            value = _number(figure.value, "{:g}")
        share = causes.loc[cause, "share"]
        place = ", ".join(filter(None, (figure.source, figure.where)))
        rest = (bounds, figure.confidence, place, figure.note or figure.why_unknown)
        rows.append(
            _cells(
                [_words(cause), value, *rest[:1], _number(share, "{:.1%}") if share else Cell(""), *rest[1:]]
            )
        )
    columns = ["cause", "pJ, or mW", "range", "share of energy", "confidence", "source", "note"]
    return PageTable("The figures behind the energy", columns, rows)


def _calibrations(run: Run) -> PageTable:
    rows = [
        [
            Cell(r.calibration),
            *map(_uj, (r.energy_pj, r.p05_pj, r.p50_pj, r.p95_pj, r.least_pj, r.most_pj)),
            _number(r.time_ns / NS_PER_MS, "{:,.3f}"),
        ]
        for r in run.calibrations().itertuples(index=False)
    ]
    columns = ["calibration", "uJ", "5 %", "median", "95 %", "all at low", "all at high", "ms"]
    note = "Each is a whole set of figures; they are not mixed. Energies and times of the whole run."
    return PageTable("The whole run by each of the chip's calibrations", columns, rows, note)


def _by_cause(run: Run) -> PageTable:
    within = run.report.included
    rows = [
        [
            Cell(r.cause),
            _number(r.count, "{:,.0f}"),
            Cell(f"in {within[r.cause]}") if r.cause in within else _uj(r.energy_pj),
            Cell("") if r.cause in within else _number(r.share, "{:.1%}"),
        ]
        for r in run.report.by_cause()[["cause", "count", "energy_pj", "share"]].itertuples(index=False)
    ]
    return PageTable("By cause, whole run", ["cause", "count", "uJ", "share"], rows)


def _by_layer(run: Run) -> PageTable:
    layers = run.report.by_layer()
    cores = run.cores.groupby("layer").size()
    operations = run.operations().groupby("layer")[["spikes", "updates"]].sum()
    rates = operations["spikes"] / operations["updates"].where(operations["updates"] > 0)
    intervals = run.uncertainty().by_layer.set_index("layer").reindex(layers["layer"])
    rows = [
        [
            Cell(str(r.layer)),
            _number(cores.get(r.layer, float("nan")), "{:,.0f}"),
            _number(rates.get(r.layer, float("nan")), "{:.4f}"),
            *map(_uj, (r.energy_pj, low, high)),
            _number(r.share, "{:.2%}"),
        ]
        for r, low, high in zip(
            layers.itertuples(index=False), intervals["p05_pj"], intervals["p95_pj"], strict=True
        )
    ]
    columns = ["layer", "cores", "firing rate", "uJ", "5 %", "95 %", "share"]
    return PageTable("By layer, whole run", columns, rows)


def _by_step(run: Run) -> PageTable:
    intervals = run.uncertainty().by_sampler_step.set_index("sampler_step")
    times = run.latency().groupby("sampler_step")["time_ns"].sum()
    rows = [
        [
            _number(step, "{:.0f}"),
            *map(_uj, (r["energy_pj"], r["p05_pj"], r["p95_pj"])),
            _number(times[step] / NS_PER_MS, "{:,.3f}"),
        ]
        for step, r in intervals.iterrows()
    ]
    return PageTable("By sampler step, all images", ["sampler step", "uJ", "5 %", "95 %", "ms"], rows)


def _operations(run: Run) -> PageTable:
    """Every layer as traced, and what its cores do and pay."""
    rule, energy = run.papers_rule, run.report.by_layer().set_index("layer")["energy_pj"]
    frame = run.layer_operations()
    columns = {name: head for name, head in OPERATION_HEADS.items() if frame[name].any()}
    rows = []
    for _, r in frame.iterrows():
        accumulates = r["traced_ac"] + r["traced_graded_ac"] + r["traced_spike_product"]
        papers_pj = rule.ac_pj * accumulates + rule.mac_pj * r["traced_mac"]
        both = r["traced_ac"] and r["laid_out_ac"]
        rows.append(
            [
                Cell(r["layer"]),
                *(_number(r[name] / 1e6, "{:,.3f}") for name in columns),
                _number(r["laid_out_ac"] / r["traced_ac"], "{:.2f}") if both else Cell(""),
                _uj(papers_pj),
                _uj(energy[r["layer"]]) if r["layer"] in energy.index else Cell(""),
            ]
        )
    note = (
        "As traced, an operation stands with the first layer on cores that reads its result; as laid out, "
        "with the cores that hold its synapses, a MAC of the host with the layer it is for. M: millions; "
        "papers' uJ: by the 45 nm rule, as traced; cores' uJ: of everything that the layer's cores do."
    )
    heads = ["layer", *columns.values(), "AC ratio", "papers' uJ", "cores' uJ"]
    return PageTable("By layer, as traced and as laid out, whole run", heads, rows, note)


def _models(run: Run) -> PageTable:
    table = side_by_side(run, energy_models(run.chip))
    rows = [
        [Cell(r.model), _uj(r.energy_pj), Cell(r.prices), Cell(r.leaves_out)]
        for r in table.itertuples(index=False)
    ]
    columns = ["model", "uJ", "prices", "leaves out"]
    return PageTable("One denoiser call of one image under several energy models", columns, rows)


def _use(run: Run) -> PageTable:
    share = run.utilization().groupby(["layer", "resource"], sort=False)["share"].max().unstack("resource")
    cores = run.cores.groupby("layer", sort=False).size()
    rows = [
        [Cell(str(layer)), _number(cores[layer], "{:,.0f}"), *(_number(s, "{:.0%}") for s in row)]
        for layer, row in zip(share.index, share.to_numpy(), strict=True)
    ]
    columns = ["layer", "cores", *(c.replace("_", " ") for c in share.columns)]
    return PageTable("Fullest core of every layer", columns, rows)


def _provenance(run: Run) -> PageTable:
    rows: list[list[Cell]] = []

    def walk(part: dict[str, Any], prefix: str) -> None:
        for key, value in part.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                text = value if isinstance(value, str) else json.dumps(value)
                rows.append([Cell(prefix + key), Cell(text)])

    walk(run.manifest, "")
    return PageTable("The run's manifest", ["entry", "value"], rows)
