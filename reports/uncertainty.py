"""How far the totals can be trusted: the same counts priced again with figures drawn from their ranges.

Energy is a sum of quantity times figure (`price`), so thousands of prices are one product of matrices. A
figure with ``low`` and ``high`` is drawn in proportion to its logarithm: with probability 1/2 between low and
the published value, with 1/2 between the value and high, log-uniform in each half. Of all distributions on
[low, high] that keep the published value as their median this assumes least (it has the greatest entropy on
a logarithmic scale, which is how figures differ between chips and boards: by factors). Where low is 0 that
half is uniform. Figures are drawn independently of each other, except that figures which are one and the
same published number (equal source, place, value and range) are drawn together.

What the interval does not hold: figures without a range are taken as they are, figures that are unknown stay
outside the total, and so do times, on which the floors rest. It is therefore at least this wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nsim.hw_models.spec import Calibration, Figure
from nsim.reports.energy import EnergyReport, energy_figures

DRAWS = 10_000
QUANTILES = (0.05, 0.5, 0.95)
COLUMNS = ["energy_pj", "p05_pj", "p50_pj", "p95_pj", "least_pj", "most_pj"]


@dataclass(frozen=True)
class Uncertainty:
    """Totals with their intervals, and what makes them wide.

    Frames have the columns energy_pj (published values), p05_pj, p50_pj, p95_pj (quantiles of the draws),
    least_pj and most_pj (every figure at its low, at its high): ``total`` one row, ``by_cause``, ``by_layer``
    and ``by_sampler_step`` one for each of these. ``tornado``: one row per figure with a range, the one that
    matters most first: causes, source, value, low, high, and the total at low_pj and high_pj with all other
    figures as published. ``without_range``: causes whose figure has none; ``unknown``: causes left out of
    every total, with the reason.
    """

    draws: int
    total: pd.DataFrame
    by_cause: pd.DataFrame
    by_layer: pd.DataFrame
    by_sampler_step: pd.DataFrame
    tornado: pd.DataFrame
    without_range: tuple[str, ...]
    unknown: dict[str, str]

    @property
    def interval_pj(self) -> tuple[float, float]:
        """The 90 % interval of the total."""
        row = self.total.iloc[0]
        return float(row["p05_pj"]), float(row["p95_pj"])


def uncertainty(
    report: EnergyReport, calibration: Calibration, draws: int = DRAWS, seed: int = 0
) -> Uncertainty:
    """Price the counts of ``report`` again ``draws`` times with figures drawn from their ranges."""
    known = report.cells[report.cells["energy_pj"].notna() & (report.cells["energy_pj"] > 0)]
    cells = known.groupby(["sampler_step", "layer", "cause"], sort=False)["energy_pj"].sum().reset_index()
    total_of = cells.groupby("cause")["energy_pj"].sum().to_dict()
    figures = {c: f for c, f in energy_figures(calibration).items() if c in total_of}
    drawn = _draw(figures, draws, seed)

    def intervals(by: str | None) -> pd.DataFrame:
        rows = cells.assign(all="total")["all"] if by is None else cells[by]
        energy = cells.pivot_table("energy_pj", rows, "cause", "sum", fill_value=0.0, sort=False)
        energy = energy.reindex(columns=list(figures), fill_value=0.0)
        quantity = energy.to_numpy() / np.array([f.value for f in figures.values()])
        prices = {c: (_bound(f, f.low), _bound(f, f.high)) for c, f in figures.items()}
        least, most = (quantity @ np.array(side) for side in zip(*prices.values(), strict=True))
        quantiles = np.quantile(quantity @ drawn, QUANTILES, axis=1)
        columns = [energy.sum(axis=1).to_numpy(), *quantiles, least, most]
        return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=energy.index).reset_index()

    return Uncertainty(
        draws=draws,
        total=intervals(None)[COLUMNS],
        by_cause=intervals("cause"),
        by_layer=intervals("layer"),
        by_sampler_step=intervals("sampler_step"),
        tornado=_tornado(figures, total_of),
        without_range=tuple(c for c, f in figures.items() if not _has_range(f)),
        unknown=report.unknown,
    )


def _has_range(figure: Figure) -> bool:
    return figure.low is not None or figure.high is not None


def _bound(figure: Figure, bound: float | None) -> float:
    """A bound, or the value itself on a side where none is published."""
    value = figure.value if bound is None else bound
    assert value is not None
    return value


def _published_number(figure: Figure) -> tuple[object, ...]:
    return (figure.source, figure.where, figure.value, figure.low, figure.high)


def _draw(figures: dict[str, Figure], draws: int, seed: int) -> np.ndarray:
    """Figures [causes, draws]; the same published number is drawn once, whatever it is used for."""
    rng = np.random.default_rng(seed)
    numbers: dict[tuple[object, ...], np.ndarray] = {}
    for figure in figures.values():
        number = _published_number(figure)
        if number not in numbers:
            at = rng.uniform(-1.0, 1.0, draws) if _has_range(figure) else np.zeros(draws)
            below, above = _bound(figure, figure.low), _bound(figure, figure.high)
            numbers[number] = np.where(
                at < 0, _between(figure.value, below, -at), _between(figure.value, above, at)
            )
    return np.stack([numbers[_published_number(figure)] for figure in figures.values()])


def _between(value: float | None, bound: float, part: np.ndarray) -> np.ndarray:
    """A part of the way from the value to a bound, on a logarithmic scale, or a linear one to or from 0."""
    assert value is not None
    if value > 0 and bound > 0:
        return np.asarray(value * (bound / value) ** part)
    return np.asarray(value + (bound - value) * part)


def _tornado(figures: dict[str, Figure], total_of: dict[str, float]) -> pd.DataFrame:
    """Each figure with a range at its low and at its high, all others as published."""
    numbers: dict[tuple[object, ...], list[str]] = {}
    for cause, figure in figures.items():
        if _has_range(figure):
            numbers.setdefault(_published_number(figure), []).append(cause)
    total = sum(total_of.values())
    rows = []
    for (source, where, value, _, _), causes in numbers.items():
        figure = figures[causes[0]]
        low, high = _bound(figure, figure.low), _bound(figure, figure.high)
        quantity = sum(total_of[cause] for cause in causes) / _bound(figure, None)
        rows.append(
            (
                ", ".join(causes),
                source,
                where,
                value,
                low,
                high,
                total + quantity * (low - _bound(figure, None)),
                total + quantity * (high - _bound(figure, None)),
            )
        )
    columns = ["causes", "source", "where", "value", "low", "high", "low_pj", "high_pj"]
    frame = pd.DataFrame(rows, columns=columns)
    swing = (frame["high_pj"] - frame["low_pj"]).sort_values(ascending=False, kind="stable")
    return frame.loc[swing.index].reset_index(drop=True)
