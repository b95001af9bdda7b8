"""Run a sampler on a mapped model: count and time every sampler step, then price it and show it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from nsim.errors import RunError
from nsim.frontends.load import sha256
from nsim.html_table import html_table
from nsim.hw_models.catalog import load_chip, load_cost_rule
from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import Calibration, ChipSpec
from nsim.provenance import provenance
from nsim.reports.energy import Activity, EnergyReport, price
from nsim.reports.event_totals import event_totals
from nsim.reports.papers_rule import PapersRule, papers_rule
from nsim.reports.run_folder import RunFolder
from nsim.reports.traced_layers import traced_layers
from nsim.reports.uncertainty import DRAWS, Uncertainty, uncertainty
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter, EventCounts
from nsim.simulator.engine import Call, Engine, Precision
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.link_loads import LinkCounter
from nsim.simulator.timing import TickTimes, analytic_times
from nsim.units import NS_PER_MS
from nsim.workloads.samplers import initial_noise, parse_sampler, trajectory

if TYPE_CHECKING:
    from nsim.reports.run_plots import RunPlots

Progress = Callable[[int, int], None]
"""Called after every sampler step with (steps done, steps in all)."""
Timing = Literal["analytic", "event"]
"""How ticks are timed: by closed formulas (a lower bound), or packet by packet through the mesh."""


def run_sampler(
    mapping: Mapping,
    sampler: str | None = None,
    seed: int = 0,
    images: int = 1,
    calibration: str | None = None,
    out: Path | None = None,
    precision: Precision = "float32",
    timing: Timing = "analytic",
    threads: int | None = None,
    progress: Progress | None = None,
    resume: bool = False,
) -> Run:
    """Generate images on the chip, writing each sampler step to the run folder as it ends.

    Without ``out`` the folder is temporary and goes with the returned Run. The chip makes the images one
    after the other; their events are added up, their times follow each other. Raises RunError for a
    sampler that is not known or a folder that is not empty, before anything is written.

    ``resume``: go on with the run that was stopped in ``out``, at its first unfinished sampler step; the
    folder ends up as if it had never been stopped, byte for byte. RunError when it was begun with other
    settings or versions, or is damaged.

    ``timing``: "analytic" takes the busiest core's work in a tick as if every packet were there from the
    start (see `analytic_times`); "event" follows every packet from core to core through FIFO links (see
    `EventTimer`). Spikes, events and priced counts are the same; times, and what is paid per time, are not.
    """
    model = mapping.model
    spec = parse_sampler(sampler or model.sampler)
    if images < 1:
        raise RunError(f"{images} images: at least 1 is needed")
    figures = mapping.chip.calibration(calibration)
    name = calibration or mapping.chip.default_calibration
    manifest = _manifest(mapping, str(spec), seed, images, name, precision, timing)
    folder = _folder(out, manifest, resume)
    _write_mapping(folder, mapping)

    engine, counter = Engine(model.network, precision, threads), CoreCounter(mapping)
    links = LinkCounter(mapping)
    tick_times = _tick_timer(timing, mapping, figures)
    folder.write_table("beside_cores", _beside_cores(counter.per_call))
    walk = spec.build(seed)
    calls: list[Call] = []

    def denoise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        calls.append(engine.call(x, t))
        return calls[-1].eps

    done = folder.steps_done
    shape = model.network.population_by_name[model.network.image].shape
    x = folder.state(done - 1) if done else initial_noise((images, *shape), seed)
    for step in trajectory(denoise, walk, x, first=done):
        call = calls.pop()
        counts = counter.count(call)
        times = tick_times(call, counts)
        folder.write_step("events", step.index, _events_table(counts))
        folder.write_step("operations", step.index, call.counts)
        folder.write_step("latency", step.index, _latency_table(times, mapping))
        folder.write_step("links", step.index, _links_table(links.count(call)))
        folder.write_step("times", step.index, _other_times(counts, mapping.chip, name))
        folder.write_state(step.index, step.x)
        x = step.x
        if progress is not None:
            progress(step.index + 1, len(walk.timesteps))
    folder.write_images(x)
    folder.write_manifest({**folder.manifest, "complete": True})
    run = Run(folder)
    if out is None:
        weakref.finalize(run, shutil.rmtree, folder.path, ignore_errors=True)
    return run


def _folder(out: Path | None, manifest: dict[str, Any], resume: bool) -> RunFolder:
    if out is None:
        return RunFolder.create(Path(tempfile.mkdtemp(prefix="nsim-run-")), manifest)
    if resume and (out / "manifest.json").exists():
        return RunFolder.resume(out, manifest)
    return RunFolder.create(out, manifest)


def _write_mapping(folder: RunFolder, mapping: Mapping) -> None:
    """What is the same for all sampler steps; written again when a run goes on, to the same bytes."""
    if mapping.chip_file.resolve() != (folder.path / "chip.yaml").resolve():
        folder.copy_chip_file(mapping.chip_file)
    folder.write_table("cores", mapping.cores)
    capacities = [(name, r, most) for name, grid in mapping.grids.items() for r, most in grid.limits.items()]
    folder.write_table("capacities", pd.DataFrame(capacities, columns=["layer", "resource", "available"]))
    folder.write_table("traced_layers", traced_layers(mapping.model.network))


class Run:
    """A finished run: its tables, priced and plotted on demand.

    Everything is for all images together; ``images`` says how many there were.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.manifest = folder.manifest

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run folder; RunError when it is not a complete one."""
        return cls(RunFolder.open(Path(path)))

    @property
    def images(self) -> int:
        """Number of images generated."""
        return int(self.manifest["images"])

    @cached_property
    def chip(self) -> ChipSpec:
        """The chip file as it was when the run was made."""
        return load_chip(str(self.folder.path / "chip.yaml"))

    @property
    def calibration(self) -> Calibration:
        """The set of figures the run was timed with, and is priced with."""
        return self.chip.calibration(self.manifest["calibration"])

    @cached_property
    def cores(self) -> pd.DataFrame:
        """One row per core: place, layer, block, resources in use."""
        return self.folder.table("cores")

    @cached_property
    def traced_layers(self) -> pd.DataFrame:
        """The weighted layers of the model as traced; see `traced_layers`."""
        return self.folder.table("traced_layers")

    def counts(self) -> pd.DataFrame:
        """Events: sampler_step, layer, core (missing beside the cores), event, count; ticks added up."""
        return self._attributed(self._counts)

    def operations(self) -> pd.DataFrame:
        """The model as traced: sampler_step, layer, time_step, ac, graded_ac, mac, elementwise, ..."""
        return self._attributed(self._operations)

    def latency(self) -> pd.DataFrame:
        """sampler_step, image, tick, core_ns, barrier_ns, time_ns, busiest_core, busiest_layer."""
        return self._attributed(self._latency)

    def energy(self, calibration: str | None = None) -> pd.DataFrame:
        """sampler_step, layer, core, cause, count, energy_pj (NaN where no figure is published)."""
        return self._attributed(self.report_by(calibration).cells)

    def links(self) -> pd.DataFrame:
        """sampler_step, direction (east, ...), mesh_x, mesh_y of the tile it leaves, packets; no rows of 0.

        ``mesh_x`` and ``mesh_y`` count tiles over all chips.
        """
        return self._attributed(self.folder.all_steps("links"))

    def utilization(self) -> pd.DataFrame:
        """Layer, core, resource, used, available, share: what every core uses of what it has."""
        capacities = self.folder.table("capacities")
        resources = capacities["resource"].unique().tolist()
        used = self.cores.melt(["layer", "core"], resources, "resource", "used")
        frame = used.merge(capacities, on=["layer", "resource"], how="left")
        return self._attributed(frame.assign(share=frame["used"] / frame["available"]))

    @cached_property
    def report(self) -> EnergyReport:
        """The priced run, with what has no price."""
        return self.report_by()

    def report_by(self, calibration: str | None = None) -> EnergyReport:
        """The run priced with one of the chip's calibrations, its own by default.

        Another one's ticks are timed with that one's figures too, by the closed formulas.
        """
        name = calibration or self.manifest["calibration"]
        if name not in self._reports:
            activity = Activity(self._counts, self._latency_by(name), int(self.manifest["chips"]))
            self._reports[name] = price(activity, self.chip.calibration(name))
        return self._reports[name]

    def uncertainty(self, calibration: str | None = None, draws: int = DRAWS, seed: int = 0) -> Uncertainty:
        """The totals with their intervals, by one of the chip's calibrations, the run's own by default."""
        name = calibration or self.manifest["calibration"]
        return uncertainty(self.report_by(name), self.chip.calibration(name), draws, seed)

    def calibrations(self, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
        """One row per calibration: its total with its interval and its time_ns.

        Calibrations are not mixed: each is a whole, whose figures contain different things.
        """
        rows = []
        for name in self.chip.calibrations:
            total = self.uncertainty(name, draws, seed).total.iloc[0].to_dict()
            rows.append({"calibration": name, **total, "time_ns": self.time_ns_by(name)})
        return pd.DataFrame(rows)

    def time_ns_by(self, calibration: str) -> float:
        """Time of the whole run by one of the chip's calibrations."""
        return float(self._latency_by(calibration)["time_ns"].sum())

    @property
    def times_left_out(self) -> tuple[str, ...]:
        """Events that happened and whose time no source gives: the latency is a lower bound by that much."""
        events = self.calibration.events
        happened = self._counts.loc[self._counts["count"] > 0, "event"].unique()
        return tuple(sorted(e for e in happened if e in events and events[e].time_ns.charge is None))

    @cached_property
    def papers_rule(self) -> PapersRule:
        """One call of one image by the papers' 45 nm rule, the ANN twin's beside it."""
        calls = self.images * int(self.manifest["sampler_steps"])
        return papers_rule(
            self._operations, load_cost_rule("ann45"), calls, self.manifest["model"]["ann_twin_macs"]
        )

    def _repr_html_(self) -> str:
        m, time_ns = self.manifest, float(self._latency["time_ns"].sum())
        rows = [
            ("model", f"{m['model']['name']} (weights: {m['model']['weights']})"),
            ("chip", f"{m['chip']} ({m['calibration']}), {m['cores']:,} cores on {m['chips']} chip(s)"),
            ("sampler", f"{m['sampler']}, {self.images} image(s), seed {m['seed']}"),
            ("time", f"{time_ns / NS_PER_MS:,.3f} ms"),
        ]
        return html_table("Run", ("", ""), rows) + self.report._repr_html_()

    @property
    def plot(self) -> RunPlots:
        """Figures: ``energy()``, ``latency()``, ``layers()``, ``rates()``, ``operations()`` and so on."""
        from nsim.reports.run_plots import RunPlots

        return RunPlots(self)

    def _attributed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A copy of a frame that says where it comes from (``frame.attrs["nsim"]``)."""
        copy = frame.copy()
        copy.attrs["nsim"] = self.folder.provenance
        return copy

    def _latency_by(self, calibration: str) -> pd.DataFrame:
        if calibration == self.manifest["calibration"]:
            return self._latency
        self.chip.calibration(calibration)
        return self._times[self._times["calibration"] == calibration]

    @cached_property
    def _reports(self) -> dict[str, EnergyReport]:
        return {}

    @cached_property
    def _operations(self) -> pd.DataFrame:
        return self.folder.all_steps("operations")

    @cached_property
    def _times(self) -> pd.DataFrame:
        return self.folder.all_steps("times")

    @cached_property
    def _latency(self) -> pd.DataFrame:
        return self.folder.all_steps("latency")

    @cached_property
    def _counts(self) -> pd.DataFrame:
        return event_totals(self.folder, self.cores["layer"].to_list(), self.images)


def _tick_timer(
    timing: Timing, mapping: Mapping, calibration: Calibration
) -> Callable[[Call, EventCounts], TickTimes]:
    if timing == "event":
        return EventTimer(mapping, calibration).times
    return lambda _, counts: analytic_times(counts, calibration)


def _manifest(
    mapping: Mapping,
    sampler: str,
    seed: int,
    images: int,
    calibration: str,
    precision: Precision,
    timing: Timing,
) -> dict[str, Any]:
    model = mapping.model
    return {
        "complete": False,
        "model": {
            "name": model.name,
            "workload": model.workload,
            "weights": model.weights,
            "sha256": model.sha256,
            "parameters": model.parameters,
            "time_steps": model.network.time_steps,
            "v_threshold": sorted({p.neuron.v_threshold for p in model.network.neurons if p.neuron}),
            "ann_twin_macs": model.ann_twin_macs,
        },
        "chip": mapping.chip.name,
        "chip_sha256": sha256(mapping.chip_file),
        "calibration": calibration,
        "cores": mapping.core_count,
        "chips": mapping.chips,
        "policy": mapping.policy,
        "placement": {"measured_traffic": mapping.measured, "packet_hops": mapping.packet_hops()[0]},
        "schedule": "pipelined",
        "timing": timing,
        "precision": precision,
        "sampler": sampler,
        "sampler_steps": len(parse_sampler(sampler).build(seed).timesteps),
        "seed": seed,
        "images": images,
        "made_with": provenance(),
    }


def _beside_cores(per_call: dict[tuple[str, str], int]) -> pd.DataFrame:
    rows = [(layer, event, count) for (layer, event), count in per_call.items()]
    return pd.DataFrame(rows, columns=["layer", "event", "count"])


def _events_table(counts: EventCounts) -> pa.Table:
    """Columns tick, core, and one per event: every tick and core, images added up."""
    _, ticks, cores = counts.per_core["spike"].shape
    columns = {
        "tick": np.repeat(np.arange(ticks, dtype=np.int32), cores),
        "core": np.tile(np.arange(cores, dtype=np.int32), ticks),
    }
    columns.update({e: counts.per_core[e].sum(axis=0).ravel() for e in CORE_EVENTS})
    return pa.table(columns)


def _links_table(loads: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row per link of the mesh that a packet used."""
    frames = []
    for direction, packets in loads.items():
        y, x = np.nonzero(packets)
        frames.append(
            pd.DataFrame({"direction": direction, "mesh_x": x, "mesh_y": y, "packets": packets[y, x]})
        )
    return pd.concat(frames, ignore_index=True)


def _other_times(counts: EventCounts, chip: ChipSpec, own: str) -> pd.DataFrame:
    """Time of every tick with the figures of every calibration but the run's own, by the closed formulas."""
    frames = [pd.DataFrame({"calibration": pd.Series(dtype="str"), "image": [], "tick": [], "time_ns": []})]
    for name, calibration in chip.calibrations.items():
        if name == own:
            continue
        times = analytic_times(counts, calibration)
        images, ticks = times.core_ns.shape
        frames.append(
            pd.DataFrame(
                {
                    "calibration": name,
                    "image": np.repeat(np.arange(images), ticks),
                    "tick": np.tile(np.arange(ticks), images),
                    "time_ns": (times.core_ns + times.barrier_ns).ravel(),
                }
            )
        )
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _latency_table(times: TickTimes, mapping: Mapping) -> pd.DataFrame:
    images, ticks = times.core_ns.shape
    return pd.DataFrame(
        {
            "image": np.repeat(np.arange(images), ticks),
            "tick": np.tile(np.arange(ticks), images),
            "core_ns": times.core_ns.ravel(),
            "barrier_ns": times.barrier_ns.ravel(),
            "time_ns": (times.core_ns + times.barrier_ns).ravel(),
            "busiest_core": times.busiest.ravel(),
            "busiest_layer": mapping.layer_of_core[times.busiest.ravel()],
        }
    )
