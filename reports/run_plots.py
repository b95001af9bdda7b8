"""Figures of one run, ready to show or save."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nsim.reports import chip_plots, energy_models, model_plots, plots
from nsim.reports.tables import per_call_facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nsim.reports.run import Run

FIGURES = (
    "energy",
    "latency",
    "layers",
    "rates",
    "operations",
    "papers_rule",
    "energy_models",
    "tornado",
    "energy_map",
    "use_map",
    "link_map",
    "samples",
)
"""Figures of a run, in the order in which a report shows them."""


class RunPlots:
    """Figures of a run; each method returns a matplotlib Figure."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def title(self) -> str:
        """What the figures are of."""
        m = self._run.manifest
        images = "" if self._run.images == 1 else f", {self._run.images} images"
        run = f"{m['model']['name']} on {m['chip']} ({m['calibration']}), {m['sampler']}{images}"
        if self._run.all_measured:
            return run
        measured, steps = len(self._run.measured_steps), m["sampler_steps"]
        return f"{run}; {measured} of {steps} steps measured, the others drawn like the nearest of them"

    def energy(self) -> Figure:
        """Energy of every sampler step, stacked by cause."""
        return plots.energy(self._run.energy(), self.title)

    def latency(self) -> Figure:
        """Time of every sampler step and of the ticks in it."""
        return plots.latency(self._run.latency(), self.title)

    def layers(self) -> Figure:
        """Energy by layer and cause, layers in order of execution."""
        return plots.layers(self._run.energy(), self.title)

    def rates(self) -> Figure:
        """Firing rate by layer and sampler step."""
        return plots.rates(self._run.operations(), list(self._run.cores["layer"].unique()), self.title)

    def operations(self) -> Figure:
        """AC and MAC of each layer, as traced beside as laid out."""
        return plots.operations(self._run.layer_operations(), self.title)

    def papers_rule(self) -> Figure:
        """AC against MAC by the papers' rule, the ANN twin and the chip beside them."""
        return model_plots.papers_rule(per_call_facts(self._run), self.title)

    def energy_map(self) -> Figure:
        """Energy of every core on the mesh."""
        return chip_plots.energy_map(self._run.cores, self._run.energy(), self._floor, self.title)

    def use_map(self) -> Figure:
        """How full every core is, on the mesh."""
        return chip_plots.use_map(self._run.cores, self._run.utilization(), self._floor, self.title)

    def link_map(self) -> Figure:
        """Packets over every link of the mesh; a decoder, on chips of its own, is left out."""
        run = self._run.denoiser
        return chip_plots.link_map(run.links(), self._floor_of(run.cores), self.title)

    def tornado(self) -> Figure:
        """Which figure's range moves the total most."""
        result, report = self._run.uncertainty(), self._run.report
        return model_plots.tornado(result.tornado, report.total_pj, list(report.unknown), self.title)

    def energy_models(self) -> Figure:
        """One denoiser call by every energy model there is for this run."""
        names = energy_models.energy_models(self._run.chip)
        return model_plots.energy_models(energy_models.side_by_side(self._run, names), self.title)

    def samples(self) -> Figure:
        """The generated images."""
        return plots.samples(np.load(self._run.folder.path / "images.npy"), self.title)

    def save_all(self, folder: Path) -> None:
        """Write every figure to ``folder`` as PNG and SVG."""
        for name in FIGURES:
            plots.save(getattr(self, name)(), folder / name)

    @property
    def _floor(self) -> chip_plots.Floor:
        return self._floor_of(self._run.cores)

    def _floor_of(self, cores: pd.DataFrame) -> chip_plots.Floor:
        s = self._run.chip.structure
        return chip_plots.floor_of(cores, s.tiles_x.value, s.tiles_y.value, s.cores_per_tile.value)
