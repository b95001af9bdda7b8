"""Figures of one run, ready to show or save."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nsim.reports import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nsim.reports.run import Run


class RunPlots:
    """Figures of a run; each method returns a matplotlib Figure."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def title(self) -> str:
        """What the figures are of."""
        m = self._run.manifest
        images = "" if self._run.images == 1 else f", {self._run.images} images"
        return f"{m['model']['name']} on {m['chip']} ({m['calibration']}), {m['sampler']}{images}"

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
        return plots.rates(self._operations, list(self._run.cores["layer"].unique()), self.title)

    def operations(self) -> Figure:
        """AC and MAC by layer, as traced and as laid out."""
        counts = self._run.counts()
        synaptic = counts[counts["event"].str.startswith("synaptic_event")]
        laid_out = synaptic.groupby(["sampler_step", "layer"], sort=False, as_index=False)["count"].sum()
        return plots.operations(self._operations, laid_out.rename(columns={"count": "ac"}), self.title)

    def samples(self) -> Figure:
        """The generated images."""
        return plots.samples(np.load(self._run.folder.path / "images.npy"), self.title)

    def save_all(self, folder: Path) -> None:
        """Write every figure to ``folder`` as PNG and SVG."""
        for name in ("energy", "latency", "layers", "rates", "operations", "samples"):
            plots.save(getattr(self, name)(), folder / name)

    @cached_property
    def _operations(self) -> pd.DataFrame:
        return self._run.operations()
