"""Price counted events with a chip's figures: every picojoule belongs to one cell.

A cell is (sampler step, layer, core, cause); its energy is a count times one figure of the chip file, or,
for the floor, power times time. What the file marks as unknown gets NaN, not 0: it stays in the table with
its count, and the total is a lower bound by that much.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nsim.html_table import html_table
from nsim.hw_models.spec import EVENTS, Calibration, Figure
from nsim.units import PJ_PER_MW_NS, PJ_PER_UJ

COLUMNS = ["sampler_step", "layer", "core", "cause", "count", "energy_pj"]
CHIP = "chip"
"""The layer of what belongs to no layer: floors, barriers, resets."""


@dataclass(frozen=True)
class Activity:
    """What a run counted, as tidy frames.

    ``events``: sampler_step, layer, core (missing for what happens beside the cores), event, count;
    ``latency``: one row per sampler step, image and tick, with time_ns; ``chips``: chips in use.
    """

    events: pd.DataFrame
    latency: pd.DataFrame
    chips: int


@dataclass(frozen=True)
class EnergyReport:
    """Priced cells (columns: sampler_step, layer, core, cause, count, energy_pj) and what is not in them.

    ``unknown``: cause to the chip file's reason for having no figure; ``included``: cause to the cause
    whose figure already contains it; ``uncosted``: events with no line at all in the chip file.
    """

    cells: pd.DataFrame
    unknown: dict[str, str]
    included: dict[str, str]
    uncosted: tuple[str, ...]

    @property
    def total_pj(self) -> float:
        """Sum of all cells with a known price."""
        return float(self.cells["energy_pj"].sum())

    def by_cause(self) -> pd.DataFrame:
        """cause, count, energy_pj (NaN where no figure is published), share; the dearest first."""
        sums = self.cells.groupby("cause", as_index=False).agg(
            count=("count", "sum"), energy_pj=("energy_pj", _known_sum)
        )
        sums["share"] = sums["energy_pj"] / self.total_pj
        return sums.sort_values(["energy_pj", "cause"], ascending=[False, True], ignore_index=True)

    def by_layer(self) -> pd.DataFrame:
        """layer, energy_pj, share; in order of their cores, what is beside the cores last."""
        sums = self.cells.groupby("layer", sort=False, as_index=False).agg(
            energy_pj=("energy_pj", _known_sum), first_core=("core", "min")
        )
        in_order = sums.sort_values("first_core", kind="stable", ignore_index=True, na_position="last")
        return in_order.drop(columns="first_core").assign(share=in_order["energy_pj"] / self.total_pj)

    def _repr_html_(self) -> str:
        rows = [
            (row.cause, row.count, _in_uj(row.energy_pj), "" if pd.isna(row.share) else f"{row.share:.1%}")
            for row in self.by_cause()[["cause", "count", "energy_pj", "share"]].itertuples(index=False)
        ]
        left_out = "; ".join(f"{cause}: {why}" for cause, why in self.unknown.items())
        note = f"no published figure, not in the total: {left_out}" if left_out else ""
        columns = ("cause", "count", "energy (uJ)", "share")
        return html_table(f"Energy: {self.total_pj / PJ_PER_UJ:,.1f} uJ", columns, rows, note)


def price(activity: Activity, calibration: Calibration) -> EnergyReport:
    """Price what a run counted with one calibration."""
    events = activity.events.rename(columns={"event": "cause"})
    happened = set(events.loc[events["count"] > 0, "cause"])
    uncosted = tuple(sorted(happened - set(calibration.events)))
    prices = {cause: calibration.energy_pj(cause) for cause in happened - set(uncosted)}
    cells = [
        events.assign(energy_pj=events["count"] * events["cause"].map(prices).astype(float)),
        _barriers(activity, calibration),
        _floors(activity, calibration),
    ]
    figures = {c: f for c, f in energy_figures(calibration).items() if c in prices or c not in EVENTS}
    return EnergyReport(
        cells=pd.concat(cells, ignore_index=True)[COLUMNS],
        unknown={c: f.why_unknown for c, f in sorted(figures.items()) if f.why_unknown is not None},
        included={c: f.included_in for c, f in sorted(figures.items()) if f.included_in is not None},
        uncosted=uncosted,
    )


def energy_figures(calibration: Calibration) -> dict[str, Figure]:
    """Cause to the figure that prices it: pJ of an event or a barrier, mW of a floor."""
    return {
        **{event: cost.energy_pj for event, cost in calibration.events.items()},
        "barrier": calibration.barrier.energy_pj,
        **{name: floor.power_mw for name, floor in calibration.floor.items()},
    }


def _known_sum(energy_pj: pd.Series) -> float:
    """Sum that stays unknown when every part is."""
    return float(energy_pj.sum(min_count=1))


def _in_uj(energy_pj: float) -> float | str:
    return "n/a" if pd.isna(energy_pj) else energy_pj / PJ_PER_UJ


def _beside_cores(steps: pd.Series, cause: str, counts: pd.Series, energy_pj: pd.Series) -> pd.DataFrame:
    frame = pd.DataFrame({"sampler_step": steps, "cause": cause, "count": counts, "energy_pj": energy_pj})
    return frame.assign(layer=CHIP, core=pd.array([pd.NA] * len(frame), dtype="Int64"))


def _barriers(activity: Activity, calibration: Calibration) -> pd.DataFrame:
    ticks = activity.latency.groupby("sampler_step").size().rename("ticks").reset_index()
    charge = calibration.barrier.energy_pj.charge
    each = float("nan") if charge is None else charge
    return _beside_cores(ticks["sampler_step"], "barrier", ticks["ticks"], ticks["ticks"] * each)


def _floors(activity: Activity, calibration: Calibration) -> pd.DataFrame:
    """Power of every chip for as long as the call takes; the count is chips times nanoseconds, rounded."""
    time_ns = activity.latency.groupby("sampler_step")["time_ns"].sum().reset_index()
    chip_ns = time_ns["time_ns"] * activity.chips
    floors = []
    for name, floor in calibration.floor.items():
        charge = floor.power_mw.charge
        power_mw = float("nan") if charge is None else charge
        counts = chip_ns.round().astype("int64")
        floors.append(_beside_cores(time_ns["sampler_step"], name, counts, chip_ns * power_mw * PJ_PER_MW_NS))
    return pd.concat(floors, ignore_index=True)
