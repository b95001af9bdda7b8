"""A finished run: its tables, priced and shown on demand."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nsim.html_table import html_table
from nsim.hw_models.catalog import load_chip, load_cost_rule
from nsim.hw_models.spec import Calibration, ChipSpec
from nsim.reports.detail_steps import extrapolate, fill_steps
from nsim.reports.energy import Activity, EnergyReport, price
from nsim.reports.event_totals import event_totals
from nsim.reports.layer_operations import layer_operations
from nsim.reports.papers_rule import PapersRule, papers_rule
from nsim.reports.run_folder import RunFolder
from nsim.reports.uncertainty import DRAWS, Uncertainty, uncertainty
from nsim.units import NS_PER_MS

if TYPE_CHECKING:
    from nsim.reports.run_plots import RunPlots


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
    def denoiser(self) -> Run:
        """The sampler's steps alone, where a denoiser call's cost is read; the run itself if no decoder."""
        return _NetworkRun(self, 0) if self.manifest["decoder_calls"] else self

    @property
    def decoder(self) -> Run | None:
        """The decoder's call alone, one for each image; None without a decoder."""
        return _NetworkRun(self, 1) if self.manifest["decoder_calls"] else None

    @property
    def images(self) -> int:
        """Number of images generated."""
        return int(self.manifest["images"])

    @property
    def calls(self) -> int:
        """Calls of one image each, of the denoiser and of a decoder."""
        return self.images * self.folder.steps_in_all

    @property
    def _sampler_steps(self) -> int:
        return int(self.manifest["sampler_steps"])

    @property
    def measured_steps(self) -> np.ndarray:
        """Sampler steps that were counted and timed on the chip.

        All, unless the run was asked for fewer: then counts, latency and energy of every other step are
        those of its nearest measured one, and `extrapolation` says how far totals can be trusted. What is
        known of the model as traced (`operations`) is known of every step. The decoder's call, the step after
        the sampler's, is always measured and not among these.
        """
        measured = np.array(self.folder.measured_steps)
        return measured[measured < self._sampler_steps]

    @property
    def all_measured(self) -> bool:
        """Whether every sampler step was measured."""
        return bool(self.manifest["detail_steps"] == "all")

    def extrapolation(self) -> pd.DataFrame:
        """One row per total that rests on measured steps: its standard error and 95 % interval.

        Columns quantity ("energy_pj", "time_ns"), cause (missing for the total), total, standard_error,
        low, high; see `detail_steps` for the rule. Errors are 0 where all steps were measured.
        """
        measured, steps = self.measured_steps, self._sampler_steps
        cells = self.report.cells
        known = cells[cells["sampler_step"].isin(self.folder.measured_steps) & cells["energy_pj"].notna()]
        by_cause = known.groupby(["sampler_step", "cause"])["energy_pj"].sum().unstack(fill_value=0.0)
        time_ns = self._latency.groupby("sampler_step")["time_ns"].sum()
        columns = [
            ("energy_pj", None, by_cause.sum(axis=1)),
            *(("energy_pj", cause, by_cause[cause]) for cause in by_cause),
            ("time_ns", None, time_ns),
        ]
        rows = []
        for name, cause, y in columns:
            decoded = float(y[y.index >= steps].sum())
            found = extrapolate(y[measured].to_numpy(), measured, steps, decoded)
            rows.append({"quantity": name, "cause": cause, **vars(found)})
        return pd.DataFrame(rows)

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
        """One row per core: place, layer, block, resources in use; network, 1 for a decoder's."""
        return self.folder.table("cores")

    @cached_property
    def traced_layers(self) -> pd.DataFrame:
        """The weighted layers of the model as traced, see `traced_layers`; network, 1 for a decoder's."""
        return self.folder.table("traced_layers")

    def counts(self) -> pd.DataFrame:
        """Events: sampler_step, layer, core (missing beside the cores), event, count; ticks added up."""
        return self._attributed(self._counts)

    def operations(self) -> pd.DataFrame:
        """The model as traced: sampler_step, layer, time_step, ac, graded_ac, mac, elementwise, ..."""
        return self._attributed(self._operations)

    def layer_operations(self) -> pd.DataFrame:
        """Layers on cores, as traced beside as laid out: layer, traced_ac, traced_graded_ac, traced_mac,
        laid_out_ac, laid_out_mac, ...; all sampler steps and images added up, see `layer_operations`.
        """
        known = self._readers.dropna(subset="read_by")
        readers = dict(zip(known["layer"], known["read_by"], strict=True))
        layers = self.cores["layer"].unique().tolist()
        return self._attributed(layer_operations(self._operations, self._counts, readers, layers))

    def latency(self) -> pd.DataFrame:
        """sampler_step, image, tick, core_ns, barrier_ns, time_ns, busiest_core, busiest_layer.

        Timed by "cycle", also how full buffers got, see `BufferUse`: buffer_places, router_peak, core_peak,
        routers_full, cores_full, stalled_ns, stalled_core, stalled_layer, held_ns.
        """
        return self._attributed(self._latency)

    def energy(self, calibration: str | None = None) -> pd.DataFrame:
        """sampler_step, layer, core, cause, count, energy_pj (NaN where no figure is published)."""
        return self._attributed(self.report_by(calibration).cells)

    def links(self) -> pd.DataFrame:
        """sampler_step, direction (east, ...), mesh_x, mesh_y of the tile it leaves, packets; no rows of 0.

        ``mesh_x`` and ``mesh_y`` count tiles over all chips of the network called; a decoder's are an
        array of their own.
        """
        return self._attributed(self._links)

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
        """One denoiser call of one image by the papers' 45 nm rule, the ANN twin's beside it."""
        run, rule = self.denoiser, load_cost_rule("ann45")
        return papers_rule(run.operations(), rule, run.calls, self.manifest["model"]["ann_twin_macs"])

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
        if not self.all_measured and "sampler_step" in frame:
            copy["measured"] = frame["sampler_step"].isin(self.folder.measured_steps)
        copy.attrs["nsim"] = self.folder.provenance
        return copy

    def _latency_by(self, calibration: str) -> pd.DataFrame:
        if calibration == self.manifest["calibration"]:
            return self._latency
        self.chip.calibration(calibration)
        return self._times[self._times["calibration"] == calibration]

    @cached_property
    def _readers(self) -> pd.DataFrame:
        return self.folder.table("readers")

    @cached_property
    def _reports(self) -> dict[str, EnergyReport]:
        return {}

    @cached_property
    def _operations(self) -> pd.DataFrame:
        return self.folder.all_steps("operations")

    @cached_property
    def _times(self) -> pd.DataFrame:
        return self._filled(self.folder.all_steps("times"))

    @cached_property
    def _latency(self) -> pd.DataFrame:
        return self._filled(self.folder.all_steps("latency"))

    @cached_property
    def _links(self) -> pd.DataFrame:
        return self._filled(self.folder.all_steps("links"))

    @cached_property
    def _counts(self) -> pd.DataFrame:
        return self._filled(event_totals(self.folder, self.cores["layer"].to_list()))

    def _filled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Steps that were not measured, like their nearest measured ones: every total is one of all steps."""
        if self.all_measured:
            return frame
        return fill_steps(frame, self.measured_steps, self._sampler_steps)


class _NetworkRun(Run):
    """The steps of a run that call one of its model's networks: 0 the denoiser, 1 the decoder."""

    def __init__(self, whole: Run, network: int) -> None:
        super().__init__(whole.folder)
        self._whole = whole  # a temporary folder lives as long as this does
        self._network = network

    @property
    def denoiser(self) -> Run:
        return self

    @property
    def decoder(self) -> None:
        return None

    @property
    def calls(self) -> int:
        return self.images * (1 if self._network else self._sampler_steps)

    @cached_property
    def cores(self) -> pd.DataFrame:
        return self._of_network(self._whole.cores)

    @cached_property
    def traced_layers(self) -> pd.DataFrame:
        return self._of_network(self._whole.traced_layers)

    @cached_property
    def _readers(self) -> pd.DataFrame:
        return self._of_network(self._whole._readers)

    @cached_property
    def _operations(self) -> pd.DataFrame:
        return self._of_steps(self._whole._operations)

    @cached_property
    def _times(self) -> pd.DataFrame:
        return self._of_steps(self._whole._times)

    @cached_property
    def _latency(self) -> pd.DataFrame:
        return self._of_steps(self._whole._latency)

    @cached_property
    def _links(self) -> pd.DataFrame:
        return self._of_steps(self._whole._links)

    @cached_property
    def _counts(self) -> pd.DataFrame:
        return self._of_steps(self._whole._counts)

    def _of_network(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["network"] == self._network]

    def _of_steps(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["sampler_step"] >= self._sampler_steps) == bool(self._network)]
