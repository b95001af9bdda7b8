"""What a sampler step costs on the chip: its events by tick and core, the time of its ticks, as tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from nsim.hw_models.mapping.mapping import Mapping
from nsim.hw_models.spec import ChipSpec
from nsim.simulator.algorithm_counts import algorithm_counts
from nsim.simulator.call import Call
from nsim.simulator.core_counts import CORE_EVENTS, CoreCounter, EventCounts
from nsim.simulator.cycle_timing import CycleTimer
from nsim.simulator.engine import Engine, Precision
from nsim.simulator.event_timing import EventTimer
from nsim.simulator.integers import arithmetic_of
from nsim.simulator.link_loads import LinkCounter
from nsim.simulator.timing import TickTimes, analytic_times

Table: TypeAlias = "pa.Table | pd.DataFrame"
Timing = Literal["analytic", "event", "cycle"]
"""How ticks are timed: by closed formulas (a lower bound), or packet by packet through the mesh, its buffers
without bounds or finite."""


@dataclass(frozen=True, eq=False)
class StepMeter:
    """Plays calls of one network and measures them on its mapping; made ready when first used.

    ``calibration`` by name; ``threads`` has no effect on results. Where a model has several networks, each
    has chips of its own: the cores of this one are ``first_core`` and those that follow, ``idle_after`` more
    stand still behind them.
    """

    mapping: Mapping
    calibration: str
    timing: Timing
    precision: Precision
    threads: int | None = None
    first_core: int = 0
    idle_after: int = 0

    @cached_property
    def engine(self) -> Engine:
        """Plays the mapping's network."""
        return engine_of(self.mapping, self.precision, self.threads)

    @cached_property
    def _counter(self) -> CoreCounter:
        return CoreCounter(self.mapping, self.threads)

    @cached_property
    def _links(self) -> LinkCounter:
        return LinkCounter(self.mapping)

    @cached_property
    def _tick_times(self) -> Callable[[Call, EventCounts], TickTimes]:
        figures = self.mapping.chip.calibration(self.calibration)
        if self.timing == "event":
            return EventTimer(self.mapping, figures).times
        if self.timing == "cycle":
            return CycleTimer(self.mapping, figures).times
        return lambda _, counts: analytic_times(counts, figures)

    def check(self) -> None:
        """Raise ChipFileError for an unknown calibration, or "cycle" with buffers of unknown size."""
        if self.timing == "cycle":
            _ = self._tick_times
        else:
            self.mapping.chip.calibration(self.calibration)

    def operations(self, call: Call) -> pd.DataFrame:
        """Operations of the model as traced, whichever network was played; see `algorithm_counts`."""
        return algorithm_counts(replace(call, network=self.mapping.model.network))

    def measure(self, call: Call) -> dict[str, Table]:
        """Tables events, beside, latency, links and times of one call."""
        counts = self._counter.count(call)
        return {
            "events": _events_table(counts, self.first_core, self.idle_after),
            "beside": _beside_table(counts),
            "latency": _latency_table(self._tick_times(call, counts), self.mapping, self.first_core),
            "links": _links_table(self._links.count(call)),
            "times": _other_times(counts, self.mapping.chip, self.calibration),
        }


def engine_of(mapping: Mapping, precision: Precision, threads: int | None = None) -> Engine:
    """What plays a mapping's network; integers in the widths of the chip's state, where its file has them."""
    return Engine(mapping.played, precision, threads, arithmetic_of(mapping.chip))


def _events_table(counts: EventCounts, before: int, after: int) -> pa.Table:
    """Columns tick, core, and one per event: every tick and core, images added up.

    ``before`` and ``after``: cores of the model's other networks, where nothing happens.
    """
    _, ticks, own = counts.per_core["spike"].shape
    cores = before + own + after
    columns = {
        "tick": np.repeat(np.arange(ticks, dtype=np.int32), cores),
        "core": np.tile(np.arange(cores, dtype=np.int32), ticks),
    }
    for event in CORE_EVENTS:
        total = counts.per_core[event].sum(axis=0)
        columns[event] = np.pad(total, ((0, 0), (before, after))).ravel()
    return pa.table(columns)


def _beside_table(counts: EventCounts) -> pd.DataFrame:
    """One row per layer and event of what happened beside the cores, all images together."""
    rows = [(layer, event, int(n)) for (layer, event), n in counts.beside.items()]
    return pd.DataFrame(rows, columns=["layer", "event", "count"])


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
                    "time_ns": times.tick_ns.ravel(),
                }
            )
        )
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _latency_table(times: TickTimes, mapping: Mapping, first_core: int) -> pd.DataFrame:
    images, ticks = times.core_ns.shape
    frame = pd.DataFrame(
        {
            "image": np.repeat(np.arange(images), ticks),
            "tick": np.tile(np.arange(ticks), images),
            "core_ns": times.core_ns.ravel(),
            "barrier_ns": times.barrier_ns.ravel(),
            "time_ns": times.tick_ns.ravel(),
            "busiest_core": times.busiest.ravel() + first_core,
            "busiest_layer": mapping.layer_of_core[times.busiest.ravel()],
        }
    )
    if times.buffers is None:
        return frame
    use = times.buffers
    return frame.assign(
        buffer_places=use.places,
        router_peak=use.router_peak.ravel(),
        core_peak=use.core_peak.ravel(),
        routers_full=use.routers_full.ravel(),
        cores_full=use.cores_full.ravel(),
        stalled_ns=use.stalled_ns.ravel(),
        stalled_core=use.stalled_core.ravel() + first_core,
        stalled_layer=mapping.layer_of_core[use.stalled_core.ravel()],
        held_ns=use.held_ns.ravel(),
    )
